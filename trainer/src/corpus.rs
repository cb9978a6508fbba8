//! From a recipe's source to its tokens.

use crate::{Observer, TrainError};
use octo_recipe::{Generator, Origin, Source};
use octo_rows::{Documents, Filter, Row, Rows, RowsError, Split, Task, TaskRows, Template, WordProblems};
use octo_shards::{ShardSet, TokenSource, TokenizeOptions, TokenizedSource};
use octo_text::Tokenizer;
use std::sync::Arc;

/// Opens a source: tokenised files as they are, of others the documents, rendered and tokenised.
pub(crate) fn open(
    source: &Source,
    split: Split,
    tokenizer: &Tokenizer,
    vocab_size: usize,
    observer: &mut dyn Observer,
) -> Result<Arc<TokenSource>, TrainError> {
    if let Origin::Path(path) = &source.origin
        && ShardSet::is_at(&path.to_string_lossy())
    {
        let shards = ShardSet::open(&path.to_string_lossy(), vocab_size, Some(tokenizer.content_hash()))?;
        let (documents, tokens) = (shards.documents(), shards.tokens());
        let files = shards.files().len();
        observer.note(&format!(
            "data     {}: {documents} documents, {tokens} tokens in {files} tokenised file{}",
            source.name,
            if files == 1 { "" } else { "s" },
        ));
        let is_foreign = shards.cards().is_empty();
        let tokens = TokenSource::Shards(shards);
        if is_foreign {
            // Nothing says which tokenizer made them: a person can see whether it was this one.
            observer.note(&format!("         begins with {:?}", beginning(&tokens, tokenizer)?));
        }
        return Ok(Arc::new(tokens));
    }
    if source.add_eos && tokenizer.eos_id().is_none() {
        return Err(TrainError::NoEos { source_name: source.name.clone() });
    }
    let template = Template::new(&source.text)?;
    let filter = source.filter.as_deref().map(Filter::new).transpose()?;
    let mut documents = match &source.origin {
        Origin::Path(path) => Documents::of_files(Rows::open(&path.to_string_lossy())?, template, filter),
        Origin::Generated { kind, rows, seed } => {
            Documents::new(generated(*kind, *seed, split, *rows), template, filter)
        }
    };
    let options = TokenizeOptions {
        add_bos: source.add_bos.unwrap_or(tokenizer.bos_id().is_some()),
        add_eos: source.add_eos,
        vocab_size,
    };
    let what = format!("tokenising {}", source.name);
    let tokens = TokenizedSource::tokenize(documents.by_ref(), tokenizer, options, |progress| {
        observer.preparing(&what, progress.tokens);
    })?;
    let counts = documents.counts();
    observer.note(&format!(
        "data     {}: {} document{}, {} tokens ({} rows read, {} filtered, {} empty)",
        source.name,
        tokens.documents(),
        if tokens.documents() == 1 { "" } else { "s" },
        tokens.tokens().len(),
        counts.read,
        counts.filtered,
        counts.empty,
    ));
    Ok(Arc::new(TokenSource::Memory(tokens)))
}

/// Rows that the program makes.
pub fn generated(
    kind: Generator,
    seed: u64,
    split: Split,
    rows: u64,
) -> Box<dyn Iterator<Item = Result<Row, RowsError>> + Send> {
    let task = match kind {
        Generator::WordProblems => return Box::new(WordProblems::new(seed, split, rows)),
        Generator::ModularAddition => Task::ModularAddition,
        Generator::ReversedAddition => Task::ReversedAddition,
        Generator::Reversal => Task::Reversal,
        Generator::Fractions => Task::Fractions,
    };
    Box::new(TaskRows::new(task, seed, split, rows))
}

/// The text of the first tokens.
fn beginning(source: &TokenSource, tokenizer: &Tokenizer) -> Result<String, TrainError> {
    let mut tokens = vec![0; source.tokens().min(24) as usize];
    source.read(0, &mut tokens)?;
    Ok(tokenizer.decode(&tokens, false)?)
}
