//! The data of a run: which batch each of its steps takes, through all stages.

use crate::checkpoint::{DataState, SourceState};
use crate::setup::{self, Named, Start};
use crate::{Observer, TrainError, corpus};
use octo_recipe::{Order as RecipeOrder, Recipe, Stage};
use octo_rows::Split;
use octo_shards::{
    Batch, BatchOptions, Batches, IGNORED_LABEL, MixturePart, Order, Prefetcher, SequenceOrigin, TokenSource,
};
use octo_text::Tokenizer;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most sequences whose documents a message names.
const MOST_PLACES: usize = 32;

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
    sources: BTreeMap<String, Arc<TokenSource>>,
    /// Tokens of each source that were taken before the run began: those of the run it branches off.
    starts: BTreeMap<String, u64>,
    stages: Vec<StageStream>,
    /// The step of the run that comes next from it.
    ahead: Option<(u64, Prefetcher)>,
}

/// The batches that a recipe trains on in the stage of a step of the run, from 0; that step within the stage; and
/// the tokenizer they are made with. Nothing is put on a device.
///
/// # Errors
/// Whatever is wrong with the recipe's model directory, tokenizer or data.
pub fn open_batches(
    recipe: &Recipe,
    step: u64,
    observer: &mut dyn Observer,
) -> Result<(Batches, u64, Tokenizer), TrainError> {
    if recipe.rl.is_some() {
        return Err(TrainError::ForRl);
    }
    let named = setup::open(recipe, None)?;
    let mut stream = match &named.start {
        Start::Branch(_, checkpoint) => {
            Stream::open(recipe, &named, Before::Branch(&checkpoint.data()?), observer)?
        }
        _ => Stream::open(recipe, &named, Before::Nothing, observer)?,
    };
    let (stage, within) = recipe.at(step);
    Ok((stream.stages.swap_remove(stage).batches, within, named.tokenizer))
}

