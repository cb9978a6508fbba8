//! From rows to prompts: what is asked, what the answer is, which tokens that makes.

mod fields;
mod template;

pub(crate) use template::PromptFormat;

use crate::RlError;
use fields::Reader;
use octo_recipe::{Fields, Origin as Source, Prompts};
use octo_rows::{Filter, Origin, Row, Rows, RowsError, Split};
use octo_text::Tokenizer;
use octo_trainer::generated;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3;

/// A prompt and what a reward needs to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// Its text, as the model reads it.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// The answer that is right.
    pub answer: String,
    /// The name by which rewards are chosen; empty where the row has none.
    pub data_source: String,
    /// The row's `extra_info`, for reward programs.
    pub extra_info: Value,
    /// Where the row stands.
    pub origin: Origin,
}

/// What became of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptCounts {
    /// Rows read.
    pub read: u64,
    /// Rows the filter did not keep.
    pub filtered: u64,
    /// Prompts with too many tokens.
    pub too_long: u64,
}

/// Prompts in the order of their rows; at least one.
#[derive(Clone, Debug)]
pub struct PromptSet {
    /// The prompts.
    pub prompts: Vec<Prompt>,
    /// What became of the rows.
    pub counts: PromptCounts,
}

/// What all prompts of a run have in common.
pub(crate) struct Making<'a> {
    pub fields: &'a Fields,
    pub format: &'a PromptFormat,
    pub tokenizer: &'a Tokenizer,
    pub max_prompt_tokens: u64,
}

impl Making<'_> {
    /// Reads rows and makes prompts of them, up to `most`.
    pub fn read(&self, prompts: &Prompts, split: Split, most: Option<u64>) -> Result<PromptSet, RlError> {
        let (path, rows): (String, Box<dyn Iterator<Item = Result<Row, RowsError>>>) = match &prompts.origin {
            Source::Path(path) => {
                let path = path.to_string_lossy().into_owned();
                let rows = Rows::open(&path)?;
                (path, Box::new(rows))
            }
            Source::Generated { kind, rows, seed } => {
                (kind.name().to_owned(), generated(*kind, *seed, split, *rows))
            }
        };
        let filter = prompts.filter.as_deref().map(Filter::new).transpose()?;
        let reader = Reader::new(self.fields)?;
        let (mut made, mut counts) = (Vec::new(), PromptCounts::default());
        for row in rows {
            if most.is_some_and(|most| made.len() as u64 >= most) {
                break;
            }
            let row = row?;
            counts.read += 1;
            if let Some(filter) = &filter
                && !filter.keeps(&row)?
            {
                counts.filtered += 1;
                continue;
            }
            let prompt = self.make(&reader, row)?;
            match prompt.tokens.len() as u64 <= self.max_prompt_tokens {
                true => made.push(prompt),
                false => counts.too_long += 1,
            }
        }
        if made.is_empty() {
            let PromptCounts { read, filtered, too_long } = counts;
            let max_prompt_tokens = self.max_prompt_tokens;
            return Err(RlError::NoPrompts { path, read, filtered, too_long, max_prompt_tokens });
        }
        Ok(PromptSet { prompts: made, counts })
    }

    fn make(&self, reader: &Reader, row: Row) -> Result<Prompt, RlError> {
        let asked = reader.question(&row)?;
        let answer = reader.answer(&row)?;
        let data_source = reader.data_source(&row)?;
        let text = self.format.render(&asked, &row)?;
        // A chat template writes the special tokens itself.
        let tokens = self.tokenizer.encode(&text, !self.format.is_chat())?;
        let extra_info = row.fields.get("extra_info").cloned().unwrap_or(Value::Null);
        Ok(Prompt { text, tokens, answer, data_source, extra_info, origin: row.origin })
    }
}

/// What a row asks.
pub(crate) struct Asked {
    pub question: String,
    /// As a chat has it.
    pub messages: Vec<Value>,
}

impl Asked {
    fn of_question(question: String) -> Asked {
        let mut message = Map::new();
        message.insert("role".to_owned(), "user".into());
        message.insert("content".to_owned(), question.clone().into());
        Asked { question, messages: vec![Value::Object(message)] }
    }
}

impl PromptSet {
    /// A hash of what is asked and what is right.
    pub fn content_hash(&self) -> String {
        let mut hash = Xxh3::new();
        for prompt in &self.prompts {
            for text in [&prompt.text, &prompt.answer, &prompt.data_source] {
                hash.update(&(text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
        }
        format!("{:032x}", hash.digest128())
    }
}
