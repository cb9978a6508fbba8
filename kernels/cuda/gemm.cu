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
