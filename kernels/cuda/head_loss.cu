// Loss of a chunk of rows, and their logits turned into the gradients of logits, in place, in bf16:
// loss = ln Σ e^logit - logit[label], dlogit = (e^(logit - max) / Σ - [id = label]) · inv_targets.
//
// Shapes: logits f32 [rows, vocab] with a row stride that is a multiple of four; labels i32 [rows]; loss f32 [rows]. The
// gradients of a row take the first half of its bytes, so their rows lie twice as many elements apart. A label below 0 has
// loss 0 and gradients 0; one past the vocabulary a loss that is no number, which halts the step.
// The op is four launches a chunk (kernels/src/head.rs): logits, this, and the products of linear_backward_input and
// linear_backward_weight.
// Tile: a block of 256 a row; head_gradients.cuh.
//   head_loss: 24 registers, 0 bytes of shared memory
// Dynamic shared memory: 8 bytes a part of 128 ids.
// Determinism: head_rows.cuh. Gradients come from maximum and sum, each id by itself, and are rounded to bf16 once. The
// gradient of the weight adds chunk after chunk: its order hangs on the vocabulary's size.
// Floor: of the op, 6·hidden operations a logit. Through memory besides: 18 bytes a logit (4 written, 4 read twice, 2 written,
// 2 read twice), by an A100's rates 0.3 of the products' time at hidden 2,048, less what L2 keeps; and a chunk reads the weight
// twice and updates its gradient, 12 bytes a weight: a chunk of 512 rows would leave the gradient's product bound by that, not
// by its operations, one of 1,024 does not.
// Measured: not yet.
#include "head_gradients.cuh"

constexpr u32 THREADS = 256;
constexpr u32 INV_TARGETS = 4; // word of StepBlock (engine/ops/src/blocks.rs)

struct HeadLossArguments {
  float* logits;
  const i32* labels;
  const float* step_block;
  float* loss;
  u64 stride; // elements from row to row of logits
  u32 vocab;
  u32 unused;
};

// Gradients of a row's logits from the logits.
struct RowGradient {
  float base, scale, inv_targets;
  u32 label;

  __device__ __forceinline__ float of(float x, u32 id) const {
    const float probability = __fmul_rn(exp_apart(x, base), scale);
    return id == label ? __fsub_rn(probability, inv_targets) : probability;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS) head_loss(const __grid_constant__ HeadLossArguments a) {
  extern __shared__ __align__(16) float parts[];
  const u32 row = blockIdx.x;
  const i32 label = a.labels[row];
  float* logits = a.logits + row * a.stride;
  if (static_cast<u32>(label) >= a.vocab) {
    if (threadIdx.x == 0) a.loss[row] = label < 0 ? 0.0f : not_a_number();
    no_gradients<THREADS>(logits, a.vocab);
    return;
  }
  const ModelRow row_logits{logits, a.vocab};
  const SumExp total = row_sum_exp(row_logits, parts);
  if (threadIdx.x == 0) a.loss[row] = -total.logprob(logits[label]);
  const float inv_targets = a.step_block[INV_TARGETS];
  const RowGradient gradient{base_of(total.max), __fdiv_rn(inv_targets, total.sum), inv_targets, static_cast<u32>(label)};
  row_gradients<THREADS>(logits, row_logits, gradient);
}
