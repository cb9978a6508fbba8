//! A run from its recipe to its last checkpoint.

use crate::folder::Folder;
use crate::setup::{self, Named, Ready, Start};
use crate::validation::{HeldOut, micro_batch};
use crate::{Observer, Outcome, StepMetrics, TrainError, corpus, samples};
use octo_model::StepReport;
use octo_recipe::{Order as RecipeOrder, Recipe};
use octo_rows::Split;
use octo_shards::{Batch, BatchOptions, Batches, Order};
use std::collections::BTreeMap;
use std::time::Instant;

/// Trains as a recipe says; tells the observer as it goes.
///
/// Everything is opened and checked before the run's folder is made; the folder then holds the resolved
/// recipe, `metrics.jsonl`, `samples.jsonl` and, at the end, a checkpoint.
///
/// # Errors
/// Whatever is wrong with recipe, model, data or device; [`TrainError::NotFinite`] when a guard stopped it.
pub fn train(recipe: &Recipe, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
    Folder::check_free(recipe)?;
    let queue = octo_queue::open(setup::device(recipe), recipe.run.threads.map(|n| n as usize))?;
    observer.note(&format!("device   {}; forward products invariant", queue.describe().description));
    let named = setup::open(recipe)?;
    let vocab = named.config.vocab_size as usize;
    let batches = training_batches(recipe, &named, observer)?;
    let held_out = recipe
        .validation
        .iter()
        .map(|v| HeldOut::prepare(v, recipe, &named.tokenizer, vocab, observer))
        .collect::<Result<Vec<_>, _>>()?;
    let ready = setup::prepare(recipe, &named, queue)?;
    describe(recipe, &named, &ready, &batches, observer);
    let folder = Folder::create(recipe)?;
    Run { recipe, named, ready, batches, held_out, folder, observer, last: None }.go()
}

struct Run<'a> {
    recipe: &'a Recipe,
    named: Named,
    ready: Ready,
    batches: Batches,
    held_out: Vec<HeldOut>,
    folder: Folder,
    observer: &'a mut dyn Observer,
    /// Loss of the last step known.
    last: Option<f64>,
}

/// A step whose figures are not known yet.
struct Pending {
    step: u64,
    lr: f64,
    began: Instant,
    data: Vec<Batch>,
}

