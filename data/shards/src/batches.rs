//! The batches of a run: which windows, in which order, in which step.
//!
//! The source is read as a ring: after its last token comes its first again. Window g holds the inputs
//! `g·T .. g·T+T` of it and their labels, one token later; so windows overlap by one token and every token
//! is a label exactly once a round. An epoch is the `N / T` whole windows that fit into the N tokens; what
//! is left over, fewer than T tokens, opens the next epoch instead of being dropped. Shuffling permutes the
//! windows of an epoch among themselves. Everything is a pure function of (seed, position), so that a run
//! resumes from integers.

use crate::permutation::Permutation;
use crate::window::{Batch, SequenceOrigin, Window};
use crate::{ShardsError, TokenizedSource};
use std::sync::Arc;

/// In which order windows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they stand in the stream.
    Sequential,
    /// Permuted within each epoch, anew in each.
    Shuffled,
}

/// What batches to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// Input tokens of a sequence.
    pub sequence_length: usize,
    /// Input tokens of an optimizer step; whole micro-batches.
    pub batch_tokens: usize,
    /// Input tokens of a micro-batch; whole sequences.
    pub micro_batch_tokens: usize,
    /// The order of windows.
    pub order: Order,
    /// The seed of a shuffled order.
    pub seed: u64,
    /// Whether attention, positions and labels stop at document ends.
    pub document_mask: bool,
    /// The position of step 0: windows of this source that were taken before.
    pub first_position: u64,
}

/// The batches of a source, by step and micro-batch.
#[derive(Clone, Debug)]
pub struct Batches {
    source: Arc<TokenizedSource>,
    options: BatchOptions,
    windows_per_epoch: u64,
}

impl Batches {
    /// Batches of a source.
    ///
    /// # Errors
    /// When the source holds less than one window, or the numbers of tokens do not divide.
    pub fn new(source: Arc<TokenizedSource>, options: BatchOptions) -> Result<Batches, ShardsError> {
        let BatchOptions { sequence_length, batch_tokens, micro_batch_tokens, .. } = options;
        check_source(&source, sequence_length)?;
        let shape = |key, reason| Err(ShardsError::Shape { key, reason });
        if micro_batch_tokens == 0 || !micro_batch_tokens.is_multiple_of(sequence_length) {
            let reason = format!(
                "a micro-batch of {micro_batch_tokens} tokens is not whole sequences of {sequence_length}"
            );
            return shape("micro_batch_tokens", reason);
        }
        if batch_tokens == 0 || !batch_tokens.is_multiple_of(micro_batch_tokens) {
            let reason =
                format!("a step of {batch_tokens} tokens is not whole micro-batches of {micro_batch_tokens}");
            return shape("batch_tokens", reason);
        }
        let windows_per_epoch = (source.tokens().len() / sequence_length) as u64;
        Ok(Batches { source, options, windows_per_epoch })
    }

    /// The source.
    pub fn source(&self) -> &Arc<TokenizedSource> {
        &self.source
    }

    /// Micro-batches of a step.
    pub fn micro_batches(&self) -> usize {
        self.options.batch_tokens / self.options.micro_batch_tokens
    }

    /// Windows of an epoch.
    pub fn windows_per_epoch(&self) -> u64 {
        self.windows_per_epoch
    }

    /// Windows taken before a step: what a later stage or branch gives as `first_position` to go on there.
    pub fn position(&self, step: u64) -> u64 {
        let windows_per_step = (self.options.batch_tokens / self.options.sequence_length) as u64;
        // Far beyond any run, and far enough from overflow.
        self.options.first_position.saturating_add(step.saturating_mul(windows_per_step)).min(u64::MAX >> 1)
    }

    /// Passes over the source that a number of steps makes.
    pub fn passes(&self, steps: u64) -> f64 {
        steps as f64 * self.options.batch_tokens as f64 / self.source.tokens().len() as f64
    }

    /// A micro-batch; `micro` counts from 0 within the step, and on into the next one.
    pub fn batch(&self, step: u64, micro: usize) -> Batch {
        let BatchOptions { sequence_length, micro_batch_tokens, document_mask, .. } = self.options;
        let sequences = micro_batch_tokens / sequence_length;
        let first = self.position(step) + (micro * sequences) as u64;
        let mut batch = Batch::with_capacity(micro_batch_tokens);
        for position in first..first + sequences as u64 {
            let (window, origin) = self.window(position);
            batch.push(&self.source, window, sequence_length, document_mask);
            batch.origins.push(origin);
        }
        batch
    }

