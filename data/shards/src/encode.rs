//! A document to its tokens.

use crate::ShardsError;
use octo_rows::Document;
use octo_text::Tokenizer;

/// Texts tokenised at once: enough to keep all cores busy, little enough to stay small in memory.
pub(crate) const CHUNK_BYTES: usize = 8 << 20;

/// How documents become tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenizeOptions {
    /// Whether the bos of the tokenizer's post-processor precedes each document.
    pub add_bos: bool,
    /// Whether the end-of-sequence token follows each document.
    pub add_eos: bool,
    /// Rows of the model's embedding: every token id must be below it.
    pub vocab_size: usize,
}

/// A tokenizer with what goes around each document.
pub(crate) struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    vocab_size: usize,
}

impl Encoder<'_> {
    /// Fails where the tokenizer lacks what is asked for.
    pub fn new(tokenizer: &Tokenizer, options: TokenizeOptions) -> Result<Encoder<'_>, ShardsError> {
        let bos = if options.add_bos { Some(tokenizer.bos_id().ok_or(ShardsError::NoBos)?) } else { None };
        let eos = if options.add_eos { Some(tokenizer.eos_id().ok_or(ShardsError::NoEos)?) } else { None };
        Ok(Encoder { tokenizer, bos, eos, vocab_size: options.vocab_size })
    }

    /// The tokens of a document, all within the vocabulary.
    pub fn encode(&self, document: &Document) -> Result<Vec<u32>, ShardsError> {
        let origin = || document.origin.clone();
        let mut tokens: Vec<u32> = self.bos.into_iter().collect();
        let text = self.tokenizer.encode(&document.text, false);
        tokens.extend(text.map_err(|source| ShardsError::Tokenize { origin: origin(), source })?);
        tokens.extend(self.eos);
        match tokens.iter().find(|&&token| token as usize >= self.vocab_size) {
            None => Ok(tokens),
            Some(&token) => Err(ShardsError::OutsideVocabulary {
                origin: origin(),
                token,
                text: self.tokenizer.id_to_token(token).unwrap_or_default(),
                vocab_size: self.vocab_size,
            }),
        }
    }
}
