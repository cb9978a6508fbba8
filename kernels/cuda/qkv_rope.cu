// q, k, v = x · weightᵀ + bias, q and k rotated by position, into rows or into pages of keys and values.
//
// One entry a row of kernels/src/tuning.rs. The product is gemm.cu's, bit for bit; bias and rotation follow in f32 on the
// sums, rounded to bf16 once. Shapes: any tokens, hidden, numbers of heads; rows of x and of the weight begin at multiples
// of 16 bytes; any even head_dim (halves that are not whole eights are padded with columns of zeros: 24 costs what 32 does).
// A position past the table makes its row of q and k no numbers; a slot past the pages is left out.
//
//   *_16x32x64_s13: 218 registers, 0 bytes of shared memory
//   *_16x64x64_s6: 100 registers, 0 bytes of shared memory
//   *_32x32x64_s12: 255 registers, 0 bytes of shared memory
//   *_32x64x64_s6: 212 registers, 0 bytes of shared memory
//   *_64x64x64_s4: 128 registers, 0 bytes of shared memory
//   *_128x64x64_s4: 196 registers, 0 bytes of shared memory
//   *_128x128x32_s4: 254 registers, 0 bytes of shared memory
//   *_128x256x32_s4: 250 registers, 0 bytes of shared memory
//
// Pipeline, shared memory, blocks and determinism: gemm.cu. Rows of the weight are fetched by halves of heads (qkv_rope.cuh),
// a multiply-add an address: 7.8, 7.4, 5.2, 3.6, 3.4, 2.6, 2.1 and 2.0 instructions an mma in the main loop, in the order
// above. The epilogue reads the table through L1, 4 bytes an element of q and k, and writes 32 bytes of either half of a head
// at once (16 in the two lowest tiles).
// Floor: as gemm.cu: 2·tokens·hidden·columns operations, or the bytes of x, weight, q, k and v.
// Measured: not yet.
#include "qkv_rope.cuh"

using Tile = GemmTile<TILE>;
using Loader = HeadLoader<OperandPanel<true, Tile::N, Tile::K>, Tile::THREADS>;

extern "C" __global__ void __launch_bounds__(Tile::THREADS, Tile::RESIDENT)
    ENTRY(const __grid_constant__ QkvRopeArguments a) {
  const u32 columns = qkv_columns(a);
  const GemmOrigin origin = GemmOrigin::of<Tile>(a.tokens, columns);
  const GemmArguments product{a.x,      a.weight, nullptr,  nullptr, a.x_stride, a.hidden,
                              0,        0,        a.tokens, columns, a.hidden,   0};
  GemmSums<Tile> sums = {};
  extern __shared__ __align__(128) unsigned char ring[];
  GemmPipeline<Tile, LAYOUT, Loader>(product, origin, shared_address(ring), a).run(sums);
  finish_qkv<Tile>(sums, a, origin);
}
