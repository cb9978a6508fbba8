// Numbers in shared memory by their address in the shared window, as mma.cuh has it.
// Section numbers are those of PTX ISA 8.4.
#pragma once
#include "types.cuh"

// A number of shared memory, OFFSET after a multiple of 4. Section 9.7.8 (ld).
template <u32 OFFSET>
__device__ __forceinline__ float load_shared_f32(u32 from) {
  float v;
  asm volatile("ld.shared.f32 %0, [%1+%2];" : "=f"(v) : "r"(from), "n"(OFFSET) : "memory");
  return v;
}

__device__ __forceinline__ void store_shared_f32(u32 to, float v) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(to), "f"(v) : "memory");
}

// Four words of shared memory, OFFSET after a multiple of 16. Section 9.7.8 (ld, st).
template <u32 OFFSET>
__device__ __forceinline__ void load_shared_16(u32 (&v)[4], u32 from) {
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4+%5];"
               : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
               : "r"(from), "n"(OFFSET)
               : "memory");
}

template <u32 OFFSET>
__device__ __forceinline__ void store_shared_16(u32 to, const u32 (&v)[4]) {
  asm volatile("st.shared.v4.u32 [%0+%1], {%2,%3,%4,%5};" ::"r"(to), "n"(OFFSET), "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3])
               : "memory");
}
