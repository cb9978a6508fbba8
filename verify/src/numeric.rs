//! The value of a node as a ball: constants, roots, logarithms, trigonometry; symbols take a point's values.

use crate::ball::{Ball, Long, Real};
use crate::fuel::{Fuel, Stop};
use crate::modular::mix;
use crate::node::{Constant, Function, Node};
use dashu_ratio::RBig;

/// Where symbols are evaluated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// From which each symbol draws its value.
    pub seed: u64,
    /// Symbols lie between these, in sixteenths.
    pub range: (i64, i64),
}

/// Bits in which two sides are compared where doubles do not tell them apart, and in a last look at the first place.
const BITS: [usize; 2] = [160, 384];

/// Where symbols are tried: positive and negative, near and far.
const RANGES: [(i64, i64); 12] = [
    (4, 48),
    (-48, -4),
    (48, 192),
    (1, 16),
    (-16, -1),
    (16, 80),
    (192, 1600),
    (8, 64),
    (-192, -48),
    (4, 48),
    (-80, -16),
    (48, 192),
];

/// Places at which both sides must have been defined and equal in doubles, where there are letters.
const FEW: usize = 3;

/// Places at which many bits may be tried in vain.
const MISSES: usize = 4;

/// Places at which both sides must have been equal in many bits.
const ENOUGH: usize = 2;

/// Whether two scalars are equal wherever both are defined; `None` where too few places could be evaluated.
pub(crate) fn same(a: &Node, b: &Node, fuel: &Fuel) -> Result<Option<bool>, Stop> {
    let symbols = !(a.symbols().is_empty() && b.symbols().is_empty());
    // Where letters stand for real numbers, roots of negative ones are nowhere.
    let imaginary = |node: &Node| node.any(&|n| *n == Node::Constant(Constant::Imaginary));
    let real = symbols && !imaginary(a) && !imaginary(b);
    let ranges = if symbols { &RANGES[..] } else { &RANGES[..1] };
    let (mut defined, mut missed, mut agreed) = (0, 0, Vec::new());
    for (seed, &range) in ranges.iter().enumerate() {
        let place = Place { seed: seed as u64, range };
        let doubles = apart::<f64>(a, b, place, real, 53, fuel)?;
        if doubles == Some(true) {
            return Ok(Some(false));
        }
        defined += usize::from(doubles.is_some());
        // What doubles cannot bound, more bits may.
        if (agreed.len() < ENOUGH || doubles.is_none() && agreed.len() < FEW) && missed < MISSES {
            match apart::<Long>(a, b, place, real, BITS[0], fuel)? {
                Some(true) => return Ok(Some(false)),
                Some(false) => agreed.push(place),
                None => missed += 1,
            }
        }
    }
    let enough =
        if symbols { agreed.len() >= ENOUGH && defined.max(agreed.len()) >= FEW } else { !agreed.is_empty() };
    if !enough {
        return Ok(None);
    }
    // What differs by less than the first precision shows.
    Ok(apart::<Long>(a, b, agreed[0], real, BITS[1], fuel)?.map(|apart| !apart))
}

fn apart<R: Real>(
    a: &Node,
    b: &Node,
    place: Place,
    real: bool,
    precision: usize,
    fuel: &Fuel,
) -> Result<Option<bool>, Stop> {
    let (Some(a), Some(b)) =
        (complex::<R>(a, place, precision, fuel)?, complex::<R>(b, place, precision, fuel)?)
    else {
        return Ok(None);
    };
    if real && !(a.im.is_zero() && b.im.is_zero()) {
        return Ok(None);
    }
    let Some(difference) = a.add(&b.negate()) else { return Ok(None) };
    Ok(Some(!(difference.re.may_be_zero() && difference.im.may_be_zero())))
}

/// A scalar without symbols as a double; for ordering and for tolerances.
pub(crate) fn double(node: &Node, fuel: &Fuel) -> Result<Option<f64>, Stop> {
    let place = Place { seed: 0, range: RANGES[0] };
    let value = complex::<f64>(node, place, 53, fuel)?;
    Ok(value.filter(|v| v.im.is_zero()).map(|v| v.re.middle))
}

/// The value at a place where a function of symbols is evaluated, as a double.
pub(crate) fn double_at(node: &Node, place: Place, fuel: &Fuel) -> Result<Option<Ball<f64>>, Stop> {
    Ok(complex::<f64>(node, place, 53, fuel)?.filter(|v| v.im.is_zero()).map(|v| v.re))
}

