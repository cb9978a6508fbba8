//! `NAME.ds.metadata`: a few lines of text.

use super::Width;

/// Longer files are no metadata.
pub(crate) const MAX_BYTES: u64 = 64 << 10;

/// What the text says. Old files lack the width, and some lack the counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub tokenizer: String,
    pub width: Option<Width>,
    pub tokens: Option<u64>,
}

/// The text as datatrove writes it; no line break at the end.
pub(crate) fn text(tokenizer: &str, width: Width, tokens: u64) -> String {
    format!("{tokenizer}|{}\n{tokens}\n{}", width.bytes(), readable(tokens))
}

/// Reads the text.
///
/// # Errors
/// What is wrong with it, to stand behind the file's name.
pub(crate) fn parse(bytes: &[u8]) -> Result<Metadata, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().trim();
    // A tokenizer may be called `a|b`, and datatrove's "Unknown Tokenizer" repeats the width.
    let (tokenizer, width) = match first.rsplit_once('|') {
        None => (first, None),
        Some((tokenizer, width)) => {
            let bytes = width.parse().ok().and_then(Width::of_bytes);
            let width = bytes.ok_or_else(|| format!("its first line says {width:?} bytes per token"))?;
            (tokenizer, Some(width))
        }
    };
    let tokens = match lines.next().map(str::trim) {
        None | Some("") => None,
        Some(count) => Some(
            count.parse().map_err(|_| format!("its second line, {count:?}, is not a number of tokens"))?,
        ),
    };
    Ok(Metadata { tokenizer: tokenizer.to_owned(), width, tokens })
}

/// A number of tokens with three digits and a prefix, as Python's `humanize.metric(tokens, unit="T")`.
fn readable(tokens: u64) -> String {
    const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let shown = |power: u32| {
        let value = tokens as f64 / 1000f64.powi((power / 3) as i32);
        format!("{value:.0$}", 2 - (power % 3) as usize)
    };
    let mut power = tokens.checked_ilog10().unwrap_or(0);
    let whole_digits = |shown: &str| shown.split('.').next().map_or(0, str::len);
    // 9,999 is 10.0 k and 999,999 is 1.00 M: rounding has given it a digit more.
    if whole_digits(&shown(power)) > (power % 3) as usize + 1 {
        power += 1;
    }
    format!("{} {}T", shown(power), PREFIXES[(power / 3) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_datatroves() {
        assert_eq!(text("gpt2", Width::Two, 1234567), "gpt2|2\n1234567\n1.23 MT");
        assert_eq!(text("meta-llama/Llama-3.2-3B", Width::Four, 0), "meta-llama/Llama-3.2-3B|4\n0\n0.00 T");
    }

    #[test]
    fn numbers_read_as_humanize_writes_them() {
        // From humanize itself.
        for (tokens, readable_is) in [
            (1, "1.00 T"),
            (999, "999 T"),
            (1000, "1.00 kT"),
            (1005, "1.00 kT"),
            (1015, "1.01 kT"),
            (9_995, "9.99 kT"),
            (9_999, "10.0 kT"),
            (12_345, "12.3 kT"),
            (12_350, "12.3 kT"),
            (12_450, "12.4 kT"),
            (99_950, "100 kT"),
            (999_499, "999 kT"),
            (999_500, "1.00 MT"),
            (999_999, "1.00 MT"),
            (1_000_000_000, "1.00 GT"),
            (123_456_789_012, "123 GT"),
            (999_999_999_999_999, "1.00 PT"),
            (u64::MAX, "18.4 ET"),
        ] {
            assert_eq!(readable(tokens), readable_is, "{tokens}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_old_texts_too() {
        for width in [Width::Two, Width::Four] {
            let read = parse(text("a|b c", width, 77).as_bytes()).unwrap();
            assert_eq!(read, Metadata { tokenizer: "a|b c".into(), width: Some(width), tokens: Some(77) });
        }
        let old = parse(b"gpt2\n12\n12.0 T").unwrap();
        assert_eq!((old.tokenizer.as_str(), old.width, old.tokens), ("gpt2", None, Some(12)));
        assert_eq!(parse(b"").unwrap().tokens, None);
        for (bad, says) in [
            (&b"gpt2|3\n1"[..], "says \"3\" bytes per token"),
            (b"gpt2|\n1", "says \"\" bytes"),
            (b"gpt2|2\n-1", "\"-1\", is not a number of tokens"),
            (b"\xFF|2", "not UTF-8"),
        ] {
            assert!(parse(bad).unwrap_err().contains(says));
        }
    }
}