/// One stage.
struct StageStream {
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
        let mut stream =
            Stream { sources: BTreeMap::new(), starts: BTreeMap::new(), stages: Vec::new(), ahead: None };
        let mut taken: BTreeMap<String, u64> = BTreeMap::new();
        let mut first_step = 0;
        for stage in &recipe.stages {
            let mut mixture = Vec::new();
            for share in &stage.mixture {
                let name = &share.source;
                // A checked recipe has the sources its stages name.
                let source = recipe.source(name).ok_or_else(|| TrainError::NoSource(name.clone()))?;
                let tokens = match stream.sources.get(name) {
                    Some(tokens) => tokens.clone(),
                    None => corpus::open(source, Split::Train, &named.tokenizer, vocab, observer)?,
                };
                if !stream.sources.contains_key(name) {
                    let start = before.start(name, tokens.content_hash());
                    stream.starts.insert(name.clone(), if source.restart { 0 } else { start });
                    stream.sources.insert(name.clone(), tokens.clone());
                }
                let start = stream.starts.get(name).copied().unwrap_or(0);
                let begin = if source.restart { 0 } else { *taken.entry(name.clone()).or_insert(start) };
                mixture.push(MixturePart {
                    name: name.clone(),
                    source: tokens,
                    share: share.share,
                    // Windows of this stage that hold what was taken, the last one perhaps in part.
                    first_position: begin.div_ceil(stage.sequence_length),
                });
            }
            let batches = Batches::new(mixture, options(recipe, stage))?;
            let steps = stage.schedule.steps;
            for (part, windows) in batches.mixture().iter().zip(batches.positions(steps)) {
                taken.insert(part.name.clone(), windows.saturating_mul(stage.sequence_length));
            }
            let sequence_length = stage.sequence_length;
            stream.stages.push(StageStream { batches, first_step, steps, sequence_length });
            first_step += steps;
        }
        Ok(stream)
    }

    fn stage(&self, step: u64) -> Option<(&StageStream, u64)> {
        let at = self.stages.partition_point(|stage| stage.first_step <= step).checked_sub(1)?;
        self.stages.get(at).map(|stage| (stage, step - stage.first_step))
    }

    /// The micro-batches of a step of the run, from 0. Those of the steps after it are made meanwhile.
    ///
    /// # Errors
    /// A tokenised file that cannot be read or has changed.
    pub fn step(&mut self, step: u64) -> Result<Vec<Batch>, TrainError> {
        let (mut ahead, stage, within) = match (self.ahead.take(), self.stage(step)) {
            (_, None) => return Ok(Vec::new()),
            (Some((next, ahead)), Some((stage, within))) if next == step && within > 0 => {
                (ahead, stage, within)
            }
            (_, Some((stage, within))) => {
                (Prefetcher::new(stage.batches.clone(), within..stage.steps)?, stage, within)
            }
        };
        let made = match ahead.next_step().transpose()? {
            Some((found, made)) if found == within => made,
            _ => stage.batches.step(within)?,
        };
        self.ahead = Some((step + 1, ahead));
        Ok(made)
    }

    /// Which documents a step's sequences hold, by source, for the message of a guard.
    pub fn documents(&self, step: u64, data: &[Batch]) -> String {
        let Some((stage, _)) = self.stage(step) else { return String::new() };
        let origins: Vec<&SequenceOrigin> = data.iter().flat_map(|batch| &batch.origins).collect();
        let last_input = stage.sequence_length.saturating_sub(1) as usize;
        let place = |origin, input| stage.batches.document(origin, input).ok().flatten();
        let mut told: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for origin in origins.iter().take(MOST_PLACES) {
            let Some(part) = stage.batches.mixture().get(origin.source) else { continue };
            let Some(first) = place(origin, 0) else { continue };
            let words = match place(origin, last_input).filter(|last| *last != first) {
                Some(last) => format!("{first} to {last}"),
                None => first.to_string(),
            };
            told.entry(&part.name).or_default().push(words);
        }
        let told: Vec<String> =
            told.iter().map(|(name, places)| format!("{name}: {}", places.join(", "))).collect();
        let more = match origins.len().saturating_sub(MOST_PLACES) {
            0 => String::new(),
            more => format!("; and {more} more sequences (`data inspect --step {}` shows them)", step + 1),
        };
        told.join("; ") + &more
    }

    /// `lm_loss/<source>` of a step: the mean loss a target of each source that has any in it, from the sums.
    pub fn source_losses(&self, step: u64, data: &[Batch], sums: &[f64]) -> BTreeMap<String, f64> {
        let Some((stage, _)) = self.stage(step).filter(|(stage, _)| stage.batches.mixture().len() > 1) else {
            // Of one source it would be the loss once more.
            return BTreeMap::new();
        };
        let mut targets = vec![0u64; sums.len()];
        for batch in data {
            let sequences = batch.labels.chunks_exact(stage.sequence_length as usize);
            for (origin, labels) in batch.origins.iter().zip(sequences) {
                if let Some(targets) = targets.get_mut(origin.source) {
                    *targets += labels.iter().filter(|&&label| label != IGNORED_LABEL).count() as u64;
                }
            }
        }
        let means = stage.batches.mixture().iter().zip(sums.iter().zip(targets));
        let has_any = means.filter(|(_, (_, targets))| *targets > 0);
        has_any
            .map(|(part, (sum, targets))| (format!("lm_loss/{}", part.name), sum / targets as f64))
            .collect()
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
            let positions = stage.batches.positions(stage.steps.min(done - stage.first_step));
            for (part, windows) in stage.batches.mixture().iter().zip(positions) {
                if let Some(source) = sources.get_mut(&part.name) {
                    source.tokens = windows.saturating_mul(stage.sequence_length);
                }
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

    /// Tokens of a source, where stages draw from it.
    pub fn tokens(&self, source: &str) -> Option<u64> {
        self.sources.get(source).map(|tokens| tokens.tokens())
    }

    /// What the last stage draws from.
    pub fn last_mixture(&self) -> &[MixturePart] {
        self.stages.last().map_or(&[], |stage| stage.batches.mixture())
    }

    /// A line about each stage.
    pub fn lines(&self, recipe: &Recipe) -> Vec<String> {
        let line = |(stage, stream): (&Stage, &StageStream)| {
            let micro_batches = stream.batches.micro_batches();
            let passes = stream.batches.passes(stage.schedule.steps);
            let passes: Vec<String> = (stream.batches.mixture().iter().zip(passes))
                .map(|(part, passes)| format!("{passes:.2} passes over {}", part.name))
                .collect();
            format!(
                "stage    {}: {} steps of {} tokens ({micro_batches} micro-batch{} of {}), {}",
                stage.name,
                stage.schedule.steps,
                stage.batch_tokens,
                if micro_batches == 1 { "" } else { "es" },
                stage.micro_batch_tokens,
                passes.join(", "),
            )
        };
        recipe.stages.iter().zip(&self.stages).map(line).collect()
    }
}

fn options(recipe: &Recipe, stage: &Stage) -> BatchOptions {
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
    }
}