    /// Labels of a whole step that are not ignored, over all its micro-batches; without making them.
    pub fn targets(&self, step: u64) -> usize {
        (self.position(step)..self.position(step + 1))
            .map(|position| self.window(position).0.targets(&self.source, self.options.document_mask))
            .sum()
    }

    fn window(&self, position: u64) -> (Window, SequenceOrigin) {
        let (epoch, index) = (position / self.windows_per_epoch, position % self.windows_per_epoch);
        let index = match self.options.order {
            Order::Sequential => index,
            Order::Shuffled => Permutation::new(self.windows_per_epoch, self.options.seed, epoch).at(index),
        };
        let window = epoch * self.windows_per_epoch + index;
        let inputs = self.options.sequence_length;
        let start = u128::from(window) * inputs as u128 % self.source.tokens().len() as u128;
        let start = start as u64;
        (
            Window { start, inputs },
            SequenceOrigin { epoch, window, first_document: self.source.document_at(start) },
        )
    }
}

/// Every token of a source once, in its order: what a held-out loss is measured on.
///
/// All batches have the same shape; the last is filled up with ignored labels.
#[derive(Clone, Debug)]
pub struct EvaluationBatches {
    source: Arc<TokenizedSource>,
    sequence_length: usize,
    sequences: usize,
    document_mask: bool,
}

impl EvaluationBatches {
    /// Batches of `sequences` sequences each.
    ///
    /// # Errors
    /// When the source holds less than one window, or a batch would be empty.
    pub fn new(
        source: Arc<TokenizedSource>,
        sequence_length: usize,
        sequences: usize,
        document_mask: bool,
    ) -> Result<EvaluationBatches, ShardsError> {
        check_source(&source, sequence_length)?;
        if sequences == 0 {
            let reason = "an evaluation batch has no sequences".to_string();
            return Err(ShardsError::Shape { key: "micro_batch_tokens", reason });
        }
        Ok(EvaluationBatches { source, sequence_length, sequences, document_mask })
    }

    /// Number of batches.
    pub fn count(&self) -> usize {
        self.windows().div_ceil(self.sequences)
    }

    /// A batch; from `count()` on there is nothing in them but ignored labels.
    pub fn batch(&self, index: usize) -> Batch {
        let mut batch = Batch::with_capacity(self.sequences * self.sequence_length);
        for window in index * self.sequences..(index + 1) * self.sequences {
            let labels = self.source.tokens().len() - 1;
            let start = (window * self.sequence_length).min(labels);
            let inputs = self.sequence_length.min(labels - start);
            batch.push(
                &self.source,
                Window { start: start as u64, inputs },
                self.sequence_length,
                self.document_mask,
            );
            if inputs > 0 {
                let first_document = self.source.document_at(start as u64);
                batch.origins.push(SequenceOrigin { epoch: 0, window: window as u64, first_document });
            }
        }
        batch
    }

    fn windows(&self) -> usize {
        (self.source.tokens().len() - 1).div_ceil(self.sequence_length)
    }
}

