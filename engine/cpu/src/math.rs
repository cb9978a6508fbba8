//! Exponentials over slices: plain Rust without fused operations, so that every instruction set gives the
//! same bits, compiled for the processor found so that it runs in wide vectors.

use crate::simd::{Isa, Kernel, Simd, dispatch};
use octo_ops::INTERLEAVE;

/// e^x to within two units in the last place; 0 below −87.3 (where results would be denormal), infinite
/// above 88.3. Range reduction by ln 2 in two parts and a polynomial of degree 7, after Cephes' expf
/// (Moshier, 1992).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5·2²³ rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.3);
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = clamped - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5] {
        p = p * r + c;
    }
    // The low bits of `rounded` are n, so 2ⁿ needs no conversion, which compilers do not vectorise well.
    let scale = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    let y = (p * r * r + r + 1.0) * scale;
    // One choice after the other, not a chain of them: each becomes a select, and the loop stays in vectors.
    let y = if x < -87.3 { 0.0 } else { y };
    let y = if x > 88.3 { f32::INFINITY } else { y };
    if x.is_nan() { x } else { y }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Makes a function whose body is compiled for each instruction set.
macro_rules! vectorised {
    ($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),*) $(-> $output:ty)? $body:block) => {
        $(#[$doc])*
        pub(crate) fn $name($($argument: $type),*) $(-> $output)? {
            #[allow(non_camel_case_types, reason = "the kernel behind the function of that name")]
            struct kernel<T>(T);
            impl Kernel for kernel<($($type,)*)> {
                vectorised!(@output $($output)?);
                #[inline(always)]
                unsafe fn run<S: Simd>(self) -> Self::Output {
                    let kernel(($($argument,)*)) = self;
                    $body
                }
            }
            dispatch(Isa::current(), kernel(($($argument,)*)))
        }
    };
    (@output $output:ty) => { type Output = $output; };
    (@output) => { type Output = (); };
}
pub(crate) use vectorised;

/// Eight lanes, computed one by one: results go to an array of their own, so that no store can change what
/// the next lane reads, and the loop becomes one of vectors.
#[inline(always)]
fn lanes(f: impl Fn(usize) -> f32) -> [f32; INTERLEAVE] {
    let mut out = [0.0; INTERLEAVE];
    for (i, out) in out.iter_mut().enumerate() {
        *out = f(i);
    }
    out
}

vectorised! {
    /// silu(gate)·up of rows interleaved in eights.
    fn swiglu(gate_up: &[f32], product: &mut [f32]) {
        for (from, to) in gate_up.as_chunks::<{ 2 * INTERLEAVE }>().0.iter()
            .zip(product.as_chunks_mut::<INTERLEAVE>().0)
        {
            let from = *from;
            *to = lanes(|i| from[i] * sigmoid(from[i]) * from[i + INTERLEAVE]);
        }
    }
}

vectorised! {
    /// Gradients of gate and up in their own place, from that of the product.
    fn swiglu_backward(dproduct: &[f32], gate_up: &mut [f32]) {
        for (d, both) in dproduct.as_chunks::<INTERLEAVE>().0.iter()
            .zip(gate_up.as_chunks_mut::<{ 2 * INTERLEAVE }>().0)
        {
            let (d, from) = (*d, *both);
            let s = lanes(|i| sigmoid(from[i]));
            let dgate = lanes(|i| d[i] * from[i + INTERLEAVE] * s[i] * (1.0 + from[i] * (1.0 - s[i])));
            let dup = lanes(|i| d[i] * from[i] * s[i]);
            both[..INTERLEAVE].copy_from_slice(&dgate);
            both[INTERLEAVE..].copy_from_slice(&dup);
        }
    }
}

const LANES: usize = 16;

vectorised! {
    /// The largest element; NaN if there is one.
    fn max(row: &[f32]) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (chunks, rest) = row.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane = if x > *lane || x.is_nan() { x } else { *lane };
            }
        }
        let largest = |a: f32, &b: &f32| if b > a || b.is_nan() { b } else { a };
        rest.iter().fold(lanes.iter().fold(f32::NEG_INFINITY, largest), largest)
    }
}

