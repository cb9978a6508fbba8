// Norm of the gradient, how much it is clipped, and whether the step must not be taken: in `result`, where AdamW reads it.
//
// Shapes: grad f32 [elements] without gaps, any number; step_block and result are the two small blocks of a step.
// Tile: `_parts`, a thread takes four neighbouring elements a turn, blocks of 256, at most 1,024 of them (eight each on the
// 132 multiprocessors of an H200), the grid strides; `_finish`, one block that sums the blocks' sums. Fours that are not
// aligned, and the last elements, are read one by one with the same bits.
//   grad_norm_parts*: 22 registers, 32 bytes of shared memory
//   grad_norm_finish: 15 registers, 128 bytes of shared memory
// Determinism: a thread has four chains of fused multiply-adds, threads and blocks are summed by the tree of reduce.cuh. The
// order depends on the number of elements alone.
// Floor: bytes, 4 an element.
// Measured: not yet.
#include "memory.cuh"
#include "reduce.cuh"

constexpr u32 THREADS = 256, FINISH_THREADS = 1024, FOUR = 4;

// Words of StepBlock and StepResult (engine/ops/src/blocks.rs).
constexpr u32 CLIP = 3, LOSS_SUM = 0, GRAD_NORM = 1, CLIP_SCALE = 2, HALTED = 3;

struct GradNormPartsArguments {
  const float* grad;
  float* parts; // a sum of squares a block
  u64 elements;
};

struct GradNormFinishArguments {
  const float* parts;
  const float* step_block;
  float* result;
  u32 count; // of parts, at most FINISH_THREADS
  u32 unused;
};

template <bool ALIGNED>
__device__ __forceinline__ float4 read_four(const GradNormPartsArguments& a, u64 at) {
  const float* from = a.grad + at;
  if (ALIGNED && at + FOUR <= a.elements) return read_once_f32x4(from);
  return make_float4(from[0], at + 1 < a.elements ? from[1] : 0.0f, at + 2 < a.elements ? from[2] : 0.0f,
                     at + 3 < a.elements ? from[3] : 0.0f);
}

template <bool ALIGNED>
__device__ __forceinline__ void sum_squares(const GradNormPartsArguments& a) {
  __shared__ float part[THREADS / WARP];
  const u64 step = static_cast<u64>(gridDim.x) * THREADS * FOUR;
  float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 2
  for (u64 at = (static_cast<u64>(blockIdx.x) * THREADS + threadIdx.x) * FOUR; at < a.elements; at += step) {
    const float4 g = read_four<ALIGNED>(a, at);
    sum.x = __fmaf_rn(g.x, g.x, sum.x);
    sum.y = __fmaf_rn(g.y, g.y, sum.y);
    sum.z = __fmaf_rn(g.z, g.z, sum.z);
    sum.w = __fmaf_rn(g.w, g.w, sum.w);
  }
  const float total = block_sum(__fadd_rn(__fadd_rn(sum.x, sum.y), __fadd_rn(sum.z, sum.w)), part);
  if (threadIdx.x == 0) a.parts[blockIdx.x] = total;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    grad_norm_parts(const __grid_constant__ GradNormPartsArguments arguments) {
  sum_squares<true>(arguments);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    grad_norm_parts_any(const __grid_constant__ GradNormPartsArguments arguments) {
  sum_squares<false>(arguments);
}

__device__ __forceinline__ bool finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

extern "C" __global__ void __launch_bounds__(FINISH_THREADS)
    grad_norm_finish(const __grid_constant__ GradNormFinishArguments a) {
  __shared__ float part[FINISH_THREADS / WARP];
  const float squares = block_sum(threadIdx.x < a.count ? a.parts[threadIdx.x] : 0.0f, part);
  if (threadIdx.x != 0) return;
  const float norm = __fsqrt_rn(squares), scale = __fdiv_rn(a.step_block[CLIP], __fadd_rn(norm, 1e-6f));
  a.result[GRAD_NORM] = norm;
  a.result[CLIP_SCALE] = scale < 1.0f ? scale : 1.0f;
  a.result[HALTED] = finite(norm) && finite(a.result[LOSS_SUM]) ? 0.0f : 1.0f;
}
