//! What the value of a column means, as JSON.
//!
//! Whole numbers, floats and truth values are JSON's own; strings are text. Dates, times and decimals become
//! text: `2024-05-01`, `09:30:00.250`, `2024-05-01T09:30:00Z` (without `Z` where the zone is not known), `-12.50`,
//! as does a UUID. NaN and infinity, which JSON lacks, are null. Bytes that are not UTF-8 are an error in a column
//! declared as text; in other columns of bytes (images, say) they are left out, that is, null.

use super::Fault;
use super::footer::{Logical, SchemaElement};
use super::values::{Physical, Raw};
use serde_json::{Number, Value};

/// The most bytes of a decimal: 154 digits.
const MAX_DECIMAL_BYTES: usize = 64;
const NANOS: u64 = 1_000_000_000;
const SECONDS_A_DAY: u64 = 86_400;
/// The day number of 1970-01-01 in the count of days that INT96 uses.
const JULIAN_DAY_OF_1970: i64 = 2_440_588;

/// The meaning of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Bool,
    Signed,
    /// Stored in so many bits.
    Unsigned(u32),
    Float16,
    Float32,
    Float64,
    Text,
    Bytes,
    /// A whole number to divide by a power of ten.
    IntDecimal {
        scale: u32,
    },
    /// The same, in big-endian bytes.
    Decimal {
        scale: u32,
    },
    Date,
    Time {
        per_second: u64,
    },
    Timestamp {
        per_second: u64,
        utc: bool,
    },
    /// Nanoseconds of a day, then the day.
    Int96,
    Uuid,
}

impl Scalar {
    /// What the schema says of a leaf; an annotation that does not go with the storage is passed over.
    pub fn of(element: &SchemaElement, physical: Physical) -> Scalar {
        let timestamp = |per_second| Logical::Timestamp { per_second, utc: true };
        // The older annotations, numbered as in parquet.thrift.
        let logical = element.logical.or(match element.converted {
            Some(0 | 4 | 19) => Some(Logical::Text),
            Some(5) => Some(Logical::Decimal { scale: element.scale }),
            Some(6) => Some(Logical::Date),
            Some(7) => Some(Logical::Time { per_second: 1_000 }),
            Some(8) => Some(Logical::Time { per_second: 1_000_000 }),
            Some(9) => Some(timestamp(1_000)),
            Some(10) => Some(timestamp(1_000_000)),
            Some(11..=14) => Some(Logical::Integer { signed: false }),
            _ => None,
        });
        match (physical, logical) {
            (Physical::Boolean, _) => Scalar::Bool,
            (Physical::Float, _) => Scalar::Float32,
            (Physical::Double, _) => Scalar::Float64,
            (Physical::Int96, _) => Scalar::Int96,
            (Physical::Bytes, Some(Logical::Text)) => Scalar::Text,
            (Physical::Fixed(2), Some(Logical::Float16)) => Scalar::Float16,
            (Physical::Fixed(16), Some(Logical::Uuid)) => Scalar::Uuid,
            (Physical::Int32 | Physical::Int64, Some(Logical::Decimal { scale })) => {
                Scalar::IntDecimal { scale }
            }
            (_, Some(Logical::Decimal { scale })) => Scalar::Decimal { scale },
            (Physical::Bytes | Physical::Fixed(_), _) => Scalar::Bytes,
            (Physical::Int32, Some(Logical::Date)) => Scalar::Date,
            (_, Some(Logical::Time { per_second })) => Scalar::Time { per_second },
            (_, Some(Logical::Timestamp { per_second, utc })) => Scalar::Timestamp { per_second, utc },
            (Physical::Int32, Some(Logical::Integer { signed: false })) => Scalar::Unsigned(32),
            (_, Some(Logical::Integer { signed: false })) => Scalar::Unsigned(64),
            _ => Scalar::Signed,
        }
    }

