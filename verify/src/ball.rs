//! Numbers with a bound on their error: a middle and a radius, in f64 or in hundreds of bits.
//!
//! Every operation widens the radius by what the error of its operands may do to the result and by its own rounding, so
//! that two balls that do not meet are two different numbers, whatever was lost on the way. (Interval arithmetic in
//! midpoint-radius form; van der Hoeven, "Ball arithmetic", 2009.)

use dashu_float::FBig;
use dashu_float::round::mode::HalfEven;
use dashu_ratio::RBig;

/// Real numbers of some precision.
pub(crate) trait Real: Clone {
    /// The relative error of one operation at most.
    fn epsilon(precision: usize) -> f64;
    /// What an operation costs of the fuel: plain, transcendental.
    fn fuel(precision: usize) -> (u64, u64);
    fn rational(value: &RBig, precision: usize) -> Self;
    fn approximate(&self) -> f64;
    fn add(&self, other: &Self) -> Self;
    fn multiply(&self, other: &Self) -> Self;
    fn divide(&self, other: &Self) -> Self;
    fn negate(&self) -> Self;
    /// Of a number above 0.
    fn root(&self, index: usize) -> Self;
    fn exp(&self) -> Self;
    /// Of a number above 0.
    fn ln(&self) -> Self;
    fn sin(&self) -> Self;
    fn cos(&self) -> Self;
    fn atan(&self) -> Self;
}

impl Real for f64 {
    fn epsilon(_: usize) -> f64 {
        // Library functions are good to a few units in the last place.
        2f64.powi(-49)
    }
    fn fuel(_: usize) -> (u64, u64) {
        (1, 4)
    }
    fn rational(value: &RBig, _: usize) -> f64 {
        value.to_f64().value()
    }
    fn approximate(&self) -> f64 {
        *self
    }
    fn add(&self, other: &f64) -> f64 {
        self + other
    }
    fn multiply(&self, other: &f64) -> f64 {
        self * other
    }
    fn divide(&self, other: &f64) -> f64 {
        self / other
    }
    fn negate(&self) -> f64 {
        -self
    }
    fn root(&self, index: usize) -> f64 {
        if index == 2 { self.sqrt() } else { self.powf(1.0 / index as f64) }
    }
    fn exp(&self) -> f64 {
        f64::exp(*self)
    }
    fn ln(&self) -> f64 {
        f64::ln(*self)
    }
    fn sin(&self) -> f64 {
        f64::sin(*self)
    }
    fn cos(&self) -> f64 {
        f64::cos(*self)
    }
    fn atan(&self) -> f64 {
        f64::atan(*self)
    }
}

/// A binary floating-point number of chosen precision.
pub(crate) type Long = FBig<HalfEven, 2>;

impl Real for Long {
    fn epsilon(precision: usize) -> f64 {
        2f64.powi(8 - precision as i32)
    }
    fn fuel(precision: usize) -> (u64, u64) {
        (precision as u64 / 8, precision as u64 * precision as u64 / 6)
    }
    fn rational(value: &RBig, precision: usize) -> Long {
        let part = |n: dashu_int::IBig| Long::from(n).with_precision(precision).value();
        &part(value.numerator().clone()) / &part(value.denominator().clone().into())
    }
    fn approximate(&self) -> f64 {
        self.to_f64().value()
    }
    fn add(&self, other: &Long) -> Long {
        self + other
    }
    fn multiply(&self, other: &Long) -> Long {
        self * other
    }
    fn divide(&self, other: &Long) -> Long {
        self / other
    }
    fn negate(&self) -> Long {
        -self.clone()
    }
    fn root(&self, index: usize) -> Long {
        if index == 2 { self.sqrt() } else { self.nth_root(index) }
    }
    fn exp(&self) -> Long {
        Long::exp(self)
    }
    fn ln(&self) -> Long {
        Long::ln(self)
    }
    fn sin(&self) -> Long {
        Long::sin(self)
    }
    fn cos(&self) -> Long {
        Long::cos(self)
    }
    fn atan(&self) -> Long {
        Long::atan(self)
    }
}

/// A real number within `radius` of `middle`.
#[derive(Clone, Debug)]
pub(crate) struct Ball<R> {
    pub middle: R,
    pub radius: f64,
    precision: usize,
}

impl<R: Real> Ball<R> {
    pub fn rational(value: &RBig, precision: usize) -> Option<Ball<R>> {
        let middle = R::rational(value, precision);
        let radius = if value.is_zero() { 0.0 } else { middle.approximate().abs() * R::epsilon(precision) };
        Ball { middle, radius, precision }.finite()
    }

    fn rounded(&self, middle: R, radius: f64) -> Option<Ball<R>> {
        let size = middle.approximate().abs();
        Ball {
            middle,
            radius: (radius + size * R::epsilon(self.precision)) * 1.000_001,
            precision: self.precision,
        }
        .finite()
    }

    fn finite(mut self) -> Option<Ball<R>> {
        let size = self.middle.approximate().abs();
        if size != 0.0 {
            // A radius that underflows would be a lie.
            self.radius = self.radius.max(1e-290);
        }
        (self.radius.is_finite() && size < 1e280).then_some(self)
    }

    fn size(&self) -> f64 {
        self.middle.approximate().abs()
    }

    /// Whether it is 0 and nothing else.
    pub fn is_zero(&self) -> bool {
        self.radius == 0.0 && self.middle.approximate() == 0.0
    }

    /// Whether 0 lies in it.
    pub fn may_be_zero(&self) -> bool {
        self.size() <= self.radius
    }

