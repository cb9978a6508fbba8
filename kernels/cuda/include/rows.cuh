// Who works on a row: a warp, four of them a block, or a block. A thread owns every 32nd (256th) eight of its elements.
#pragma once
#include "eight.cuh"
#include "reduce.cuh"

constexpr u32 WARP_ROWS = 4, BLOCK_THREADS = 256;

// Both say which row this thread works on and which of the row's threads it is, and sum over these. Sums of one thread that
// follow each other without a barrier between them take turns, 0 and 1.
struct WarpRow {
  static constexpr u32 THREADS = WARP;

  static __device__ __forceinline__ u64 row() {
    return static_cast<u64>(blockIdx.x) * WARP_ROWS + threadIdx.x / WARP;
  }
  static __device__ __forceinline__ u32 lane() { return threadIdx.x % WARP; }
  template <u32 TURNS = 1>
  static __device__ __forceinline__ float total(float x, u32 = 0) {
    return warp_sum(x);
  }
};

struct BlockRow {
  static constexpr u32 THREADS = BLOCK_THREADS;

  static __device__ __forceinline__ u64 row() { return blockIdx.x; }
  static __device__ __forceinline__ u32 lane() { return threadIdx.x; }
  template <u32 TURNS = 1>
  static __device__ __forceinline__ float total(float x, u32 turn = 0) {
    __shared__ float part[TURNS][THREADS / WARP];
    return block_sum(x, part[turn]);
  }
};

// The element after `e` of those that a thread owns.
template <class Row>
__device__ __forceinline__ u64 next_element(u64 e) {
  return (e + 1) % EIGHT ? e + 1 : e + 1 + (Row::THREADS - 1) * EIGHT;
}
