//! Counts with a suffix: `"64k"`, `"1.5M"`, `"200B"`.

/// Powers of a thousand, as papers write token counts. `64k` is 64,000.
const SUFFIXES: [(char, u32); 6] = [('k', 3), ('K', 3), ('M', 6), ('G', 9), ('B', 9), ('T', 12)];

/// The largest count a recipe can hold: TOML integers have 63 bits.
pub(crate) const COUNT_LIMIT: u64 = i64::MAX as u64;

/// Reads a count from text, exactly: digits (underscores between them allowed), an optional decimal part and an
/// optional suffix, together a whole number. `None` where it is not one.
pub(crate) fn parse_count(text: &str) -> Option<u64> {
    let (digits, mut zeros) = match text.char_indices().last() {
        Some((at, last)) => match SUFFIXES.iter().find(|(suffix, _)| *suffix == last) {
            Some((_, zeros)) => (&text[..at], *zeros),
            None => (text, 0),
        },
        None => return None,
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    if [whole, decimals].iter().any(|part| !is_number(part)) {
        return None;
    }
    let mut count = 0u64;
    for digit in whole.bytes().filter(u8::is_ascii_digit) {
        count = push(count, digit)?;
    }
    for digit in decimals.trim_end_matches('0').bytes().filter(u8::is_ascii_digit) {
        zeros = zeros.checked_sub(1)?;
        count = push(count, digit)?;
    }
    for _ in 0..zeros {
        count = push(count, b'0')?;
    }
    (count <= COUNT_LIMIT).then_some(count)
}

fn is_number(digits: &str) -> bool {
    digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.ends_with(|last: char| last.is_ascii_digit())
        && digits.chars().all(|digit| digit.is_ascii_digit() || digit == '_')
}

fn push(count: u64, digit: u8) -> Option<u64> {
    count.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn suffixes_are_powers_of_a_thousand_and_exact() {
        for (text, count) in [
            ("64k", 64_000),
            ("64K", 64_000),
            ("1.5M", 1_500_000),
            ("200B", 200_000_000_000),
            ("200G", 200_000_000_000),
            ("1.000000000001T", 1_000_000_000_001),
            ("1_000", 1000),
            ("7", 7),
            ("0.5k", 500),
            ("2.0", 2),
            ("9223372036854775807", i64::MAX as u64),
        ] {
            assert_eq!(parse_count(text), Some(count), "{text}");
        }
    }

    #[test]
    fn what_is_no_whole_count_is_refused() {
        for text in [
            "",
            "k",
            "B",
            "-1",
            "+1",
            "1.5",
            "1.2345k",
            "1e3",
            "1 k",
            "k1",
            "1kk",
            ".5k",
            "5.k",
            "_1",
            "1_",
            "1._5k",
            "٣k",
            "9223372036854775808",
            "99999999999T",
            "1.5.5M",
            "0x10",
            "1KB",
        ] {
            assert_eq!(parse_count(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_count_without_a_suffix_is_its_digits(count in 0..=COUNT_LIMIT) {
            prop_assert_eq!(parse_count(&count.to_string()), Some(count));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9._kMBT-]{0,12}|.{0,6}") {
            let _ = parse_count(&text);
        }
    }
}
