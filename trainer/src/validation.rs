//! Held-out losses.

use crate::unigram::Unigram;
use crate::{Observer, TrainError, ValidationOutcome, corpus};
use octo_model::Trainer;
use octo_queue::Queue;
use octo_recipe::{Recipe, Validation};
use octo_rows::Split;
use octo_shards::{Batch, EvaluationBatches, IGNORED_LABEL};
use octo_text::Tokenizer;

/// A held-out set, tokenised and cut into batches of the trainer's shape.
pub(crate) struct HeldOut {
    pub name: String,
    pub every_steps: u64,
    batches: Vec<Batch>,
    /// The loss measured last.
    last: f64,
}

impl HeldOut {
    /// Prepares one `[[validation]]` of a recipe.
    pub fn prepare(
        validation: &Validation,
        recipe: &Recipe,
        tokenizer: &Tokenizer,
        vocab_size: usize,
        observer: &mut dyn Observer,
    ) -> Result<HeldOut, TrainError> {
        let tokens = corpus::open(&validation.source, Split::HeldOut, tokenizer, vocab_size, observer)?;
        let stage = &recipe.stages[0];
        let sequences = (stage.micro_batch_tokens / stage.sequence_length) as usize;
        let sequence_length = stage.sequence_length as usize;
        let all = EvaluationBatches::new(tokens, sequence_length, sequences, stage.document_mask)?;
        let wanted = match validation.max_tokens {
            None => all.count(),
            Some(most) => all.count().min(most.div_ceil(stage.micro_batch_tokens) as usize),
        };
        Ok(HeldOut {
            name: validation.source.name.clone(),
            every_steps: validation.every_steps,
            batches: (0..wanted).map(|i| all.batch(i)).collect::<Result<_, _>>()?,
            last: f64::NAN,
        })
    }

    /// Mean loss a target, in nats, under the trainer's weights as they are.
    pub fn measure(&mut self, queue: &mut Queue, trainer: &mut Trainer) -> Result<f64, TrainError> {
        let (mut sum, mut targets) = (0.0, 0);
        for batch in &self.batches {
            let logprobs = trainer.score(queue, &micro_batch(batch, &[]))?;
            sum -= logprobs.iter().map(|&l| f64::from(l)).sum::<f64>();
            targets += batch.targets;
        }
        self.last = sum / targets.max(1) as f64;
        Ok(self.last)
    }

    /// The loss measured last beside that of a unigram model of the training tokens.
    pub fn outcome(&self, unigram: &Unigram) -> ValidationOutcome {
        let labels = self.batches.iter().flat_map(|batch| &batch.labels);
        let targets = labels.filter(|&&label| label != IGNORED_LABEL).map(|&label| label as u32);
        ValidationOutcome { name: self.name.clone(), loss: self.last, unigram: unigram.loss(targets) }
    }
}

/// A batch as the trainer takes it, with the source of each of its sequences; these only training asks for.
pub(crate) fn micro_batch<'a>(batch: &'a Batch, sources: &'a [u32]) -> octo_model::MicroBatch<'a> {
    octo_model::MicroBatch {
        ids: &batch.ids,
        labels: &batch.labels,
        positions: &batch.positions,
        cu_seqlens: &batch.cu_seqlens,
        sources,
    }
}
