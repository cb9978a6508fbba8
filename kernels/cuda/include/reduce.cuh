// Sums over a warp and a block in one fixed tree: the order of additions depends on the number of threads alone, never on
// the grid, and every thread ends with the same bits.
#pragma once
#include "types.cuh"

// Butterfly: partners 16, 8, 4, 2, 1 lanes apart. PTX ISA 8.4, section 9.7.8 (shfl.sync).
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (u32 apart = WARP / 2; apart > 0; apart /= 2) x = __fadd_rn(x, __shfl_xor_sync(FULL_WARP, x, apart));
  return x;
}

// Warps first, then the WARPS (a power of two, at most 32) sums by the same butterfly. `part` is shared memory that no
// thread touches between the caller's last barrier and this call.
template <u32 WARPS>
__device__ __forceinline__ float block_sum(float x, float (&part)[WARPS]) {
  static_assert(WARPS > 1 && WARPS <= WARP && (WARPS & (WARPS - 1)) == 0, "a power of two");
  x = warp_sum(x);
  if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = x;
  __syncthreads();
  x = part[threadIdx.x % WARPS];
#pragma unroll
  for (u32 apart = WARPS / 2; apart > 0; apart /= 2) x = __fadd_rn(x, __shfl_xor_sync(FULL_WARP, x, apart));
  return x;
}
