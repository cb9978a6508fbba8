//! A tokenizer's pre-tokenizer as a list of steps over plain string slices.
//!
//! The `tokenizers` crate keeps an owned string with alignments for every piece; ids need none of that.
//! Working on slices keeps a document of many megabytes in a few times its size.

use crate::pattern::Pattern;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::{
    OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _, SplitDelimiterBehavior,
};

/// The split of GPT-2's byte-level pre-tokenizer (Radford et al. 2019, `encoder.py`).
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

enum Step {
    Split {
        pattern: Pattern,
        behavior: SplitDelimiterBehavior,
        invert: bool,
    },
    /// A space before a piece that has none.
    PrefixSpace,
    /// Each byte becomes its printable character.
    Bytes,
    Metaspace {
        replacement: char,
        prepend: PrependScheme,
        pattern: Option<Pattern>,
    },
    /// Any other pre-tokenizer, run by the crate; none of them backtracks or looks beyond its piece.
    Foreign(Box<PreTokenizerWrapper>),
}

/// Cuts normalised text into the words that the model sees.
pub(crate) struct PreTokenizer {
    steps: Vec<Step>,
}

impl PreTokenizer {
    pub fn new(wrapper: Option<&PreTokenizerWrapper>) -> Result<PreTokenizer, String> {
        let mut steps = Vec::new();
        if let Some(wrapper) = wrapper {
            push_steps(wrapper, &mut steps)?;
        }
        Ok(PreTokenizer { steps })
    }

    /// Calls `visit` with each word of `text`; `at_start` says that the text begins its document.
    pub fn words(
        &self,
        text: &str,
        at_start: bool,
        visit: &mut dyn FnMut(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        run(&self.steps, text, at_start, visit)
    }
}

fn push_steps(wrapper: &PreTokenizerWrapper, steps: &mut Vec<Step>) -> Result<(), String> {
    let isolated = SplitDelimiterBehavior::Isolated;
    match wrapper {
        PreTokenizerWrapper::Sequence(sequence) => {
            sequence.as_ref().iter().try_for_each(|inner| push_steps(inner, steps))?;
        }
        PreTokenizerWrapper::Split(split) => {
            let pattern = match &split.pattern {
                SplitPattern::String(literal) => Pattern::Literal(literal.clone()),
                SplitPattern::Regex(regex) => Pattern::regex(regex)?,
            };
            steps.push(Step::Split { pattern, behavior: split.behavior, invert: split.invert });
        }
        PreTokenizerWrapper::ByteLevel(byte_level) => {
            if byte_level.add_prefix_space {
                steps.push(Step::PrefixSpace);
            }
            if byte_level.use_regex {
                steps.push(Step::Split { pattern: Pattern::regex(GPT2)?, behavior: isolated, invert: false });
            }
            steps.push(Step::Bytes);
        }
        PreTokenizerWrapper::Digits(digits) => {
            let behavior =
                if digits.individual_digits { isolated } else { SplitDelimiterBehavior::Contiguous };
            steps.push(Step::Split { pattern: Pattern::Class(char::is_numeric), behavior, invert: false });
        }
        PreTokenizerWrapper::Metaspace(metaspace) => {
            let replacement = metaspace.get_replacement();
            steps.push(Step::Metaspace {
                replacement,
                prepend: metaspace.get_prepend_scheme(),
                pattern: metaspace.get_split().then(|| Pattern::Literal(replacement.to_string())),
            });
        }
        other => steps.push(Step::Foreign(Box::new(other.clone()))),
    }
    Ok(())
}

fn run(
    steps: &[Step],
    piece: &str,
    at_start: bool,
    visit: &mut dyn FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    if piece.is_empty() {
        return Ok(());
    }
    let Some((step, rest)) = steps.split_first() else { return visit(piece) };
    match step {
        Step::Split { pattern, behavior, invert } => pattern.split(piece, *behavior, *invert, |range| {
            run(rest, &piece[range.clone()], at_start && range.start == 0, visit)
        }),
        Step::PrefixSpace if piece.starts_with(' ') => run(rest, piece, at_start, visit),
        Step::PrefixSpace => run(rest, &format!(" {piece}"), at_start, visit),
        Step::Bytes => {
            let mapped: String = piece.bytes().map(crate::bytes::to_char).collect();
            run(rest, &mapped, at_start, visit)
        }
        Step::Metaspace { replacement, prepend, pattern } => {
            let mut text = piece.replace(' ', replacement.encode_utf8(&mut [0; 4]));
            let wanted = match prepend {
                PrependScheme::Always => true,
                PrependScheme::First => at_start,
                PrependScheme::Never => false,
            };
            if wanted && !text.starts_with(*replacement) {
                text.insert(0, *replacement);
            }
            match pattern {
                None => run(rest, &text, at_start, visit),
                Some(pattern) => {
                    pattern.split(&text, SplitDelimiterBehavior::MergedWithNext, false, |range| {
                        run(rest, &text[range.clone()], at_start && range.start == 0, visit)
                    })
                }
            }
        }
        Step::Foreign(foreign) => {
            let mut split = PreTokenizedString::from(piece);
            foreign.pre_tokenize(&mut split).map_err(|e| e.to_string())?;
            for (word, offsets, _) in split.get_splits(OffsetReferential::Original, OffsetType::Byte) {
                run(rest, word, at_start && offsets.0 == 0, visit)?;
            }
            Ok(())
        }
    }
}
