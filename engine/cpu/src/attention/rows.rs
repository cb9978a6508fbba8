//! What happens to rows of scores between the products.

use crate::math::{exp, vectorised};
use crate::simd::{Isa, Kernel, Simd, dispatch};

/// A row's state within a segment.
#[derive(Clone, Copy)]
pub(super) struct State {
    /// Largest score so far.
    pub max: f32,
    /// Σ e^(score − max).
    pub sum: f32,
}

impl State {
    pub const EMPTY: State = State { max: f32::NEG_INFINITY, sum: 0.0 };
}

vectorised! {
    /// Turns the products of one row with a block of keys into probabilities in place, zero from `visible`
    /// on, and updates the state. Returns what `out` must be scaled with before it gains Σ p·v.
    fn soften(scores: &mut [f32], visible: usize, scale: f32, state: &mut State) -> f32 {
        let (seen, masked) = scores.split_at_mut(visible);
        masked.fill(0.0);
        if seen.is_empty() {
            return 1.0;
        }
        let mut max = state.max;
        for score in seen.iter_mut() {
            *score *= scale;
        }
        let mut lanes = [f32::NEG_INFINITY; 8];
        let (chunks, rest) = seen.as_chunks::<8>();
        for chunk in chunks {
            for (lane, &score) in lanes.iter_mut().zip(chunk) {
                *lane = if score > *lane { score } else { *lane };
            }
        }
        for &score in lanes.iter().chain(rest) {
            max = if score > max { score } else { max };
        }
        for score in seen.iter_mut() {
            *score = exp(*score - max);
        }
        let rescale = exp(state.max - max);
        *state = State { max, sum: state.sum * rescale + chained_sum(seen) };
        rescale
    }
}

/// Four interleaved chains by (key mod 8)/2, combined with xor 1, then xor 2.
#[inline(always)]
fn chained_sum(row: &[f32]) -> f32 {
    let mut chains = [0.0f32; 4];
    let (chunks, rest) = row.as_chunks::<8>();
    for p in chunks {
        for (c, chain) in chains.iter_mut().enumerate() {
            *chain += p[2 * c];
            *chain += p[2 * c + 1];
        }
    }
    for (i, &p) in rest.iter().enumerate() {
        chains[i / 2] += p;
    }
    (chains[0] + chains[1]) + (chains[2] + chains[3])
}

vectorised! {
    /// row ← row·factor.
    fn scale_row(row: &mut [f32], factor: f32) {
        for x in row {
            *x *= factor;
        }
    }
}

vectorised! {
    /// into ← into·keep + from·take.
    fn blend(into: &mut [f32], keep: f32, from: &[f32], take: f32) {
        for (to, &from) in into.iter_mut().zip(from) {
            *to = *to * keep + from * take;
        }
    }
}

vectorised! {
    /// For the backward pass, one row of one block: scores become probabilities e^(scale·s − lse), and
    /// gradients of probabilities become those of products, p·(dp − delta)·scale. Zero from `visible` on.
    fn gradient_row(scores: &mut [f32], dp: &mut [f32], visible: usize, row: GradientRow) {
        for (s, d) in scores[..visible].iter_mut().zip(&mut dp[..visible]) {
            let p = exp(*s * row.scale - row.lse);
            *s = p;
            *d = p * (*d - row.delta) * row.scale;
        }
        scores[visible..].fill(0.0);
        dp[visible..].fill(0.0);
    }
}

/// The constants of one row of the backward pass.
#[derive(Clone, Copy)]
pub(super) struct GradientRow {
    pub scale: f32,
    pub lse: f32,
    /// Σ out·dout.
    pub delta: f32,
}
