//! A source once through, for held-out losses.

use crate::batches::check_source;
use crate::window::{Batch, SequenceOrigin, Window};
use crate::{ShardsError, TokenSource};
use std::sync::Arc;

/// Every token of a source once, in its order: what a held-out loss is measured on.
///
/// All batches have the same shape; the last is filled up with ignored labels.
#[derive(Clone, Debug)]
pub struct EvaluationBatches {
    source: Arc<TokenSource>,
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
        source: Arc<TokenSource>,
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
        let windows = (self.source.tokens() - 1).div_ceil(self.sequence_length as u64);
        windows.div_ceil(self.sequences as u64) as usize
    }

    /// A batch; from `count()` on there is nothing in them but ignored labels.
    ///
    /// # Errors
    /// Of shards, what [`crate::ShardSet::read`] says.
    pub fn batch(&self, index: usize) -> Result<Batch, ShardsError> {
        let labels = self.source.tokens() - 1;
        let mut batch = Batch::with_capacity(self.sequences * self.sequence_length);
        let first = (index as u64).saturating_mul(self.sequences as u64);
        for window in (0..self.sequences as u64).map(|sequence| first.saturating_add(sequence)) {
            let start = window.saturating_mul(self.sequence_length as u64).min(labels);
            let inputs = (labels - start).min(self.sequence_length as u64) as usize;
            batch.push(&self.source, Window { start, inputs }, self.sequence_length, self.document_mask)?;
            if inputs > 0 {
                let first_document = self.source.document_at(start)?;
                batch.origins.push(SequenceOrigin { source: 0, epoch: 0, window, first_document });
            }
        }
        Ok(batch)
    }
}
