// Rows of attention from what attention_segments.cu left of their segments: joined in ascending order, divided by the sum
// of the probabilities and rounded once; the log-sum-exp beside it.
//
// Shapes: those of attention.cu, over pages. Segment s of a row is there if the row's position is 1,024·s or more.
// Tile: a thread has four columns of a row; head_dim / 4 threads by as many rows as make up to 128 threads a block.
//   attention_merge: 40 registers, 0 bytes of shared memory
// Determinism: the formulas of attention.cu, from one header, in its order.
// Floor: bytes, 4·head_dim + 8 a segment of a row read, 2·head_dim + 4 a row written. Few rows leave it to latency: four
// segments are read at a time.
// Measured: not yet.
#include "attention_state.cuh"
#include "memory.cuh"
#include "pack.cuh"

constexpr u32 FOUR = 4;

extern "C" __global__ void __launch_bounds__(128) attention_merge(const __grid_constant__ AttentionArguments a) {
  const u32 row = blockIdx.x * blockDim.y + threadIdx.y, column = threadIdx.x * FOUR;
  const u32 heads = a.kv_heads * a.group, token = row / heads, head = row % heads;
  // Rows of no document have no segments.
  const u32 end = a.cu_seqlens[a.documents];
  if (token < a.cu_seqlens[0] || token >= (end < a.tokens ? end : a.tokens)) return;
  const u32 segments = a.positions[token] / KEY_SEGMENT + 1;
  const float* states = a.states + static_cast<u64>(row) * a.segments * 2;
  const float* sums = a.sums + static_cast<u64>(row) * a.segments * a.head_dim + column;
  float max = states[0], sum = states[1];
  float4 out = read_once_f32x4(sums);
#pragma unroll 4
  for (u32 s = 1; s < segments; ++s) {
    const float later_max = states[s * 2], later_sum = states[s * 2 + 1];
    const float4 later = read_once_f32x4(sums + static_cast<u64>(s) * a.head_dim);
    const Join join(max, later_max, a.scale_log2);
    max = join.max;
    sum = join.of(sum, later_sum);
    out = make_float4(join.of(out.x, later.x), join.of(out.y, later.y), join.of(out.z, later.z), join.of(out.w, later.w));
  }
  if (column == 0) a.lse[row] = log_sum_exp(max, sum, a.scale);
  const float inverse = __frcp_rn(sum);
  // Adding +0 makes every zero the positive one.
  const u32 low = pack_bf16(__fadd_rn(__fmul_rn(out.x, inverse), 0.0f), __fadd_rn(__fmul_rn(out.y, inverse), 0.0f));
  const u32 high = pack_bf16(__fadd_rn(__fmul_rn(out.z, inverse), 0.0f), __fadd_rn(__fmul_rn(out.w, inverse), 0.0f));
  store_8(a.out + token * a.out_stride + head * a.head_dim + column, make_uint2(low, high));
}
