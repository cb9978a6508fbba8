// result.loss_sum (+)= Σ loss.
//
// Shapes: loss f32 [tokens], any number; result is a StepResult.
// Tile: one block of 1,024 threads; a step has one such launch, a few microseconds long.
//   loss_sum: 15 registers, 128 bytes of shared memory
// Determinism: a thread's losses are one chain, 1,024 apart; threads are summed by the tree of reduce.cuh.
// Floor: bytes, 4 a token.
// Measured: not yet.
#include "reduce.cuh"

constexpr u32 THREADS = 1024;
constexpr u32 LOSS_SUM = 0; // word of StepResult (engine/ops/src/blocks.rs)

struct LossSumArguments {
  const float* loss;
  float* result;
  u32 tokens;
  u32 accumulate;
};

extern "C" __global__ void __launch_bounds__(THREADS) loss_sum(const __grid_constant__ LossSumArguments a) {
  __shared__ float part[THREADS / WARP];
  float sum = 0.0f;
#pragma unroll 4
  for (u64 t = threadIdx.x; t < a.tokens; t += THREADS) sum = __fadd_rn(sum, a.loss[t]);
  sum = block_sum(sum, part);
  if (threadIdx.x == 0) a.result[LOSS_SUM] = a.accumulate ? __fadd_rn(a.result[LOSS_SUM], sum) : sum;
}
