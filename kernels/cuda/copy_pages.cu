// pages[l][to[i]] = pages[l][from[i]]: whole pages of a KV cache, in every layer.
//
// Shapes: from, to u32 [copies]; pages [layers, pages, sixteens], in groups of 16 bytes. No page is copied to that is
// copied from, so the order of the copies is free. A page past the end is neither read nor written.
// Tile: a block copies 1,024 groups of one page of one layer, a thread four of them, one row of threads after the other.
//   copy_pages: 32 registers, 0 bytes of shared memory
// Determinism: copies.
// Floor: bytes, read and written once.
// Measured: not yet.
#include "memory.cuh"

constexpr u32 THREADS = 256;
constexpr u32 TURNS = 4;

struct CopyPagesArguments {
  const u32* from;
  const u32* to;
  uint4* data;
  u64 layer_stride; // groups from layer to layer
  u32 copies, pages;
  u32 sixteens; // groups of a page
  u32 parts;    // blocks a page
};

extern "C" __global__ void __launch_bounds__(THREADS)
    copy_pages(const __grid_constant__ CopyPagesArguments arguments) {
  const CopyPagesArguments& a = arguments;
  const u32 part = blockIdx.x % a.parts, copy = blockIdx.x / a.parts % a.copies, layer = blockIdx.x / a.parts / a.copies;
  const u32 from = a.from[copy], to = a.to[copy];
  if (from >= a.pages || to >= a.pages) return;
  uint4* const start = a.data + layer * a.layer_stride;
  const uint4* const source = start + static_cast<u64>(from) * a.sixteens;
  uint4* const target = start + static_cast<u64>(to) * a.sixteens;
  const u32 first = part * THREADS * TURNS + threadIdx.x;
  uint4 v[TURNS];
#pragma unroll
  for (u32 i = 0; i < TURNS; ++i) {
    const u32 at = first + i * THREADS;
    if (at < a.sixteens) v[i] = load_once_16(source + at);
  }
#pragma unroll
  for (u32 i = 0; i < TURNS; ++i) {
    const u32 at = first + i * THREADS;
    if (at < a.sixteens) store_16(target + at, v[i]);
  }
}