vectorised! {
    /// Σ e^(x − max): sixteen interleaved partial sums, then a fixed tree.
    fn sum_exp(row: &[f32], max: f32) -> f32 {
        let mut lanes = [0.0f32; LANES];
        let (chunks, rest) = row.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane += exp(x - max);
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            *lane += exp(x - max);
        }
        crate::reduce::tree(lanes)
    }
}

/// ln p where e^(ln p) would be 0 anyway: finite, so that 0 times it is 0. What is no number stays so.
#[inline(always)]
fn no_less(x: f32) -> f32 {
    if x < -88.0 { -88.0 } else { x }
}

vectorised! {
    /// Σ (x − max)·e^(x − max): sixteen interleaved partial sums, then a fixed tree.
    fn moment(row: &[f32], max: f32) -> f32 {
        let mut lanes = [0.0f32; LANES];
        let (chunks, rest) = row.as_chunks::<LANES>();
        let term = |x: f32| {
            let apart = no_less(x - max);
            apart * exp(apart)
        };
        for chunk in chunks {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane += term(x);
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            *lane += term(x);
        }
        crate::reduce::tree(lanes)
    }
}

/// Derivatives of a loss by what a row is sampled from.
#[derive(Clone, Copy)]
pub(crate) struct PolicySlope {
    /// ln Σ e^x of the row.
    pub lse: f32,
    /// Of the row.
    pub entropy: f32,
    /// By the label's log-probability.
    pub coefficient: f32,
    /// By the entropy.
    pub entropy_coefficient: f32,
    /// Multiplies everything.
    pub scale: f32,
}

vectorised! {
    /// x ← −scale·p·(coefficient + entropy_coefficient·(ln p + entropy)) with ln p = x − lse: all but the label's own.
    fn policy_gradient(row: &mut [f32], slope: PolicySlope) {
        for x in row {
            let logprob = no_less(*x - slope.lse);
            let weight = slope.coefficient + slope.entropy_coefficient * (logprob + slope.entropy);
            *x = -slope.scale * (exp(logprob) * weight);
        }
    }
}

vectorised! {
    /// x ← e^(x − max)·scale.
    fn exp_scaled(row: &mut [f32], max: f32, scale: f32) {
        for x in row {
            *x = exp(*x - max) * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for i in -873_000..883_000 {
            let x = i as f32 * 1e-4;
            let truth = f64::from(x).exp();
            let ulp = 2.0f64.powi(truth.log2().floor() as i32 - 23);
            worst = worst.max((f64::from(exp(x)) - truth).abs() / ulp);
        }
        assert!(worst < 2.0, "{worst} units");
    }

    #[test]
    fn exp_at_its_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-90.0), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let row: Vec<f32> = (0..1003).map(|i| ((i * 37 % 1003) as f32 - 500.0) * 0.05).collect();
        let run = |isa| {
            Isa::force(isa, || {
                let mut scaled = row.clone();
                exp_scaled(&mut scaled, 3.0, 0.7);
                let mut product = vec![0.0; 496];
                swiglu(&row[..992], &mut product);
                let mut both = row[..992].to_vec();
                swiglu_backward(&product, &mut both);
                let mut slopes = row.clone();
                let slope = PolicySlope {
                    lse: 26.0,
                    entropy: 3.0,
                    coefficient: 0.5,
                    entropy_coefficient: -0.1,
                    scale: 1.5,
                };
                policy_gradient(&mut slopes, slope);
                let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                let sums = [sum_exp(&row, 25.0), moment(&row, 25.0)].map(f32::to_bits);
                (max(&row), sums, bits(scaled), bits(product), bits(both), bits(slopes))
            })
        };
        for isa in Isa::available() {
            assert!(run(isa) == run(Isa::Portable), "{isa:?}");
        }
    }
}
