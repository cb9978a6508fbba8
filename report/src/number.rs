//! Numbers as a reader wants them: few digits, the thousands in a letter.

/// A number as an integer times a power of ten, so that what is written is exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Decimal {
    pub digits: i64,
    pub exponent: i32,
}

/// What all labels of an axis are counted in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unit {
    exponent: i32,
    suffix: String,
}

/// The power of ten of the leading digit; 0 for zero.
pub(crate) fn exponent(value: f64) -> i32 {
    // The decimal writing is exact where a logarithm is not, at 1000 as well as at 0.001.
    let text = format!("{value:e}");
    text.rsplit_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0)
}

impl Unit {
    /// The unit in which numbers up to `most` are short: thousands from 10,000 on (k, M, B, T, as in a
    /// recipe), powers of ten below a hundredth.
    pub fn of(most: f64) -> Unit {
        let magnitude = exponent(most);
        let scientific = || Unit { exponent: magnitude, suffix: format!("e{magnitude}") };
        let plain = |exponent: i32, suffix: &str| Unit { exponent, suffix: suffix.to_owned() };
        match magnitude {
            _ if most == 0.0 => plain(0, ""),
            -2..=3 => plain(0, ""),
            4..=5 => plain(3, "k"),
            6..=8 => plain(6, "M"),
            9..=11 => plain(9, "B"),
            12..=14 => plain(12, "T"),
            _ => scientific(),
        }
    }

    /// A number in this unit, without zeros that say nothing.
    pub fn write(&self, number: Decimal) -> String {
        if number.digits == 0 {
            return "0".to_owned();
        }
        let sign = if number.digits < 0 { "-" } else { "" };
        let digits = number.digits.unsigned_abs().to_string();
        let shift = number.exponent.saturating_sub(self.exponent).clamp(-400, 400);
        let text = match usize::try_from(shift) {
            Ok(zeros) => digits + &"0".repeat(zeros),
            Err(_) => {
                let places = shift.unsigned_abs() as usize;
                let padded = format!("{digits:0>width$}", width = places + 1);
                let (whole, part) = padded.split_at(padded.len() - places);
                let part = part.trim_end_matches('0');
                if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }
            }
        };
        format!("{sign}{text}{}", self.suffix)
    }
}

/// A value in four significant digits.
pub(crate) fn short(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let text = format!("{value:.3e}");
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let digits: i64 = mantissa.replace('.', "").parse().unwrap_or(0);
    let power: i32 = power.parse().unwrap_or(0);
    let rounded: f64 = text.parse().unwrap_or(value);
    Unit::of(rounded.abs()).write(Decimal { digits, exponent: power - 3 })
}

/// A count in full up to 9,999, else in four significant digits.
pub(crate) fn count(value: u64) -> String {
    if value < 10_000 { value.to_string() } else { short(value as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_right() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (1.83245, "1.832"),
            (-0.5, "-0.5"),
            (400.0, "400"),
            (9_999.4, "9999"),
            (9_999.9, "10k"),
            (15_234.0, "15.23k"),
            (999_999.0, "1M"),
            (1_638_400.0, "1.638M"),
            (2e11, "200B"),
            (0.0123, "0.0123"),
            (0.009, "9e-3"),
            (3e-4, "3e-4"),
            (2.5e-5, "2.5e-5"),
            (1e15, "1e15"),
            (5e-324, "4.941e-324"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(short(value), text, "{value}");
        }
    }

    #[test]
    fn labels_share_a_unit() {
        let unit = Unit::of(1.5e-3);
        let label = |digits| unit.write(Decimal { digits, exponent: -4 });
        assert_eq!([label(0), label(5), label(10), label(15)], ["0", "0.5e-3", "1e-3", "1.5e-3"]);
        let unit = Unit::of(40_000.0);
        assert_eq!(unit.write(Decimal { digits: 5, exponent: 3 }), "5k");
        assert_eq!(Unit::of(3.0).write(Decimal { digits: -25, exponent: -1 }), "-2.5");
    }
}
