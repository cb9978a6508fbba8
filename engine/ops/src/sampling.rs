//! How the next token is drawn.

use crate::philox::{self, Purpose};
use bytemuck::{Pod, Zeroable};

/// Sampling parameters of one row, with the identity of its random number.
///
/// The order of the cuts is that of most engines: temperature, then `top_k`, then `top_p` of what is left,
/// then `min_p`. Each cut is a threshold on the logits, so tokens of equal logit stay or go together. The
/// token is the first, in vocabulary order, whose cumulative probability exceeds a uniform number drawn by
/// Philox from (seed, position): it depends on nothing else in the batch.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct SamplingRow {
    /// Divides the logits; 0 takes the likeliest token, the first of equals.
    pub temperature: f32,
    /// Tokens kept, at most (more when the last ones are equal); 0 keeps all.
    pub top_k: u32,
    /// Probability mass kept, at least; 1 keeps all.
    pub top_p: f32,
    /// Tokens below this fraction of the likeliest one's probability go; 0 keeps all.
    pub min_p: f32,
    /// Seed of the request, lower half.
    pub seed_low: u32,
    /// Seed of the request, upper half.
    pub seed_high: u32,
    /// Position of the token that is drawn.
    pub position: u32,
    /// Index of the sample among those of one request.
    pub sample: u32,
}

impl SamplingRow {
    /// Its length in u32 words.
    pub const WORDS: u32 = 8;

    /// The uniform number in \[0, 1) that decides this row's token.
    pub fn uniform(&self) -> f64 {
        let seed = u64::from(self.seed_low) | u64::from(self.seed_high) << 32;
        let bits = philox::draw(seed, Purpose::Sample, self.sample.into(), self.position);
        ((u64::from(bits[0]) << 21) ^ u64::from(bits[1] >> 11)) as f64 / (1u64 << 53) as f64
    }

    /// The distribution to draw from: logits · (1 / temperature), −∞ where the cuts take a token away; at
    /// temperature 0 the first of the likeliest has 0, the others −∞. Overwrites `kept`.
    pub fn keep(&self, logits: &[f32], kept: &mut Vec<f32>) {
        kept.clear();
        if self.temperature <= 0.0 {
            kept.resize(logits.len(), f32::NEG_INFINITY);
            kept[argmax(logits)] = 0.0;
            return;
        }
        let inverse = 1.0 / self.temperature;
        kept.extend(logits.iter().map(|&x| x * inverse));
        let threshold = self.threshold(kept, largest(kept));
        for x in kept.iter_mut() {
            *x = if *x >= threshold { *x } else { f32::NEG_INFINITY };
        }
    }

    /// Draws from what [`SamplingRow::keep`] has left: the first token, in vocabulary order, whose cumulative weight
    /// exceeds this row's uniform number of the total.
    pub fn pick(&self, kept: &[f32]) -> u32 {
        let max = largest(kept);
        let weight = |x: f32| if x > f32::NEG_INFINITY { f64::from(x - max).exp() } else { 0.0 };
        let total: f64 = kept.iter().map(|&x| weight(x)).sum();
        let target = self.uniform() * total;
        let (mut token, mut sum) = (0, 0.0);
        for (i, &x) in kept.iter().enumerate() {
            let w = weight(x);
            if w > 0.0 {
                // Rounding may leave the target beyond the last sum: then the last kept token is it.
                (token, sum) = (i, sum + w);
                if sum > target {
                    break;
                }
            }
        }
        token as u32
    }

    /// The smallest scaled logit that survives the cuts.
    fn threshold(&self, scaled: &[f32], max: f32) -> f32 {
        let mut threshold = f32::NEG_INFINITY;
        let top_k = self.top_k as usize;
        if top_k == 0 && self.top_p >= 1.0 {
            return self.min_p_threshold(max);
        }
        let mut kept = scaled.to_vec();
        if top_k > 0 && top_k < kept.len() {
            let (_, kth, _) = kept.select_nth_unstable_by(top_k - 1, |a, b| b.total_cmp(a));
            threshold = *kth;
            kept.retain(|&x| x >= threshold);
        }
        if self.top_p < 1.0 {
            kept.sort_unstable_by(|a, b| b.total_cmp(a));
            let total: f64 = kept.iter().map(|&x| f64::from(x - max).exp()).sum();
            let mut sum = 0.0;
            for &x in &kept {
                sum += f64::from(x - max).exp();
                if sum >= f64::from(self.top_p) * total {
                    threshold = threshold.max(x);
                    break;
                }
            }
        }
        threshold.max(self.min_p_threshold(max))
    }

