// A row of logits as it is sampled from, and the set of the tokens that it keeps: id i is bit i mod 32 of word i / 32
// (engine/ops/src/support.rs).
#pragma once
#include "head_rows.cuh"

// Logits times 1/temperature, minus infinity outside the support; without a support all ids are in it.
struct PolicyRow {
  const float* logits;
  const u32* support;
  u32 vocab;
  float inverse;

  // Whether ids from `id` on, which is a multiple of four, are kept: a bit each.
  __device__ __forceinline__ u32 kept(u32 id) const {
    return support == nullptr || id >= vocab ? ~0u : support[id / 32] >> id % 32;
  }
  __device__ __forceinline__ float of(float x, u32 bit) const { return bit != 0 ? __fmul_rn(x, inverse) : minus_infinity(); }
  __device__ __forceinline__ float one(u32 id) const { return of(logits[id], kept(id) & 1); }
  __device__ __forceinline__ float4 four(u32 id) const {
    const float4 x = read_logits(logits, id, vocab);
    const u32 bits = kept(id);
    return make_float4(of(x.x, bits & 1), of(x.y, bits & 2), of(x.z, bits & 4), of(x.w, bits & 8));
  }
};

__device__ __forceinline__ u32 support_words(u32 vocab) { return (vocab + 31) / 32; }

// The set of a row's ids that are not minus infinity. All threads of a block together, a warp a part.
template <class Row>
__device__ __forceinline__ void store_support(const Row& row, u32* words) {
  const u32 lane = threadIdx.x % WARP, warps = blockDim.x / WARP, count = (row.vocab + PART - 1) / PART;
  const float none = minus_infinity();
#pragma unroll 1
  for (u32 p = threadIdx.x / WARP; p < count; p += warps) {
    const float4 x = row.four(p * PART + lane * FOUR);
    const u32 bits = (x.x > none ? 1 : 0) | (x.y > none ? 2 : 0) | (x.z > none ? 4 : 0) | (x.w > none ? 8 : 0);
    // Eight lanes have a word.
    u32 word = bits << lane % 8 * FOUR;
#pragma unroll
    for (u32 apart = 1; apart < 8; apart *= 2) word |= __shfl_xor_sync(FULL_WARP, word, apart);
    const u32 at = p * (PART / 32) + lane / 8;
    if (lane % 8 == 0 && at < support_words(row.vocab)) words[at] = word;
  }
}
