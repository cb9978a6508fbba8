//! Causal attention within documents, blocked so that no matrix of all rows by all keys ever exists.
//!
//! **The definition** for one row at position p of its document, keys 0 to p counted from the document's
//! start: keys come in blocks of 128, ascending. A score is one chain of fused multiply-adds over the head
//! dimension, times the scale. With each block the running maximum m is raised, the row's state is rescaled
//! by e^(m_old − m), probabilities are e^(score − m), their sum is added in four interleaved chains
//! ((key mod 8)/2, combined 0+1 and 2+3, then both), and out gains Σ p·v in one chain over ascending keys
//! that starts from the rescaled state. The state starts anew every 1,024 keys, and these segments are
//! merged in ascending order. Masked keys contribute exactly 0. So a row's bits depend on its query, its keys
//! and values and nothing else: not on the other rows, on pages or packed rows, chunks, threads or the
//! instruction set.

mod backward;
mod forward;
mod keys;
mod rows;

pub(crate) use backward::{Gradients, backward};
pub(crate) use forward::forward;
pub(crate) use keys::{KeySource, Paged};

/// Keys of one block: **part of the definition**.
const KEYS: usize = 128;

/// Keys after which a row's state starts anew: **part of the definition**. A multiple of [`KEYS`].
const SEGMENT: usize = 1024;

/// Query rows of one head that share a pass over the keys: their scores (32 KB) and state stay in the
/// second-level cache, and packing a block of keys is repaid 64-fold.
const ROWS: usize = 64;

/// The heads of an attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub scale: f32,
}

impl Heads {
    /// Query heads that share a key-value head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}