/// A complex number as two balls.
struct Complex<R> {
    re: Ball<R>,
    im: Ball<R>,
}

impl<R: Real> Complex<R> {
    fn real(re: Ball<R>, zero: &Ball<R>) -> Complex<R> {
        Complex { re, im: zero.clone() }
    }

    fn add(&self, other: &Complex<R>) -> Option<Complex<R>> {
        Some(Complex { re: self.re.add(&other.re)?, im: self.im.add(&other.im)? })
    }

    fn negate(&self) -> Complex<R> {
        Complex { re: self.re.negate(), im: self.im.negate() }
    }

    fn multiply(&self, other: &Complex<R>) -> Option<Complex<R>> {
        let re = self.re.multiply(&other.re)?.add(&self.im.multiply(&other.im)?.negate())?;
        let im = self.re.multiply(&other.im)?.add(&self.im.multiply(&other.re)?)?;
        Some(Complex { re, im })
    }

    fn divide(&self, other: &Complex<R>) -> Option<Complex<R>> {
        if other.im.is_zero() {
            return Some(Complex { re: self.re.divide(&other.re)?, im: self.im.divide(&other.re)? });
        }
        let size = other.re.multiply(&other.re)?.add(&other.im.multiply(&other.im)?)?;
        let turned = Complex { re: other.re.clone(), im: other.im.negate() };
        let product = self.multiply(&turned)?;
        Some(Complex { re: product.re.divide(&size)?, im: product.im.divide(&size)? })
    }

    /// The principal square root.
    fn root(&self) -> Option<Complex<R>> {
        let zero = self.re.add(&self.re.negate())?;
        if self.im.is_zero() {
            let zero = Ball::rational(&RBig::ZERO, 53).unwrap_or(zero);
            return Some(match self.re.sign() {
                -1 => Complex { re: zero, im: self.re.negate().root(2)? },
                _ => Complex { re: self.re.root(2)?, im: zero },
            });
        }
        None
    }
}

struct Evaluator<'a> {
    place: Place,
    precision: usize,
    fuel: &'a Fuel,
}

/// `Err(None)`: not defined here, or not a number.
type Value<T> = Result<T, Option<Stop>>;

fn complex<R: Real>(
    node: &Node,
    place: Place,
    precision: usize,
    fuel: &Fuel,
) -> Result<Option<Complex<R>>, Stop> {
    match (Evaluator { place, precision, fuel }).value(node) {
        Ok(value) => Ok(Some(value)),
        Err(None) => Ok(None),
        Err(Some(stop)) => Err(stop),
    }
}

