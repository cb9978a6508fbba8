//! Documents as one stream of tokens.

use crate::ShardsError;
use crate::encode::{CHUNK_BYTES, Encoder, TokenizeOptions};
use octo_rows::{Document, Origin, RowsError};
use octo_text::Tokenizer;
use rayon::prelude::*;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// How far tokenising has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenizeProgress {
    /// Documents so far.
    pub documents: u64,
    /// Bytes of text so far.
    pub bytes: u64,
    /// Tokens so far.
    pub tokens: u64,
}

/// A source's documents in their order, as token ids end to end.
#[derive(Clone, Debug)]
pub struct TokenizedSource {
    tokens: Vec<u32>,
    /// Offset of each document's first token, and the number of tokens at the end.
    starts: Vec<u64>,
    origins: Origins,
    content_hash: u128,
}

/// Origins of documents: the file (an index) and line of each, since neighbours share their file.
#[derive(Clone, Debug, Default)]
struct Origins {
    files: Vec<Arc<Path>>,
    places: Vec<(u32, u64)>,
}

impl TokenizedSource {
    /// Tokenises documents, on all cores; the result does not depend on how many there are.
    ///
    /// `progress` is called now and then. Documents without a token are passed over.
    ///
    /// # Errors
    /// The first one in the order of the documents: a row's, a document that cannot be tokenised, or
    /// a token outside the vocabulary; each names the document.
    pub fn tokenize(
        documents: impl Iterator<Item = Result<Document, RowsError>>,
        tokenizer: &Tokenizer,
        options: TokenizeOptions,
        mut progress: impl FnMut(TokenizeProgress),
    ) -> Result<TokenizedSource, ShardsError> {
        let encoder = Encoder::new(tokenizer, options)?;
        let mut source = TokenizedSource {
            tokens: Vec::new(),
            starts: vec![0],
            origins: Origins::default(),
            content_hash: 0,
        };
        let mut done = TokenizeProgress::default();
        let mut documents = documents.peekable();
        while documents.peek().is_some() {
            let (mut chunk, mut bytes) = (Vec::new(), 0);
            let mut failed = None;
            while bytes < CHUNK_BYTES {
                match documents.next() {
                    None => break,
                    Some(Ok(document)) => {
                        bytes += document.text.len();
                        chunk.push(document);
                    }
                    Some(Err(error)) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            let encoded: Vec<Result<Vec<u32>, ShardsError>> =
                chunk.par_iter().map(|document| encoder.encode(document)).collect();
            for (document, tokens) in chunk.iter().zip(encoded) {
                source.push(&document.origin, &tokens?);
            }
            if let Some(error) = failed {
                return Err(error.into());
            }
            done.documents += chunk.len() as u64;
            done.bytes += bytes as u64;
            done.tokens = source.tokens.len() as u64;
            progress(done);
        }
        source.content_hash = source.hash();
        Ok(source)
    }

    fn push(&mut self, origin: &Origin, tokens: &[u32]) {
        if tokens.is_empty() {
            return;
        }
        self.tokens.extend_from_slice(tokens);
        self.starts.push(self.tokens.len() as u64);
        let files = &mut self.origins.files;
        if files.last() != Some(&origin.file) {
            files.push(origin.file.clone());
        }
        self.origins.places.push((files.len() as u32 - 1, origin.line));
    }

    /// XXH3 over the tokens and the document borders.
    fn hash(&self) -> u128 {
        let mut hash = Xxh3::new();
        hash.update(&(self.tokens.len() as u64).to_le_bytes());
        for chunk in self.tokens.chunks(1 << 14) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|token| token.to_le_bytes()).collect();
            hash.update(&bytes);
        }
        for start in &self.starts {
            hash.update(&start.to_le_bytes());
        }
        hash.digest128()
    }

