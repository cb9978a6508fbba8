//! Split patterns in linear time.
//!
//! The patterns of GPT-2, GPT-4, Llama 3 and Qwen2 end in `\s+(?!\S)|\s+`: of a run of whitespace before a
//! word, take all but the last character. That look-ahead forces a backtracking engine, which gives up on
//! runs of about a million characters; in the `tokenizers` crate that looks like the end of the text, and
//! the rest becomes one piece. Here the two branches become one plain `\s+` that gives its last character
//! back by hand, so that the automaton of `regex-automata` can run the whole pattern without any limit.
//! A pattern with other look-around still backtracks, but giving up is an error.

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input, PatternID};
use std::ops::Range;
use tokenizers::SplitDelimiterBehavior;

const GIVING_BACK: &str = r"\s+(?!\S)|\s+";

/// Where a text is cut.
pub(crate) enum Pattern {
    /// A regular expression proper.
    Linear(Regex),
    /// One that ends in `\s+(?!\S)|\s+`: the pattern before it, then `\s+` with the id held here.
    GivingBack(Regex, PatternID),
    /// One with look-around or back-references.
    Backtracking(fancy_regex::Regex),
    /// A fixed string.
    Literal(String),
    /// A class of characters.
    Class(fn(char) -> bool),
}

impl Pattern {
    /// Compiles a pattern of a tokenizer file.
    ///
    /// `^` and `$` match at line borders, as in the Oniguruma syntax that these patterns are written for.
    pub fn regex(pattern: &str) -> Result<Pattern, String> {
        if !has_possessive_quantifier(pattern) {
            let linear = |patterns: &[String]| {
                Regex::builder()
                    .syntax(regex_automata::util::syntax::Config::new().multi_line(true))
                    .build_many(patterns)
                    .ok()
            };
            if let Some(head) = pattern.strip_suffix(GIVING_BACK) {
                let head = head.strip_suffix('|').or(if head.is_empty() { Some("") } else { None });
                let patterns = match head {
                    Some("") => vec![r"\s+".to_string()],
                    Some(head) => vec![head.to_string(), r"\s+".to_string()],
                    None => vec![],
                };
                if let (Some(last), Some(regex)) = (patterns.len().checked_sub(1), linear(&patterns)) {
                    return Ok(Pattern::GivingBack(regex, PatternID::must(last)));
                }
            }
            if let Some(regex) = linear(&[pattern.to_string()]) {
                return Ok(Pattern::Linear(regex));
            }
        }
        fancy_regex::RegexBuilder::new(pattern)
            .multi_line(true)
            .build()
            .map(Pattern::Backtracking)
            .map_err(|e| format!("the pre-tokenizer's pattern `{pattern}` does not compile: {e}"))
    }

    /// Calls `visit` with each match that is not empty, in order.
    fn matches(
        &self,
        text: &str,
        mut visit: impl FnMut(Range<usize>) -> Result<(), String>,
    ) -> Result<(), String> {
        match self {
            Pattern::Linear(regex) => {
                for found in regex.find_iter(text) {
                    if !found.is_empty() {
                        visit(found.range())?;
                    }
                }
                Ok(())
            }
            Pattern::GivingBack(regex, run) => {
                let mut at = 0;
                while at < text.len() {
                    let input = Input::new(text).span(at..text.len());
                    // Nearly every match starts where the last one ended: no need to look for its start.
                    let found = regex
                        .find(input.clone().anchored(Anchored::Yes))
                        .or_else(|| regex.find(input.anchored(Anchored::No)));
                    let Some(found) = found else { break };
                    let mut end = found.end();
                    if found.pattern() == *run && end < text.len() {
                        let last = text[found.range()].chars().next_back().map_or(0, char::len_utf8);
                        if found.len() > last {
                            end -= last;
                        }
                    }
                    if found.is_empty() {
                        at = end + text[end..].chars().next().map_or(1, char::len_utf8);
                    } else {
                        visit(found.start()..end)?;
                        at = end;
                    }
                }
                Ok(())
            }
            Pattern::Backtracking(regex) => {
                let mut at = 0;
                for found in regex.find_iter(text) {
                    let found = found.map_err(|e| {
                        format!(
                            "the pre-tokenizer's pattern `{}` gave up after byte {at} ({e}); \
                             a run there is too long for it: cut the text",
                            regex.as_str()
                        )
                    })?;
                    at = found.end();
                    if found.start() < found.end() {
                        visit(found.range())?;
                    }
                }
                Ok(())
            }
            Pattern::Literal(literal) => {
                for (start, found) in text.match_indices(literal.as_str()) {
                    if !found.is_empty() {
                        visit(start..start + found.len())?;
                    }
                }
                Ok(())
            }
            Pattern::Class(is_in) => {
                for (start, c) in text.char_indices().filter(|&(_, c)| is_in(c)) {
                    visit(start..start + c.len_utf8())?;
                }
                Ok(())
            }
        }
    }

    /// Calls `visit` with each match and each gap between matches, in order; together they are the text.
    fn cover(
        &self,
        text: &str,
        mut visit: impl FnMut(Range<usize>, bool) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut end = 0;
        self.matches(text, |found| {
            if end < found.start {
                visit(end..found.start, false)?;
            }
            end = found.end;
            visit(found, true)
        })?;
        if end < text.len() { visit(end..text.len(), false) } else { Ok(()) }
    }

