// AdamW on one range of the flat arenas: decoupled weight decay (Loshchilov and Hutter, 2019), clipping folded in.
//
// Shapes: grad, m, v f32 [elements]; weight f32, or bf16 with an i16 remainder: master = (weight << 16) + remainder
// (engine/ops/src/master.rs). What changes from step to step comes from two small blocks in memory, so that a captured
// launch serves every step: step_block (lr, the bias corrections) and result (clip_scale, halted). A halted step writes
// nothing.
// Tile: a thread takes four neighbouring elements a turn, blocks of 256, the grid strides. Four, not eight: f32 moves 16
// bytes a lane and bf16 8, and every access of a warp is one unbroken piece; with eight the f32 accesses would have gaps.
// The last elements, or all where an operand is not aligned, go one by one with the same bits.
//   adamw_*: 48 registers, 0 bytes of shared memory
// Determinism: element by element in f32, each operation rounded to nearest, in the CPU's order: its bits are the CPU's.
// Floor: bytes an element, 28 either way: 12 read and 8 written of grad, m and v, 8 of the weight.
// Measured: not yet.
#include "memory.cuh"
#include "pack.cuh"
#include "types.cuh"

constexpr u32 THREADS = 256, FOUR = 4;

struct AdamWArguments {
  void* weight;
  i16* remainder; // null with f32 weights
  const float* grad;
  float* m;
  float* v;
  const float* step_block;
  const float* result;
  u64 elements;
  u64 fours; // leading groups of four that are touched as one
  float beta1, beta2, eps, weight_decay;
};

// Words of StepBlock and StepResult (engine/ops/src/blocks.rs).
constexpr u32 LR = 0, BIAS_CORRECTION1 = 1, BIAS_CORRECTION2 = 2, CLIP_SCALE = 2, HALTED = 3;

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

template <class Weight>
__device__ __forceinline__ void adamw(const AdamWArguments& a) {
  if (a.result[HALTED] != 0.0f) return;
  const Step step(a);
  const u64 thread = static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x, threads = static_cast<u64>(gridDim.x) * THREADS;
#pragma unroll 1
  for (u64 four = thread; four < a.fours; four += threads) {
    const u64 at = four * FOUR;
    float4 w = Weight::load(a, at), m = load_once_f32x4(a.m + at), v = load_once_f32x4(a.v + at);
    const float4 g = read_once_f32x4(a.grad + at);
    w.x = step.update(w.x, g.x, m.x, v.x);
    w.y = step.update(w.y, g.y, m.y, v.y);
    w.z = step.update(w.z, g.z, m.z, v.z);
    w.w = step.update(w.w, g.w, m.w, v.w);
    Weight::store(a, at, w);
    store_f32x4(a.m + at, m);
    store_f32x4(a.v + at, v);
  }
#pragma unroll 1
  for (u64 at = a.fours * FOUR + thread; at < a.elements; at += threads) {
    float m = a.m[at], v = a.v[at];
    Weight::store_one(a, at, step.update(Weight::load_one(a, at), a.grad[at], m, v));
    a.m[at] = m;
    a.v[at] = v;
  }
}

#define ENTRY(NAME, ...)                                                                                        \
  extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ AdamWArguments arguments) { \
    __VA_ARGS__(arguments);                                                                                     \
  }

ENTRY(adamw_f32, adamw<Single>)
ENTRY(adamw_bf16, adamw<Split>)
