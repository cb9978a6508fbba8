// Exponential and logarithm in f64, for probabilities whose sums decide: off by a few units of 2^-52, the same on every device.
#pragma once
#include "approximate.cuh"
#include "types.cuh"

// e^x for |x| < 700. x = n · ln 2 + r with ln 2 in two parts (Cody and Waite, 1980), |r| < 0.35; Taylor's series of e^r to
// r^13 leaves 2^-57; 2^n is made of its bits.
__device__ __forceinline__ double exp_f64(double x) {
  const i32 n = __double2int_rn(__dmul_rn(x, 1.4426950408889634));
  const double whole = static_cast<double>(n);
  const double r = __fma_rn(whole, -1.90821492927058770002e-10, __fma_rn(whole, -6.93147180369123816490e-1, x));
  constexpr double TERMS[] = {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
                              1.0 / 720,       1.0 / 120,      1.0 / 24,      1.0 / 6,      0.5,         1.0,
                              1.0};
  double sum = 1.0 / 6227020800.0;
#pragma unroll
  for (u32 i = 0; i < sizeof(TERMS) / sizeof(double); ++i) sum = __fma_rn(sum, r, TERMS[i]);
  return __dmul_rn(sum, __hiloint2double((n + 1023) << 20, 0));
}

// ln x for normal numbers of f32's range: one step of Newton's method, with its second term, from an estimate that is off
// by 2^-20.
__device__ __forceinline__ double log_f64(double x) {
  const double estimate = static_cast<double>(__fmul_rn(log2_approx(static_cast<float>(x)), 0.693147181f));
  const double rest = __fma_rn(x, exp_f64(-estimate), -1.0);
  return __dadd_rn(estimate, __fma_rn(__dmul_rn(rest, rest), -0.5, rest));
}