fn check_source(source: &TokenizedSource, sequence_length: usize) -> Result<(), ShardsError> {
    if sequence_length == 0 {
        let reason = "a sequence has no tokens".to_string();
        return Err(ShardsError::Shape { key: "sequence_length", reason });
    }
    if source.tokens().len() <= sequence_length {
        return Err(ShardsError::TooFewTokens {
            tokens: source.tokens().len() as u64,
            documents: source.documents() as u64,
            sequence_length,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IGNORED_LABEL;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Documents of these lengths whose tokens are all different: a token tells its place.
    fn source(lengths: &[usize]) -> Arc<TokenizedSource> {
        let mut next = 0u32;
        let documents: Vec<Vec<u32>> = lengths
            .iter()
            .map(|&length| {
                next += length as u32;
                (next - length as u32..next).collect()
            })
            .collect();
        Arc::new(TokenizedSource::of(&documents))
    }

    fn lengths() -> impl Strategy<Value = Vec<usize>> {
        proptest::collection::vec(1usize..9, 1..20)
    }

    fn options(sequence_length: usize, order: Order, document_mask: bool) -> BatchOptions {
        BatchOptions {
            sequence_length,
            batch_tokens: sequence_length,
            micro_batch_tokens: sequence_length,
            order,
            seed: 5,
            document_mask,
            first_position: 0,
        }
    }

    fn order() -> impl Strategy<Value = Order> {
        prop_oneof![Just(Order::Sequential), Just(Order::Shuffled)]
    }

    proptest! {
        #[test]
        fn after_any_number_of_epochs_every_token_was_a_label_equally_often(
            lengths in lengths(), sequence_length in 1usize..12, order in order(), epochs in 1u64..6,
        ) {
            let source = source(&lengths);
            let tokens = source.tokens().len();
            prop_assume!(tokens > sequence_length);
            let batches = Batches::new(source, options(sequence_length, order, false)).unwrap();
            let mut seen: HashMap<i32, u64> = HashMap::new();
            for step in 0..epochs * batches.windows_per_epoch() {
                for label in batches.batch(step, 0).labels {
                    *seen.entry(label).or_default() += 1;
                }
            }
            let labels = epochs * batches.windows_per_epoch() * sequence_length as u64;
            let (least, most) = (labels / tokens as u64, labels.div_ceil(tokens as u64));
            for token in 0..tokens as i32 {
                let times = seen.get(&token).copied().unwrap_or(0);
                prop_assert!((least..=most).contains(&times), "{token}: {times}");
            }
            // In one epoch fewer tokens than a window are left for the next.
            prop_assert!(epochs > 1 || tokens - seen.len() < sequence_length);
        }

        #[test]
        fn an_epoch_is_the_same_windows_in_any_order(
            lengths in lengths(), sequence_length in 1usize..12, epoch in 0u64..4,
        ) {
            let source = source(&lengths);
            prop_assume!(source.tokens().len() > sequence_length);
            let of = |order| {
                let batches = Batches::new(source.clone(), options(sequence_length, order, true)).unwrap();
                let windows = batches.windows_per_epoch();
                (epoch * windows..(epoch + 1) * windows).map(|step| {
                    let batch = batches.batch(step, 0);
                    assert_eq!(batch.origins[0].epoch, epoch);
                    (batch.origins[0].window, batch)
                }).collect::<Vec<_>>()
            };
            let mut shuffled = of(Order::Shuffled);
            shuffled.sort_by_key(|(window, _)| *window);
            prop_assert_eq!(shuffled, of(Order::Sequential));
        }

        #[test]
        fn labels_positions_and_cuts_stop_at_document_ends(
            lengths in lengths(), sequence_length in 1usize..12, sequences in 1usize..4, order in order(), step in 0u64..20,
        ) {
            let source = source(&lengths);
            let tokens = source.tokens().len() as u32;
            prop_assume!(tokens as usize > sequence_length);
            let size = sequence_length * sequences;
            let options = BatchOptions { batch_tokens: size, micro_batch_tokens: size, ..options(sequence_length, order, true) };
            let batches = Batches::new(source.clone(), options).unwrap();
            let batch = batches.batch(step, 0);
            let is_start = |token: u32| source.starts_from(u64::from(token)).first() == Some(&u64::from(token));
            let mut cuts = vec![0];
            for i in 0..size {
                let next = (batch.ids[i] + 1) % tokens;
                prop_assert_eq!(batch.labels[i], if is_start(next) { IGNORED_LABEL } else { next as i32 });
                let goes_on = i % sequence_length > 0 && !is_start(batch.ids[i]);
                prop_assert_eq!(batch.positions[i], if goes_on { batch.positions[i - 1] + 1 } else { 0 });
                if !goes_on && i > 0 {
                    cuts.push(i as u32);
                }
            }
            cuts.push(size as u32);
            prop_assert_eq!(&batch.cu_seqlens, &cuts);
            prop_assert_eq!(batch.targets, batch.labels.iter().filter(|&&label| label >= 0).count());
            prop_assert_eq!(batch.targets, batches.targets(step));
            for (sequence, origin) in batch.origins.iter().enumerate() {
                let first = batch.ids[sequence * sequence_length];
                prop_assert!(source.document(origin.first_document).unwrap().contains(&first));
            }
        }

        #[test]
        fn without_a_mask_a_sequence_is_one_piece(lengths in lengths(), sequence_length in 1usize..12, step in 0u64..20) {
            let source = source(&lengths);
            let tokens = source.tokens().len() as u32;
            prop_assume!(tokens as usize > sequence_length);
            let batch = Batches::new(source, options(sequence_length, Order::Shuffled, false)).unwrap().batch(step, 0);
            prop_assert!(batch.ids.iter().zip(&batch.labels).all(|(&id, &label)| (id + 1) % tokens == label as u32));
            prop_assert!(batch.positions.iter().copied().eq(0..sequence_length as u32));
            prop_assert_eq!(batch.cu_seqlens, [0, sequence_length as u32]);
            prop_assert_eq!(batch.targets, sequence_length);
        }

        #[test]
        fn the_stream_does_not_depend_on_micro_batches_or_on_where_it_is_entered(
            lengths in lengths(), sequence_length in 1usize..8, order in order(), mask: bool, step in 0u64..9,
        ) {
            let source = source(&lengths);
            prop_assume!(source.tokens().len() > sequence_length);
            let of = |micro: usize, first_position, step| {
                let batches = Batches::new(source.clone(), BatchOptions {
                    batch_tokens: 12 * sequence_length,
                    micro_batch_tokens: micro * sequence_length,
                    first_position,
                    ..options(sequence_length, order, mask)
                }).unwrap();
                let mut all = Batch::default();
                for micro in 0..batches.micro_batches() {
                    let batch = batches.batch(step, micro);
                    let base = all.ids.len() as u32;
                    all.cu_seqlens.extend(batch.cu_seqlens.iter().skip(usize::from(base > 0)).map(|cut| base + cut));
                    all.ids.extend(batch.ids);
                    all.labels.extend(batch.labels);
                    all.positions.extend(batch.positions);
                    all.targets += batch.targets;
                    all.origins.extend(batch.origins);
                }
                assert_eq!(all.targets, batches.targets(step));
                all
            };
            let whole = of(12, 0, step);
            for micro in [1, 2, 3, 4, 6] {
                prop_assert_eq!(&of(micro, 0, step), &whole);
            }
            prop_assert_eq!(&of(3, 12 * step, 0), &whole);
        }

        #[test]
        fn evaluation_takes_every_label_once(
            lengths in lengths(), sequence_length in 1usize..12, sequences in 1usize..4, mask: bool,
        ) {
            let source = source(&lengths);
            let tokens = source.tokens().len();
            prop_assume!(tokens > sequence_length);
            let batches = EvaluationBatches::new(source, sequence_length, sequences, mask).unwrap();
            let mut labels = Vec::new();
            for i in 0..batches.count() {
                let batch = batches.batch(i);
                let size = sequences * sequence_length;
                prop_assert_eq!([batch.ids.len(), batch.labels.len(), batch.positions.len()], [size; 3]);
                prop_assert_eq!(*batch.cu_seqlens.last().unwrap() as usize, size);
                prop_assert!(batch.cu_seqlens.windows(2).all(|w| w[0] < w[1]));
                prop_assert!(!batch.origins.is_empty());
                let real: Vec<i32> = batch.labels.iter().copied().filter(|&label| label >= 0).collect();
                prop_assert_eq!(real.len(), batch.targets);
                labels.extend(real);
            }
            let ignored = if mask { lengths.len() - 1 } else { 0 };
            prop_assert_eq!(labels.len(), tokens - 1 - ignored);
            prop_assert!(labels.windows(2).all(|w| w[0] < w[1]));
            prop_assert_eq!(batches.batch(batches.count()).targets, 0);
        }
    }

    #[test]
    fn too_little_data_says_how_much_is_needed() {
        let error = Batches::new(source(&[3, 5]), options(8, Order::Sequential, true)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "8 tokens in 2 documents are too few for one sequence: a sequence length of 8 needs 9; \
             shorten `sequence_length` or add data"
        );
        assert!(EvaluationBatches::new(source(&[]), 1, 1, true).is_err());
    }

    #[test]
    fn numbers_that_do_not_divide_name_the_key() {
        let of = |sequence_length, micro_batch_tokens, batch_tokens| {
            let options = BatchOptions {
                micro_batch_tokens,
                batch_tokens,
                ..options(sequence_length, Order::Sequential, true)
            };
            Batches::new(source(&[50]), options).unwrap_err().to_string()
        };
        assert!(of(0, 4, 8).ends_with("change `sequence_length`"));
        assert!(of(4, 6, 12).ends_with("change `micro_batch_tokens`"));
        assert!(of(4, 0, 12).ends_with("change `micro_batch_tokens`"));
        assert!(of(4, 8, 12).ends_with("change `batch_tokens`"));
        assert!(of(4, 8, 0).ends_with("change `batch_tokens`"));
    }

    #[test]
    fn a_run_may_go_on_for_ever() {
        let options = BatchOptions { first_position: u64::MAX, ..options(7, Order::Shuffled, true) };
        let batch = Batches::new(source(&[20, 30]), options).unwrap().batch(1 << 40, 0);
        assert_eq!(batch.ids.len(), 7);
    }
}
