//! The data of a run: which batch each of its steps takes, through all stages.

use crate::checkpoint::{DataState, SourceState};
use crate::setup::Named;
use crate::{Observer, TrainError, corpus};
use octo_recipe::{Order as RecipeOrder, Recipe, Stage};
use octo_rows::Split;
use octo_shards::{Batch, BatchOptions, Batches, Order, TokenizedSource};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was taken from sources before.
#[derive(Clone, Copy)]
pub(crate) enum Before<'a> {
    /// Nothing.
    Nothing,
    /// The run's own state: its sources begin where they began.
    Run(&'a DataState),
    /// The state of a run that this one branches off: a source of the same content goes on from there.
    Branch(&'a DataState),
}

impl Before<'_> {
    fn start(&self, name: &str, content_hash: u128) -> u64 {
        match self {
            Before::Nothing => 0,
            Before::Run(state) => state.sources.get(name).map_or(0, |source| source.start),
            Before::Branch(state) => state.taken(content_hash),
        }
    }
}

/// Batches by step of the run.
pub(crate) struct Stream {
    sources: BTreeMap<String, Arc<TokenizedSource>>,
    /// Tokens of each source that were taken before the run began: those of the run it branches off.
    starts: BTreeMap<String, u64>,
    stages: Vec<StageStream>,
}

/// One stage.
struct StageStream {
    source: String,
    batches: Batches,
    /// Steps of the stages before it.
    first_step: u64,
    steps: u64,
    sequence_length: u64,
}

impl Stream {
    /// Reads the sources that stages draw from.
    pub fn open(
        recipe: &Recipe,
        named: &Named,
        before: Before<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Stream, TrainError> {
        let vocab = named.config.vocab_size as usize;
        let mut stream = Stream { sources: BTreeMap::new(), starts: BTreeMap::new(), stages: Vec::new() };
        let mut taken: BTreeMap<String, u64> = BTreeMap::new();
        let mut first_step = 0;
        for stage in &recipe.stages {
            let [share] = stage.mixture.as_slice() else { return Err(TrainError::SeveralSources) };
            let name = &share.source;
            // A checked recipe has the sources its stages name.
            let source = recipe.source(name).ok_or_else(|| TrainError::NoSource(name.clone()))?;
            let tokens = match stream.sources.get(name) {
                Some(tokens) => tokens.clone(),
                None => {
                    let tokens = corpus::tokenise(source, Split::Train, &named.tokenizer, vocab, observer)?;
                    let start = if source.restart { 0 } else { before.start(name, tokens.content_hash()) };
                    stream.starts.insert(name.clone(), start);
                    taken.insert(name.clone(), start);
                    stream.sources.insert(name.clone(), tokens.clone());
                    tokens
                }
            };
            let begin = if source.restart { 0 } else { taken.get(name).copied().unwrap_or(0) };
            let batches = Batches::new(tokens, options(recipe, stage, begin))?;
            let steps = stage.schedule.steps;
            taken.insert(name.clone(), begin + steps.saturating_mul(stage.batch_tokens));
            stream.stages.push(StageStream {
                source: name.clone(),
                batches,
                first_step,
                steps,
                sequence_length: stage.sequence_length,
            });
            first_step += steps;
        }
        Ok(stream)
    }

    fn stage(&self, step: u64) -> Option<(&StageStream, u64)> {
        let at = self.stages.partition_point(|stage| stage.first_step <= step).checked_sub(1)?;
        self.stages.get(at).map(|stage| (stage, step - stage.first_step))
    }

    /// The micro-batches of a step of the run, from 0.
    pub fn step(&self, step: u64) -> Vec<Batch> {
        let Some((stage, within)) = self.stage(step) else { return Vec::new() };
        (0..stage.batches.micro_batches()).map(|micro| stage.batches.batch(within, micro)).collect()
    }

    /// Where the sequences of a step begin, for the message of a guard.
    pub fn documents(&self, step: u64, data: &[Batch]) -> String {
        let Some((stage, _)) = self.stage(step) else { return String::new() };
        let source = stage.batches.source();
        let origins = data.iter().flat_map(|batch| &batch.origins);
        let mut places: Vec<String> = origins
            .filter_map(|origin| source.origin(origin.first_document))
            .map(|origin| origin.to_string())
            .collect();
        places.dedup();
        places.join(", ")
    }

    /// Where the data stands after so many steps.
    pub fn state(&self, done: u64) -> DataState {
        let mut sources: BTreeMap<String, SourceState> = BTreeMap::new();
        for (name, tokens) in &self.sources {
            let start = self.starts.get(name).copied().unwrap_or(0);
            let content_hash = format!("{:032x}", tokens.content_hash());
            sources.insert(name.clone(), SourceState { content_hash, start, tokens: start });
        }
        for stage in self.stages.iter().filter(|stage| stage.first_step < done) {
            let position = stage.batches.position(stage.steps.min(done - stage.first_step));
            if let Some(source) = sources.get_mut(&stage.source) {
                source.tokens = position * stage.sequence_length;
            }
        }
        DataState { sources }
    }

    /// Fails unless every source holds what it held.
    pub fn check(&self, then: &DataState) -> Result<(), TrainError> {
        let now = self.state(0);
        for (name, source) in &then.sources {
            let same = now.sources.get(name).is_none_or(|now| now.content_hash == source.content_hash);
            if !same {
                return Err(TrainError::SourceChanged { name: name.clone() });
            }
        }
        Ok(())
    }

    /// All tokens that are trained on, a source after the other.
    pub fn tokens(&self) -> impl Iterator<Item = &[u32]> {
        self.sources.values().map(|source| source.tokens())
    }

    /// A line about each stage.
    pub fn lines(&self, recipe: &Recipe) -> Vec<String> {
        let line = |(stage, stream): (&Stage, &StageStream)| {
            let micro_batches = stream.batches.micro_batches();
            format!(
                "stage    {}: {} steps of {} tokens ({micro_batches} micro-batch{} of {}), {:.2} passes over {}",
                stage.name,
                stage.schedule.steps,
                stage.batch_tokens,
                if micro_batches == 1 { "" } else { "es" },
                stage.micro_batch_tokens,
                stream.batches.passes(stage.schedule.steps),
                stream.source,
            )
        };
        recipe.stages.iter().zip(&self.stages).map(line).collect()
    }
}

fn options(recipe: &Recipe, stage: &Stage, tokens_taken: u64) -> BatchOptions {
    BatchOptions {
        sequence_length: stage.sequence_length as usize,
        batch_tokens: stage.batch_tokens as usize,
        micro_batch_tokens: stage.micro_batch_tokens as usize,
        order: match stage.order {
            RecipeOrder::Sequential => Order::Sequential,
            RecipeOrder::Shuffled => Order::Shuffled,
        },
        seed: recipe.run.seed,
        document_mask: stage.document_mask,
        // Windows of this stage that hold what was taken, the last one perhaps in part.
        first_position: tokens_taken.div_ceil(stage.sequence_length),
    }
}
