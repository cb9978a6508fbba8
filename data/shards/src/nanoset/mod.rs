//! Tokenised files in nanotron's nanoset layout, as datatrove writes it.
//!
//! | file | content |
//! |---|---|
//! | `NAME.ds` | token ids end to end, little-endian, 2 or 4 bytes each, no header |
//! | `NAME.ds.index` | for each document the number of tokens up to its end, little-endian, 8 bytes each |
//! | `NAME.ds.metadata` | text: `TOKENIZER\|BYTES PER TOKEN`, the number of tokens, the same for a person |
//!
//! A folder of ours has two files more: `shards.json` ([`card`]) and `manifest.json`
//! ([`octo_durable::Manifest`]). Neither nanotron nor datatrove looks at them.
//!
//! Source: datatrove, `pipeline/tokens/tokenizer.py` (`TokenizedFile`) and `utils/tokenization.py`
//! (`token_size`); nanotron, `config/config.py` (`NanosetDatasetsArgs`), which takes tokenizer and width from
//! the first line of the metadata.

pub(crate) mod card;
mod handles;
pub(crate) mod metadata;
mod pipeline;
#[cfg(test)]
mod reading_tests;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod set;
mod shard;
mod state;
pub(crate) mod verify;
pub(crate) mod write;
#[cfg(test)]
mod writing_tests;

use std::path::{Path, PathBuf};

/// Bytes of a token id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    Two,
    Four,
}

impl Width {
    /// The width in which every id below `vocab_size` fits: two bytes up to 65,536 ids.
    pub fn of_vocabulary(vocab_size: usize) -> Width {
        if vocab_size > 1 << 16 { Width::Four } else { Width::Two }
    }

    pub fn of_bytes(bytes: u64) -> Option<Width> {
        match bytes {
            2 => Some(Width::Two),
            4 => Some(Width::Four),
            _ => None,
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Width::Two => 2,
            Width::Four => 4,
        }
    }
}

/// `x.ds` to `x.ds.index`, and so on.
pub(crate) fn beside(tokens: &Path, extension: &str) -> PathBuf {
    let mut name = tokens.as_os_str().to_owned();
    name.push(extension);
    name.into()
}
