// logprob = logit[label] - ln Σ e^logit, of a chunk of rows whose logits lie in the workspace.
//
// Shapes: logits f32 [rows, vocab] with a row stride that is a multiple of four; labels i32 [rows]; logprob f32 [rows]. A
// label below 0 has log-probability 0, one past the vocabulary is no number.
// The logits come from the product of gemm.cu (`head_logits`); kernels/src/head.rs says how many rows are a chunk.
// Tile: a block of 256 a row, a warp a part of 128 ids.
//   head_logprob: 24 registers, 0 bytes of shared memory
// Dynamic shared memory: 8 bytes a part.
// Determinism: head_rows.cuh; no order depends on the chunk.
// Floor: of the op, the product's (gemm.cu): 2·hidden operations a logit. Logits pass through memory once each way besides,
// 8 bytes each: by an A100's rates two fifths of the product's time at hidden 2,048, a fifth at 4,096, less what L2 keeps.
// Partial sums made in the product's epilogue, in the same order, would save that.
// Measured: not yet.
#include "head_rows.cuh"

constexpr u32 THREADS = 256;

struct HeadLogprobArguments {
  const float* logits;
  const i32* labels;
  float* logprob;
  u64 stride; // elements from row to row of logits
  u32 vocab;
  u32 unused;
};

extern "C" __global__ void __launch_bounds__(THREADS)
    head_logprob(const __grid_constant__ HeadLogprobArguments a) {
  extern __shared__ __align__(16) float parts[];
  const u32 row = blockIdx.x;
  const i32 label = a.labels[row];
  if (label < 0) {
    if (threadIdx.x == 0) a.logprob[row] = 0.0f;
    return;
  }
  const float* logits = a.logits + row * a.stride;
  const SumExp total = row_sum_exp(ModelRow{logits, a.vocab}, parts);
  if (threadIdx.x == 0) {
    const float own = static_cast<u32>(label) < a.vocab ? logits[label] : not_a_number();
    a.logprob[row] = total.logprob(own);
  }
}
