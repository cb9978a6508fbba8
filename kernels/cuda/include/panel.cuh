// A matrix of bf16 in shared memory as every matrix product here keeps it.
//
// Rows lie as they do in global memory, their 16-byte chunks permuted within the row, so that eight lanes writing along a
// row (cp.async) and eight lanes reading down a column (ldmatrix) each touch all 32 banks once.
#pragma once
#include "types.cuh"

// ROWS rows of COLUMNS bf16, chunk c of row r at chunk c ^ f(r).
template <u32 ROWS_, u32 COLUMNS_>
struct Panel {
  static constexpr u32 ROWS = ROWS_, COLUMNS = COLUMNS_;
  static constexpr u32 CHUNKS = COLUMNS / 8, ROW_BYTES = COLUMNS * 2;
  static_assert(CHUNKS == 4 || CHUNKS % 8 == 0, "two rows, or eight chunks of one, fill the banks");

  static __device__ __forceinline__ u32 offset(u32 row, u32 chunk) {
    const u32 key = CHUNKS == 4 ? (row >> 1) & 3 : row & 7;
    return row * ROW_BYTES + ((chunk ^ key) << 4);
  }
};
