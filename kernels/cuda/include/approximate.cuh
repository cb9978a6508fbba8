// Functions that the hardware approximates: the same bits on every run, errors as stated.
// Section numbers are those of PTX ISA 8.4.
#pragma once
#include "types.cuh"

// 2^x; results below 2^-126 are 0. Section 9.7.3 (ex2).
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// log2(x); off by no more than 2^-22, relative where x is below 1/2 or above 2. Section 9.7.3 (lg2).
__device__ __forceinline__ float log2_approx(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
