// Local memory on purpose: what a thread needs so seldom that registers are too dear for it. A compiler left alone would
// keep an array whose indices are constants in registers.
// Section numbers are those of PTX ISA 8.4.
#pragma once
#include "types.cuh"

// COUNT times four numbers of a thread.
template <u32 COUNT>
struct LocalArray {
  float4 values[COUNT];

  // Section 9.7.8 (st).
  __device__ __forceinline__ void set(u32 i, float4 v) {
    asm volatile("st.local.v4.f32 [%0], {%1,%2,%3,%4};" ::"l"(address(i)), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w)
                 : "memory");
  }

  // Section 9.7.8 (ld).
  __device__ __forceinline__ float4 get(u32 i) const {
    float4 v;
    asm volatile("ld.local.v4.f32 {%0,%1,%2,%3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "l"(address(i))
                 : "memory");
    return v;
  }

 private:
  // Section 9.7.8 (cvta).
  __device__ __forceinline__ u64 address(u32 i) const { return __cvta_generic_to_local(values + i); }
};
