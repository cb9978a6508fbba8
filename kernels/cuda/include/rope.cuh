// Rotation of a pair of a head's elements by its position (Su et al., 2021), in f32, each operation rounded to nearest.
#pragma once
#include "types.cuh"

// Forward with (cos, sin) of the position, back with (cos, -sin).
__device__ __forceinline__ void rotate(float& a, float& b, float cosine, float sine) {
  const float first = __fsub_rn(__fmul_rn(a, cosine), __fmul_rn(b, sine));
  b = __fadd_rn(__fmul_rn(b, cosine), __fmul_rn(a, sine));
  a = first;
}
