//! A policy-gradient step: which op leaves what the host's loss reads, and which takes its derivatives back.
//!
//! Every policy loss is plain arithmetic on the host over log-probabilities and entropies. So a micro-batch is two
//! programs: forward, after which the host reads both; and backward, from the derivatives that it uploads.

use super::buffers::Inputs;
use super::pass::Pass;
use super::{LOGPROB, MicroBatch, Shape, Trainer, misuse};
use crate::net::Net;
use octo_ops::{DType, HeadPolicy, HeadPolicyBackward, Program, StepResult, View, support};
use octo_queue::{Queue, QueueError};

/// The size of the micro-batches of a policy loss. Fewer rows and documents are filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyShape {
    /// Most rows of a micro-batch.
    pub tokens: u32,
    /// Most sequences of a micro-batch.
    pub documents: u32,
    /// Whether sequences may come with the support that they were drawn from.
    pub support: bool,
}

/// What a policy loss reads of a micro-batch, each under the distribution that was sampled from.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyForward {
    /// Log-probability of each row's label; 0 where there is none.
    pub logprobs: Vec<f32>,
    /// Entropy of each row in nats; 0 where there is no label.
    pub entropies: Vec<f32>,
}

/// Buffers and programs of policy micro-batches.
pub(super) struct Policy {
    shape: PolicyShape,
    inputs: Inputs,
    views: PolicyViews,
    whole: Programs,
    /// For sequences that come with their support.
    cut: Option<Programs>,
    /// The micro-batch whose activations are there: its rows, and whether it came with a support.
    forwarded: Option<Forwarded>,
}

#[derive(Clone, Copy)]
struct Forwarded {
    rows: usize,
    cut: bool,
}

/// What is uploaded and read back for a policy micro-batch.
#[derive(Clone, Copy)]
pub(super) struct PolicyViews {
    inv_temperature: View,
    support: Option<View>,
    lse: View,
    /// Log-probabilities, then entropies, f32 \[2, tokens\]: one readback.
    read: View,
    /// Derivatives by both, f32 \[2, tokens\]: one upload.
    derivatives: View,
}

struct Programs {
    forward: Program,
    first: Program,
    further: Program,
}

impl PolicyShape {
    /// As a shape of inputs: what fills a micro-batch up is a document of its own.
    pub(super) fn inputs(self) -> Shape {
        Shape { tokens: self.tokens, documents: self.documents + 1, sequences: 1, sources: 1 }
    }
}

impl PolicyViews {
    pub(super) fn allocate(queue: &mut Queue, net: &Net, shape: PolicyShape) -> Result<Self, QueueError> {
        let PolicyShape { tokens, support, .. } = shape;
        let words = support::words(net.config.vocab_size);
        Ok(PolicyViews {
            inv_temperature: queue.tensor("policy inv_temperature", DType::F32, &[tokens])?,
            support: match support {
                true => Some(queue.tensor("policy support", DType::U32, &[tokens, words])?),
                false => None,
            },
            lse: queue.tensor("policy lse", DType::F32, &[tokens])?,
            read: queue.tensor("policy logprob and entropy", DType::F32, &[2, tokens])?,
            derivatives: queue.tensor("policy derivatives", DType::F32, &[2, tokens])?,
        })
    }

    fn half(view: View, index: u32) -> View {
        let tokens = view.shape()[1];
        let offset = view.offset + u64::from(index) * u64::from(tokens) * view.dtype.bytes();
        View::new(view.buffer, offset, view.dtype, &[tokens])
    }

    fn forward(&self, q: &mut Queue, pass: &Pass<'_>, support: Option<View>) -> Result<(), QueueError> {
        pass.forward(q)?;
        q.run(HeadPolicy {
            hidden: pass.a.final_norm,
            weight: pass.net.head(),
            labels: pass.inputs.labels,
            inv_temperature: self.inv_temperature,
            support,
            logprob: Self::half(self.read, 0),
            lse: self.lse,
            entropy: Self::half(self.read, 1),
        })
    }

