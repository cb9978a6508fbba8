//! From rated samples to updated weights: mini-batches, each a forward pass, a loss on the host, a backward pass.

use crate::objective::{Figures, Objective, Sequence};
use crate::packing::{Packed, pack};
use crate::rollout::Sample;
use crate::run::Device;
use crate::{Clipping, Importance, KlEstimator, Normalise, PolicyLoss, RlError, Totals};
use octo_infer::{Supports, score};
use octo_model::{MicroBatch, Net};
use octo_ops::support;
use octo_recipe::{ImportanceKind, KlKind, KlPlace, LossKind, Normalisation, OldLogprobs, Rl};
use std::ops::Range;

/// A sample with what it is learned by.
pub(crate) struct Lesson {
    pub sample: Sample,
    /// One a token.
    pub advantages: Vec<f64>,
    /// Log-probabilities under the reference, where there is one.
    pub reference: Option<Vec<f32>>,
    /// The same under the policy before the step, where that is asked for.
    pub old: Option<Vec<f32>>,
}

/// What a rollout step has come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learned {
    /// Over all mini-batches.
    pub figures: Figures,
    /// Of what was computed under the very weights that sampled.
    pub on_policy: Figures,
    /// Optimizer steps.
    pub updates: u64,
    /// Sum of the gradient norms.
    pub grad_norm: f64,
    /// Learning rate of the last.
    pub lr: f64,
}

/// The objective that a recipe describes.
pub(crate) fn objective(rl: &Rl) -> Objective {
    let estimator = estimator(rl);
    Objective {
        loss: match rl.loss.kind {
            LossKind::PpoClip => PolicyLoss::PpoClip,
            LossKind::Gspo => PolicyLoss::Gspo,
            LossKind::Cispo => PolicyLoss::Cispo,
        },
        clipping: Clipping {
            low: rl.loss.clip_low,
            high: rl.loss.clip_high,
            dual: rl.loss.dual_clip.unwrap_or(f64::INFINITY),
        },
        normalise: match rl.loss.normalise {
            Normalisation::TokenMean => Normalise::TokenMean,
            Normalisation::SequenceMean => Normalise::SequenceMean,
            Normalisation::ConstantLength => Normalise::ConstantLength(rl.longest_response() as f64),
        },
        importance: match rl.importance.kind {
            ImportanceKind::None => Importance::None,
            ImportanceKind::Truncated => Importance::Truncated { high: rl.importance.high },
            ImportanceKind::Masked => Importance::Masked { low: rl.importance.low, high: rl.importance.high },
        },
        kl: (rl.kl.coefficient > 0.0 && rl.kl.place == KlPlace::Loss)
            .then_some((estimator, rl.kl.coefficient)),
        entropy: rl.entropy_coefficient,
    }
}

/// The estimate of the divergence from the reference.
pub(crate) fn estimator(rl: &Rl) -> KlEstimator {
    match rl.kl.estimator {
        KlKind::K1 => KlEstimator::K1,
        KlKind::K2 => KlEstimator::K2,
        KlKind::K3 => KlEstimator::K3,
    }
}

/// Log-probabilities of responses under other weights.
pub(crate) fn under(device: &mut Device, net: &Net, samples: &[&Sample]) -> Result<Vec<Vec<f32>>, RlError> {
    let whole = |sample: &&Sample| [&sample.prompt.tokens[..], &sample.tokens[..]].concat();
    let sequences: Vec<Vec<u32>> = samples.iter().map(whole).collect();
    let mut logprobs = vec![Vec::new(); samples.len()];
    score(&mut device.queue, net, &mut device.session, &sequences, |index, all| {
        logprobs[index] = all[all.len() - samples[index].tokens.len()..].to_vec();
    })?;
    Ok(logprobs)
}

/// The passes of one step over its lessons.
pub(crate) struct Learner<'a> {
    pub rl: &'a Rl,
    pub objective: Objective,
    /// Rollout steps done, for messages.
    pub step: u64,
}