    /// Splits a text as a `Split` pre-tokenizer does; `invert` swaps matches and gaps.
    pub fn split(
        &self,
        text: &str,
        behavior: SplitDelimiterBehavior,
        invert: bool,
        mut visit: impl FnMut(Range<usize>) -> Result<(), String>,
    ) -> Result<(), String> {
        use SplitDelimiterBehavior::{Contiguous, Isolated, MergedWithNext, MergedWithPrevious, Removed};
        // The two in use on whole corpora hold nothing back; the others join neighbours first.
        let mut joined: Vec<Range<usize>> = Vec::new();
        let mut before: Option<bool> = None;
        self.cover(text, |range, is_match| {
            let is_match = is_match != invert;
            let join = match behavior {
                Isolated => return visit(range),
                Removed => return if is_match { Ok(()) } else { visit(range) },
                Contiguous => before == Some(is_match),
                MergedWithPrevious => is_match && before == Some(false),
                MergedWithNext => !is_match && before == Some(true),
            };
            match joined.last_mut() {
                Some(last) if join => last.end = range.end,
                _ => joined.push(range),
            }
            before = Some(is_match);
            Ok(())
        })?;
        joined.into_iter().try_for_each(visit)
    }
}

/// Whether a pattern has a quantifier like `++`, which `regex` would read as a repetition of a repetition.
fn has_possessive_quantifier(pattern: &str) -> bool {
    let mut class_depth = 0usize;
    let mut after_quantifier = false;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let quantifier = match c {
            '\\' => {
                // `\p{L}` has braces that are no quantifier.
                if matches!(chars.next(), Some('p' | 'P')) && chars.peek() == Some(&'{') {
                    chars.by_ref().find(|&c| c == '}');
                }
                false
            }
            '[' => {
                class_depth += 1;
                false
            }
            ']' => {
                class_depth = class_depth.saturating_sub(1);
                false
            }
            '+' if class_depth == 0 && after_quantifier => return true,
            _ => class_depth == 0 && matches!(c, '+' | '*' | '?' | '}'),
        };
        after_quantifier = quantifier;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::NormalizedString;
    use tokenizers::pre_tokenizers::split::Split;

    const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    fn ours(pattern: &Pattern, text: &str, behavior: SplitDelimiterBehavior, invert: bool) -> Vec<String> {
        let mut out = Vec::new();
        pattern
            .split(text, behavior, invert, |range| {
                out.push(text[range].to_string());
                Ok(())
            })
            .unwrap();
        out
    }

    fn theirs(pattern: &str, text: &str, behavior: SplitDelimiterBehavior, invert: bool) -> Vec<String> {
        let split = Split::new(
            tokenizers::pre_tokenizers::split::SplitPattern::Regex(pattern.into()),
            behavior,
            invert,
        )
        .unwrap();
        let text = NormalizedString::from(text);
        let pieces = if split.invert {
            text.split(tokenizers::tokenizer::pattern::Invert(&split.regex), split.behavior)
        } else {
            text.split(&split.regex, split.behavior)
        };
        pieces.unwrap().iter().map(|p| p.get().to_string()).filter(|p| !p.is_empty()).collect()
    }

    fn any_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[ \t\n\r]{0,5}",
            "[a-zA-Z']{0,6}",
            "[0-9]{0,5}",
            "[.,!/ -]{0,4}",
            "\\PC{0,4}",
            Just("\u{a0}\u{3000}\u{2028}".to_string()),
            Just("'S'lls ſ K".to_string()),
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|v| v.concat())
    }

    #[test]
    fn the_patterns_in_use_run_without_backtracking() {
        for pattern in [GPT2, LLAMA3, O200K, GIVING_BACK] {
            assert!(matches!(Pattern::regex(pattern), Ok(Pattern::GivingBack(..))), "{pattern}");
        }
        assert!(matches!(Pattern::regex(r"\p{N}{1,3}"), Ok(Pattern::Linear(_))));
        for pattern in [r"\p{L}++", r"[a\]]{2}+b", r"\p{N}?+", r"(?<!a)b", r"(a)\1"] {
            assert!(matches!(Pattern::regex(pattern), Ok(Pattern::Backtracking(_))), "{pattern}");
        }
        assert!(Pattern::regex(r"(").is_err());
    }

    proptest! {
        #[test]
        fn linear_patterns_split_as_the_backtracking_ones(text in any_text(), which in 0usize..4) {
            let source = [GPT2, LLAMA3, O200K, GIVING_BACK][which];
            let pattern = Pattern::regex(source).unwrap();
            let isolated = SplitDelimiterBehavior::Isolated;
            prop_assert_eq!(ours(&pattern, &text, isolated, false), theirs(source, &text, isolated, false));
        }

        #[test]
        fn every_behavior_is_that_of_the_reference(
            text in "[ab ]{0,12}", invert: bool, which in 0usize..5,
        ) {
            use SplitDelimiterBehavior::*;
            let behavior = [Isolated, Removed, Contiguous, MergedWithPrevious, MergedWithNext][which];
            let pattern = Pattern::regex("a").unwrap();
            prop_assert_eq!(ours(&pattern, &text, behavior, invert), theirs("a", &text, behavior, invert));
        }
    }

    #[test]
    fn a_pattern_that_gives_up_says_so() {
        let pattern = Pattern::regex(r"x(?!y)(?:\s|\s\s)*(?!\s)[\r\n]").unwrap();
        let text = format!("x{}", " ".repeat(2_000_000));
        let error = pattern.split(&text, SplitDelimiterBehavior::Isolated, false, |_| Ok(())).unwrap_err();
        assert!(error.contains("gave up after byte 0"), "{error}");
    }
}
