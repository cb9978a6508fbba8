// Logits of a chunk of rows turned into the gradients of a policy loss by them, in place, in bf16: with
// ln p = logit · inv_temperature - lse, dlogit = inv_temperature · (coefficient · ([id = label] - p) -
// entropy_coefficient · p · (ln p + entropy)) inside the support, 0 outside.
//
// Shapes: logits f32 [rows, vocab] with a row stride that is a multiple of four, their gradients as in head_loss.cu; labels
// i32, the others f32, each [rows]; support u32 [rows, vocab / 32 rounded up], or null for all ids. Rows whose label is not in
// the vocabulary, or whose coefficients are both 0, have gradients 0.
// The op is four launches a chunk (kernels/src/head.rs): logits, this, and the products of linear_backward_input and
// linear_backward_weight.
// Tile: a block of 256 a row; head_gradients.cuh.
//   head_policy_backward: 30 registers, 0 bytes of shared memory
// Determinism: each id by itself, rounded to bf16 once. The gradient of the weight adds chunk after chunk: its order hangs on
// the vocabulary's size.
// Floor: of the op, 6·hidden operations a logit, as of head_loss.cu; logits are read once less, for lse is known.
// Measured: not yet.
#include "head_gradients.cuh"
#include "head_policy.cuh"

constexpr u32 THREADS = 256;

struct HeadPolicyBackwardArguments {
  float* logits;
  const i32* labels;
  const float* inv_temperature;
  const u32* support; // or null
  const float* lse;
  const float* entropy;
  const float* coefficient;
  const float* entropy_coefficient;
  u64 stride; // elements from row to row of logits
  u32 vocab;
  u32 unused;
};

// Gradients of a row's logits from what is sampled from.
struct PolicyGradient {
  float lse, entropy, coefficient, entropy_coefficient, inverse;
  u32 label;

  __device__ __forceinline__ float of(float x, u32 id) const {
    // Finite outside the support, where the probability is 0.
    const float logprob = fmaxf(__fsub_rn(x, lse), -128.0f);
    const float slope = __fmaf_rn(entropy_coefficient, __fadd_rn(logprob, entropy), coefficient);
    const float own = id == label && x > minus_infinity() ? coefficient : 0.0f;
    return __fmul_rn(inverse, __fsub_rn(own, __fmul_rn(exp_apart(x, lse), slope)));
  }
};

extern "C" __global__ void __launch_bounds__(THREADS)
    head_policy_backward(const __grid_constant__ HeadPolicyBackwardArguments a) {
  const u32 t = blockIdx.x;
  const u32 label = static_cast<u32>(a.labels[t]);
  const float coefficient = a.coefficient[t], entropy_coefficient = a.entropy_coefficient[t];
  float* logits = a.logits + t * a.stride;
  if (label >= a.vocab || (coefficient == 0.0f && entropy_coefficient == 0.0f)) {
    no_gradients<THREADS>(logits, a.vocab);
    return;
  }
  const u32* support = a.support == nullptr ? nullptr : a.support + static_cast<u64>(t) * support_words(a.vocab);
  const float inverse = a.inv_temperature[t];
  const PolicyRow row{logits, support, a.vocab, inverse};
  row_gradients<THREADS>(logits, row,
                         PolicyGradient{a.lse[t], a.entropy[t], coefficient, entropy_coefficient, inverse, label});
}
