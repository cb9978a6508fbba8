// Second stage of column sums: out[c] (+)= Σ parts[p][c], where the first stage has left one row of sums a part.
//
// Tile: a block of 256 threads takes 32 columns; its warps take every eighth part, ascending, and are summed in order.
// The order depends on the number of parts alone.
#pragma once
#include "types.cuh"

constexpr u32 COLUMN_THREADS = 256, COLUMN_GROUPS = COLUMN_THREADS / WARP;

struct ColumnSumsArguments {
  const float* parts; // [count, columns]
  float* out;         // [columns]
  u32 count;
  u32 columns;
  u32 accumulate;
  u32 unused;
};

__device__ __forceinline__ void sum_parts(const ColumnSumsArguments& a) {
  __shared__ float group_sums[COLUMN_GROUPS][WARP];
  const u32 lane = threadIdx.x % WARP, group = threadIdx.x / WARP, column = blockIdx.x * WARP + lane;
  float sum = 0.0f;
  if (column < a.columns) {
#pragma unroll 4
    for (u32 p = group; p < a.count; p += COLUMN_GROUPS) {
      sum = __fadd_rn(sum, a.parts[static_cast<u64>(p) * a.columns + column]);
    }
  }
  group_sums[group][lane] = sum;
  __syncthreads();
  if (group != 0 || column >= a.columns) return;
#pragma unroll
  for (u32 g = 1; g < COLUMN_GROUPS; ++g) sum = __fadd_rn(sum, group_sums[g][lane]);
  a.out[column] = a.accumulate ? __fadd_rn(a.out[column], sum) : sum;
}
