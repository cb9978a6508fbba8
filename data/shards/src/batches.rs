//! The batches of a stage: which windows of which sources, in which order, in which step.
//!
//! A source is read as a ring: after its last token comes its first again. Window g holds the inputs
//! `g·T .. g·T+T` of it and their labels, one token later; so windows overlap by one token and every token
//! is a label exactly once a round. An epoch is the `N / T` whole windows that fit into the N tokens; what
//! is left over, fewer than T tokens, opens the next epoch instead of being dropped. Shuffling permutes the
//! windows of an epoch among themselves. Which source gives which window of the stage is a matter of the
//! shares alone (`mixture.rs`).
//!
//! Everything is a pure function of (shares, seed, positions, step), so that a run resumes from integers. The
//! permutation of an epoch hangs on the seed, the epoch and the number of windows and on nothing else of the
//! source, so that a later stage with another mixture goes on in the same epoch where the last one stopped.

use crate::mixture::Shares;
use crate::permutation::Permutation;
use crate::window::{Batch, SequenceOrigin, Window};
use crate::{DocumentOrigin, ShardsError, TokenSource};
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
}

/// A source and its share in a mixture.
#[derive(Clone, Debug)]
pub struct MixturePart {
    /// The name by which it is called in messages.
    pub name: String,
    /// Its tokens.
    pub source: Arc<TokenSource>,
    /// Its share of the tokens; shares are taken relative to their sum.
    pub share: f64,
    /// Windows of it that were taken before step 0: by earlier stages, or by the run that this one branches
    /// from ([`Batches::positions`]).
    pub first_position: u64,
}

/// The batches of a mixture, by step and micro-batch. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Batches {
    mixture: Arc<[MixturePart]>,
    shares: Arc<Shares>,
    options: BatchOptions,
}

/// Far beyond any run, and far enough from overflow.
const MOST_WINDOWS: u64 = u64::MAX >> 1;

impl Batches {
    /// Batches of a mixture, or of one source.
    ///
    /// # Errors
    /// When a share is not positive, a source holds less than one window, or the numbers of tokens do not
    /// divide.
    pub fn new(mixture: Vec<MixturePart>, options: BatchOptions) -> Result<Batches, ShardsError> {
        let BatchOptions { sequence_length, batch_tokens, micro_batch_tokens, .. } = options;
        let shares = Shares::new(mixture.iter().map(|part| (part.name.as_str(), part.share)))?;
        for part in &mixture {
            check_source(&part.source, sequence_length).map_err(|error| match mixture.len() {
                1 => error,
                _ => ShardsError::Source { name: part.name.clone(), source: Box::new(error) },
            })?;
        }
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
        Ok(Batches { mixture: mixture.into(), shares: Arc::new(shares), options })
    }

    /// The sources, in the order by which [`SequenceOrigin::source`] counts them.
    pub fn mixture(&self) -> &[MixturePart] {
        &self.mixture
    }

    /// What batches are made.
    pub fn options(&self) -> &BatchOptions {
        &self.options
    }

    /// Where the document comes from that holds an input of a sequence, counted from its first.
    ///
    /// # Errors
    /// Of shards, where an index cannot be read or has changed.
    pub fn document(
        &self,
        origin: &SequenceOrigin,
        input: usize,
    ) -> Result<Option<DocumentOrigin>, ShardsError> {
        let Some(part) = self.mixture.get(origin.source) else { return Ok(None) };
        let token = (self.start(part, origin.window) + input as u64) % part.source.tokens();
        Ok(part.source.origin(part.source.document_at(token)?))
    }

    /// Micro-batches of a step.
    pub fn micro_batches(&self) -> usize {
        self.options.batch_tokens / self.options.micro_batch_tokens
    }

    /// Windows of an epoch of a source; 0 where there is no such source.
    pub fn windows_per_epoch(&self, source: usize) -> u64 {
        self.mixture.get(source).map_or(0, |part| self.epoch_of(part))
    }

    /// Windows of each source that were taken before a step: what a checkpoint keeps, and what a later stage
    /// or branch gives as [`MixturePart::first_position`] to go on there.
    pub fn positions(&self, step: u64) -> Vec<u64> {
        let given = self.shares.given(self.first_window(step));
        self.mixture.iter().zip(given).map(|(part, given)| position(part, given)).collect()
    }

    /// Passes over each source that a number of steps makes.
    pub fn passes(&self, steps: u64) -> Vec<f64> {
        let given = self.shares.given(self.first_window(steps));
        let passes = |(part, given): (&MixturePart, u64)| {
            given as f64 * self.options.sequence_length as f64 / part.source.tokens() as f64
        };
        self.mixture.iter().zip(given).map(passes).collect()
    }

