//! `shards.json`: what a folder of our shards says of itself beyond the layout.

use super::Width;
use crate::ShardsError;
use octo_rows::RowCounts;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The name of the card within its folder.
pub(crate) const CARD_NAME: &str = "shards.json";

/// The version of the card that is written, and the only one read.
const FORMAT: u32 = 1;

/// A longer card is none of ours: about a million files.
const MAX_BYTES: u64 = 128 << 20;

/// How the tokens of a folder came to be, and what there is of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardCard {
    /// 1.
    format: u32,
    /// The tokenizer's name, as in the metadata of each file.
    pub tokenizer: String,
    /// XXH3 of its `tokenizer.json`, as 32 hexadecimal digits.
    tokenizer_xxh3: String,
    /// Its highest id plus one: every token is below.
    pub vocab_size: usize,
    /// 2 or 4.
    bytes_per_token: usize,
    /// The token that begins each document.
    pub bos: Option<u32>,
    /// The token that ends each document.
    pub eos: Option<u32>,
    /// The template that made a document of a row.
    pub text: String,
    /// The condition a row had to meet.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// What was read, in its order.
    pub inputs: Vec<InputFile>,
    /// What became of the rows.
    pub rows: CardRows,
    /// All documents.
    pub documents: u64,
    /// All tokens.
    pub tokens: u64,
    /// The files of tokens in their order.
    pub files: Vec<CardFile>,
}

/// A file that was tokenised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Its path as it was given or found.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

/// [`RowCounts`] of all inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardRows {
    /// Rows read.
    pub read: u64,
    /// Rows that the filter did not keep.
    pub filtered: u64,
    /// Rows kept whose text was empty.
    pub empty: u64,
}

impl CardRows {
    /// Adds the rows of one more input.
    pub(crate) fn plus(self, counts: RowCounts) -> CardRows {
        CardRows {
            read: self.read + counts.read,
            filtered: self.filtered + counts.filtered,
            empty: self.empty + counts.empty,
        }
    }
}

/// A file of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardFile {
    /// Its name in the folder.
    pub name: String,
    /// Documents in it.
    pub documents: u64,
    /// Tokens in it.
    pub tokens: u64,
    /// XXH3 of its bytes, as 16 hexadecimal digits.
    pub(crate) xxh3: String,
}

/// What a card is made of beside the tokenizer.
pub(crate) struct Facts {
    pub tokenizer_name: String,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub text: String,
    pub filter: Option<String>,
    pub inputs: Vec<InputFile>,
    pub rows: CardRows,
    pub files: Vec<CardFile>,
}

impl ShardCard {
    pub(crate) fn new(tokenizer: &octo_text::Tokenizer, facts: Facts) -> ShardCard {
        let Facts { tokenizer_name, bos, eos, text, filter, inputs, rows, files } = facts;
        ShardCard {
            format: FORMAT,
            tokenizer: tokenizer_name,
            tokenizer_xxh3: hex(tokenizer.content_hash()),
            vocab_size: tokenizer.vocab_size(),
            bytes_per_token: Width::of_vocabulary(tokenizer.vocab_size()).bytes(),
            bos,
            eos,
            text,
            filter,
            inputs,
            rows,
            documents: files.iter().map(|file| file.documents).sum(),
            tokens: files.iter().map(|file| file.tokens).sum(),
            files,
        }
    }

    pub(crate) fn json(&self) -> Vec<u8> {
        // Strings and numbers cannot fail to be written to memory.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// The card of a folder, or `None` where it has none.
    pub(crate) fn read(folder: &Path) -> Result<Option<ShardCard>, ShardsError> {
        let path = folder.join(CARD_NAME);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ShardsError::Read { path, source }),
        }
        let bad = |reason| ShardsError::BadShards { path: path.clone(), reason };
        if bytes.len() as u64 > MAX_BYTES {
            return Err(bad(format!("it has more than {MAX_BYTES} bytes")));
        }
        ShardCard::parse(&bytes).map(Some).map_err(bad)
    }

    /// Reads and checks the text of a card; says what is wrong with it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<ShardCard, String> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let json = |e: serde_json::Error| e.to_string();
        let Format { format } = serde_json::from_slice(bytes).map_err(json)?;
        if format != FORMAT {
            return Err(format!("its format is {format}; this version reads {FORMAT}"));
        }
        let card: ShardCard = serde_json::from_slice(bytes).map_err(json)?;
        if Width::of_bytes(card.bytes_per_token as u64).is_none() {
            return Err(format!("it says {} bytes per token", card.bytes_per_token));
        }
        let sum = |each: fn(&CardFile) -> u64| card.files.iter().map(each).try_fold(0, u64::checked_add);
        if sum(|file| file.documents) != Some(card.documents) || sum(|file| file.tokens) != Some(card.tokens)
        {
            return Err("its files do not add up to its documents and tokens".to_owned());
        }
        if !card.files.is_sorted_by(|a, b| a.name < b.name) {
            return Err("its files are not in the order of their names".to_owned());
        }
        Ok(card)
    }

    /// Whether these tokens were made by the tokenizer with this hash.
    pub(crate) fn is_of_tokenizer(&self, content_hash: u128) -> bool {
        self.tokenizer_xxh3 == hex(content_hash)
    }

    pub(crate) fn width(&self) -> Width {
        if self.bytes_per_token == 2 { Width::Two } else { Width::Four }
    }

    /// What the card says of a file of tokens.
    pub(crate) fn file(&self, name: &str) -> Option<&CardFile> {
        let at = self.files.binary_search_by(|file| file.name.as_str().cmp(name)).ok()?;
        self.files.get(at)
    }
}

fn hex(hash: u128) -> String {
    format!("{hash:032x}")
}