    /// The value as JSON.
    pub fn value(self, raw: Raw) -> Result<Value, Fault> {
        Ok(match self {
            Scalar::Bool => Value::Bool(raw == Raw::Bool(true)),
            Scalar::Signed => int(raw)?.into(),
            Scalar::Unsigned(bits) => (int(raw)? as u64 & (u64::MAX >> (64 - bits))).into(),
            Scalar::Float16 => short_float(half::f16::from_le_bytes(fixed(raw)?).to_f32()),
            Scalar::Float32 => short_float(f32::from_le_bytes(fixed(raw)?)),
            Scalar::Float64 => float(f64::from_le_bytes(fixed(raw)?)),
            Scalar::Text => {
                let text = std::str::from_utf8(bytes(raw)?);
                text.map_err(|_| Fault::damaged("it holds text that is not UTF-8"))?.into()
            }
            Scalar::Bytes => std::str::from_utf8(bytes(raw)?).map_or(Value::Null, Value::from),
            Scalar::IntDecimal { scale } => decimal(int(raw)?.to_be_bytes().to_vec(), scale)?.into(),
            Scalar::Decimal { scale } => decimal(bytes(raw)?.to_vec(), scale)?.into(),
            Scalar::Date => date(int(raw)?).into(),
            Scalar::Time { per_second } => {
                time(int(raw)?.rem_euclid(day(per_second)) as u64, per_second).into()
            }
            Scalar::Timestamp { per_second, utc } => {
                let value = int(raw)?;
                let day = day(per_second);
                let zone = if utc { "Z" } else { "" };
                let time = time(value.rem_euclid(day) as u64, per_second);
                format!("{}T{time}{zone}", date(value.div_euclid(day))).into()
            }
            Scalar::Int96 => {
                let bytes: [u8; 12] = fixed(raw)?;
                let ([nanos @ .., _, _, _, _], [_, _, _, _, _, _, _, _, days @ ..]) = (bytes, bytes);
                let (nanos, days) = (u64::from_le_bytes(nanos), i32::from_le_bytes(days));
                let time = time(nanos % (SECONDS_A_DAY * NANOS), NANOS);
                format!("{}T{time}", date(i64::from(days) - JULIAN_DAY_OF_1970)).into()
            }
            Scalar::Uuid => {
                let number = format!("{:032x}", u128::from_be_bytes(fixed(raw)?));
                let part = |from, to| number.get(from..to).unwrap_or_default();
                [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-").into()
            }
        })
    }
}

fn wrong_width() -> Fault {
    Fault::damaged("its values have not the size that their type says")
}

fn bytes(raw: Raw<'_>) -> Result<&[u8], Fault> {
    match raw {
        Raw::Bytes(bytes) => Ok(bytes),
        _ => Err(wrong_width()),
    }
}

fn fixed<const N: usize>(raw: Raw) -> Result<[u8; N], Fault> {
    match raw {
        Raw::Bytes(bytes) => bytes.try_into().map_err(|_| wrong_width()),
        // A whole number where the schema says otherwise cannot come from the decoders.
        _ => Err(wrong_width()),
    }
}

/// A whole number of 32 or 64 bits.
fn int(raw: Raw) -> Result<i64, Fault> {
    match raw {
        Raw::Int(value) => Ok(value),
        Raw::Bytes(bytes) if bytes.len() == 4 => Ok(i64::from(i32::from_le_bytes(fixed(raw)?))),
        Raw::Bytes(_) => Ok(i64::from_le_bytes(fixed(raw)?)),
        Raw::Bool(_) => Err(wrong_width()),
    }
}

fn float(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// A short float as the decimal that people know it by: 0.1 and not 0.10000000149011612.
fn short_float(value: f32) -> Value {
    float(value.to_string().parse().unwrap_or(f64::NAN))
}

/// A decimal of big-endian bytes in two's complement.
fn decimal(mut bytes: Vec<u8>, scale: u32) -> Result<String, Fault> {
    if bytes.len() > MAX_DECIMAL_BYTES || scale > 1000 {
        return Err(Fault::Unread("its decimals are too long".into()));
    }
    let negative = bytes.first().is_some_and(|&byte| byte >= 128);
    if negative {
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    // Divided by ten again and again: the last digit comes first.
    let mut digits = Vec::new();
    let mut places = 0;
    while bytes.iter().any(|&byte| byte > 0) || places <= scale {
        let mut rest = 0u32;
        for byte in &mut bytes {
            let value = rest * 256 + u32::from(*byte);
            (*byte, rest) = ((value / 10) as u8, value % 10);
        }
        digits.push(b'0' + rest as u8);
        places += 1;
        if places == scale {
            digits.push(b'.');
        }
    }
    if negative {
        digits.push(b'-');
    }
    digits.reverse();
    Ok(String::from_utf8_lossy(&digits).into_owned())
}

/// Units a day.
fn day(per_second: u64) -> i64 {
    (SECONDS_A_DAY * per_second) as i64
}

/// A date by its days since 1970-01-01, in the Gregorian calendar.
///
/// The years of this count start in March, so that a leap day ends one; 400 of them have 146,097 days.
fn date(days: i64) -> String {
    let days = i128::from(days) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i128::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A time of day; of its fraction as many groups of three digits as it needs.
fn time(units: u64, per_second: u64) -> String {
    let (seconds, fraction) = (units / per_second, units % per_second * (NANOS / per_second));
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction > 0 {
        let digits = format!("{fraction:09}");
        let shown = match fraction {
            whole if whole % 1_000_000 == 0 => 3,
            whole if whole % 1_000 == 0 => 6,
            _ => 9,
        };
        text.push('.');
        text.push_str(digits.get(..shown).unwrap_or(&digits));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (19_844, "2024-05-01"),
            (-25_509, "1900-02-28"),
            (-25_508, "1900-03-01"),
            (-719_528, "0000-01-01"),
        ] {
            assert_eq!(date(days), expected);
        }
        for days in [i64::MIN, i64::MAX] {
            date(days);
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let (mut year, mut month, mut day) = (1970, 0, 1);
        for days in 0..146_097 {
            assert_eq!(date(days), format!("{year:04}-{:02}-{day:02}", month + 1));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            day += 1;
            if day > lengths[month] + i32::from(leap && month == 1) {
                (day, month) = (1, month + 1);
            }
            if month == 12 {
                (month, year) = (0, year + 1);
            }
        }
    }

    #[test]
    fn decimals_keep_their_point_and_sign() {
        for (value, scale, expected) in [
            (-1250i128, 2, "-12.50"),
            (5, 3, "0.005"),
            (-5, 0, "-5"),
            (0, 0, "0"),
            (0, 2, "0.00"),
            (i128::MAX, 5, "1701411834604692317316873037158841.05727"),
            (i128::MIN, 0, "-170141183460469231731687303715884105728"),
        ] {
            assert_eq!(decimal(value.to_be_bytes().to_vec(), scale).unwrap(), expected);
        }
        assert_eq!(decimal(vec![0xFF], 1).unwrap(), "-0.1");
        assert_eq!(decimal(vec![], 0).unwrap(), "0");
    }

    #[test]
    fn times_show_the_fraction_that_there_is() {
        for (units, per_second, expected) in [
            (34_200_250, 1_000, "09:30:00.250"),
            (34_200_000, 1_000, "09:30:00"),
            (1, 1_000_000, "00:00:00.000001"),
            (86_399_999_999_999, NANOS, "23:59:59.999999999"),
        ] {
            assert_eq!(time(units, per_second), expected);
        }
        assert_eq!(short_float(0.1), Value::from(0.1));
        assert_eq!(float(f64::NAN), Value::Null);
    }
}
