// dweight[ids[t]] += dx[t]: rows of the same token are summed in ascending t, then added to what is there.
//
// Shapes: ids u32 [tokens]; dx bf16 or f32 [tokens, hidden] with a row stride of its own; dweight f32 [vocab, hidden]. Any hidden,
// any vocab. Ids past the vocabulary are left out.
// Three launches: `_zero` fills dweight where it is not added to; `_order` sorts the positions by id; `_add` sums the runs.
// Tile: `_order` is a stable sort by counting, without atomics: a warp finds the ranks of four positions, reading all ids
// once, with at most 20 instructions for each 32 of them. That is tokens²/6.4 in all: ten million at 8,192 tokens. `_add` has
// a block of 256 threads for each place of the order and 1,024 columns; those that are not the first of their run leave at
// once. A thread owns four columns and has the rows of four places on their way together.
// Rows not made of aligned groups go to `_add_any`, element by element, with the same bits; so do rows of f32, to `_add_f32`:
// sums of a few numbers, no gradients of a model.
//   embed_backward_*: 32 registers, 0 bytes of shared memory
// Determinism: ranks are integers; a sum is one chain over ascending positions.
// Floor: bytes, 2 an element of dx, 8 an element of each row of dweight that a token names, 4 an element of dweight where it
// is overwritten.
// Measured: not yet.
#include "eight.cuh"

constexpr u32 THREADS = 256, WARPS = THREADS / WARP, FOUR = 4;

struct EmbedBackwardZeroArguments {
  float* dweight;
  u64 elements;
  u64 fours; // leading groups of four that are stored as one
};

struct EmbedBackwardOrderArguments {
  const u32* ids;
  u32* order; // [tokens]: positions, by id, then ascending
  u32 tokens;
  u32 unused;
};

struct EmbedBackwardAddArguments {
  const u32* ids;
  const u32* order;
  const void* dx; // bf16 or f32, as the entry says
  float* dweight;
  u64 dx_stride; // elements from row to row
  u32 tokens, hidden, vocab;
  u32 strips; // of 1,024 columns
};

