// Loops whose index is a constant of the language, so that it can be an immediate of an instruction.
#pragma once
#include "types.cuh"

template <u32 VALUE>
struct Constant {
  static constexpr u32 value = VALUE;
};

// Calls f(Constant<0>), …, f(Constant<COUNT - 1>).
template <u32 COUNT, u32 FIRST = 0, class F>
__device__ __forceinline__ void unroll(F&& f) {
  if constexpr (FIRST < COUNT) {
    f(Constant<FIRST>{});
    unroll<COUNT, FIRST + 1>(f);
  }
}
