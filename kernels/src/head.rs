//! How the ops of the head cut their rows: logits of a chunk of rows lie in the workspace, never those of all.
//!
//! A chunk's size is a function of the shape alone, so that sums over chunks have one order.

use crate::gemm;
use crate::tuning::Tuning;
use crate::{Addresses, Launch, LaunchError, WORKSPACE_BYTES};
use octo_ops::{BufferId, DType, LinearBackwardInput, LinearBackwardWeight, View};

/// Ids that a part sums.
const PART: u32 = 128;
/// The largest vocabulary: the kernels keep 8 bytes a part in shared memory, and weights of ids are added as integers
/// that must not overflow.
const VOCAB: usize = 1 << 19;
/// Rows of a chunk at most: more would make no product faster.
const ROWS: u64 = 1024;
/// The buffer of views into the workspace.
const WORKSPACE: BufferId = BufferId(u32::MAX);

/// Rows whose logits are in the workspace together.
pub(crate) struct Chunk {
    /// First row.
    pub first: u32,
    /// Rows.
    pub rows: u32,
    /// Their logits, f32 \[rows, vocab\]; for [`InWorkspace`].
    pub logits: View,
}

impl Chunk {
    /// What takes the logits' place: their gradients, bf16 \[rows, vocab\], in the first half of each row's bytes.
    pub fn dlogits(&self) -> View {
        View::new(WORKSPACE, 0, DType::Bf16, self.logits.shape())
            .with_row_stride(2 * self.logits.row_stride() as u32)
    }

    /// The chunk's rows of a tensor.
    pub fn of(&self, view: &View) -> View {
        view.slice_rows(self.first, self.rows)
    }

    /// Bytes of shared memory that a row's kernel needs.
    pub fn shared_bytes(&self) -> u32 {
        8 * (self.logits.row_elements() as u32).div_ceil(PART)
    }

    /// logits = hidden · weightᵀ.
    pub fn logits(
        &self,
        op: &'static str,
        [hidden, weight]: [&View; 2],
        at: &dyn Addresses,
        tuning: &Tuning,
    ) -> Result<Vec<Launch>, LaunchError> {
        let launches =
            gemm::head_logits(op, [&self.of(hidden), weight], &self.logits, &InWorkspace(at), tuning);
        launches.map_err(LaunchError::Product)
    }

    /// The gradients of `hidden` and `weight` from those of the chunk's logits; `dweight` is added to, but by the first
    /// chunk only where the op does so.
    pub fn gradients(
        &self,
        [hidden, weight, dhidden, dweight]: [&View; 4],
        accumulate: bool,
        at: &dyn Addresses,
        tuning: &Tuning,
    ) -> Result<Vec<Launch>, LaunchError> {
        let (at, dy) = (&InWorkspace(at), self.dlogits());
        let input = LinearBackwardInput { dy, weight: *weight, dx: self.of(dhidden) };
        let mut launches = gemm::linear_backward_input(&input, at, tuning).map_err(LaunchError::Product)?;
        let accumulate = accumulate || self.first > 0;
        let own = LinearBackwardWeight { dy, x: self.of(hidden), dweight: *dweight, accumulate };
        launches.extend(gemm::linear_backward_weight(&own, at, tuning).map_err(LaunchError::Product)?);
        Ok(launches)
    }
}

/// The chunks of so many tokens, in ascending order; one without rows where there are none.
pub(crate) fn chunks(op: &'static str, tokens: u32, vocab: usize) -> Result<Vec<Chunk>, LaunchError> {
    if vocab > VOCAB {
        let (constant, got, want) = ("vocab", vocab as f32, "up to 524,288 ids");
        return Err(LaunchError::Constant { op, constant, got, want });
    }
    // Whole parts, so that rows are aligned however they are read.
    let stride = (vocab as u32).next_multiple_of(PART);
    let fit = (WORKSPACE_BYTES / (4 * u64::from(stride)).max(1)).min(ROWS);
    // Whole tiles of the products, where there is room for one.
    let rows = if fit >= 128 { fit / 128 * 128 } else { fit } as u32;
    let chunk = |first: u32| {
        let rows = rows.min(tokens - first);
        let logits = View::new(WORKSPACE, 0, DType::F32, &[rows, vocab as u32]).with_row_stride(stride);
        Chunk { first, rows, logits }
    };
    Ok((0..tokens.max(1)).step_by(rows.max(1) as usize).map(chunk).collect())
}

/// Addresses with those of chunks.
pub(crate) struct InWorkspace<'a>(pub &'a dyn Addresses);

impl Addresses for InWorkspace<'_> {
    fn address(&self, view: &View) -> u64 {
        if view.buffer == WORKSPACE { self.0.workspace() + view.offset } else { self.0.address(view) }
    }

    fn workspace(&self) -> u64 {
        self.0.workspace()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(tokens: u32, vocab: usize) -> Vec<(u32, u32)> {
        chunks("test", tokens, vocab).unwrap().iter().map(|chunk| (chunk.first, chunk.rows)).collect()
    }

    #[test]
    fn chunks_cover_the_rows_in_order_and_fit_the_workspace() {
        assert_eq!(cut(0, 700), [(0, 0)]);
        assert_eq!(cut(2050, 700), [(0, 1024), (1024, 1024), (2048, 2)]);
        assert_eq!(cut(1, 128_256), [(0, 1)]);
        for vocab in [1, 13, 32_000, 128_256, 151_936, VOCAB] {
            let chunks = chunks("test", 5000, vocab).unwrap();
            assert!(chunks.iter().all(|chunk| chunk.logits.span_bytes() <= WORKSPACE_BYTES), "{vocab}");
            assert!(chunks[0].rows >= 64, "{vocab}");
            assert_eq!(chunks.iter().map(|chunk| chunk.rows).sum::<u32>(), 5000);
            assert!(chunks[0].shared_bytes() <= 48 * 1024);
        }
    }

    #[test]
    fn the_number_of_rows_does_not_change_where_chunks_end() {
        assert_eq!(cut(1030, 40)[0], cut(5000, 40)[0]);
    }

    #[test]
    fn more_ids_than_the_kernels_keep_are_refused() {
        let refused = chunks("head_loss", 1, VOCAB + 1).err().unwrap().to_string();
        assert!(refused.contains("`vocab` is 524289"), "{refused}");
    }

    #[test]
    fn gradients_lie_where_the_logits_were() {
        let chunk = &chunks("test", 3, 700).unwrap()[0];
        assert_eq!((chunk.logits.row_stride(), chunk.dlogits().row_stride()), (768, 1536));
        assert_eq!(chunk.dlogits().dtype, DType::Bf16);
    }
}
