// out = softmax(scale · q·kᵀ) · v, causal within documents, and the log-sum-exp of each row; grouped query heads; keys and
// values from packed rows or from pages of 64 tokens, bf16 in and out.
//
// One entry a row of kernels/src/tuning.rs. Heads of any multiple of 8 elements up to 256: an entry computes with the
// width in its name, and fills narrower heads up with zeros. Rows begin at multiples of 16 bytes.
// Tile: 16 queries a warp, the query heads of a key-value head side by side, so that decoding reads keys once for all of
// them; blocks of 128 keys. Warps have no roles.
// Stages: four of 64 keys or values (32 where heads are 256 wide), one barrier each, three on their way by cp.async.
// Registers: scores of a block of keys, sums of the output, and up to 128 elements a head also the queries. What came of
// earlier segments of 1,024 keys lies in local memory, touched once a segment.
//   attention_sm80_hd64_*: 210 registers, 0 bytes of shared memory
//   attention_sm80_hd128_*: 254 registers, 0 bytes of shared memory
//   attention_sm80_hd256_*: 255 registers, 0 bytes of shared memory, 96 bytes spilled
// Shared memory: queries and stages; chunks permuted (panel.cuh), no bank conflicts.
//
// | head_dim, rows, keys a stage | threads | shared bytes | blocks on an A100's SM | instructions an mma in the main loop |
// |  64, 128, 64                 |     256 |        49152 |                      1 | 7.3                                  |
// |  64,  16, 64                 |      32 |        34816 |                      4 | 9.55                                 |
// | 128, 128, 64                 |     256 |        98304 |                      1 | 4.7                                  |
// | 128,  16, 64                 |      32 |        69632 |                      2 | 6.95                                 |
// | 256,  64, 32                 |     128 |        98304 |                      1 | 4.55                                 |
// | 256,  16, 32                 |      32 |        73728 |                      2 | 6.35                                 |
//
// Determinism: the canonical order of docs/numerics.md; a row's bits depend on its query, its keys and its position
// alone. A score s enters as 2^(s·c - m·c) with c = scale·log2 e, m·c rounded first, one fused multiply-add, ex2.approx; the
// sum is of the probabilities before they are rounded; out = sums · (1 / sum).
// Floor: 4·head_dim operations a visible pair of query and key at the tensor cores' rate, or when decoding the bytes of
// keys and values. Beside it stands shared memory: with sixteen rows a warp a fragment serves two mma, so an mma takes two
// clocks of reads. That is the rate of an A100's tensor cores (an mma of 4,096 operations in two clocks) and half that of
// an H200's, where it bounds this kernel to 474 TFLOP/s at 1.755 GHz; a tile of 32 rows a warp would halve the reads.
// Few blocks do not fill a device: attention_segments.cu has what decodes few rows.
// Measured: not yet.
#include "attention_tile.cuh"

using Tile = AttentionTile<TILE>;

extern "C" __global__ void __launch_bounds__(Tile::THREADS, Tile::RESIDENT)
    ENTRY(const __grid_constant__ AttentionArguments arguments) {
  AttentionWork work;
  if (!work.find<Tile::ROWS, true>(arguments, blockIdx.x, arguments.group)) return;
  extern __shared__ __align__(128) unsigned char shared[];
  AttentionPipeline<Tile> pipeline(arguments, work, shared_address(shared));
  pipeline.run();
  pipeline.finish();
}