impl Run<'_> {
    fn go(mut self) -> Result<Outcome, TrainError> {
        let schedule = self.recipe.stage.schedule;
        let micro_batches = self.batches.micro_batches();
        let mut pending: Option<Pending> = None;
        for step in 0..schedule.steps {
            let began = Instant::now();
            let data: Vec<Batch> = (0..micro_batches).map(|m| self.batches.batch(step, m)).collect();
            let views: Vec<_> = data.iter().map(micro_batch).collect();
            let lr = schedule.lr(step);
            let report = self.ready.trainer.step(&mut self.ready.queue, lr, &views)?;
            if let (Some(before), Some(report)) = (pending.take(), report) {
                self.tell(before, report, BTreeMap::new())?;
            }
            let now = Pending { step, lr, began, data };
            if self.has_a_break_after(step) {
                self.pause(now)?;
            } else {
                pending = Some(now);
            }
        }
        self.end()
    }

    /// Whether something is measured, drawn or written after this step, so that its figures are waited for.
    fn has_a_break_after(&self, step: u64) -> bool {
        let last = step + 1 == self.recipe.stage.schedule.steps;
        let validates = self.held_out.iter().any(|set| (step + 1).is_multiple_of(set.every_steps));
        last || validates || self.samples_after(step)
    }

    fn samples_after(&self, step: u64) -> bool {
        let last = step + 1 == self.recipe.stage.schedule.steps;
        self.recipe.samples.as_ref().is_some_and(|s| last || (step + 1).is_multiple_of(s.every_steps))
    }

    /// Ends a step: its figures, held-out losses, samples.
    fn pause(&mut self, step: Pending) -> Result<(), TrainError> {
        let Some(report) = self.ready.trainer.finish(&mut self.ready.queue)? else { return Ok(()) };
        let number = step.step;
        let last = number + 1 == self.recipe.stage.schedule.steps;
        let mut validation = BTreeMap::new();
        if !report.halted {
            for set in &mut self.held_out {
                if last || (number + 1).is_multiple_of(set.every_steps) {
                    let loss = set.measure(&mut self.ready.queue, &mut self.ready.trainer)?;
                    self.observer.validation(number + 1, &set.name, loss);
                    validation.insert(format!("val_loss/{}", set.name), loss);
                }
            }
        }
        self.tell(step, report, validation)?;
        if self.samples_after(number) { self.sample(number + 1) } else { Ok(()) }
    }

    /// Writes a step's figures, or stops the run where they are not finite.
    fn tell(
        &mut self,
        step: Pending,
        report: StepReport,
        validation: BTreeMap<String, f64>,
    ) -> Result<(), TrainError> {
        if report.halted {
            return Err(TrainError::NotFinite {
                step: step.step + 1,
                loss: report.loss,
                grad_norm: report.grad_norm,
                documents: self.documents(&step.data),
            });
        }
        let stage = &self.recipe.stage;
        let metrics = StepMetrics {
            step: step.step + 1,
            total_steps: stage.schedule.steps,
            consumed_tokens: (step.step + 1) * stage.batch_tokens,
            lm_loss: report.loss,
            lr: step.lr,
            grad_norm: report.grad_norm,
            tokens_per_sec: stage.batch_tokens as f64 / step.began.elapsed().as_secs_f64(),
            validation,
            ..StepMetrics::default()
        };
        self.last = Some(report.loss);
        self.folder.metrics(&metrics)?;
        self.observer.step(&metrics);
        Ok(())
    }

    /// Where the sequences of a step begin, for the message of a guard.
    fn documents(&self, data: &[Batch]) -> String {
        let source = self.batches.source();
        let origins = data.iter().flat_map(|batch| &batch.origins);
        let mut places: Vec<String> = origins
            .filter_map(|origin| source.origin(origin.first_document))
            .map(|origin| origin.to_string())
            .collect();
        places.dedup();
        places.join(", ")
    }

    fn sample(&mut self, step: u64) -> Result<(), TrainError> {
        let (Some(wanted), Some(session)) = (&self.recipe.samples, &mut self.ready.session) else {
            return Ok(());
        };
        let (queue, net) = (&mut self.ready.queue, self.ready.trainer.net());
        let texts = samples::draw(queue, net, session, &self.named.tokenizer, self.recipe, wanted)?;
        for (prompt, text) in wanted.prompts.iter().zip(&texts) {
            self.folder.sample(step, prompt, text)?;
            self.observer.sample(step, prompt, text);
        }
        Ok(())
    }

    fn end(mut self) -> Result<Outcome, TrainError> {
        let steps = self.recipe.stage.schedule.steps;
        let model = self.folder.checkpoint(
            steps,
            &mut self.ready.queue,
            &self.ready.trainer,
            &self.named.tokenizer,
            self.recipe,
        )?;
        let train = self.batches.source().tokens();
        let vocab = self.named.config.vocab_size as usize;
        let validation = self.held_out.iter().map(|set| set.outcome(train, vocab)).collect();
        Ok(Outcome { steps, last_loss: self.last.unwrap_or(f64::NAN), validation, model })
    }
}

fn training_batches(
    recipe: &Recipe,
    named: &Named,
    observer: &mut dyn Observer,
) -> Result<Batches, TrainError> {
    let stage = &recipe.stage;
    // A checked recipe has the source its stage names.
    let source = recipe.source().ok_or_else(|| TrainError::NoSource(stage.source.clone()))?;
    let vocab = named.config.vocab_size as usize;
    let tokens = corpus::tokenise(source, Split::Train, &named.tokenizer, vocab, observer)?;
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
        first_position: 0,
    };
    Ok(Batches::new(tokens, options)?)
}

/// The head of a run.
fn describe(recipe: &Recipe, named: &Named, ready: &Ready, batches: &Batches, observer: &mut dyn Observer) {
    let (c, net, stage) = (&named.config, ready.trainer.net(), &recipe.stage);
    let from = match named.start {
        Start::Directory(_) => "a directory's weights",
        Start::Random => "random weights",
    };
    observer.note(&format!(
        "model    {:?}, {} parameters in {}, {} layers of {}, from {from}",
        c.family,
        net.params.parameter_count(),
        net.weights.dtype,
        c.num_hidden_layers,
        c.hidden_size,
    ));
    let bytes: u64 = ready.queue.memory().iter().map(|(_, bytes)| bytes).sum();
    observer.note(&format!(
        "memory   {:.2} GiB in {} buffers",
        bytes as f64 / (1u64 << 30) as f64,
        ready.queue.memory().len()
    ));
    observer.note(&format!(
        "stage    {}: {} steps of {} tokens ({} micro-batches of {}), {:.2} passes over {}",
        stage.name,
        stage.schedule.steps,
        stage.batch_tokens,
        batches.micro_batches(),
        stage.micro_batch_tokens,
        batches.passes(stage.schedule.steps),
        stage.source,
    ));
}