impl Evaluator<'_> {
    fn spend<R: Real>(&self, transcendental: bool) -> Value<()> {
        let (plain, dear) = R::fuel(self.precision);
        self.fuel.spend(if transcendental { dear } else { plain }).map_err(Some)
    }

    fn rational<R: Real>(&self, value: &RBig) -> Value<Ball<R>> {
        Ball::rational(value, self.precision).ok_or(None)
    }

    fn zero<R: Real>(&self) -> Value<Ball<R>> {
        self.rational(&RBig::ZERO)
    }

    fn value<R: Real>(&self, node: &Node) -> Value<Complex<R>> {
        self.spend::<R>(false)?;
        let real = |ball: Ball<R>| Ok(Complex::real(ball, &self.zero()?));
        match node {
            Node::Number(n) | Node::Decimal(n, _) => real(self.rational(n)?),
            Node::Symbol(name) => {
                let (low, high) = self.place.range;
                // Sixteenths and a bit, so that no small integer is special.
                let span = ((high - low) * 64) as u64;
                let offset = mix(name, self.place.seed) % span;
                real(self.rational(&RBig::from_parts((low * 64 + offset as i64).into(), 1024u32.into()))?)
            }
            Node::Constant(Constant::Pi) => real(self.pi()?),
            Node::Constant(Constant::Euler) => {
                self.spend::<R>(true)?;
                real(self.rational::<R>(&RBig::ONE)?.exp().ok_or(None)?)
            }
            Node::Constant(Constant::Imaginary) => {
                Ok(Complex { re: self.zero()?, im: self.rational(&RBig::ONE)? })
            }
            Node::Constant(Constant::Infinity) => Err(None),
            Node::Add(list) => {
                let mut sum = Complex::real(self.zero()?, &self.zero()?);
                for term in list {
                    sum = sum.add(&self.value(term)?).ok_or(None)?;
                }
                Ok(sum)
            }
            Node::Mul(list) => {
                let mut product = Complex::real(self.rational(&RBig::ONE)?, &self.zero()?);
                for factor in list {
                    product = product.multiply(&self.value(factor)?).ok_or(None)?;
                }
                Ok(product)
            }
            Node::Negate(a) => Ok(self.value(a)?.negate()),
            Node::Degrees(a) => self.value(a),
            Node::Percent(a) => {
                let hundred = Complex::real(self.rational(&RBig::from(100))?, &self.zero()?);
                self.value(a)?.divide(&hundred).ok_or(None)
            }
            Node::Divide(a, b) => self.value(a)?.divide(&self.value(b)?).ok_or(None),
            Node::Power(a, b) => self.power(a, b),
            Node::Apply(function, list) => self.apply(*function, list),
            _ => Err(None),
        }
    }

    fn pi<R: Real>(&self) -> Value<Ball<R>> {
        self.spend::<R>(true)?;
        let quarter = self.rational::<R>(&RBig::ONE)?.atan().ok_or(None)?;
        quarter.multiply(&self.rational(&RBig::from(4))?).ok_or(None)
    }

    /// A node that must be real.
    fn real<R: Real>(&self, node: &Node) -> Value<Ball<R>> {
        let value = self.value::<R>(node)?;
        if value.im.is_zero() { Ok(value.re) } else { Err(None) }
    }

    fn power<R: Real>(&self, base: &Node, exponent: &Node) -> Value<Complex<R>> {
        if let Some(exact) = crate::exact::exact(exponent, self.fuel)? {
            if exact.is_int()
                && let Ok(n) = i64::try_from(exact.numerator().clone())
                && n.unsigned_abs() <= 100_000
            {
                return self.integer_power(self.value(base)?, n);
            }
            // The real root, where the index is odd or the base positive.
            if let (Ok(n), Ok(index)) =
                (i64::try_from(exact.numerator().clone()), usize::try_from(exact.denominator().clone()))
                && n.unsigned_abs() <= 10_000
                && index <= 64
            {
                self.spend::<R>(true)?;
                let root = self.root(self.value(base)?, index)?;
                return self.integer_power(root, n);
            }
        }
        self.spend::<R>(true)?;
        self.spend::<R>(true)?;
        let logarithm = self.real::<R>(base)?.ln().ok_or(None)?;
        let product = logarithm.multiply(&self.real(exponent)?).ok_or(None)?;
        Ok(Complex::real(product.exp().ok_or(None)?, &self.zero()?))
    }

    fn integer_power<R: Real>(&self, base: Complex<R>, n: i64) -> Value<Complex<R>> {
        let one = || Ok::<_, Option<Stop>>(Complex::real(self.rational(&RBig::ONE)?, &self.zero()?));
        let (mut result, mut square, mut left) = (one()?, base, n.unsigned_abs());
        while left > 0 {
            self.spend::<R>(false)?;
            if left & 1 == 1 {
                result = result.multiply(&square).ok_or(None)?;
            }
            left >>= 1;
            if left > 0 {
                square = square.multiply(&square).ok_or(None)?;
            }
        }
        if n < 0 { one()?.divide(&result).ok_or(None) } else { Ok(result) }
    }

    fn root<R: Real>(&self, radicand: Complex<R>, index: usize) -> Value<Complex<R>> {
        if index == 2 {
            return radicand.root().ok_or(None);
        }
        if !radicand.im.is_zero() {
            return Err(None);
        }
        Ok(Complex::real(radicand.re.root(index).ok_or(None)?, &self.zero()?))
    }

    fn apply<R: Real>(&self, function: Function, list: &[Node]) -> Value<Complex<R>> {
        self.spend::<R>(true)?;
        let first = list.first().ok_or(None)?;
        if function == Function::Root {
            let index = crate::exact::exact(list.get(1).ok_or(None)?, self.fuel)?.ok_or(None)?;
            let index = usize::try_from(index.numerator().clone())
                .ok()
                .filter(|i| (1..=64).contains(i))
                .ok_or(None)?;
            return self.root(self.value(first)?, index);
        }
        if function == Function::Abs {
            let value = self.value::<R>(first)?;
            let ball = if value.im.is_zero() {
                if value.re.sign() < 0 { value.re.negate() } else { value.re }
            } else {
                let size = value.re.multiply(&value.re).and_then(|s| s.add(&value.im.multiply(&value.im)?));
                size.and_then(|s| s.root(2)).ok_or(None)?
            };
            return Ok(Complex::real(ball, &self.zero()?));
        }
        if function == Function::Binomial {
            return self.binomial(first, list);
        }
        let x = match first {
            // An angle in degrees.
            Node::Degrees(angle) => {
                let turn = self.pi::<R>()?.divide(&self.rational(&RBig::from(180))?).ok_or(None)?;
                self.real::<R>(angle)?.multiply(&turn).ok_or(None)?
            }
            _ => self.real::<R>(first)?,
        };
        let ball = self.function(function, x, list)?;
        Ok(Complex::real(ball, &self.zero()?))
    }

    /// n(n − 1)…(n − k + 1)/k! for a small k.
    fn binomial<R: Real>(&self, n: &Node, list: &[Node]) -> Value<Complex<R>> {
        let k = crate::exact::exact(list.get(1).ok_or(None)?, self.fuel)?.ok_or(None)?;
        let k = u32::try_from(k.numerator().clone())
            .ok()
            .filter(|&k| k <= 32 && list[1].symbols().is_empty())
            .ok_or(None)?;
        let n = self.real::<R>(n)?;
        let mut product = self.rational::<R>(&RBig::ONE)?;
        for i in 0..k {
            let step = |n: i64, d: i64| self.rational::<R>(&RBig::from_parts(n.into(), (d as u32).into()));
            let factor = n.add(&step(-i64::from(i), 1)?).ok_or(None)?;
            product = product
                .multiply(&factor)
                .and_then(|p| p.multiply(&step(1, i64::from(i) + 1).ok()?))
                .ok_or(None)?;
        }
        Ok(Complex::real(product, &self.zero()?))
    }

    fn function<R: Real>(&self, function: Function, x: Ball<R>, list: &[Node]) -> Value<Ball<R>> {
        let one = || self.rational::<R>(&RBig::ONE);
        let half = || self.rational::<R>(&RBig::from_parts(1.into(), 2u8.into()));
        let ball = match function {
            Function::Exp => x.exp(),
            Function::Ln => x.ln(),
            Function::Log => {
                let base = self.real::<R>(list.get(1).ok_or(None)?)?;
                x.ln().and_then(|a| a.divide(&base.ln()?))
            }
            Function::Sin => x.sin(),
            Function::Cos => x.cos(),
            Function::Tan => x.sin().and_then(|s| s.divide(&x.cos()?)),
            Function::Cot => x.cos().and_then(|c| c.divide(&x.sin()?)),
            Function::Sec => one()?.divide(&x.cos().ok_or(None)?),
            Function::Csc => one()?.divide(&x.sin().ok_or(None)?),
            Function::Atan => x.atan(),
            // asin x = 2·atan(x / (1 + √(1 − x²))), acos x = π/2 − asin x.
            Function::Asin | Function::Acos => {
                let rest = x.multiply(&x).and_then(|s| one().ok()?.add(&s.negate())).ok_or(None)?;
                let denominator = if rest.may_be_zero() && rest.radius < 1e-12 {
                    one()?
                } else {
                    rest.root(2).and_then(|r| r.add(&one().ok()?)).ok_or(None)?
                };
                let half_angle = x.divide(&denominator).and_then(|t| t.atan()).ok_or(None)?;
                let asin = half_angle.add(&half_angle).ok_or(None)?;
                if function == Function::Asin {
                    Some(asin)
                } else {
                    self.pi::<R>()?.multiply(&half()?).and_then(|p| p.add(&asin.negate()))
                }
            }
            Function::Sinh | Function::Cosh | Function::Tanh => {
                let (up, down) = (x.exp().ok_or(None)?, x.negate().exp().ok_or(None)?);
                let sinh = up.add(&down.negate()).and_then(|d| d.multiply(&half().ok()?));
                let cosh = up.add(&down).and_then(|d| d.multiply(&half().ok()?));
                match function {
                    Function::Sinh => sinh,
                    Function::Cosh => cosh,
                    _ => sinh.and_then(|s| s.divide(&cosh?)),
                }
            }
            _ => return Err(None),
        };
        ball.ok_or(None)
    }
}
