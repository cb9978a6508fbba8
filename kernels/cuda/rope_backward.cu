// Rotates the gradients of q and k back, in place: element d of a head pairs with d + head_dim/2.
//
// Shapes: dqk bf16 [tokens, heads·head_dim] with a row stride of its own; rope f32 [positions, head_dim], cosines of the
// first half, then sines; positions u32 [tokens]. Any even head_dim. Halves made of whole aligned eights go 16 bytes at a
// time; `_any` takes all others, pair by pair, with the same bits. A position past the table reads nothing: its row is NaN.
// Tile: a thread takes the eight pairs of two eights (`_any`: one pair), blocks of 256, no loop. Four neighbouring lanes at
// head_dim 64, eight at 128, cover whole sectors of either half; cosines and sines are shared by a row's heads through L1.
//   rope_backward_*: 38 registers, 0 bytes of shared memory
// Determinism: pair by pair, in f32 (rope.cuh), rounded to bf16 once.
// Floor: bytes, 4 an element of dqk, and of the table what the positions name.
// Measured: not yet.
#include "eight.cuh"
#include "rope.cuh"

constexpr u32 THREADS = 256;

struct RopeBackwardArguments {
  const float* rope;
  const u32* positions;
  bf16* dqk;
  u64 dqk_stride; // elements from row to row
  u32 tokens;
  u32 heads;
  u32 half;       // of a head's elements
  u32 table_rows; // of `rope`
};

// Where this thread works. The launcher sees to it that threads are fewer than 2³².
template <u32 PAIRS>
struct Place {
  u32 row, pair; // the first pair's number in its head
  u64 element;   // of the head's first half

  __device__ __forceinline__ explicit Place(const RopeBackwardArguments& a) {
    const u32 index = blockIdx.x * THREADS + threadIdx.x, groups = a.half / PAIRS, head = index / groups;
    pair = index % groups * PAIRS;
    row = head / a.heads;
    element = row * a.dqk_stride + static_cast<u64>(head % a.heads) * 2 * a.half + pair;
  }
};

__device__ __forceinline__ void rope_backward_by_eights(const RopeBackwardArguments& a) {
  const Place<EIGHT> at(a);
  if (at.row >= a.tokens) return;
  bf16 *near = a.dqk + at.element, *far = near + a.half;
  const Packed low = packed(load_once_16(near)), high = packed(load_once_16(far));
  const u32 position = a.positions[at.row];
  Floats cosine, sine;
#pragma unroll
  for (u32 i = 0; i < EIGHT; ++i) cosine.v[i] = sine.v[i] = __uint_as_float(0x7fc00000u);
  if (position < a.table_rows) {
    const float* table = a.rope + static_cast<u64>(position) * 2 * a.half + at.pair;
    cosine = read_eight(table);
    sine = read_eight(table + a.half);
  }
  float x[EIGHT], y[EIGHT];
#pragma unroll
  for (u32 i = 0; i < EIGHT; ++i) {
    x[i] = low.get(i);
    y[i] = high.get(i);
    rotate(x[i], y[i], cosine.get(i), -sine.get(i));
  }
  Packed dx, dy;
#pragma unroll
  for (u32 i = 0; i < EIGHT / 2; ++i) {
    dx.word[i] = pack_bf16(x[2 * i], x[2 * i + 1]);
    dy.word[i] = pack_bf16(y[2 * i], y[2 * i + 1]);
  }
  store_16(near, words(dx));
  store_16(far, words(dy));
}

__device__ __forceinline__ void rope_backward_by_pairs(const RopeBackwardArguments& a) {
  const Place<1> at(a);
  if (at.row >= a.tokens) return;
  bf16 *near = a.dqk + at.element, *far = near + a.half;
  const u32 position = a.positions[at.row];
  float cosine = __uint_as_float(0x7fc00000u), sine = cosine;
  if (position < a.table_rows) {
    const float* table = a.rope + static_cast<u64>(position) * 2 * a.half + at.pair;
    cosine = table[0];
    sine = table[a.half];
  }
  float x = to_f32(*near), y = to_f32(*far);
  rotate(x, y, cosine, -sine);
  *near = to_bf16(x);
  *far = to_bf16(y);
}

#define ENTRY(NAME, ...)                                                                                               \
  extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ RopeBackwardArguments arguments) { \
    __VA_ARGS__(arguments);                                                                                            \
  }

ENTRY(rope_backward_bf16, rope_backward_by_eights)
ENTRY(rope_backward_any, rope_backward_by_pairs)
