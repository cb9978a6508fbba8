// Values that neighbouring lanes trade, so that memory is touched in whole sectors although a thread's values lie apart.
#pragma once
#include "types.cuh"

// Swaps the halves of a 2×2 block of values between a lane and its partner across bit BIT: the transpose of the block.
// All lanes of the warp take part. PTX ISA 8.4, section 9.7.8 (shfl.sync).
template <u32 BIT>
__device__ __forceinline__ void exchange(u32& low, u32& high) {
  const bool upper = threadIdx.x & BIT;
  const u32 received = __shfl_xor_sync(FULL_WARP, upper ? low : high, BIT);
  low = upper ? received : low;
  high = upper ? high : received;
}

// Transposes 4×4 values over the lanes of each quad: afterwards v[j] of lane t is what v[t] of lane j was.
__device__ __forceinline__ void transpose_quad(u32 (&v)[4]) {
  exchange<1>(v[0], v[1]);
  exchange<1>(v[2], v[3]);
  exchange<2>(v[0], v[2]);
  exchange<2>(v[1], v[3]);
}
