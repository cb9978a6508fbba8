//! From values to places on an axis, and where its ticks stand.

use crate::number::{Decimal, Unit, exponent};

/// An axis: which values it spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

/// A mark on an axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub value: f64,
    pub label: String,
}

/// More ticks than any axis has room for.
const MOST_TICKS: f64 = 100.0;

impl Scale {
    /// An axis that ends where the values end, or begins at zero where they begin near it. None without values.
    pub fn exact(values: impl Iterator<Item = f64>) -> Option<Scale> {
        let (low, high) = ends(values)?;
        let low = if low > 0.0 && low <= 0.05 * high { 0.0 } else { low };
        let pad = if low == high { 0.5 } else { 0.0 };
        Some(Scale { low: low - pad, high: high + pad, log: false })
    }

    /// An axis with air around the values, and with zero where that is near. A logarithmic axis takes only what
    /// is above zero, and ends six powers of ten below the highest: what lies lower is as good as zero.
    pub fn roomy(values: impl Iterator<Item = f64>, log: bool) -> Option<Scale> {
        const AIR: f64 = 0.05;
        if log {
            let (low, high) = ends(values.filter(|v| *v > 0.0))?;
            let low = low.max(high * 1e-6);
            let pad = ((high.log10() - low.log10()) * AIR).max(0.02);
            let (low, high) = (10f64.powf(low.log10() - pad), 10f64.powf(high.log10() + pad));
            return Some(Scale { low: low.max(f64::MIN_POSITIVE), high, log });
        }
        let (mut low, mut high) = ends(values)?;
        let pad = match high - low {
            0.0 if high == 0.0 => 1.0,
            0.0 => high.abs() * AIR,
            range => range * AIR,
        };
        let from_zero = low >= 0.0 && low < 0.35 * high;
        let to_zero = high <= 0.0 && high > 0.35 * low;
        low = if from_zero { 0.0 } else { low - pad };
        high = if to_zero { 0.0 } else { high + pad };
        Some(Scale { low, high, log })
    }

    /// Where a value lies: 0 at the low end and below, 1 at the high end and above.
    pub fn place(&self, value: f64) -> f64 {
        let of = |v: f64| if self.log { v.log10() } else { v };
        // Halves, so that the whole range of numbers has a length.
        let (low, high) = (of(self.low) / 2.0, of(self.high) / 2.0);
        ((of(value) / 2.0 - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// At most about `most` round values; `whole` where only whole numbers mean anything.
    pub fn ticks(&self, most: usize, whole: bool) -> Vec<Tick> {
        let most = most.max(2);
        if self.log {
            let ticks = self.log_ticks(most);
            if ticks.len() > 2 || self.high > 10.0 * self.low {
                return ticks;
            }
        }
        self.linear_ticks(most, whole)
    }

    /// Multiples of 1, 2 or 5 times a power of ten.
    fn linear_ticks(&self, most: usize, whole: bool) -> Vec<Tick> {
        let rough = (self.high / 2.0 - self.low / 2.0) / most as f64 * 2.0;
        let mut power = exponent(rough);
        // Rather a few ticks too many than half as many.
        let mut digit = match rough / ten(power) * 0.8 {
            lead if lead <= 1.0 => 1,
            lead if lead <= 2.0 => 2,
            lead if lead <= 5.0 => 5,
            _ => {
                power += 1;
                1
            }
        };
        if whole && power < 0 {
            (digit, power) = (1, 0);
        }
        let step = digit as f64 * ten(power);
        // Ticks that fall on an end of the axis belong to it.
        let (first, last) = ((self.low / step - 1e-9).ceil(), (self.high / step + 1e-9).floor());
        // Steps below the spacing of the numbers themselves, or none at all.
        if !(first.abs().max(last.abs()) < 1e15 && last - first < MOST_TICKS) {
            return Vec::new();
        }
        let number = |i: i64| Decimal { digits: i * digit, exponent: power };
        let unit = Unit::of(number(first as i64).value().abs().max(number(last as i64).value().abs()));
        (first as i64..=last as i64)
            .map(|i| Tick { value: number(i).value(), label: unit.write(number(i)) })
            .collect()
    }

    /// Powers of ten, thinned where there are many, with 2 and 5 between where there are few.
    fn log_ticks(&self, most: usize) -> Vec<Tick> {
        let (first, last) = (exponent(self.low), exponent(self.high));
        let every = ((last - first + 1).unsigned_abs() as usize).div_ceil(most).max(1) as i32;
        let within = |digits: &'static [i64]| -> Vec<Decimal> {
            (first..=last)
                .filter(|power| power.rem_euclid(every) == 0)
                .flat_map(|exponent| digits.iter().map(move |&digits| Decimal { digits, exponent }))
                .filter(|number| (self.low..=self.high).contains(&number.value()))
                .collect()
        };
        let fine = within(&[1, 2, 5]);
        let chosen = if every == 1 && fine.len() <= most + 2 { fine } else { within(&[1]) };
        chosen
            .into_iter()
            .map(|number| Tick { value: number.value(), label: Unit::of(number.value()).write(number) })
            .collect()
    }
}

fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |ends, v| match ends {
        None => Some((v, v)),
        Some((low, high)) => Some((v.min(low), v.max(high))),
    })
}

