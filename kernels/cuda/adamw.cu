// AdamW on one range of the flat arenas: decoupled weight decay (Loshchilov and Hutter, 2019), clipping folded in.
//
// Shapes: grad f32 [elements]; m, v f32 or bf16 [elements]; weight f32, or bf16 with an i16 remainder: master =
// (weight << 16) + remainder (engine/ops/src/master.rs). What changes from step to step comes from two small blocks in
// memory, so that a captured launch serves every step: step_block (lr, the bias corrections, the update's number) and
// result (clip_scale, halted). A halted step writes nothing. bf16 moments are widened, serve in f32, and are rounded at
// random (engine/ops/src/rounding.rs): four elements share a block of Philox, a word each, its lower half for m.
// Tile: a thread takes four neighbouring elements a turn, blocks of 256, the grid strides. Four, not eight: f32 moves 16
// bytes a lane and bf16 8, and every access of a warp is one unbroken piece; with eight the f32 accesses would have gaps.
// The last elements, or all where an operand is not aligned, go one by one with the same bits.
//   adamw_*_moments_bf16: 58 registers, 0 bytes of shared memory
//   adamw_*: 48 registers, 0 bytes of shared memory
// Determinism: element by element in f32, each operation rounded to nearest, in the CPU's order: its bits are the CPU's.
// Random numbers go by the element's place in the arena.
// Floor: bytes an element, with f32 moments 28 either way: 12 read and 8 written of grad, m and v, 8 of the weight; with
// bf16 moments 20.
// Measured: not yet.
#include "memory.cuh"
#include "pack.cuh"
#include "philox.cuh"
#include "types.cuh"

constexpr u32 THREADS = 256, FOUR = 4, PURPOSE_MOMENTS = 4;

struct AdamWArguments {
  void* weight;
  i16* remainder; // null with f32 weights
  const float* grad;
  void* m;
  void* v;
  const float* step_block;
  const float* result;
  u64 elements;
  u64 fours; // leading groups of four that are touched as one
  u64 seed;  // of what rounds bf16 moments
  u64 first; // the place of element 0 in the arena; a multiple of four where there are fours
  float beta1, beta2, eps, weight_decay;
};

// Words of StepBlock and StepResult (engine/ops/src/blocks.rs).
constexpr u32 LR = 0, BIAS_CORRECTION1 = 1, BIAS_CORRECTION2 = 2, UPDATE = 5, CLIP_SCALE = 2, HALTED = 3;

struct Step {
  float clip_scale, beta1, rest1, beta2, rest2, keep, lr, inverse_correction1, inverse_correction2, eps;

  __device__ __forceinline__ Step(const AdamWArguments& a)
      : clip_scale(a.result[CLIP_SCALE]),
        beta1(a.beta1),
        rest1(__fsub_rn(1.0f, a.beta1)),
        beta2(a.beta2),
        rest2(__fsub_rn(1.0f, a.beta2)),
        keep(__fsub_rn(1.0f, __fmul_rn(a.step_block[LR], a.weight_decay))),
        lr(a.step_block[LR]),
        inverse_correction1(__frcp_rn(a.step_block[BIAS_CORRECTION1])),
        inverse_correction2(__frcp_rn(a.step_block[BIAS_CORRECTION2])),
        eps(a.eps) {}

  // The new weight; m and v move on.
  __device__ __forceinline__ float update(float weight, float grad, float& m, float& v) const {
    const float g = __fmul_rn(grad, clip_scale);
    m = __fadd_rn(__fmul_rn(beta1, m), __fmul_rn(rest1, g));
    v = __fadd_rn(__fmul_rn(beta2, v), __fmul_rn(__fmul_rn(rest2, g), g));
    const float denominator = __fadd_rn(__fsqrt_rn(__fmul_rn(v, inverse_correction2)), eps);
    const float step = __fdiv_rn(__fmul_rn(m, inverse_correction1), denominator);
    return __fsub_rn(__fmul_rn(weight, keep), __fmul_rn(lr, step));
  }
};

