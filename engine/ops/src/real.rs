//! The precisions in which a reference is computed.

use std::cmp::Ordering;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// `f64` for the truth, `f32` for what the plain computation in single precision would give, [`Cut`] for what it
/// would give on tensor cores.
pub trait Real:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + 'static
{
    /// Nearest value.
    fn of(value: f64) -> Self;
    /// Exact value.
    fn to_f64(self) -> f64;
    /// e to this.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;

    /// The larger; the other when one is NaN.
    fn max(self, other: Self) -> Self {
        if other > self || self.to_f64().is_nan() { other } else { self }
    }
}

macro_rules! real {
    ($t:ty) => {
        impl Real for $t {
            fn of(value: f64) -> Self {
                value as $t
            }
            fn to_f64(self) -> f64 {
                self.into()
            }
            fn exp(self) -> Self {
                <$t>::exp(self)
            }
            fn ln(self) -> Self {
                <$t>::ln(self)
            }
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
        }
    };
}
real!(f32);
real!(f64);

/// An `f32` whose sums are cut off, not rounded: tensor cores add this way (Fasi, Higham, Mikaitis and Pranesh,
/// "Numerical behavior of NVIDIA tensor cores", 2021), though once for several terms where this cuts at each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut(f32);

impl Add for Cut {
    type Output = Cut;
    fn add(self, other: Cut) -> Cut {
        let exact = f64::from(self.0) + f64::from(other.0);
        let nearest = exact as f32;
        // Both conditions and the step as arithmetic: there is nothing to branch on, so that sums are vectors.
        let beyond = (f64::from(nearest).abs() > exact.abs()) & nearest.is_finite();
        Cut(f32::from_bits(nearest.to_bits() - u32::from(beyond)))
    }
}

impl AddAssign for Cut {
    fn add_assign(&mut self, other: Cut) {
        *self = *self + other;
    }
}

impl Sub for Cut {
    type Output = Cut;
    fn sub(self, other: Cut) -> Cut {
        self + -other
    }
}

impl Mul for Cut {
    type Output = Cut;
    fn mul(self, other: Cut) -> Cut {
        Cut(self.0 * other.0)
    }
}

impl Div for Cut {
    type Output = Cut;
    fn div(self, other: Cut) -> Cut {
        Cut(self.0 / other.0)
    }
}

impl Neg for Cut {
    type Output = Cut;
    fn neg(self) -> Cut {
        Cut(-self.0)
    }
}

impl PartialOrd for Cut {
    fn partial_cmp(&self, other: &Cut) -> Option<Ordering> {
        self.0.partial_cmp(&other.0)
    }
}

impl Real for Cut {
    fn of(value: f64) -> Self {
        Cut(value as f32)
    }
    fn to_f64(self) -> f64 {
        self.0.into()
    }
    fn exp(self) -> Self {
        Cut(self.0.exp())
    }
    fn ln(self) -> Self {
        Cut(self.0.ln())
    }
    fn sqrt(self) -> Self {
        Cut(self.0.sqrt())
    }
}

/// Σ aᵢ·bᵢ, ascending.
pub(crate) fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    let mut sum = R::of(0.0);
    for (&x, &y) in a.iter().zip(b) {
        sum += x * y;
    }
    sum
}

/// [`dot`] of `a` with each of many rows, eight chains side by side.
pub(crate) fn dots<'a, R: Real>(a: &[R], mut rows: impl Iterator<Item = &'a [R]>) -> Vec<R> {
    const LANES: usize = 8;
    let mut all = Vec::new();
    while let Some(first) = rows.next() {
        let mut eight = [first; LANES];
        let mut width = 1;
        while width < LANES
            && let Some(row) = rows.next()
        {
            eight[width] = row;
            width += 1;
        }
        // Rows as long as `a`, so that no index below is beyond them.
        let eight = eight.map(|row| &row[..a.len()]);
        let mut sums = [R::of(0.0); LANES];
        for (i, &x) in a.iter().enumerate() {
            for (sum, row) in sums.iter_mut().zip(eight) {
                *sum += x * row[i];
            }
        }
        all.extend(&sums[..width]);
    }
    all
}