    fn min_p_threshold(&self, max: f32) -> f32 {
        if self.min_p > 0.0 { max + self.min_p.ln() } else { f32::NEG_INFINITY }
    }
}

fn largest(row: &[f32]) -> f32 {
    row.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// The first of the largest.
fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, &x) in row.iter().enumerate() {
        if x > row[best] {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(position: u32) -> SamplingRow {
        SamplingRow {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed_low: 7,
            seed_high: 0,
            position,
            sample: 0,
        }
    }

    fn kept(sampling: SamplingRow, logits: &[f32]) -> Vec<f32> {
        let mut kept = Vec::new();
        sampling.keep(logits, &mut kept);
        kept
    }

    /// Which tokens come up in many draws, and how often.
    fn counts(sampling: SamplingRow, logits: &[f32]) -> Vec<u32> {
        let mut counts = vec![0; logits.len()];
        let kept = kept(sampling, logits);
        for position in 0..20_000 {
            counts[SamplingRow { position, ..sampling }.pick(&kept) as usize] += 1;
        }
        counts
    }

    fn logits(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        for (count, p) in
            counts(row(0), &logits(&[0.5, 0.25, 0.125, 0.125])).iter().zip([0.5, 0.25, 0.125, 0.125])
        {
            // Five standard deviations of a binomial of 20,000.
            let (mean, deviation) = (20_000.0 * p, f64::sqrt(20_000.0 * p * (1.0 - p)));
            assert!((f64::from(*count) - mean).abs() < 5.0 * deviation, "{count} of {mean}");
        }
    }

    #[test]
    fn temperature_zero_takes_the_first_of_the_likeliest() {
        let greedy = SamplingRow { temperature: 0.0, ..row(3) };
        let none = f32::NEG_INFINITY;
        let kept = kept(greedy, &[0.0, 2.0, 2.0]);
        assert_eq!((greedy.pick(&kept), kept), (1, vec![none, 0.0, none]));
    }

    #[test]
    fn cuts_keep_what_they_say() {
        let p = logits(&[0.4, 0.3, 0.2, 0.1]);
        let drawn = |s: SamplingRow| counts(s, &p).iter().map(|&n| n > 0).collect::<Vec<_>>();
        assert_eq!(drawn(SamplingRow { top_k: 2, ..row(0) }), [true, true, false, false]);
        assert_eq!(drawn(SamplingRow { top_p: 0.75, ..row(0) }), [true, true, true, false]);
        assert_eq!(drawn(SamplingRow { top_p: 0.69, ..row(0) }), [true, true, false, false]);
        assert_eq!(drawn(SamplingRow { min_p: 0.6, ..row(0) }), [true, true, false, false]);
        // After top_k = 3 the mass is 0.9, of which 0.75 is 0.675: two tokens.
        assert_eq!(drawn(SamplingRow { top_k: 3, top_p: 0.75, ..row(0) }), [true, true, false, false]);
        let two = SamplingRow { top_k: 2, temperature: 0.5, ..row(1) };
        let (x, none) = ([0.4f32, 0.3].map(|p| p.ln() * 2.0), f32::NEG_INFINITY);
        assert_eq!(kept(two, &p), [x[0], x[1], none, none]);
    }

    #[test]
    fn samples_of_one_request_differ() {
        let p = logits(&[0.25; 4]);
        let draw =
            |sample| -> Vec<u32> { (0..20).map(|at| SamplingRow { sample, ..row(at) }.pick(&p)).collect() };
        assert_ne!(draw(0), draw(1));
        assert_eq!(draw(1), draw(1));
    }
}
