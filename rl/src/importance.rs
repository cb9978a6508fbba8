//! What a token drawn by one policy counts for another: constants in the loss, without a gradient of their own.

/// The weight of a token by w = π_old / π_sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Importance {
    /// 1.
    None,
    /// min(w, high): truncated importance sampling (Yao and others, 2025, with high = 2).
    Truncated {
        /// The largest weight.
        high: f64,
    },
    /// w within the bounds, 0 outside: masked importance sampling (IcePop, 2025).
    Masked {
        /// The least weight that counts.
        low: f64,
        /// The largest.
        high: f64,
    },
}

/// Log-ratios are cut here before they are raised: verl's constant.
pub(crate) const RATIO_LIMIT: f64 = 20.0;

impl Importance {
    /// The weight of one token.
    #[must_use]
    pub fn weight(self, old: f64, sampler: f64) -> f64 {
        let w = (old - sampler).clamp(-RATIO_LIMIT, RATIO_LIMIT).exp();
        match self {
            Importance::None => 1.0,
            Importance::Truncated { high } => w.min(high),
            Importance::Masked { low, high } => {
                if (low..=high).contains(&w) {
                    w
                } else {
                    0.0
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_by_hand() {
        let (half, quarter) = (0.5f64.ln(), 0.25f64.ln());
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        let truncated = Importance::Truncated { high: 1.5 };
        near(truncated.weight(half, quarter), 1.5);
        near(truncated.weight(quarter, half), 0.5);
        let masked = Importance::Masked { low: 0.6, high: 3.0 };
        near(masked.weight(half, quarter), 2.0);
        near(masked.weight(quarter, half), 0.0);
        near(Importance::None.weight(half, quarter), 1.0);
    }

    #[test]
    fn the_same_policy_weighs_exactly_one() {
        for importance in [Importance::Truncated { high: 2.0 }, Importance::Masked { low: 0.5, high: 2.0 }] {
            assert_eq!(importance.weight(-3.7, -3.7), 1.0);
        }
    }
}
