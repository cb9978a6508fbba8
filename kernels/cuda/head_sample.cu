// Draws a token of each row of logits, a block a row: for so many rows that they fill a device (fewer share blocks:
// head_sample_slices.cu). head_sample.cuh says how.
//
// Shapes: logits f32 [rows, vocab], row stride a multiple of four; sampling u32 [rows, 8] (SamplingRow); tokens u32,
// logprob_raw and logprob_sampled f32, each [rows]; support, where it is wanted, u32 [rows, vocab / 32 rounded up]. The
// logits come from the product of gemm.cu (`head_logits`).
// Tile: a block of 1,024 threads a row.
//   head_sample: 49 registers, 2320 bytes of shared memory
// Dynamic shared memory: 8 bytes a part of 128 ids.
//
// Determinism: head_sample.cuh.
// Floor: of the op, the product's. This reads a row of logits three times (L2 has it), once more after cuts or at a
// temperature, once for a support, and four times for top_k and for top_p; at 128 Ki ids 125 ids a thread and pass.
// Measured: not yet.
#include "head_sample.cuh"

constexpr u32 THREADS = 1024;

struct HeadSampleArguments {
  const float* logits;
  const Policy* sampling;
  u32* tokens;
  float* logprob_raw;
  float* logprob_sampled;
  u32* support; // or null
  u64 stride; // elements from row to row of logits
  u32 vocab;
  u32 unused;
};

extern "C" __global__ void __launch_bounds__(THREADS) head_sample(const __grid_constant__ HeadSampleArguments a) {
  extern __shared__ __align__(16) float parts[];
  __shared__ Shared shared;
  const float* logits = a.logits + blockIdx.x * a.stride;
  u32* set = a.support == nullptr ? nullptr : a.support + static_cast<u64>(blockIdx.x) * support_words(a.vocab);
  const SumExp total = row_sum_exp(ModelRow{logits, a.vocab}, parts);
  const Scaled row{logits, a.vocab, 0, part_count(a.vocab), 1.0f, total.max};
  Alone alone{parts};
  Drawn drawn{0, 0.0f};
  if (sample(row, a.sampling[blockIdx.x], total, set, shared, alone, drawn)) {
    a.tokens[blockIdx.x] = drawn.token;
    a.logprob_raw[blockIdx.x] = total.logprob(logits[drawn.token]);
    a.logprob_sampled[blockIdx.x] = drawn.logprob;
  }
}
