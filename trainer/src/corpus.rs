//! From a recipe's source to its tokens, and to the batches of its stage.

use crate::setup::Named;
use crate::{Observer, TrainError, setup};
use octo_recipe::{Generator, Order as RecipeOrder, Origin, Recipe, Source};
use octo_rows::{Documents, Filter, Rows, Split, Template, WordProblems};
use octo_shards::{
    BatchOptions, Batches, MixturePart, Order, ShardSet, TokenSource, TokenizeOptions, TokenizedSource,
};
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
            "data     {}: {documents} documents, {tokens} tokens in {files} tokenised files",
            source.name
        ));
        return Ok(Arc::new(TokenSource::Shards(shards)));
    }
    if source.add_eos && tokenizer.eos_id().is_none() {
        return Err(TrainError::NoEos { source_name: source.name.clone() });
    }
    let template = Template::new(&source.text)?;
    let filter = source.filter.as_deref().map(Filter::new).transpose()?;
    let mut documents = match &source.origin {
        Origin::Path(path) => Documents::new(Rows::open(&path.to_string_lossy())?, template, filter),
        Origin::Generated { kind: Generator::WordProblems, rows, seed } => {
            Documents::new(WordProblems::new(*seed, split, *rows), template, filter)
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

/// The batches that a run of this recipe trains on, and the tokenizer they are made with; nothing is put on a
/// device.
///
/// # Errors
/// Whatever is wrong with the recipe's model directory, tokenizer or data.
pub fn open_batches(
    recipe: &Recipe,
    observer: &mut dyn Observer,
) -> Result<(Batches, Tokenizer), TrainError> {
    let named = setup::open(recipe)?;
    Ok((batches(recipe, &named, observer)?, named.tokenizer))
}

/// The batches of a recipe's stage.
pub(crate) fn batches(
    recipe: &Recipe,
    named: &Named,
    observer: &mut dyn Observer,
) -> Result<Batches, TrainError> {
    let stage = &recipe.stage;
    // A checked recipe has the source its stage names.
    let source = recipe.source().ok_or_else(|| TrainError::NoSource(stage.source.clone()))?;
    let vocab = named.config.vocab_size as usize;
    let tokens = open(source, Split::Train, &named.tokenizer, vocab, observer)?;
    let part = MixturePart { name: source.name.clone(), source: tokens, share: 1.0, first_position: 0 };
    let options = BatchOptions {
        sequence_length: stage.sequence_length as usize,
        batch_tokens: stage.batch_tokens as usize,
        micro_batch_tokens: stage.micro_batch_tokens as usize,
        order: match stage.order {
            RecipeOrder::Sequential => Order::Sequential,
            RecipeOrder::Shuffled => Order::Shuffled,
        },
        seed: recipe.run.seed,
        document_mask: stage.document_mask,
    };
    Ok(Batches::new(vec![part], options)?)
}
