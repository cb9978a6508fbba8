// What attention.cu does for tiles of sixteen rows, by eight warps instead of one and of segments of 1,024 keys each by itself:
// so few rows that time is what one block waits for. attention_merge.cu makes rows of what the segments come to; where tables
// of pages have room for one segment, its block does.
//
// Grid: x as in attention.cu; y deals out segments, block y having numbers y, y + gridDim.y, … The host knows how many a
// table of pages has room for, not how long contexts are: blocks past a tile's last key end at once. Pages only.
// One entry a row of kernels/src/tuning/table.rs. Tile: sixteen rows; each warp has a block of 128 keys, and then columns of
// the values, sixteen at least (attention_segment.cuh). Eight rows and fewer leave out what the other eight would cost.
// Stages: each warp has a ring of keys of its own, of all together 80 KiB (heads of 64) or 64 KiB on their way by cp.async;
// then come four stages of 16 KiB of values for all, three on their way.
//   attention_segments_sm80_hd64_*: 142 registers, 0 bytes of shared memory
//   attention_segments_sm80_hd128_*: 154 registers, 0 bytes of shared memory
//   attention_segments_sm80_hd256_*: 198 registers, 0 bytes of shared memory
// Shared memory: 97 KiB; chunks permuted (panel.cuh), no bank conflicts.
// Instructions an mma, all warps' and all that is done for a block of keys: 15.35, 11.55 and 9.5 for sixteen rows of heads of
// 64, 128 and 256.
//
// Determinism: attention.cu restarts its state at every segment and joins them in ascending order; so who walks a segment
// changes no bit. Within it each sum is the chain that it is there: a score's over the elements, an output's over the keys,
// the four of the probabilities over the keys, which pass from warp to warp.
// Floor: the bytes of keys and values. A multiprocessor takes 64 a clock from L2, so that a segment takes 4,096 clocks for
// heads of 64 (2.2 µs of an H200), twice that for 128. An output's chain of 64 mma takes some 2,100 and runs beside it.
// Predicted for an H200 and groups of four: 2.95 µs, of 7.3 round trips to memory and 1,900 instructions a warp, where one warp
// took 11; heads of 128 5.3 µs, of shared memory: keys and values go in and out once, probabilities in once and out to each warp.
// A segment of a row leaves 4·head_dim + 8 bytes and they are read again: for a group of four heads under a hundredth of the
// segment's keys and values.
// Measured: not yet.
#include "attention_segment.cuh"

using Tile = SegmentTile<TILE>;

extern "C" __global__ void __launch_bounds__(Tile::THREADS, Tile::RESIDENT)
    ENTRY(const __grid_constant__ AttentionArguments arguments) {
  AttentionWork work;
  if (!work.find<Tile::ROWS, true>(arguments, blockIdx.x, arguments.group)) return;
  extern __shared__ __align__(128) unsigned char shared[];
  if (work.rows - work.first > 8) {
    SegmentPipeline<Tile, 2>(arguments, work, shared_address(shared)).run();
  } else {
    SegmentPipeline<Tile, 1>(arguments, work, shared_address(shared)).run();
  }
}
