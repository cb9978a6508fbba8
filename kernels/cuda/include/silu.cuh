// silu(x) = x · sigmoid(x), in f32, the same wherever it is fused.
//
// e^-x is ex2.approx(-x · log2 e): the same bits on every run, and off by no more than |x|·2^-23 + 2^-22 relative, far
// below the 2^-9 of the bf16 it ends in. All else is rounded to nearest, one operation at a time. Where e^-x overflows
// (x < -88.7) the sigmoid is 0.
#pragma once
#include "approximate.cuh"

__device__ __forceinline__ float sigmoid(float x) {
  return __frcp_rn(__fadd_rn(1.0f, exp2_approx(__fmul_rn(x, -1.44269504f))));
}

// silu(gate) · up.
__device__ __forceinline__ float silu_product(float gate, float up) {
  return __fmul_rn(__fmul_rn(gate, sigmoid(gate)), up);
}

// The gradients of silu(gate) · up.
struct SwigluGradient {
  float gate, up;

  __device__ __forceinline__ SwigluGradient(float dproduct, float g, float u) {
    const float s = sigmoid(g);
    const float slope = __fmul_rn(s, __fadd_rn(1.0f, __fmul_rn(g, __fsub_rn(1.0f, s))));
    gate = __fmul_rn(__fmul_rn(dproduct, u), slope);
    up = __fmul_rn(__fmul_rn(dproduct, g), s);
  }
};
