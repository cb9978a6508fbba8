// A row of f32 logits: the sum of its exponentials, the same in every kernel of the head.
//
// 128 consecutive ids are a part: its maximum m, and its sum of e^(x - m), a lane's four ids as (0 + 1) + (2 + 3), lanes by
// the butterfly of reduce.cuh. Parts are joined against the row's maximum: lane l adds parts l, l + 32, … in one chain of
// fused multiply-adds, lanes again by the butterfly. So the order hangs neither on the number of threads nor on what else
// the kernel does, and parts may be made wherever their logits are. A row says by `four` what it consists of: the logits
// themselves, or what is sampled from (head_policy.cuh).
#pragma once
#include "approximate.cuh"
#include "memory.cuh"
#include "real.cuh"
#include "reduce.cuh"
#include "types.cuh"

constexpr u32 PART = 128, FOUR = 4;

// What a row's ids sum to: sum of e^(x - max).
struct SumExp {
  float max, sum;

  // ln of the probability of an id with this logit, rounded once.
  __device__ __forceinline__ float logprob(float x) const {
    const double apart = __dsub_rn(static_cast<double>(x), static_cast<double>(max));
    return __double2float_rn(__dsub_rn(apart, log_f64(static_cast<double>(sum))));
  }

  // ln of the sum of e^x, rounded once.
  __device__ __forceinline__ float lse() const {
    return __double2float_rn(__dadd_rn(static_cast<double>(max), log_f64(static_cast<double>(sum))));
  }
};

__device__ __forceinline__ float minus_infinity() { return -__int_as_float(0x7f800000); }
__device__ __forceinline__ float not_a_number() { return __int_as_float(0x7fc00000); }

// What is subtracted before exponentials are taken: a finite number where there is nothing but minus infinity.
__device__ __forceinline__ float base_of(float max) { return max == minus_infinity() ? 0.0f : max; }

// e^(x - base).
__device__ __forceinline__ float exp_apart(float x, float base) {
  return exp2_approx(__fmul_rn(__fsub_rn(x, base), 1.44269504f));
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (u32 apart = WARP / 2; apart > 0; apart /= 2) x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, apart));
  return x;
}

// Four neighbouring logits; minus infinity past the end. Rows begin at multiples of 16 bytes, `id` is a multiple of four.
__device__ __forceinline__ float4 read_logits(const float* row, u32 id, u32 vocab) {
  if (id + FOUR <= vocab) return load_once_f32x4(row + id);
  const float none = minus_infinity();
  return make_float4(id < vocab ? row[id] : none, id + 1 < vocab ? row[id + 1] : none,
                     id + 2 < vocab ? row[id + 2] : none, none);
}

// Logits as the model gives them.
struct ModelRow {
  const float* logits;
  u32 vocab;

  __device__ __forceinline__ float4 four(u32 id) const { return read_logits(logits, id, vocab); }
};

// All threads of a block together; each ends with the same bits. `parts` is shared memory for two numbers a part, which
// no thread touches between the caller's last barrier and this call.
template <class Row>
__device__ __forceinline__ SumExp row_sum_exp(const Row& row, float* parts) {
  const u32 lane = threadIdx.x % WARP, warps = blockDim.x / WARP, count = (row.vocab + PART - 1) / PART;
  float *maxima = parts, *sums = parts + count;
#pragma unroll 2
  for (u32 p = threadIdx.x / WARP; p < count; p += warps) {
    const float4 x = row.four(p * PART + lane * FOUR);
    const float max = warp_max(fmaxf(fmaxf(x.x, x.y), fmaxf(x.z, x.w))), base = base_of(max);
    const float sum = warp_sum(__fadd_rn(__fadd_rn(exp_apart(x.x, base), exp_apart(x.y, base)),
                                         __fadd_rn(exp_apart(x.z, base), exp_apart(x.w, base))));
    if (lane == 0) maxima[p] = max, sums[p] = sum;
  }
  __syncthreads();
  float max = minus_infinity(), sum = 0.0f;
#pragma unroll 1
  for (u32 p = lane; p < count; p += WARP) max = fmaxf(max, maxima[p]);
  max = warp_max(max);
  const float base = base_of(max);
#pragma unroll 1
  for (u32 p = lane; p < count; p += WARP) sum = __fmaf_rn(sums[p], exp_apart(maxima[p], base), sum);
  return SumExp{max, warp_sum(sum)};
}