    /// 1 or −1 where all of it has that sign, 0 where it may be 0.
    pub fn sign(&self) -> i32 {
        if self.may_be_zero() {
            0
        } else if self.middle.approximate() > 0.0 {
            1
        } else {
            -1
        }
    }

    pub fn add(&self, other: &Ball<R>) -> Option<Ball<R>> {
        if self.is_zero() {
            return Some(other.clone());
        }
        if other.is_zero() {
            return Some(self.clone());
        }
        let middle = self.middle.add(&other.middle);
        // What cancels leaves the rounding of the larger.
        let rounding = self.size().max(other.size()) * R::epsilon(self.precision);
        self.rounded(middle, self.radius + other.radius + rounding)
    }

    pub fn negate(&self) -> Ball<R> {
        Ball { middle: self.middle.negate(), ..self.clone() }
    }

    pub fn multiply(&self, other: &Ball<R>) -> Option<Ball<R>> {
        if self.is_zero() || other.is_zero() {
            return Ball::rational(&RBig::ZERO, self.precision);
        }
        let radius = self.size() * other.radius + other.size() * self.radius + self.radius * other.radius;
        self.rounded(self.middle.multiply(&other.middle), radius)
    }

    pub fn divide(&self, other: &Ball<R>) -> Option<Ball<R>> {
        if other.may_be_zero() {
            return None;
        }
        let middle = self.middle.divide(&other.middle);
        let radius =
            (self.radius + middle.approximate().abs() * other.radius) / (other.size() - other.radius);
        self.rounded(middle, radius)
    }

    /// The real root: of negative numbers where the index is odd.
    pub fn root(&self, index: usize) -> Option<Ball<R>> {
        if self.is_zero() {
            return Some(self.clone());
        }
        match self.sign() {
            0 => None,
            -1 if index.is_multiple_of(2) => None,
            -1 => Some(self.negate().root(index)?.negate()),
            _ => {
                let middle = self.middle.root(index);
                let radius = middle.approximate() * self.radius / (self.size() - self.radius);
                self.rounded(middle, radius)
            }
        }
    }

    pub fn exp(&self) -> Option<Ball<R>> {
        if self.size() > 300.0 || self.radius > 1.0 {
            return None;
        }
        let middle = self.middle.exp();
        let radius = middle.approximate() * self.radius.exp_m1();
        self.rounded(middle, radius)
    }

    pub fn ln(&self) -> Option<Ball<R>> {
        if self.sign() <= 0 {
            return None;
        }
        let middle = self.middle.ln();
        self.rounded(middle, self.radius / (self.size() - self.radius) + R::epsilon(self.precision))
    }

    pub fn sin(&self) -> Option<Ball<R>> {
        self.circular(R::sin)
    }

    pub fn cos(&self) -> Option<Ball<R>> {
        self.circular(R::cos)
    }

    fn circular(&self, function: fn(&R) -> R) -> Option<Ball<R>> {
        if self.size() > 1e6 {
            return None;
        }
        self.rounded(function(&self.middle), self.radius + (1.0 + self.size()) * R::epsilon(self.precision))
    }

    pub fn atan(&self) -> Option<Ball<R>> {
        self.rounded(self.middle.atan(), self.radius)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A chain of operations on two fractions, in some precision.
    fn chain<R: Real>(a: &RBig, b: &RBig, steps: &[u8], precision: usize) -> Option<Ball<R>> {
        let other = Ball::rational(b, precision)?;
        let mut value: Ball<R> = Ball::rational(a, precision)?;
        for step in steps {
            value = match step % 9 {
                0 => value.add(&other)?,
                1 => value.multiply(&other)?,
                2 => value.divide(&other)?,
                3 => value.sin()?,
                4 => value.cos()?,
                5 => value.atan()?,
                6 => value.multiply(&value)?.add(&other)?.root(2)?,
                7 => value.sin()?.exp()?,
                _ => value.multiply(&value)?.add(&Ball::rational(&RBig::ONE, precision)?)?.ln()?,
            };
        }
        Some(value)
    }

    fn meet<R: Real, S: Real>(a: &Ball<R>, b: &Ball<S>) -> bool {
        let gap = (a.middle.approximate() - b.middle.approximate()).abs();
        // Middles are compared in f64, whose own rounding counts.
        gap <= a.radius + b.radius + 2.0 * f64::EPSILON * b.middle.approximate().abs()
    }

    proptest! {
        #[test]
        fn balls_of_any_precision_meet(
            a in (-2000i64..2000, 1u64..300),
            b in (1i64..2000, 1u64..300),
            steps in prop::collection::vec(any::<u8>(), 0..6),
        ) {
            let fraction = |(n, d): (i64, u64)| RBig::from_parts(n.into(), d.into());
            let (a, b) = (fraction(a), fraction(b));
            let fine = chain::<Long>(&a, &b, &steps, 512);
            let long = chain::<Long>(&a, &b, &steps, 160);
            let short = chain::<f64>(&a, &b, &steps, 53);
            if let (Some(fine), Some(long)) = (&fine, &long) {
                prop_assert!(meet(long, fine));
                prop_assert!(fine.radius <= long.radius);
            }
            if let (Some(fine), Some(short)) = (&fine, &short) {
                prop_assert!(meet(short, fine), "{} ± {}", short.middle, short.radius);
            }
            // What f64 can bound, more bits can.
            prop_assert!(short.is_none() || long.is_some() && fine.is_some());
        }
    }
}