    fn backward(
        &self,
        q: &mut Queue,
        pass: &Pass<'_>,
        support: Option<View>,
        accumulate: bool,
    ) -> Result<(), QueueError> {
        q.run(HeadPolicyBackward {
            hidden: pass.a.final_norm,
            weight: pass.net.head(),
            labels: pass.inputs.labels,
            inv_temperature: self.inv_temperature,
            support,
            lse: self.lse,
            entropy: Self::half(self.read, 1),
            coefficient: Self::half(self.derivatives, 0),
            entropy_coefficient: Self::half(self.derivatives, 1),
            dhidden: pass.a.dnorm,
            dweight: pass.gradient(pass.net.params.head()),
            accumulate,
        })?;
        pass.below_the_head(q, accumulate)
    }

    fn capture(
        &self,
        queue: &mut Queue,
        pass: &Pass<'_>,
        support: Option<View>,
    ) -> Result<Programs, QueueError> {
        Ok(Programs {
            forward: queue.capture(|q| self.forward(q, pass, support))?,
            first: queue.capture(|q| self.backward(q, pass, support, false))?,
            further: queue.capture(|q| self.backward(q, pass, support, true))?,
        })
    }
}

impl Policy {
    /// `pass` is one over the first rows that the shape has.
    pub(super) fn new(
        queue: &mut Queue,
        pass: &Pass<'_>,
        shape: PolicyShape,
        views: PolicyViews,
    ) -> Result<Policy, QueueError> {
        let whole = views.capture(queue, pass, None)?;
        let cut = match views.support {
            Some(_) => Some(views.capture(queue, pass, views.support)?),
            None => None,
        };
        Ok(Policy { shape, inputs: pass.inputs, views, whole, cut, forwarded: None })
    }

    /// The activations are overwritten by something else.
    pub(super) fn forget(&mut self) {
        self.forwarded = None;
    }

    /// Uploads a micro-batch, filled up to its shape.
    fn upload(
        &self,
        queue: &mut Queue,
        batch: &MicroBatch<'_>,
        inv_temperature: &[f32],
        support: Option<&[u32]>,
    ) -> Result<(), QueueError> {
        let (rows, tokens) = (batch.ids.len(), self.shape.tokens as usize);
        let lengths = [batch.labels.len(), batch.positions.len(), inv_temperature.len()];
        if rows > tokens || lengths != [rows; 3] {
            return Err(misuse(format!(
                "a policy micro-batch of {rows} ids and {lengths:?} labels, positions and temperatures, where \
                 {tokens} fit"
            )));
        }
        let most = self.shape.documents as usize + 1;
        if batch.cu_seqlens.len() > most || batch.cu_seqlens.last() != Some(&(rows as u32)) {
            let given = batch.cu_seqlens;
            return Err(misuse(format!("document bounds {given:?} of {rows} rows, where {most} fit")));
        }
        let mut cu_seqlens = batch.cu_seqlens.to_vec();
        cu_seqlens.resize(most + 1, self.shape.tokens);
        let rows = self.inputs.rows;
        upload_filled(queue, rows.ids, batch.ids, 0)?;
        upload_filled(queue, rows.positions, batch.positions, 0)?;
        queue.upload(rows.cu_seqlens, bytemuck::cast_slice(&cu_seqlens))?;
        upload_filled(queue, self.inputs.labels, batch.labels, -1)?;
        upload_filled(queue, self.views.inv_temperature, inv_temperature, 1.0)?;
        match (support, self.views.support) {
            (None, _) => Ok(()),
            // What fills up has no label, and is read nothing of.
            (Some(kept), Some(view)) => {
                queue.upload(view.slice_rows(0, batch.ids.len() as u32), bytemuck::cast_slice(kept))
            }
            (Some(_), None) => Err(misuse("the shape of policy micro-batches has no support".into())),
        }
    }
}