impl Learner<'_> {
    /// Learns from mini-batches, each so many lessons from the first on.
    pub fn learn(
        &self,
        device: &mut Device,
        lessons: &mut [Lesson],
        mini_batches: &[usize],
    ) -> Result<Learned, RlError> {
        let mut learned = Learned::default();
        if self.rl.old_logprobs == OldLogprobs::Step {
            self.old_policy(device, lessons, &mut learned)?;
        }
        for epoch in 0..self.rl.epochs {
            let mut rest: &[Lesson] = lessons;
            for (number, &size) in mini_batches.iter().enumerate() {
                let (mini_batch, others) = rest.split_at(size);
                rest = others;
                self.update(device, mini_batch, epoch == 0 && number == 0, &mut learned)?;
            }
        }
        Ok(learned)
    }

    fn counts(&self, lesson: &Lesson) -> bool {
        !(self.rl.mask_truncated && lesson.sample.truncated)
    }

    fn packed(&self, lessons: &[Lesson]) -> Vec<Packed> {
        let counting = lessons.iter().enumerate().filter(|(_, lesson)| self.counts(lesson));
        let sequences =
            counting.map(|(i, lesson)| (i, &lesson.sample.prompt.tokens[..], &lesson.sample.tokens[..]));
        pack(sequences, self.rl.micro_batch_tokens as usize)
    }

    /// Runs a micro-batch of some of these lessons forward; gives the log-probability and the entropy of each row, under
    /// the distribution that was sampled from.
    fn forward(
        &self,
        device: &mut Device,
        packed: &Packed,
        lessons: &[Lesson],
    ) -> Result<(Vec<f32>, Vec<f32>), RlError> {
        // Divided in f32, as the sampler does it.
        let inverse = vec![1.0 / self.rl.sampling.temperature as f32; packed.ids.len()];
        let batch = MicroBatch {
            ids: &packed.ids,
            labels: &packed.labels,
            positions: &packed.positions,
            cu_seqlens: &packed.cu_seqlens,
            sources: &[],
        };
        let supports = supports(packed, lessons, device.trainer.net().config.vocab_size);
        let forward =
            device.trainer.policy_forward(&mut device.queue, &batch, &inverse, supports.as_deref())?;
        Ok((forward.logprobs, forward.entropies))
    }

    /// The pass that most steps can do without: log-probabilities before the first update.
    fn old_policy(
        &self,
        device: &mut Device,
        lessons: &mut [Lesson],
        learned: &mut Learned,
    ) -> Result<(), RlError> {
        for packed in self.packed(lessons) {
            let (logprobs, entropies) = self.forward(device, &packed, lessons)?;
            for (index, rows) in packed.members {
                let (old, entropies) = (logprobs[rows.clone()].to_vec(), &entropies[rows]);
                let lesson = &mut lessons[index];
                let seen = lesson.seen(&old, entropies, &lesson.sample.logprobs);
                learned.on_policy.add(&self.objective.weigh(&seen, Totals::default()).1);
                lesson.old = Some(old);
            }
        }
        Ok(())
    }

    /// One optimizer step.
    fn update(
        &self,
        device: &mut Device,
        lessons: &[Lesson],
        is_first: bool,
        learned: &mut Learned,
    ) -> Result<(), RlError> {
        let packs = self.packed(lessons);
        if packs.is_empty() {
            return Ok(());
        }
        let counting = lessons.iter().filter(|lesson| self.counts(lesson));
        let totals = Totals::of(counting.map(|lesson| lesson.sample.tokens.len()));
        let lr = self.rl.schedule.lr(device.trainer.updates());
        device.trainer.begin(&mut device.queue, lr, totals.tokens)?;
        for (number, packed) in packs.iter().enumerate() {
            let (logprobs, entropies) = self.forward(device, packed, lessons)?;
            let rows = packed.ids.len();
            let (mut coefficients, mut entropy_coefficients) = (vec![0.0f32; rows], vec![0.0f32; rows]);
            for (index, rows) in &packed.members {
                let lesson = &lessons[*index];
                let (now, entropies) = (&logprobs[rows.clone()], &entropies[rows.clone()]);
                let old = match self.rl.old_logprobs {
                    OldLogprobs::Rollout => &lesson.sample.logprobs,
                    OldLogprobs::Step => lesson.old.as_deref().unwrap_or(now),
                    OldLogprobs::MiniBatch => now,
                };
                let (weights, figures) = self.objective.weigh(&lesson.seen(now, entropies, old), totals);
                coefficients[rows.clone()].copy_from_slice(&weights.logprob);
                entropy_coefficients[rows.clone()].copy_from_slice(&weights.entropy);
                learned.figures.add(&figures);
                if is_first && self.rl.old_logprobs != OldLogprobs::Step {
                    let (_, figures) =
                        self.objective.weigh(&lesson.seen(now, entropies, &lesson.sample.logprobs), totals);
                    learned.on_policy.add(&figures);
                }
            }
            let Device { queue, trainer, .. } = device;
            trainer.policy_backward(queue, number, &coefficients, &entropy_coefficients)?;
        }
        device.trainer.update(&mut device.queue)?;
        let report = device.trainer.finish(&mut device.queue)?;
        learned.updates += 1;
        learned.lr = lr;
        if let Some(report) = report {
            if report.halted {
                let update = device.trainer.updates();
                return Err(RlError::NotFinite { step: self.step + 1, update, grad_norm: report.grad_norm });
            }
            learned.grad_norm += report.grad_norm;
        }
        Ok(())
    }
}

/// What the token after each row could have been, a row of bits each; `None` where nothing was cut.
fn supports(packed: &Packed, lessons: &[Lesson], vocab: u32) -> Option<Vec<u32>> {
    let words = support::words(vocab) as usize;
    let member = |&(index, ref rows): &(usize, Range<usize>)| {
        lessons[index].sample.supports.as_ref().map(|supports| (supports.as_ref(), rows.clone()))
    };
    let members: Vec<(&Supports, Range<usize>)> = packed.members.iter().map(member).collect::<Option<_>>()?;
    let mut kept = vec![u32::MAX; packed.ids.len() * words];
    for (supports, rows) in members {
        let rows = kept[rows.start * words..rows.end * words].chunks_exact_mut(words);
        rows.enumerate().for_each(|(draw, row)| supports.write(draw, row));
    }
    Some(kept)
}

impl Lesson {
    fn seen<'a>(&'a self, logprobs: &'a [f32], entropies: &'a [f32], old: &'a [f32]) -> Sequence<'a> {
        Sequence {
            logprobs,
            entropies,
            old,
            sampler: &self.sample.logprobs,
            reference: self.reference.as_deref(),
            advantages: &self.advantages,
        }
    }
}
