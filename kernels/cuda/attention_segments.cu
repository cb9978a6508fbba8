// What attention.cu does for tiles of sixteen rows, of segments of 1,024 keys each by itself: so few rows of so long contexts
// that a block a tile would leave a device idle. attention_merge.cu makes rows of what the segments come to.
//
// Grid: x as in attention.cu; y deals out segments, block y having numbers y, y + gridDim.y, … The host knows how many a
// table of pages has room for, not how long contexts are: blocks past a tile's last key end at once.
// One entry a row of kernels/src/tuning/table.rs; tile, stages and main loop of attention.cu.
//   attention_segments_sm80_hd64_*: 221 registers, 0 bytes of shared memory
//   attention_segments_sm80_hd128_*: 255 registers, 0 bytes of shared memory, 32 bytes spilled
//   attention_segments_sm80_hd256_*: 255 registers, 0 bytes of shared memory, 100 bytes spilled
// Instructions an mma in the main loop: 10.5, 7.95 and 8.35 for heads of 64, 128 and 256, more than there, since the block
// of keys after a segment's last is not its neighbour. Two warps of heads of 128 on an H200's multiprocessor take a third of
// the time that its share of the memory's rate gives them, so this does not show.
//
// Determinism: attention.cu restarts its state at every segment and joins them in ascending order; so who walks a segment
// changes no bit.
// Floor: the bytes of keys and values. A segment of a row leaves 4·head_dim + 8 bytes and they are read again: for a group
// of four heads under a hundredth of the segment's keys and values.
// Measured: not yet.
#include "attention_tile.cuh"

using Tile = AttentionTile<TILE>;

extern "C" __global__ void __launch_bounds__(Tile::THREADS, Tile::RESIDENT)
    ENTRY(const __grid_constant__ AttentionArguments arguments) {
  AttentionWork work;
  if (!work.find<Tile::ROWS, true>(arguments, blockIdx.x, arguments.group)) return;
  extern __shared__ __align__(128) unsigned char shared[];
  AttentionPipeline<Tile, true> pipeline(arguments, work, shared_address(shared));
  pipeline.run_apart();
}
