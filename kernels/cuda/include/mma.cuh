// Warp-level matrix instructions and asynchronous copies of sm_80, one wrapper an instruction.
//
// Shared memory is addressed in the 32-bit shared window, global memory in the 64-bit global window.
// Section numbers are those of PTX ISA 8.4.
#pragma once
#include "types.cuh"

// Address of a shared variable within the shared window. Section 9.7.8 (cvta).
__device__ __forceinline__ u32 shared_address(const void* pointer) {
  return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

// Address of global memory within the global window. Section 9.7.8 (cvta).
__device__ __forceinline__ u64 global_address(const void* pointer) {
  return static_cast<u64>(__cvta_generic_to_global(pointer));
}

// Copies 16 bytes from global to shared memory (OFFSET after `to`), past L1; bytes from `source_bytes` (at most 16) on become zero and are
// not read. Both addresses are multiples of 16. The hint asks L2 for the whole 128-byte line, whose other part the next
// stage wants. Section 9.7.8 (cp.async).
template <u32 OFFSET>
__device__ __forceinline__ void copy_async_16(u32 to, u64 from, u32 source_bytes) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0+%1], [%2], 16, %3;" ::"r"(to), "n"(OFFSET), "l"(from),
               "r"(source_bytes)
               : "memory");
}

// As above, 8 bytes at multiples of 8; they may come through L1. Section 9.7.8 (cp.async).
__device__ __forceinline__ void copy_async_8(u32 to, u64 from, u32 source_bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(from), "r"(source_bytes) : "memory");
}

// Closes a group over the copies this thread has issued since the last one. Section 9.7.8 (cp.async.commit_group).
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most PENDING of this thread's groups are under way. Section 9.7.8 (cp.async.wait_group).
template <u32 PENDING>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Four numbers of shared memory, OFFSET after a multiple of 16. Section 9.7.8 (ld).
template <u32 OFFSET>
__device__ __forceinline__ float4 load_shared_f32x4(u32 from) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4+%5];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(from), "n"(OFFSET)
               : "memory");
  return v;
}

// Four 8×8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8, and receives elements
// 2·(l % 4) and +1 of row l / 4 of each (TRANSPOSE: of column l / 4). Section 9.7.13 (ldmatrix).
template <bool TRANSPOSE, u32 OFFSET>
__device__ __forceinline__ void load_matrix_x4(u32 (&d)[4], u32 address) {
  if constexpr (TRANSPOSE) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4+%5];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address), "n"(OFFSET)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4+%5];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address), "n"(OFFSET)
                 : "memory");
  }
}

// As above with the first two matrices alone, whose rows lanes 0 to 15 address.
template <bool TRANSPOSE, u32 OFFSET>
__device__ __forceinline__ void load_matrix_x2(u32 (&d)[4], u32 address) {
  if constexpr (TRANSPOSE) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2+%3];"
                 : "=r"(d[0]), "=r"(d[1])
                 : "r"(address), "n"(OFFSET)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2+%3];"
                 : "=r"(d[0]), "=r"(d[1])
                 : "r"(address), "n"(OFFSET)
                 : "memory");
  }
}

// d += a·b over 16×8 outputs and 16 terms, bf16 in, f32 out. With g = lane / 4 and t = lane % 4:
// a: {row g, terms 2t,+1}, {row g+8, same}, {row g, terms 2t+8,+9}, {row g+8, same};
// b: {terms 2t,+1 of column g}, {terms 2t+8,+9}; d: {row g, columns 2t,+1}, {row g+8, same}.
// Section 9.7.13 (mma, fragments of m16n8k16).
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