// f32 weights.
struct Single {
  static __device__ __forceinline__ float4 load(const AdamWArguments& a, u64 at) {
    return load_once_f32x4(static_cast<const float*>(a.weight) + at);
  }
  static __device__ __forceinline__ void store(const AdamWArguments& a, u64 at, float4 w) {
    store_f32x4(static_cast<float*>(a.weight) + at, w);
  }
  static __device__ __forceinline__ float load_one(const AdamWArguments& a, u64 at) {
    return static_cast<const float*>(a.weight)[at];
  }
  static __device__ __forceinline__ void store_one(const AdamWArguments& a, u64 at, float w) {
    static_cast<float*>(a.weight)[at] = w;
  }
};

// bf16 weights with their remainders. Integer arithmetic wraps: rounding half away from zero is what makes the pair
// stand for every master value once.
struct Split {
  // Weights and remainders of two elements as words, the first in the lower half.
  static __device__ __forceinline__ float join_low(u32 weights, u32 remainders) {
    return __uint_as_float((weights << 16) + static_cast<u32>(static_cast<i32>(static_cast<i16>(remainders))));
  }
  static __device__ __forceinline__ float join_high(u32 weights, u32 remainders) {
    return __uint_as_float((weights & 0xffff0000u) + static_cast<u32>(static_cast<i32>(remainders) >> 16));
  }
  static __device__ __forceinline__ void split(float low, float high, u32& weights, u32& remainders) {
    const u32 l = __float_as_uint(low), h = __float_as_uint(high);
    // The lower half of a word minus a multiple of 65536 is the lower half itself.
    weights = __byte_perm(l + 0x8000u, h + 0x8000u, 0x7632);
    remainders = __byte_perm(l, h, 0x5410);
  }

  static __device__ __forceinline__ float4 load(const AdamWArguments& a, u64 at) {
    const uint2 w = load_once_8(static_cast<const bf16*>(a.weight) + at), r = load_once_8(a.remainder + at);
    return make_float4(join_low(w.x, r.x), join_high(w.x, r.x), join_low(w.y, r.y), join_high(w.y, r.y));
  }
  static __device__ __forceinline__ void store(const AdamWArguments& a, u64 at, float4 x) {
    uint2 w, r;
    split(x.x, x.y, w.x, r.x);
    split(x.z, x.w, w.y, r.y);
    store_8(static_cast<bf16*>(a.weight) + at, w);
    store_8(a.remainder + at, r);
  }
  static __device__ __forceinline__ float load_one(const AdamWArguments& a, u64 at) {
    return join_low(static_cast<u32>(static_cast<const bf16*>(a.weight)[at]), static_cast<u32>(a.remainder[at]));
  }
  static __device__ __forceinline__ void store_one(const AdamWArguments& a, u64 at, float x) {
    const u32 bits = __float_as_uint(x);
    static_cast<bf16*>(a.weight)[at] = static_cast<bf16>((bits + 0x8000u) >> 16);
    a.remainder[at] = static_cast<i16>(bits);
  }
};

// f32 moments.
struct SingleMoments {
  static __device__ __forceinline__ float4 load(const void* from, u64 at) {
    return load_once_f32x4(static_cast<const float*>(from) + at);
  }
  static __device__ __forceinline__ float load_one(const void* from, u64 at) {
    return static_cast<const float*>(from)[at];
  }
  static __device__ __forceinline__ void store(const AdamWArguments& a, u64 at, float4 m, float4 v, u32) {
    store_f32x4(static_cast<float*>(a.m) + at, m);
    store_f32x4(static_cast<float*>(a.v) + at, v);
  }
  static __device__ __forceinline__ void store_one(const AdamWArguments& a, u64 at, float m, float v, u32) {
    static_cast<float*>(a.m)[at] = m;
    static_cast<float*>(a.v)[at] = v;
  }
};

