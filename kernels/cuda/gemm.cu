// d[m, n] = Σₖ a(m, k)·b(n, k), bf16 in, f32 sums, and something done to the result before it is stored.
//
// One entry a row of kernels/src/tuning.rs: LAYOUT says which operands have k contiguous, EPILOGUE what becomes of the
// sums, TILE the block's shape. Shapes: any m, n and k; rows of a and b begin at multiples of 16 bytes.
//
//   *_16x16x64_s20: 48 registers, 0 bytes of shared memory
//   *_16x64x64_s6: 68 registers, 0 bytes of shared memory
//   *_32x32x64_s12: 194 registers, 0 bytes of shared memory
//   *_32x64x64_s6: 146 registers, 0 bytes of shared memory
//   *_64x64x64_s4: 126 registers, 0 bytes of shared memory
//   *_128x64x64_s4: 168 registers, 0 bytes of shared memory
//   *_128x128x32_s4: 248 registers, 0 bytes of shared memory
//   *_128x256x32_s4: 244 registers, 0 bytes of shared memory
//
// | tile, stages      | threads | dynamic shared bytes | blocks on an A100's SM | instructions an mma in the main loop |
// | 16 × 16 × 64, 20  |      64 |                81920 |                      2 | 12.8                                 |
// | 16 × 64 × 64, 6   |     128 |                61440 |                      2 | 7.5                                  |
// | 32 × 32 × 64, 12  |      64 |                98304 |                      1 | 5.2                                  |
// | 32 × 64 × 64, 6   |      64 |                73728 |                      2 | 3.8                                  |
// | 64 × 64 × 64, 4   |     128 |                65536 |                      2 | 3.3 (NN 3.4)                         |
// | 128 × 64 × 64, 4  |     128 |                98304 |                      1 | 2.5                                  |
// | 128 × 128 × 32, 4 |     128 |                65536 |                      2 | 2.1 (NN 2.2, TN 2.4)                 |
// | 128 × 256 × 32, 4 |     256 |                98304 |                      1 | 2.0 (NN 2.2, TN 2.2)                 |
//
// Pipeline: cp.async into a ring of stages, one barrier a stage; the fragments of a step are read by ldmatrix while those
// of the step before are multiplied. Warps have no roles. No bank conflicts: chunks are permuted (gemm_tile.cuh), and the
// epilogue exchanges values by shuffles (gemm_epilogue.cuh).
// Determinism: one sum an output, steps of 16 terms ascending, no split of k, no atomics: a row's bits depend neither on
// m, n, tile and grid nor on the rows beside it. A step past the end of k adds products of zeros.
// Floor: the larger of 2·m·n·k operations at the tensor cores' rate and (m·k + n·k + what the epilogue reads and writes)
// bytes at the memory's. A tile reads (M + N)·k·2 bytes through L2. At m ≤ 16 the memory decides, or for few columns and
// long rows the chain of k/16 dependent mma.
// Measured: not yet.
#include "gemm_epilogue.cuh"
#include "gemm_tile.cuh"

using Tile = GemmTile<TILE>;

extern "C" __global__ void __launch_bounds__(Tile::THREADS, Tile::RESIDENT)
    ENTRY(const __grid_constant__ GemmArguments arguments) {
  const GemmOrigin origin = GemmOrigin::of<Tile>(arguments.m, arguments.n);
  GemmSums<Tile> sums = {};
  extern __shared__ __align__(128) unsigned char ring[];
  GemmPipeline<Tile, LAYOUT>(arguments, origin, shared_address(ring)).run(sums);
  EPILOGUE::finish(sums, arguments, origin);
}