    /// All tokens.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.starts.len() - 1
    }

    /// The tokens of a document.
    pub fn document(&self, index: usize) -> Option<&[u32]> {
        let (start, end) = (*self.starts.get(index)?, *self.starts.get(index + 1)?);
        self.tokens.get(start as usize..end as usize)
    }

    /// Where a document comes from.
    pub fn origin(&self, document: usize) -> Option<Origin> {
        let &(file, line) = self.origins.places.get(document)?;
        Some(Origin { file: self.origins.files.get(file as usize)?.clone(), line })
    }

    /// What the source holds, in 128 bits: a run finds its place again in the same content only.
    pub fn content_hash(&self) -> u128 {
        self.content_hash
    }

    /// The tokens of a document as a range of all.
    pub(crate) fn document_range(&self, index: usize) -> Option<Range<u64>> {
        Some(*self.starts.get(index)?..*self.starts.get(index + 1)?)
    }

    /// The document that holds a token.
    pub(crate) fn document_at(&self, token: u64) -> usize {
        self.starts.partition_point(|&start| start <= token) - 1
    }

    /// The tokens in a range that begin a document.
    pub(crate) fn starts_in(&self, range: Range<u64>) -> &[u64] {
        let of = |token: u64| self.starts.partition_point(|&start| start < token).min(self.documents());
        let (first, end) = (of(range.start), of(range.end));
        self.starts.get(first..end).unwrap_or_default()
    }

    /// A source of given documents, for the tests of this crate.
    #[cfg(test)]
    pub(crate) fn of(documents: &[Vec<u32>]) -> TokenizedSource {
        let mut source = TokenizedSource {
            tokens: Vec::new(),
            starts: vec![0],
            origins: Origins::default(),
            content_hash: 0,
        };
        for (i, tokens) in documents.iter().enumerate() {
            source.push(&Origin { file: Path::new("test").into(), line: i as u64 + 1 }, tokens);
        }
        source
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_rows::{Documents, Rows, Split, Template, WordProblems};
    use octo_text::{BpeOptions, train_bpe};
    use std::io::Write;
    use std::sync::LazyLock;

    fn tokenizer() -> &'static Tokenizer {
        static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
            let texts = problems(300).map(|document| document.unwrap().text);
            train_bpe(texts, &BpeOptions::new(400)).unwrap()
        });
        &TOKENIZER
    }

    fn problems(rows: u64) -> Documents {
        let template = Template::new("{{ question }}\n{{ answer }}").unwrap();
        Documents::new(WordProblems::new(1, Split::Train, rows), template, None)
    }

    const OPTIONS: TokenizeOptions = TokenizeOptions { add_bos: false, add_eos: true, vocab_size: 400 };

    fn tokenize(documents: Documents, options: TokenizeOptions) -> Result<TokenizedSource, ShardsError> {
        TokenizedSource::tokenize(documents, tokenizer(), options, |_| {})
    }

    #[test]
    fn documents_come_in_order_each_with_its_end() {
        let mut seen = Vec::new();
        let source =
            TokenizedSource::tokenize(problems(500), tokenizer(), OPTIONS, |progress| seen.push(progress))
                .unwrap();
        assert_eq!(source.documents(), 500);
        let mut all = Vec::new();
        for (i, document) in problems(500).enumerate() {
            let document = document.unwrap();
            let tokens = source.document(i).unwrap();
            assert_eq!(tokens.last(), Some(&0));
            assert_eq!(tokenizer().decode(tokens, true).unwrap(), document.text);
            assert_eq!(source.origin(i), Some(document.origin));
            all.extend_from_slice(tokens);
        }
        assert_eq!(source.tokens(), all);
        assert_eq!((source.document(500), source.origin(500)), (None, None));
        let last = seen.last().unwrap();
        assert_eq!((last.documents, last.tokens), (500, all.len() as u64));
    }

    #[test]
    fn the_result_does_not_depend_on_the_threads() {
        let hash = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| tokenize(problems(200), OPTIONS).unwrap().content_hash())
        };
        assert_eq!(hash(1), hash(5));
        let without = tokenize(problems(200), TokenizeOptions { add_eos: false, ..OPTIONS }).unwrap();
        assert_ne!(without.content_hash(), hash(1));
    }

    #[test]
    fn the_content_hash_sees_document_borders() {
        let hash = |documents: &[Vec<u32>]| TokenizedSource::of(documents).hash();
        assert_ne!(hash(&[vec![1, 2], vec![3]]), hash(&[vec![1], vec![2, 3]]));
        assert_ne!(hash(&[vec![1, 2]]), hash(&[vec![1, 3]]));
    }

    #[test]
    fn a_token_outside_the_vocabulary_names_its_document() {
        let error = tokenize(problems(50), TokenizeOptions { vocab_size: 100, ..OPTIONS }).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("generated word problems:1: token "), "{text}");
        assert!(text.contains("outside the model's vocabulary of 100"), "{text}");
    }

    #[test]
    fn what_the_tokenizer_lacks_is_said() {
        let error = tokenize(problems(1), TokenizeOptions { add_bos: true, ..OPTIONS }).unwrap_err();
        assert!(matches!(error, ShardsError::NoBos));
    }

    #[test]
    fn an_error_in_a_row_ends_it_all() {
        let mut file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
        file.write_all(b"{\"text\": \"one\"}\n{\"text\": 2\n").unwrap();
        let rows = Rows::open(file.path().to_str().unwrap()).unwrap();
        let error = tokenize(Documents::new(rows, Template::new(Template::DEFAULT).unwrap(), None), OPTIONS)
            .unwrap_err()
            .to_string();
        assert!(error.contains(".jsonl:2: broken JSON"), "{error}");
    }
}
