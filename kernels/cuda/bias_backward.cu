// dbias (+)= column sums of dy.
//
// Shapes: dy bf16 [tokens, n] with a row stride of its own, dbias f32 [n]. Any n, any tokens. Rows made of whole aligned
// eights go 16 bytes at a time; `_any` takes all others, element by element, with the same bits.
// Two launches: `_parts` cuts the rows into at most 64 parts of equal length and leaves a row of sums each; `_finish` sums
// the parts (columns.cuh).
// Tile: `_parts`, a block of 256 threads takes 256 columns of a part; a lane owns an eight, the warps take every eighth row.
// Their sums meet in shared memory, eights transposed at a pitch of 36 words, which no access finds two of in one bank.
//   bias_backward_parts*: 40 registers, 9216 bytes of shared memory
//   bias_backward_finish: 21 registers, 1024 bytes of shared memory
// Determinism: a thread's rows are one chain, the warps and then the parts are summed in fixed order. The order depends on
// tokens and n alone.
// Floor: bytes, 2 an element of dy.
// Measured: not yet.
#include "columns.cuh"
#include "eight.cuh"

constexpr u32 THREADS = 256, WARPS = THREADS / WARP, PITCH = 36;

struct BiasBackwardArguments {
  const bf16* dy;
  float* parts;  // [parts, n]
  u64 dy_stride; // elements from row to row
  u32 tokens, n;
  u32 part_rows; // rows of a part
  u32 strips;    // of 256 columns
};

template <bool ALIGNED>
__device__ __forceinline__ void sum_rows(const BiasBackwardArguments& a) {
  __shared__ float sums[WARPS][EIGHT][PITCH];
  const u32 part = blockIdx.x / a.strips, strip = blockIdx.x % a.strips;
  const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, column = strip * THREADS + lane * EIGHT;
  const u64 first = static_cast<u64>(part) * a.part_rows, past = first + a.part_rows;
  const u64 end = past < a.tokens ? past : a.tokens;
  float sum[EIGHT] = {};
  if (column < a.n) {
#pragma unroll 4
    for (u64 row = first + warp; row < end; row += WARPS) {
      const bf16* from = a.dy + row * a.dy_stride + column;
      if constexpr (ALIGNED) {
        const Packed v = packed(read_once_16(from));
#pragma unroll
        for (u32 i = 0; i < EIGHT; ++i) sum[i] = __fadd_rn(sum[i], v.get(i));
      } else {
#pragma unroll
        for (u32 i = 0; i < EIGHT; ++i) {
          if (column + i < a.n) sum[i] = __fadd_rn(sum[i], to_f32(from[i]));
        }
      }
    }
  }
#pragma unroll
  for (u32 i = 0; i < EIGHT; ++i) sums[warp][i][lane] = sum[i];
  __syncthreads();
  const u32 own = strip * THREADS + threadIdx.x;
  if (own >= a.n) return;
  float total = 0.0f;
#pragma unroll
  for (u32 w = 0; w < WARPS; ++w) total = __fadd_rn(total, sums[w][threadIdx.x % EIGHT][threadIdx.x / EIGHT]);
  a.parts[static_cast<u64>(part) * a.n + own] = total;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    bias_backward_parts(const __grid_constant__ BiasBackwardArguments arguments) {
  sum_rows<true>(arguments);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    bias_backward_parts_any(const __grid_constant__ BiasBackwardArguments arguments) {
  sum_rows<false>(arguments);
}

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
    bias_backward_finish(const __grid_constant__ ColumnSumsArguments arguments) {
  sum_parts(arguments);
}
