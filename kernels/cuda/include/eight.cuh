// Eight neighbouring elements of a row: 16 bytes of bf16, the unit in which streaming kernels touch memory.
#pragma once
#include "memory.cuh"
#include "pack.cuh"
#include "types.cuh"

constexpr u32 EIGHT = 8;

// bf16 eights travel packed: element 2i in the lower half of word i.
struct Packed {
  u32 word[EIGHT / 2];

  __device__ __forceinline__ float get(u32 i) const { return i % 2 ? high_bf16(word[i / 2]) : low_bf16(word[i / 2]); }
};

__device__ __forceinline__ Packed packed(uint4 v) { return Packed{{v.x, v.y, v.z, v.w}}; }

__device__ __forceinline__ uint4 words(const Packed& v) {
  return make_uint4(v.word[0], v.word[1], v.word[2], v.word[3]);
}

// Eight elements as f32, from memory that other blocks read too.
struct Floats {
  float v[EIGHT];

  __device__ __forceinline__ float get(u32 i) const { return v[i]; }
};

__device__ __forceinline__ Packed read_eight(const bf16* from) { return packed(read_16(from)); }

__device__ __forceinline__ Floats read_eight(const float* from) {
  const float4 low = read_f32x4(from), high = read_f32x4(from + EIGHT / 2);
  return Floats{{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}