    /// A micro-batch; `micro` counts from 0 within the step, and on into the next one.
    ///
    /// # Errors
    /// Of shards, what [`crate::ShardSet::read`] says.
    pub fn batch(&self, step: u64, micro: usize) -> Result<Batch, ShardsError> {
        let BatchOptions { sequence_length, micro_batch_tokens, document_mask, .. } = self.options;
        let sequences = micro_batch_tokens / sequence_length;
        let first = self.first_window(step).saturating_add((micro * sequences) as u64).min(MOST_WINDOWS);
        let mut batch = Batch::with_capacity(micro_batch_tokens);
        for (source, given) in self.shares.walk(first).take(sequences) {
            let (window, origin) = self.window(source, given)?;
            batch.push(&self.mixture[source].source, window, sequence_length, document_mask)?;
            batch.origins.push(origin);
        }
        Ok(batch)
    }

    /// All micro-batches of a step.
    ///
    /// # Errors
    /// As [`Batches::batch`].
    pub fn step(&self, step: u64) -> Result<Vec<Batch>, ShardsError> {
        (0..self.micro_batches()).map(|micro| self.batch(step, micro)).collect()
    }

    /// Labels of a whole step that are not ignored, over all its micro-batches; without making them.
    ///
    /// # Errors
    /// Of shards, where an index cannot be read or has changed.
    pub fn targets(&self, step: u64) -> Result<usize, ShardsError> {
        let sequences = self.options.batch_tokens / self.options.sequence_length;
        let mut targets = 0;
        for (source, given) in self.shares.walk(self.first_window(step)).take(sequences) {
            let (window, _) = self.window(source, given)?;
            targets += window.targets(&self.mixture[source].source, self.options.document_mask)?;
        }
        Ok(targets)
    }

    /// The window of the stage with which a step begins.
    fn first_window(&self, step: u64) -> u64 {
        let windows_per_step = (self.options.batch_tokens / self.options.sequence_length) as u64;
        step.saturating_mul(windows_per_step).min(MOST_WINDOWS)
    }

    /// The first token of a window.
    fn start(&self, part: &MixturePart, window: u64) -> u64 {
        let tokens = u128::from(part.source.tokens());
        (u128::from(window) * self.options.sequence_length as u128 % tokens) as u64
    }

    fn epoch_of(&self, part: &MixturePart) -> u64 {
        part.source.tokens() / self.options.sequence_length as u64
    }

    /// The window of a source that has given some before in this stage.
    fn window(&self, source: usize, given: u64) -> Result<(Window, SequenceOrigin), ShardsError> {
        let part = &self.mixture[source];
        let (position, windows) = (position(part, given), self.epoch_of(part));
        let (epoch, index) = (position / windows, position % windows);
        let index = match self.options.order {
            Order::Sequential => index,
            Order::Shuffled => Permutation::new(windows, self.options.seed, epoch).at(index),
        };
        let window = epoch * windows + index;
        let (start, inputs) = (self.start(part, window), self.options.sequence_length);
        let first_document = part.source.document_at(start)?;
        Ok((Window { start, inputs }, SequenceOrigin { source, epoch, window, first_document }))
    }
}

/// Windows of a source taken in all, where this stage has taken so many.
fn position(part: &MixturePart, given: u64) -> u64 {
    part.first_position.saturating_add(given).min(MOST_WINDOWS)
}

