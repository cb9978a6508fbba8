// out[t] = weight[ids[t]], rounded to bf16.
//
// Shapes: ids u32 [tokens]; weight bf16 or f32 [vocab, hidden], out bf16 [tokens, hidden], with row strides of their own.
// Any hidden, any tokens. Rows made of whole aligned eights go 16 bytes at a time; `_any` takes all others, element by
// element, with the same bits. An id past the vocabulary reads nothing: its row is NaN, so that the loss is not finite and
// the step is halted.
// Tile: a thread takes an eight, blocks of 256, no loop; the eights of all rows are numbered on.
//   embed_*: 22 registers, 0 bytes of shared memory
// Determinism: element by element.
// Floor: bytes, 4 an element of out (6 from f32), 4 a row.
// Measured: not yet.
#include "eight.cuh"

constexpr u32 THREADS = 256;
constexpr bf16 NOT_A_NUMBER = static_cast<bf16>(0x7fc0);

struct EmbedArguments {
  const u32* ids;
  const void* weight;
  bf16* out;
  u64 weight_stride, out_stride; // elements from row to row
  u32 tokens, hidden, vocab;
  u32 weight_is_f32;
};

// The eight of this thread: its row and its number there. The launcher sees to it that threads are fewer than 2³².
struct Place {
  u32 row, eight;

  __device__ __forceinline__ explicit Place(u32 hidden) {
    const u32 index = blockIdx.x * THREADS + threadIdx.x, eights = (hidden + EIGHT - 1) / EIGHT;
    row = index / eights;
    eight = index % eights;
  }
};

__device__ __forceinline__ Packed rounded(const Packed& v) { return v; }

__device__ __forceinline__ Packed rounded(const Floats& v) {
  Packed r;
#pragma unroll
  for (u32 i = 0; i < EIGHT / 2; ++i) r.word[i] = pack_bf16(v.get(2 * i), v.get(2 * i + 1));
  return r;
}

template <class Weight>
__device__ __forceinline__ void embed_aligned(const EmbedArguments& a) {
  const Place at(a.hidden);
  if (at.row >= a.tokens) return;
  const u32 id = a.ids[at.row];
  const u64 column = static_cast<u64>(at.eight) * EIGHT;
  constexpr u32 PAIR = static_cast<u32>(NOT_A_NUMBER) * 0x10001u;
  Packed v{{PAIR, PAIR, PAIR, PAIR}};
  if (id < a.vocab) v = rounded(read_eight(static_cast<const Weight*>(a.weight) + id * a.weight_stride + column));
  store_16(a.out + at.row * a.out_stride + column, words(v));
}

__device__ __forceinline__ void embed_by_elements(const EmbedArguments& a) {
  const Place at(a.hidden);
  if (at.row >= a.tokens) return;
  const u32 id = a.ids[at.row];
  const u64 from = id * a.weight_stride, to = at.row * a.out_stride;
#pragma unroll 1
  for (u32 e = at.eight * EIGHT; e < a.hidden && e < (at.eight + 1) * EIGHT; ++e) {
    bf16 v = NOT_A_NUMBER;
    if (id < a.vocab) {
      v = a.weight_is_f32 ? to_bf16(static_cast<const float*>(a.weight)[from + e])
                          : static_cast<const bf16*>(a.weight)[from + e];
    }
    a.out[to + e] = v;
  }
}

#define ENTRY(NAME, ...)                                                                                        \
  extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ EmbedArguments arguments) { \
    __VA_ARGS__(arguments);                                                                                     \
  }

ENTRY(embed_bf16, embed_aligned<bf16>)
ENTRY(embed_f32, embed_aligned<float>)
ENTRY(embed_any, embed_by_elements)
