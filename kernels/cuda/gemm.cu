// d[m, n] = Σₖ a(m, k)·b(n, k), bf16 in, f32 sums, and something done to the result before it is stored.
//
// One entry a row of kernels/src/tuning.rs: LAYOUT says which operands have k contiguous, EPILOGUE what becomes of the
// sums, TILE the block's shape. Shapes: any m, n and k; rows of a and b begin at multiples of 16 bytes.
//
// | tile, stages      | threads | registers (sm_80) | shared bytes | blocks an SM | instructions an mma, main loop |
// | 16 × 16 × 64, 10  |      64 |                48 |        40960 |            3 | 12.8                           |
// | 16 × 64 × 64, 6   |     128 |          64 to 66 |        61440 |            2 | 7.5                            |
// | 64 × 64 × 64, 4   |     128 |         96 to 126 |        65536 |            2 | 3.2 (NN 3.4)                   |
// | 128 × 128 × 32, 4 |     128 |        244 to 246 |        65536 |            2 | 2.1 (NN 2.2, TN 2.3)           |
// | 128 × 256 × 32, 4 |     256 |        236 to 244 |        98304 |            1 | 2.0 (NN 2.1, TN 2.2)           |
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
  GemmSums<Tile> sums;
  gemm_tile<Tile, LAYOUT>(sums, arguments, origin);
  EPILOGUE::finish(sums, arguments, origin);
}