extern "C" __global__ void __launch_bounds__(THREADS)
    embed_backward_zero(const __grid_constant__ EmbedBackwardZeroArguments a) {
  const u64 thread = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x, threads = static_cast<u64>(gridDim.x) * THREADS;
#pragma unroll 1
  for (u64 four = thread; four < a.fours; four += threads) {
    store_f32x4(a.dweight + four * FOUR, make_float4(0.0f, 0.0f, 0.0f, 0.0f));
  }
#pragma unroll 1
  for (u64 at = a.fours * FOUR + thread; at < a.elements; at += threads) a.dweight[at] = 0.0f;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    embed_backward_order(const __grid_constant__ EmbedBackwardOrderArguments a) {
  const u32 first = (blockIdx.x * WARPS + threadIdx.x / WARP) * FOUR, lane = threadIdx.x % WARP;
  if (first >= a.tokens) return;
  u32 own[FOUR], before[FOUR] = {};
#pragma unroll
  for (u32 i = 0; i < FOUR; ++i) own[i] = first + i < a.tokens ? a.ids[first + i] : 0;
  // Of what lies before, equal ids come first too; of the rest only smaller ones.
#pragma unroll 4
  for (u32 t = lane; t < first; t += WARP) {
    const u32 id = a.ids[t];
#pragma unroll
    for (u32 i = 0; i < FOUR; ++i) before[i] += id <= own[i];
  }
#pragma unroll 4
  for (u32 t = first + lane; t < a.tokens; t += WARP) {
    const u32 id = a.ids[t];
#pragma unroll
    for (u32 i = 0; i < FOUR; ++i) before[i] += id < own[i];
  }
#pragma unroll
  for (u32 i = 0; i < FOUR; ++i) {
#pragma unroll
    for (u32 apart = WARP / 2; apart > 0; apart /= 2) before[i] += __shfl_xor_sync(FULL_WARP, before[i], apart);
#pragma unroll
    for (u32 j = 0; j < i; ++j) before[i] += own[j] == own[i];
    if (lane == i && first + i < a.tokens) a.order[before[i]] = first + i;
  }
}

// Four columns of a row of dx and of dweight.
struct Aligned {
  static __device__ __forceinline__ float4 read(const bf16* from, u32) {
    const uint2 v = load_once_8(from);
    return make_float4(low_bf16(v.x), high_bf16(v.x), low_bf16(v.y), high_bf16(v.y));
  }
  static __device__ __forceinline__ float4 load(const float* from, u32) { return load_once_f32x4(from); }
  static __device__ __forceinline__ void store(float* to, u32, float4 v) { store_f32x4(to, v); }
};

// As many of them as there are, one by one.
struct Any {
  static __device__ __forceinline__ float4 read(const bf16* from, u32 count) {
    return make_float4(to_f32(from[0]), count > 1 ? to_f32(from[1]) : 0.0f, count > 2 ? to_f32(from[2]) : 0.0f,
                       count > 3 ? to_f32(from[3]) : 0.0f);
  }
  static __device__ __forceinline__ float4 read(const float* from, u32 count) { return load(from, count); }
  static __device__ __forceinline__ float4 load(const float* from, u32 count) {
    return make_float4(from[0], count > 1 ? from[1] : 0.0f, count > 2 ? from[2] : 0.0f, count > 3 ? from[3] : 0.0f);
  }
  static __device__ __forceinline__ void store(float* to, u32 count, float4 v) {
    to[0] = v.x;
    if (count > 1) to[1] = v.y;
    if (count > 2) to[2] = v.z;
    if (count > 3) to[3] = v.w;
  }
};

__device__ __forceinline__ float4 add(float4 x, float4 y) {
  return make_float4(__fadd_rn(x.x, y.x), __fadd_rn(x.y, y.y), __fadd_rn(x.z, y.z), __fadd_rn(x.w, y.w));
}

template <class Memory, class Element>
__device__ __forceinline__ void add_run(const EmbedBackwardAddArguments& a) {
  const u32 place = blockIdx.x / a.strips, strip = blockIdx.x % a.strips;
  const u32 id = a.ids[a.order[place]];
  if (id >= a.vocab || (place > 0 && a.ids[a.order[place - 1]] == id)) return;
  const u32 column = (strip * THREADS + threadIdx.x) * FOUR;
  if (column >= a.hidden) return;
  const u32 count = a.hidden - column;
  float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  bool more = true;
#pragma unroll 1
  for (u32 first = place; more; first += FOUR) {
    float4 row[FOUR];
    bool same[FOUR];
#pragma unroll
    for (u32 i = 0; i < FOUR; ++i) {
      const u32 t = first + i < a.tokens ? a.order[first + i] : 0;
      same[i] = first + i < a.tokens && a.ids[t] == id;
      row[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      if (same[i]) row[i] = Memory::read(static_cast<const Element*>(a.dx) + t * a.dx_stride + column, count);
    }
#pragma unroll
    for (u32 i = 0; i < FOUR; ++i) {
      if (same[i]) sum = add(sum, row[i]);
    }
    more = same[FOUR - 1];
  }
  float* to = a.dweight + static_cast<u64>(id) * a.hidden + column;
  Memory::store(to, count, add(Memory::load(to, count), sum));
}

#define ENTRY(NAME, MEMORY, ELEMENT)                                           \
  extern "C" __global__ void __launch_bounds__(THREADS)                        \
      NAME(const __grid_constant__ EmbedBackwardAddArguments arguments) {      \
    add_run<MEMORY, ELEMENT>(arguments);                                       \
  }

ENTRY(embed_backward_add, Aligned, bf16)
ENTRY(embed_backward_add_any, Any, bf16)
ENTRY(embed_backward_add_f32, Any, float)
