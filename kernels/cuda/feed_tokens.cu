// ids[t] = tokens[source[t]] where source[t] names one; a source past the draws leaves the row its id.
//
// Shapes: tokens u32 [draws], source and ids u32 [rows].
// Tile: a thread a row, blocks of 256.
//   feed_tokens: 8 registers, 0 bytes of shared memory
// Determinism: copies.
// Floor: the launch; a few bytes a row.
// Measured: not yet.
#include "types.cuh"

constexpr u32 THREADS = 256;

struct FeedTokensArguments {
  const u32* tokens;
  const u32* source;
  u32* ids;
  u32 draws, rows;
};

extern "C" __global__ void __launch_bounds__(THREADS)
    feed_tokens(const __grid_constant__ FeedTokensArguments arguments) {
  const FeedTokensArguments& a = arguments;
  const u32 row = blockIdx.x * THREADS + threadIdx.x;
  if (row >= a.rows) return;
  const u32 source = a.source[row];
  if (source < a.draws) a.ids[row] = a.tokens[source];
}
