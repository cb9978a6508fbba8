// Random numbers in a bell shape, the same bits as on the CPU (engine/ops/src/ops/random_fill.rs).
//
// Shapes: out f32 or bf16 [elements], up to 2³³ of them. Element e is made of words 2·(e mod 2) and 2·(e mod 2) + 1 of
// block e / 2 of the stream.
// Tile: a thread makes 16 bytes a turn, blocks of 256, the grid strides. The last elements, or all where `out` is not
// aligned, go one by one with the same bits.
//   random_fill_*: 38 registers, 0 bytes of shared memory
// Determinism: a function of seed, stream and element; one rounding to f32 by the product, one to bf16.
// Floor: bytes, 4 or 2 an element; but about 35 integer operations an element are the longer time.
// Measured: not yet.
#include "memory.cuh"
#include "pack.cuh"
#include "philox.cuh"
#include "types.cuh"

constexpr u32 THREADS = 256, PURPOSE_FILL = 3;

struct RandomFillArguments {
  void* out;
  u64 elements;
  u64 groups; // leading groups of 16 bytes that are stored as one
  u64 seed;
  u64 stream;
  float factor;
  u32 unused;
};

__device__ __forceinline__ float2 pair(const RandomFillArguments& a, u32 index) {
  const uint4 words = philox_draw(a.seed, PURPOSE_FILL, a.stream, index);
  return make_float2(__fmul_rn(__int2float_rn(philox_bell(words.x, words.y)), a.factor),
                     __fmul_rn(__int2float_rn(philox_bell(words.z, words.w)), a.factor));
}

struct Single {
  using Element = float;
  static constexpr u32 PAIRS = 2;
  static __device__ __forceinline__ uint4 pack(const float2 (&p)[PAIRS]) {
    return make_uint4(__float_as_uint(p[0].x), __float_as_uint(p[0].y), __float_as_uint(p[1].x),
                      __float_as_uint(p[1].y));
  }
  static __device__ __forceinline__ float round(float x) { return x; }
};

struct Half {
  using Element = bf16;
  static constexpr u32 PAIRS = 4;
  static __device__ __forceinline__ uint4 pack(const float2 (&p)[PAIRS]) {
    return make_uint4(pack_bf16(p[0].x, p[0].y), pack_bf16(p[1].x, p[1].y), pack_bf16(p[2].x, p[2].y),
                      pack_bf16(p[3].x, p[3].y));
  }
  static __device__ __forceinline__ bf16 round(float x) { return to_bf16(x); }
};

template <class Type>
__device__ __forceinline__ void random_fill(const RandomFillArguments& a) {
  auto* out = static_cast<typename Type::Element*>(a.out);
  const u64 thread = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x, threads = static_cast<u64>(gridDim.x) * THREADS;
#pragma unroll 1
  for (u64 group = thread; group < a.groups; group += threads) {
    float2 pairs[Type::PAIRS];
#pragma unroll
    for (u32 i = 0; i < Type::PAIRS; ++i) pairs[i] = pair(a, static_cast<u32>(group * Type::PAIRS + i));
    store_16(out + group * Type::PAIRS * 2, Type::pack(pairs));
  }
#pragma unroll 1
  for (u64 at = a.groups * Type::PAIRS * 2 + thread; at < a.elements; at += threads) {
    const float2 both = pair(a, static_cast<u32>(at / 2));
    out[at] = Type::round(at % 2 ? both.y : both.x);
  }
}

#define ENTRY(NAME, ...)                                                                                             \
  extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ RandomFillArguments arguments) { \
    __VA_ARGS__(arguments);                                                                                          \
  }

ENTRY(random_fill_f32, random_fill<Single>)
ENTRY(random_fill_bf16, random_fill<Half>)
