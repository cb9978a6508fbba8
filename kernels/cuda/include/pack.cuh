// bf16 in and out of f32, one and two at a time. Widening is exact; narrowing rounds to nearest, ties to even.
// Section numbers are those of PTX ISA 8.4.
#pragma once
#include "types.cuh"

// Section 9.7.8 (cvt).
__device__ __forceinline__ bf16 to_bf16(float x) {
  u16 bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return static_cast<bf16>(bits);
}

__device__ __forceinline__ float to_f32(bf16 x) { return __uint_as_float(static_cast<u32>(x) << 16); }

// Two numbers in a word, `low` at the lower address. Section 9.7.8 (cvt: the first source becomes the upper half).
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
  u32 word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}

__device__ __forceinline__ float low_bf16(u32 word) { return __uint_as_float(word << 16); }
__device__ __forceinline__ float high_bf16(u32 word) { return __uint_as_float(word & 0xffff0000u); }