/// Whether a source holds a window.
pub(crate) fn check_source(source: &TokenSource, sequence_length: usize) -> Result<(), ShardsError> {
    if sequence_length == 0 {
        let reason = "a sequence has no tokens".to_string();
        return Err(ShardsError::Shape { key: "sequence_length", reason });
    }
    if source.tokens() <= sequence_length as u64 {
        let (tokens, documents) = (source.tokens(), source.documents());
        return Err(ShardsError::TooFewTokens { tokens, documents, sequence_length });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EvaluationBatches, IGNORED_LABEL, TokenizedSource};
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Documents of these lengths whose tokens are all different: a token tells its place.
    fn source(lengths: &[usize]) -> Arc<TokenSource> {
        let mut next = 0u32;
        let documents: Vec<Vec<u32>> = lengths
            .iter()
            .map(|&length| {
                next += length as u32;
                (next - length as u32..next).collect()
            })
            .collect();
        Arc::new(TokenSource::Memory(TokenizedSource::of(&documents)))
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
        }
    }

    /// Batches of one source, that has given some windows before.
    fn batches_from(
        first_position: u64,
        source: Arc<TokenSource>,
        options: BatchOptions,
    ) -> Result<Batches, ShardsError> {
        Batches::new(vec![MixturePart { name: "only".into(), source, share: 1.0, first_position }], options)
    }

    fn batches(source: Arc<TokenSource>, options: BatchOptions) -> Result<Batches, ShardsError> {
        batches_from(0, source, options)
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
            let tokens = source.tokens() as usize;
            prop_assume!(tokens > sequence_length);
            let batches = batches(source, options(sequence_length, order, false)).unwrap();
            let mut seen: HashMap<i32, u64> = HashMap::new();
            for step in 0..epochs * batches.windows_per_epoch(0) {
                for label in batches.batch(step, 0).unwrap().labels {
                    *seen.entry(label).or_default() += 1;
                }
            }
            let labels = epochs * batches.windows_per_epoch(0) * sequence_length as u64;
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
            prop_assume!(source.tokens() as usize > sequence_length);
            let of = |order| {
                let batches = batches(source.clone(), options(sequence_length, order, true)).unwrap();
                let windows = batches.windows_per_epoch(0);
                (epoch * windows..(epoch + 1) * windows).map(|step| {
                    let batch = batches.batch(step, 0).unwrap();
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
            let tokens = source.tokens() as u32;
            prop_assume!(tokens as usize > sequence_length);
            let size = sequence_length * sequences;
            let options = BatchOptions { batch_tokens: size, micro_batch_tokens: size, ..options(sequence_length, order, true) };
            let batches = batches(source.clone(), options).unwrap();
            let batch = batches.batch(step, 0).unwrap();
            let is_start = |token: u32| source.starts(u64::from(token)..u64::from(token) + 1).unwrap().len() == 1;
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
            prop_assert_eq!(batch.targets, batches.targets(step).unwrap());
            for (sequence, origin) in batch.origins.iter().enumerate() {
                let first = batch.ids[sequence * sequence_length];
                prop_assert!(source.document(origin.first_document).unwrap().unwrap().contains(&u64::from(first)));
            }
        }

        #[test]
        fn without_a_mask_a_sequence_is_one_piece(lengths in lengths(), sequence_length in 1usize..12, step in 0u64..20) {
            let source = source(&lengths);
            let tokens = source.tokens() as u32;
            prop_assume!(tokens as usize > sequence_length);
            let batch = batches(source, options(sequence_length, Order::Shuffled, false)).unwrap().batch(step, 0).unwrap();
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
            prop_assume!(source.tokens() as usize > sequence_length);
            let of = |micro: usize, first_position, step| {
                let batches = batches_from(first_position, source.clone(), BatchOptions {
                    batch_tokens: 12 * sequence_length,
                    micro_batch_tokens: micro * sequence_length,
                    ..options(sequence_length, order, mask)
                }).unwrap();
                let mut all = Batch::default();
                for micro in 0..batches.micro_batches() {
                    let batch = batches.batch(step, micro).unwrap();
                    let base = all.ids.len() as u32;
                    all.cu_seqlens.extend(batch.cu_seqlens.iter().skip(usize::from(base > 0)).map(|cut| base + cut));
                    all.ids.extend(batch.ids);
                    all.labels.extend(batch.labels);
                    all.positions.extend(batch.positions);
                    all.targets += batch.targets;
                    all.origins.extend(batch.origins);
                }
                assert_eq!(all.targets, batches.targets(step).unwrap());
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
            let tokens = source.tokens() as usize;
            prop_assume!(tokens > sequence_length);
            let batches = EvaluationBatches::new(source, sequence_length, sequences, mask).unwrap();
            let mut labels = Vec::new();
            for i in 0..batches.count() {
                let batch = batches.batch(i).unwrap();
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
            prop_assert_eq!(batches.batch(batches.count()).unwrap().targets, 0);
        }
    }

    #[test]
    fn too_little_data_says_how_much_is_needed() {
        let error = batches(source(&[3, 5]), options(8, Order::Sequential, true)).unwrap_err();
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
            batches(source(&[50]), options).unwrap_err().to_string()
        };
        assert!(of(0, 4, 8).ends_with("change `sequence_length`"));
        assert!(of(4, 6, 12).ends_with("change `micro_batch_tokens`"));
        assert!(of(4, 0, 12).ends_with("change `micro_batch_tokens`"));
        assert!(of(4, 8, 12).ends_with("change `batch_tokens`"));
        assert!(of(4, 8, 0).ends_with("change `batch_tokens`"));
    }

    #[test]
    fn a_run_may_go_on_for_ever() {
        let options = options(7, Order::Shuffled, true);
        let batch = batches_from(u64::MAX, source(&[20, 30]), options).unwrap().batch(1 << 40, 0).unwrap();
        assert_eq!(batch.ids.len(), 7);
    }
}