/// Uploads values, and `rest` in place of those that are missing.
fn upload_filled<T: bytemuck::Pod>(
    queue: &mut Queue,
    to: View,
    values: &[T],
    rest: T,
) -> Result<(), QueueError> {
    let mut filled = values.to_vec();
    filled.resize(to.elements(), rest);
    queue.upload(to, bytemuck::cast_slice(&filled))
}

impl Trainer {
    /// The forward pass of a micro-batch of sequences that were drawn, packed one after the other: what a policy loss
    /// reads of it. Labels are the drawn tokens, −1 for prompts and ends; `inv_temperature` is 1/temperature of each
    /// row, `support` the tokens each row could have been (see [`octo_ops::support`]), where it was cut. With the
    /// weights that drew them, log-probabilities have the bits of those that the sampler gave.
    ///
    /// # Errors
    /// A micro-batch larger than [`PolicyShape`], and what the device says.
    pub fn policy_forward(
        &mut self,
        queue: &mut Queue,
        batch: &MicroBatch<'_>,
        inv_temperature: &[f32],
        support: Option<&[u32]>,
    ) -> Result<PolicyForward, QueueError> {
        let policy = self.policy.as_mut().ok_or_else(none)?;
        policy.forget();
        policy.upload(queue, batch, inv_temperature, support)?;
        let cut = policy.cut.as_ref().filter(|_| support.is_some());
        queue.replay(cut.unwrap_or(&policy.whole).forward)?;
        queue.begin_readback(LOGPROB, policy.views.read)?;
        let mut read = vec![0.0f32; policy.views.read.elements()];
        queue.finish_readback(LOGPROB, bytemuck::cast_slice_mut(&mut read))?;
        let rows = batch.ids.len();
        policy.forwarded = Some(Forwarded { rows, cut: support.is_some() });
        let (logprobs, entropies) = read.split_at(policy.shape.tokens as usize);
        Ok(PolicyForward { logprobs: logprobs[..rows].to_vec(), entropies: entropies[..rows].to_vec() })
    }

    /// The backward pass of the micro-batch that [`Trainer::policy_forward`] was last asked for, the step's `index`th
    /// from 0: gradients of Σ coefficient·logprob + Σ entropy_coefficient·entropy over its rows, whose loss the host
    /// minimises. The step is begun by [`Trainer::begin`] and ended by [`Trainer::update`]; its report has the loss 0,
    /// because the device does not know it.
    ///
    /// # Errors
    /// No such micro-batch, other numbers of rows, and what the device says.
    pub fn policy_backward(
        &mut self,
        queue: &mut Queue,
        index: usize,
        coefficients: &[f32],
        entropy_coefficients: &[f32],
    ) -> Result<(), QueueError> {
        let policy = self.policy.as_mut().ok_or_else(none)?;
        let forwarded = policy.forwarded.take();
        let Some(Forwarded { rows, cut }) = forwarded else {
            return Err(misuse("policy_backward without policy_forward just before it".into()));
        };
        let given = [coefficients.len(), entropy_coefficients.len()];
        if given != [rows; 2] {
            return Err(misuse(format!("{given:?} derivatives for {rows} rows")));
        }
        let halves = [coefficients, entropy_coefficients];
        for (index, derivatives) in halves.into_iter().enumerate() {
            let view = PolicyViews::half(policy.views.derivatives, index as u32);
            upload_filled(queue, view, derivatives, 0.0)?;
        }
        let programs = policy.cut.as_ref().filter(|_| cut).unwrap_or(&policy.whole);
        if index == 0 {
            // What the update looks at to see whether the loss is finite.
            queue.upload(self.result, bytemuck::bytes_of(&StepResult::default()))?;
        }
        queue.replay(if index == 0 { programs.first } else { programs.further })?;
        self.by_source = None;
        Ok(())
    }
}

fn none() -> QueueError {
    misuse("the trainer was made without a shape of policy micro-batches".into())
}
