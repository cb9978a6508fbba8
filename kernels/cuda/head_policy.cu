// What a policy loss reads of a chunk of rows whose logits lie in the workspace: with x = logit · inv_temperature over the
// support, logprob = x[label] - lse, lse = ln Σ e^x and entropy = -Σ p · ln p.
//
// Shapes: logits f32 [rows, vocab] with a row stride that is a multiple of four; labels i32, inv_temperature, logprob, lse and
// entropy f32, each [rows]; support u32 [rows, vocab / 32 rounded up], or null for all ids. All three are 0 for a label below
// 0; one past the vocabulary has a log-probability that is no number, one outside the support minus infinity.
// Tile: a block of 256 a row, a warp a part of 128 ids; then a thread four ids a turn, for the entropy.
//   head_policy: 30 registers, 32 bytes of shared memory
// Dynamic shared memory: 8 bytes a part.
// Determinism: head_rows.cuh, so that logprob has the bits of head_sample's logprob_sampled. The entropy is
// ln Σ e^(x - max) - Σ (x - max) · e^(x - max) / Σ e^(x - max), a thread's terms one chain, threads by the tree of reduce.cuh;
// no order depends on the chunk.
// Floor: of the op, the product's, as of head_logprob.cu. Logits pass through memory once on their way out and twice back,
// 12 bytes each, less what L2 keeps; partial sums made in the product's epilogue would save all three.
// Measured: not yet.
#include "head_policy.cuh"

constexpr u32 THREADS = 256;

struct HeadPolicyArguments {
  const float* logits;
  const i32* labels;
  const float* inv_temperature;
  const u32* support; // or null
  float* logprob;
  float* lse;
  float* entropy;
  u64 stride; // elements from row to row of logits
  u32 vocab;
  u32 unused;
};

// (x - base) · e^(x - base); 0 of minus infinity.
__device__ __forceinline__ float moment_of(float x, float base) {
  return __fmul_rn(fmaxf(__fsub_rn(x, base), -128.0f), exp_apart(x, base));
}

extern "C" __global__ void __launch_bounds__(THREADS) head_policy(const __grid_constant__ HeadPolicyArguments a) {
  extern __shared__ __align__(16) float parts[];
  __shared__ float sums[THREADS / WARP];
  const u32 t = blockIdx.x;
  const i32 label = a.labels[t];
  if (label < 0) {
    if (threadIdx.x == 0) a.logprob[t] = a.lse[t] = a.entropy[t] = 0.0f;
    return;
  }
  const u32* support = a.support == nullptr ? nullptr : a.support + static_cast<u64>(t) * support_words(a.vocab);
  const PolicyRow row{a.logits + t * a.stride, support, a.vocab, a.inv_temperature[t]};
  const SumExp total = row_sum_exp(row, parts);
  const float base = base_of(total.max);
  float moment = 0.0f;
#pragma unroll 2
  for (u32 id = threadIdx.x * FOUR; id < a.vocab; id += THREADS * FOUR) {
    const float4 x = row.four(id);
    moment = __fadd_rn(moment, __fadd_rn(__fadd_rn(moment_of(x.x, base), moment_of(x.y, base)),
                                         __fadd_rn(moment_of(x.z, base), moment_of(x.w, base))));
  }
  moment = block_sum(moment, sums);
  if (threadIdx.x == 0) {
    a.logprob[t] = total.logprob(static_cast<u32>(label) < a.vocab ? row.one(label) : not_a_number());
    a.lse[t] = total.lse();
    const double mean = static_cast<double>(__fdiv_rn(moment, total.sum));
    a.entropy[t] = __double2float_rn(__dsub_rn(log_f64(static_cast<double>(total.sum)), mean));
  }
}
