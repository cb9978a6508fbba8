// What every walk through the keys shares: how keys are counted, where a row stands among them, what it does not see.
#pragma once
#include "attention_rows.cuh"
#include "attention_state.cuh"

// Keys whose scores raise a row's maximum together (docs/numerics.md), and keys of a page.
constexpr u32 KEY_BLOCK = 128, PAGE_TOKENS = 64;
// Eights of keys in a block, and pages in a segment.
constexpr u32 SCORES = KEY_BLOCK / 8, SEGMENT_PAGES = KEY_SEGMENT / PAGE_TOKENS;

// One row as a thread sees it.
struct AttentionRow {
  u32 token, head; // in the arena, and among all query heads
  i32 position;    // -1 where there is no such row

  __device__ __forceinline__ AttentionRow(const AttentionArguments& a, const AttentionWork& work, u32 row) {
    const u32 within = row / a.group;
    token = work.begin + within;
    head = work.kv_head * a.group + row % a.group;
    if (row >= work.rows) {
      position = -1;
    } else {
      position = static_cast<i32>(a.positions != nullptr ? a.positions[token] : within);
    }
  }
};

// The largest of what the threads of a quad hold of a row.
__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, 1));
  return fmaxf(x, __shfl_xor_sync(FULL_WARP, x, 2));
}

// Scores of the block of keys that begins at `block` and that the thread's rows at `position` do not see become -infinity.
// They lie as mma_m16n8k16 leaves them.
__device__ __forceinline__ void hide(u32 block, const i32 (&position)[2], float (&scores)[SCORES][4]) {
  const i32 own = block + threadIdx.x % 4 * 2;
#pragma unroll
  for (u32 j = 0; j < SCORES; ++j) {
#pragma unroll
    for (u32 e = 0; e < 4; ++e) {
      const i32 key = own + static_cast<i32>(j * 8 + e % 2);
      scores[j][e] = key > position[e / 2] ? -__int_as_float(0x7f800000) : scores[j][e];
    }
  }
}