fn ten(power: i32) -> f64 {
    Decimal { digits: 1, exponent: power }.value()
}

impl Decimal {
    /// The nearest number.
    pub fn value(self) -> f64 {
        let digits = self.digits as f64;
        // Powers below one are not exact; dividing by those above is.
        if self.exponent < 0 {
            digits / 10f64.powi(-self.exponent)
        } else {
            digits * 10f64.powi(self.exponent)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(low: f64, high: f64, log: bool, most: usize) -> Vec<String> {
        Scale { low, high, log }.ticks(most, false).into_iter().map(|t| t.label).collect()
    }

    #[test]
    fn ticks_are_round_and_short() {
        assert_eq!(labels(0.0, 400.0, false, 5), ["0", "100", "200", "300", "400"]);
        assert_eq!(labels(0.0, 1_638_400.0, false, 5), ["0", "0.5M", "1M", "1.5M"]);
        assert_eq!(labels(0.0, 3.1e-3, false, 4), ["0", "1e-3", "2e-3", "3e-3"]);
        assert_eq!(labels(1.4, 2.6, false, 6), ["1.4", "1.6", "1.8", "2", "2.2", "2.4", "2.6"]);
        assert_eq!(labels(-1.0, 1.0, false, 4), ["-1", "-0.5", "0", "0.5", "1"]);
        assert_eq!(labels(0.9, 12.0, true, 8), ["1", "2", "5", "10"]);
        assert_eq!(labels(0.3, 35.0, true, 7), ["0.5", "1", "2", "5", "10", "20"]);
        assert_eq!(labels(1e-9, 1.0, true, 4), ["1e-9", "1e-6", "1e-3", "1"]);
        assert_eq!(labels(2.1, 2.4, true, 4), ["2.1", "2.2", "2.3", "2.4"]);
    }

    #[test]
    fn steps_have_no_halves() {
        let ticks = Scale { low: 1.0, high: 3.0, log: false }.ticks(8, true);
        assert_eq!(ticks.iter().map(|t| t.value).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn an_axis_takes_in_a_zero_that_is_near() {
        assert_eq!(Scale::roomy([1.0, 6.0].into_iter(), false).unwrap().low, 0.0);
        assert!(Scale::roomy([5.0, 6.0].into_iter(), false).unwrap().low > 4.9);
        assert_eq!(Scale::roomy([].into_iter(), false), None);
        assert_eq!(Scale::roomy([-1.0, 0.0].into_iter(), true), None);
    }

    proptest! {
        #[test]
        fn values_lie_on_their_axis_and_ticks_ascend(
            values in prop::collection::vec(prop_oneof![-1e3..1e3, -1e300..1e300, Just(0.0), 1e-300..1e-290], 1..20),
            log in any::<bool>(),
            most in 2usize..12,
        ) {
            if let Some(scale) = Scale::roomy(values.iter().copied(), log) {
                for v in values.iter().filter(|v| !log || **v > 0.0) {
                    let lowest = if log { scale.high * 1e-7 } else { scale.low };
                    prop_assert!((lowest..=scale.high).contains(&v.max(lowest)), "{v} in {scale:?}");
                    prop_assert!((0.0..=1.0).contains(&scale.place(*v)), "{v} in {scale:?}");
                }
                let ticks = scale.ticks(most, false);
                prop_assert!(ticks.len() <= 3 * most + 3, "{ticks:?}");
                prop_assert!(ticks.windows(2).all(|w| w[0].value < w[1].value), "{ticks:?}");
                for tick in &ticks {
                    prop_assert!((0.0..=1.0).contains(&scale.place(tick.value)));
                }
            }
        }
    }
}
