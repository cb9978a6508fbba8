//! The learning rate of each step, as a pure function.

use crate::recipe::choice;

choice! {
    /// How the learning rate goes from its peak to its end.
    pub enum Shape {
        /// Stays at the peak.
        Constant = "constant",
        /// Falls in a straight line.
        Linear = "linear",
        /// Falls along half a cosine (Loshchilov and Hutter, "SGDR", 2017, without restarts).
        Cosine = "cosine",
        /// Falls as 1 − √progress: the cooldown that served best in Hägele et al., "Scaling Laws and
        /// Compute-Optimal Training Beyond Fixed Training Durations", 2024, section 3.2.
        OneMinusSqrt = "one_minus_sqrt",
    }
}

/// The learning rate over the steps of one stage.
///
/// With W warm-up steps out of N, step s (from 0) has
/// - s < W: `lr · (s + 1) / W`, which meets the peak at the last step of the warm-up;
/// - else `lr · f + final_lr · (1 − f)`, where f falls from 1 at s = W to 0 at s = N − 1 with the progress
///   p = (s − W) / (N − 1 − W): linear 1 − p, cosine (1 + cos πp) / 2, one_minus_sqrt 1 − √p.
///
/// So the first step after the warm-up has exactly `lr` and the last step exactly `final_lr`. Where only one step
/// is left to fall in, it has `final_lr`. Steps past the last keep its rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The curve after the warm-up.
    pub shape: Shape,
    /// The peak.
    pub lr: f64,
    /// The rate of the last step; `lr` itself where the shape is constant.
    pub final_lr: f64,
    /// W: steps of linear warm-up, at most `steps`.
    pub warmup_steps: u64,
    /// N: steps of the stage.
    pub steps: u64,
}

impl Schedule {
    /// The learning rate of `step`, counted from 0.
    #[must_use]
    pub fn lr(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.lr * ((step + 1) as f64 / self.warmup_steps as f64);
        }
        let falling = self.steps.saturating_sub(1).saturating_sub(self.warmup_steps);
        let passed = (step - self.warmup_steps).min(falling);
        let progress = if falling == 0 { 1.0 } else { passed as f64 / falling as f64 };
        let share = match self.shape {
            Shape::Constant => 1.0,
            Shape::Linear => 1.0 - progress,
            Shape::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Shape::OneMinusSqrt => 1.0 - progress.sqrt(),
        };
        // Weighed from both ends, so that a share of 1 or 0 gives either end to the last bit.
        self.lr * share + self.final_lr * (1.0 - share)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHAPES: [Shape; 4] = [Shape::Constant, Shape::Linear, Shape::Cosine, Shape::OneMinusSqrt];

    fn schedule(shape: Shape, warmup_steps: u64, steps: u64) -> Schedule {
        let final_lr = if shape == Shape::Constant { 3e-4 } else { 1e-5 };
        Schedule { shape, lr: 3e-4, final_lr, warmup_steps, steps }
    }

    #[test]
    fn warm_up_is_linear_from_the_first_step_and_meets_the_peak() {
        for shape in SHAPES {
            let schedule = schedule(shape, 10, 100);
            assert_eq!(schedule.lr(0), 3e-4 * 0.1);
            assert_eq!(schedule.lr(4), 3e-4 * 0.5);
            assert_eq!(schedule.lr(9), 3e-4);
            assert_eq!(schedule.lr(10), 3e-4, "the first step after the warm-up");
        }
    }

    #[test]
    fn the_last_step_and_all_after_it_have_the_final_rate_exactly() {
        for shape in SHAPES {
            for (warmup, steps) in [(0, 1), (0, 2), (0, 1000), (10, 100), (10, 11)] {
                let schedule = schedule(shape, warmup, steps);
                for step in [steps - 1, steps, u64::MAX] {
                    assert_eq!(schedule.lr(step), schedule.final_lr, "{shape:?} {warmup}/{steps} at {step}");
                }
            }
        }
    }

    #[test]
    fn a_stage_that_is_all_warm_up_ends_at_the_peak() {
        for shape in SHAPES {
            assert_eq!(schedule(shape, 10, 10).lr(9), 3e-4);
        }
    }

    #[test]
    fn the_middle_of_each_curve_is_where_its_formula_says() {
        let (peak, end) = (3e-4, 1e-5);
        for (shape, share) in [
            (Shape::Constant, 1.0),
            (Shape::Linear, 0.75),
            (Shape::Cosine, (2.0 + 2f64.sqrt()) / 4.0),
            (Shape::OneMinusSqrt, 0.5),
        ] {
            let wanted = if shape == Shape::Constant { peak } else { end + (peak - end) * share };
            // A quarter of the way: p = 25 / 100.
            let found = schedule(shape, 10, 111).lr(35);
            assert!((found - wanted).abs() < 1e-18, "{shape:?}: {found} instead of {wanted}");
        }
    }

    proptest! {
        #[test]
        fn a_rate_never_rises_after_the_warm_up_nor_leaves_its_ends(
            shape in proptest::sample::select(&SHAPES[..]),
            warmup in 0u64..50,
            after in 1u64..500,
            step in 0u64..600,
        ) {
            let schedule = schedule(shape, warmup, warmup + after);
            let (now, next) = (schedule.lr(step), schedule.lr(step + 1));
            let ulp = 1e-15 * schedule.lr;
            prop_assert!(now > 0.0 && now <= schedule.lr + ulp);
            if step < warmup {
                prop_assert!(now <= next + ulp);
            } else {
                prop_assert!(next <= now + ulp && now >= schedule.final_lr - ulp);
            }
        }
    }
}
