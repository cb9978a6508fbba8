//! The two precisions in which a reference is computed.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// `f64` for the truth, `f32` for what the plain computation in single precision would give.
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

/// Σ aᵢ·bᵢ, ascending.
pub(crate) fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    let mut sum = R::of(0.0);
    for (&x, &y) in a.iter().zip(b) {
        sum += x * y;
    }
    sum
}

/// x [m, k] · w [n, k]ᵀ → [m, n].
pub(crate) fn matmul_nt<R: Real>(x: &[R], w: &[R], k: usize) -> Vec<R> {
    x.chunks_exact(k).flat_map(|row| w.chunks_exact(k).map(move |column| dot(row, column))).collect()
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