// bf16 moments, rounded at random (Croci et al., 2022, section 2).
struct HalfMoments {
  // The random block of the four elements of which one lies at this place in the arena.
  static __device__ __forceinline__ uint4 block(const AdamWArguments& a, u64 place, u32 update) {
    const u64 number = place / FOUR;
    const u64 stream = (number >> 32 << 32) | update;
    return philox_draw(a.seed, PURPOSE_MOMENTS, stream, static_cast<u32>(number));
  }
  // The bf16 is the upper half of what comes back. Nothing leaves the finite numbers or comes back into them.
  static __device__ __forceinline__ u32 round(float x, u32 random) {
    const u32 bits = __float_as_uint(x);
    return (bits & 0x7fffffffu) + random < 0x7f800000u ? bits + random : bits;
  }
  static __device__ __forceinline__ u32 pack(float low, float high, u32 random_low, u32 random_high) {
    return __byte_perm(round(low, random_low), round(high, random_high), 0x7632);
  }

  static __device__ __forceinline__ float4 load(const void* from, u64 at) {
    const uint2 w = load_once_8(static_cast<const bf16*>(from) + at);
    return make_float4(low_bf16(w.x), high_bf16(w.x), low_bf16(w.y), high_bf16(w.y));
  }
  static __device__ __forceinline__ float load_one(const void* from, u64 at) {
    return to_f32(static_cast<const bf16*>(from)[at]);
  }
  static __device__ __forceinline__ void store(const AdamWArguments& a, u64 at, float4 m, float4 v, u32 update) {
    const uint4 r = block(a, a.first + at, update);
    const uint2 first = make_uint2(pack(m.x, m.y, r.x & 0xffffu, r.y & 0xffffu),
                                   pack(m.z, m.w, r.z & 0xffffu, r.w & 0xffffu));
    const uint2 second = make_uint2(pack(v.x, v.y, r.x >> 16, r.y >> 16), pack(v.z, v.w, r.z >> 16, r.w >> 16));
    store_8(static_cast<bf16*>(a.m) + at, first);
    store_8(static_cast<bf16*>(a.v) + at, second);
  }
  static __device__ __forceinline__ void store_one(const AdamWArguments& a, u64 at, float m, float v, u32 update) {
    const u64 place = a.first + at;
    const uint4 r = block(a, place, update);
    const u32 low = place & 1 ? r.y : r.x, high = place & 1 ? r.w : r.z, word = place & 2 ? high : low;
    static_cast<bf16*>(a.m)[at] = static_cast<bf16>(round(m, word & 0xffffu) >> 16);
    static_cast<bf16*>(a.v)[at] = static_cast<bf16>(round(v, word >> 16) >> 16);
  }
};

template <class Weight, class Moments>
__device__ __forceinline__ void adamw(const AdamWArguments& a) {
  if (a.result[HALTED] != 0.0f) return;
  const Step step(a);
  const u32 update = __float_as_uint(a.step_block[UPDATE]);
  const u64 thread = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x, threads = static_cast<u64>(gridDim.x) * THREADS;
#pragma unroll 1
  for (u64 four = thread; four < a.fours; four += threads) {
    const u64 at = four * FOUR;
    float4 w = Weight::load(a, at), m = Moments::load(a.m, at), v = Moments::load(a.v, at);
    const float4 g = read_once_f32x4(a.grad + at);
    w.x = step.update(w.x, g.x, m.x, v.x);
    w.y = step.update(w.y, g.y, m.y, v.y);
    w.z = step.update(w.z, g.z, m.z, v.z);
    w.w = step.update(w.w, g.w, m.w, v.w);
    Weight::store(a, at, w);
    Moments::store(a, at, m, v, update);
  }
#pragma unroll 1
  for (u64 at = a.fours * FOUR + thread; at < a.elements; at += threads) {
    float m = Moments::load_one(a.m, at), v = Moments::load_one(a.v, at);
    Weight::store_one(a, at, step.update(Weight::load_one(a, at), a.grad[at], m, v));
    Moments::store_one(a, at, m, v, update);
  }
}

#define ENTRY(NAME, ...)                                                                                        \
  extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ AdamWArguments arguments) { \
    __VA_ARGS__(arguments);                                                                                     \
  }

// By the types of the weights and, where it is not f32, of the moments.
ENTRY(adamw_f32, adamw<Single, SingleMoments>)
ENTRY(adamw_f32_moments_bf16, adamw<Single, HalfMoments>)
ENTRY(adamw_bf16, adamw<Split, SingleMoments>)
ENTRY(adamw_bf16_moments_bf16, adamw<Split, HalfMoments>)
