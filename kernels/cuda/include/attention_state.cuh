// What attention keeps of the keys that a row has seen, and how what is kept of earlier keys and of later ones becomes one.
//
// Segments of 1,024 keys, counted from the document's start, are computed each by itself and joined in ascending order
// (docs/numerics.md): by the block that walked them all, or, where blocks walked some each, by attention_merge.cu. Both take
// the formulas of this file.
#pragma once
#include "approximate.cuh"
#include "types.cuh"

constexpr u32 KEY_SEGMENT = 1024;

// Strides are in elements.
struct AttentionArguments {
  const bf16* q;
  const bf16* k;
  const bf16* v;
  bf16* out;
  float* lse;
  const u32* cu_seqlens;
  const u32* positions;  // null without pages
  const u32* page_table; // null without pages
  u64 q_stride;
  u64 k_stride; // from row to row, or from page to page
  u64 v_stride;
  u64 out_stride;
  u32 tokens;
  u32 documents;
  u32 pages_a_document;
  u32 kv_heads;
  u32 group; // query heads that share a key-value head
  u32 head_dim;
  float scale;
  float scale_log2; // scale · log2 e
  // What blocks that walk single segments leave for attention_merge, of row token · heads + head and segment s at
  // row · segments + s: sums of the output, head_dim of them; the largest score and the sum of the probabilities.
  float* sums;
  float* states;
  u32 segments; // that a row's table of pages has room for
  u32 unused;
};

// A largest score as an exponent of two; 0 where nothing was seen, so that differences are numbers.
__device__ __forceinline__ float exponent_of(float max, float scale_log2) {
  return max == -__int_as_float(0x7f800000) ? 0.0f : __fmul_rn(max, scale_log2);
}

// Factor for what was scaled to `from` and is now scaled to exponent `to`: 1 where they are the same, 0 where nothing was.
__device__ __forceinline__ float rescale(float from, float to, float scale_log2) {
  return exp2_approx(__fsub_rn(__fmul_rn(from, scale_log2), to));
}

// Two neighbouring stretches of a row's keys as one: both scaled to the larger of their largest scores, the earlier first.
struct Join {
  float max, before, after;

  __device__ __forceinline__ Join(float earlier, float later, float scale_log2) : max(fmaxf(earlier, later)) {
    const float exponent = exponent_of(max, scale_log2);
    before = rescale(earlier, exponent, scale_log2);
    after = rescale(later, exponent, scale_log2);
  }

  __device__ __forceinline__ float of(float earlier, float later) const {
    return __fmaf_rn(later, after, __fmul_rn(earlier, before));
  }
};

// ln of the sum of e^(score · scale), from the largest score and the sum of the probabilities.
__device__ __forceinline__ float log_sum_exp(float max, float sum, float scale) {
  return __fmaf_rn(max, scale, __fmul_rn(log2_approx(sum), 0.693147181f));
}
