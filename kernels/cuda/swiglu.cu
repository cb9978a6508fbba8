// product = silu(gate) · up from gate and up interleaved in eights, and the gradients of both in their place.
//
// Shapes: gate_up bf16 [rows, 2·ffn], in it eight of gate, eight of up, and so on; product and dproduct bf16 [rows, ffn];
// each with a row stride of its own. ffn is a multiple of 8. The forward is the second half of the op gate_up_swiglu where
// the matrix product is another library's; otherwise the product's epilogue does the same, bit for bit.
// Tile: a warp takes 32 neighbouring eights of a row, eight warps a block, no loop. Gate and up of an eight are 32
// neighbouring bytes: a lane reads 16 of each half of the warp's kilobyte and trades one piece with its neighbour, so that
// every access of the warp covers whole sectors. Rows that are not made of aligned 16-byte groups go to `_any`, a thread
// an eight, element by element, with the same bits.
//   swiglu_*: 32 registers, 0 bytes of shared memory
// Determinism: element by element, in f32 (silu.cuh), rounded to bf16 once.
// Floor: bytes, 6 an element of product forward, 10 backward.
// Measured: not yet.
#include "eight.cuh"
#include "exchange.cuh"
#include "silu.cuh"

constexpr u32 THREADS = 256;

struct SwigluArguments {
  const bf16* gate_up;
  bf16* product;
  u64 gate_up_stride, product_stride; // elements from row to row
  u32 rows;
  u32 eights; // of a row of the product
};

struct SwigluBackwardArguments {
  const bf16* dproduct;
  bf16* gate_up;
  u64 dproduct_stride, gate_up_stride;
  u32 rows;
  u32 eights;
};

// Where this lane works: the eight it computes, and the two pieces of 16 bytes it reads.
struct Place {
  u32 row;
  u32 eight;
  u32 near, far; // pieces of a row of gate_up
  bool inside;

  __device__ __forceinline__ Place(u32 rows, u32 eights) {
    // The launcher sees to it that warps are fewer than 2³²: dividing 64 bits would cost more than the arithmetic.
    const u32 warp = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    const u32 lane = threadIdx.x % WARP, warps = (eights + WARP - 1) / WARP;
    row = warp / warps;
    const u32 first = warp % warps * WARP;
    eight = first + lane / 2 + lane % 2 * (WARP / 2);
    near = first * 2 + lane;
    far = near + WARP;
    inside = row < rows;
  }
};

// Trades pieces with the neighbour: before, a lane has the near and the far one; afterwards gate and up of its eight.
// It is its own inverse.
__device__ __forceinline__ void trade(Packed& near, Packed& far) {
#pragma unroll
  for (u32 i = 0; i < EIGHT / 2; ++i) exchange<1>(near.word[i], far.word[i]);
}

__device__ __forceinline__ void product_by_warps(const SwigluArguments& a) {
  const Place at(a.rows, a.eights);
  if (!at.inside) return;
  const bf16* row = a.gate_up + at.row * a.gate_up_stride;
  Packed gate{}, up{};
  if (at.near < a.eights * 2) gate = packed(read_once_16(row + static_cast<u64>(at.near) * EIGHT));
  if (at.far < a.eights * 2) up = packed(read_once_16(row + static_cast<u64>(at.far) * EIGHT));
  trade(gate, up);
  Packed product;
#pragma unroll
  for (u32 i = 0; i < EIGHT / 2; ++i) {
    product.word[i] = pack_bf16(silu_product(gate.get(2 * i), up.get(2 * i)),
                                silu_product(gate.get(2 * i + 1), up.get(2 * i + 1)));
  }
  if (at.eight < a.eights) {
    store_16(a.product + at.row * a.product_stride + static_cast<u64>(at.eight) * EIGHT, words(product));
  }
}

__device__ __forceinline__ void gradient_by_warps(const SwigluBackwardArguments& a) {
  const Place at(a.rows, a.eights);
  if (!at.inside) return;
  bf16* row = a.gate_up + at.row * a.gate_up_stride;
  bf16 *near = row + static_cast<u64>(at.near) * EIGHT, *far = row + static_cast<u64>(at.far) * EIGHT;
  Packed gate{}, up{}, dproduct{};
  if (at.near < a.eights * 2) gate = packed(load_once_16(near));
  if (at.far < a.eights * 2) up = packed(load_once_16(far));
  if (at.eight < a.eights) {
    dproduct = packed(read_once_16(a.dproduct + at.row * a.dproduct_stride + static_cast<u64>(at.eight) * EIGHT));
  }
  trade(gate, up);
#pragma unroll
  for (u32 i = 0; i < EIGHT / 2; ++i) {
    const SwigluGradient low(dproduct.get(2 * i), gate.get(2 * i), up.get(2 * i));
    const SwigluGradient high(dproduct.get(2 * i + 1), gate.get(2 * i + 1), up.get(2 * i + 1));
    gate.word[i] = pack_bf16(low.gate, high.gate);
    up.word[i] = pack_bf16(low.up, high.up);
  }
  trade(gate, up);
  if (at.near < a.eights * 2) store_16(near, words(gate));
  if (at.far < a.eights * 2) store_16(far, words(up));
}

// The eight of this thread where a thread takes one: row and number, or none.
__device__ __forceinline__ bool eight_of_thread(u32 rows, u32 eights, u64& row, u32& eight) {
  const u64 index = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x;
  row = index / eights;
  eight = static_cast<u32>(index % eights);
  return row < rows;
}

__device__ __forceinline__ void product_by_threads(const SwigluArguments& a) {
  u64 row;
  u32 eight;
  if (!eight_of_thread(a.rows, a.eights, row, eight)) return;
  const bf16* gate = a.gate_up + row * a.gate_up_stride + static_cast<u64>(eight) * 2 * EIGHT;
  bf16* product = a.product + row * a.product_stride + static_cast<u64>(eight) * EIGHT;
#pragma unroll 1
  for (u32 i = 0; i < EIGHT; ++i) product[i] = to_bf16(silu_product(to_f32(gate[i]), to_f32(gate[EIGHT + i])));
}

__device__ __forceinline__ void gradient_by_threads(const SwigluBackwardArguments& a) {
  u64 row;
  u32 eight;
  if (!eight_of_thread(a.rows, a.eights, row, eight)) return;
  bf16* gate = a.gate_up + row * a.gate_up_stride + static_cast<u64>(eight) * 2 * EIGHT;
  const bf16* dproduct = a.dproduct + row * a.dproduct_stride + static_cast<u64>(eight) * EIGHT;
#pragma unroll 1
  for (u32 i = 0; i < EIGHT; ++i) {
    const SwigluGradient d(to_f32(dproduct[i]), to_f32(gate[i]), to_f32(gate[EIGHT + i]));
    gate[i] = to_bf16(d.gate);
    gate[EIGHT + i] = to_bf16(d.up);
  }
}

#define ENTRY(NAME, ARGUMENTS, BODY)                                                                        \
  extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ ARGUMENTS arguments) { \
    BODY(arguments);                                                                                        \
  }

ENTRY(swiglu_bf16, SwigluArguments, product_by_warps)
ENTRY(swiglu_any, SwigluArguments, product_by_threads)
ENTRY(swiglu_backward_bf16, SwigluBackwardArguments, gradient_by_warps)
ENTRY(swiglu_backward_any, SwigluBackwardArguments, gradient_by_threads)