/// x [m, k] · w [n, k]ᵀ → [m, n].
///
/// Each output is the chain of [`dot`]; columns are taken eight at a time so that their chains run side by side.
pub(crate) fn matmul_nt<R: Real>(x: &[R], w: &[R], k: usize) -> Vec<R> {
    const LANES: usize = 8;
    let k = k.max(1);
    let n = w.len() / k;
    let mut out = vec![R::of(0.0); x.len() / k * n];
    let mut panel = vec![[R::of(0.0); LANES]; k];
    for (block, columns) in w.chunks(LANES * k).enumerate() {
        for (lane, column) in columns.chunks_exact(k).enumerate() {
            panel.iter_mut().zip(column).for_each(|(to, &value)| to[lane] = value);
        }
        let width = columns.len() / k;
        for (row, to) in x.chunks_exact(k).zip(out.chunks_exact_mut(n)) {
            let mut sums = [R::of(0.0); LANES];
            for (&x, w) in row.iter().zip(&panel) {
                sums.iter_mut().zip(w).for_each(|(sum, &w)| *sum += x * w);
            }
            to[block * LANES..][..width].copy_from_slice(&sums[..width]);
        }
    }
    out
}

/// dy [m, n] · w [n, k] → [m, k].
pub(crate) fn matmul_nn<R: Real>(dy: &[R], w: &[R], n: usize, k: usize) -> Vec<R> {
    let mut out = vec![R::of(0.0); dy.len() / n.max(1) * k];
    for (row, to) in dy.chunks_exact(n).zip(out.chunks_exact_mut(k)) {
        for (&d, w_row) in row.iter().zip(w.chunks_exact(k)) {
            for (o, &w) in to.iter_mut().zip(w_row) {
                *o += d * w;
            }
        }
    }
    out
}

/// dw [n, k] += dy [m, n]ᵀ · x [m, k].
pub(crate) fn matmul_tn_add<R: Real>(dy: &[R], x: &[R], n: usize, k: usize, dw: &mut [R]) {
    for (row, x_row) in dy.chunks_exact(n).zip(x.chunks_exact(k)) {
        for (&d, to) in row.iter().zip(dw.chunks_exact_mut(k)) {
            for (o, &x) in to.iter_mut().zip(x_row) {
                *o += d * x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_of_a_product_is_one_ascending_chain_in_every_arithmetic() {
        fn hold<R: Real + std::fmt::Debug>() {
            let values = |count: usize, salt: usize| -> Vec<R> {
                (0..count).map(|i| R::of((((i + salt) * 7919) % 1013) as f64 / 977.0 - 0.5)).collect()
            };
            for (m, n, k) in [(1, 1, 1), (3, 8, 5), (2, 21, 40), (0, 3, 4), (5, 7, 129)] {
                let (x, w) = (values(m * k, 1), values(n * k, 2));
                let rows = x.chunks_exact(k);
                let chains: Vec<R> =
                    rows.flat_map(|row| w.chunks_exact(k).map(move |column| dot(row, column))).collect();
                assert_eq!(matmul_nt(&x, &w, k), chains, "{m}x{n}x{k}");
                let apart = x.chunks_exact(k).flat_map(|row| dots(row, w.chunks_exact(k)));
                assert_eq!(apart.collect::<Vec<R>>(), chains, "{m}x{n}x{k}");
            }
        }
        hold::<f64>();
        hold::<f32>();
        hold::<Cut>();
    }

    #[test]
    fn a_cut_sum_never_grows_beyond_the_exact_one() {
        let ulp = f64::from(f32::EPSILON);
        for (a, b, cut) in [
            (1.0, 0.75 * ulp, 1.0),
            (1.0, ulp, 1.0 + ulp),
            (-1.0, -0.75 * ulp, -1.0),
            (1.0, -0.25 * ulp, 1.0 - 0.5 * ulp),
            (1.0, -1.0, 0.0),
            (f64::INFINITY, 1.0, f64::INFINITY),
        ] {
            assert_eq!((Cut::of(a) + Cut::of(b)).to_f64(), cut, "{a} + {b}");
        }
    }
}
