// Philox4x32-10: random numbers as a pure function of a key and a counter, as engine/ops/src/philox.rs has it.
// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, sections 3.3 and 4.
#pragma once
#include "types.cuh"

// Ten rounds over one counter.
__device__ __forceinline__ uint4 philox4x32_10(uint4 c, u32 k0, u32 k1) {
#pragma unroll
  for (u32 round = 0; round < 10; ++round) {
    const u64 a = static_cast<u64>(c.x) * 0xD2511F53u, b = static_cast<u64>(c.z) * 0xCD9E8D57u;
    c = make_uint4(static_cast<u32>(b >> 32) ^ c.y ^ k0, static_cast<u32>(b), static_cast<u32>(a >> 32) ^ c.w ^ k1,
                   static_cast<u32>(a));
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// Block `index` of a stream: counter (index, stream low, stream high, purpose) under the seed.
__device__ __forceinline__ uint4 philox_draw(u64 seed, u32 purpose, u64 stream, u32 index) {
  return philox4x32_10(
      make_uint4(index, static_cast<u32>(stream), static_cast<u32>(stream >> 32), purpose), static_cast<u32>(seed),
      static_cast<u32>(seed >> 32));
}

// Two words as an integer whose distribution is a bell of standard deviation 65536/√3: the sum of their four halves about
// its mean.
__device__ __forceinline__ i32 philox_bell(u32 a, u32 b) {
  return static_cast<i32>((a & 0xffffu) + (a >> 16) + (b & 0xffffu) + (b >> 16)) - 131070;
}
