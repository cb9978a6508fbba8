// dx (+)= rstd·(weight·dy − x̂·mean(weight·dy·x̂)), dweight (+)= Σ dy·x̂, with x̂ = x·rstd.
//
// Shapes: dy, x, dx bf16 [rows, hidden] with row strides of their own; weight bf16 or f32 [hidden]; rstd f32 [rows]; dweight
// f32 [hidden]. Any hidden, any rows. Rows made of whole aligned eights and up to 8192 columns go 16 bytes at a time; `_any`
// takes all others, element by element, with the same bits.
// Two launches: the first cuts the rows into parts of equal length and leaves a row of dweight's sums a part; `_finish` sums
// the parts (columns.cuh).
// Tile: hidden up to 1024, a warp a part, at most 1,024 parts, four a block of 128 threads; else a block of 256 threads a
// part, at most 256. A thread owns every 32nd (256th) eight of elements and keeps what it has of a row in registers, and its
// sums over the rows (`_block2`: hidden up to 4096).
//   rms_norm_backward_finish: 21 registers, 1024 bytes of shared memory
//   rms_norm_backward_any_*: 30 registers, 64 bytes of shared memory
//   rms_norm_backward_*_warp: 128 registers, 0 bytes of shared memory
//   rms_norm_backward_*: 108 registers, 64 bytes of shared memory
// Determinism: within a row as the forward (rms_norm.cu). A part's rows are one chain, parts are summed in fixed order. The
// orders depend on rows and hidden alone. dx is rounded once, after what was there has been added.
// Floor: bytes, 6 an element of x (8 where dx is added to).
// Measured: not yet.
#include "columns.cuh"
#include "rows.cuh"

struct RmsNormBackwardArguments {
  const bf16* dy;
  const bf16* x;
  const void* weight;
  const float* rstd;
  bf16* dx;
  float* parts; // [parts, hidden]
  u64 dy_stride, x_stride, dx_stride; // elements from row to row
  u32 rows, hidden;
  u32 parts_count, part_rows; // rows of a part
  u32 accumulate_dx;
  u32 weight_is_f32;
};

// One element: what it adds to dweight, and its gradient before the old one is added.
__device__ __forceinline__ float slope(float dy, float x, float rstd) { return __fmul_rn(dy, __fmul_rn(x, rstd)); }

__device__ __forceinline__ float gradient(float dy, float x, float weight, float rstd, float mean) {
  return __fmul_rn(rstd, __fsub_rn(__fmul_rn(weight, dy), __fmul_rn(__fmul_rn(x, rstd), mean)));
}

// The rows of this thread's part; none past the last part.
struct Part {
  u64 number, first, end;

  __device__ __forceinline__ Part(const RmsNormBackwardArguments& a, u64 part) : number(part) {
    first = part * a.part_rows;
    end = first + a.part_rows < a.rows ? first + a.part_rows : a.rows;
  }
};

// CACHED eights a thread.
template <class Row, u32 CACHED, class Weight>
__device__ __forceinline__ void backward_aligned(const RmsNormBackwardArguments& a) {
  const Part part(a, Row::row());
  if (part.number >= a.parts_count) return;
  const u32 lane = Row::lane(), eights = a.hidden / EIGHT;
  const Weight* weight = static_cast<const Weight*>(a.weight);
  Floats sums[CACHED] = {};
#pragma unroll 1
  for (u64 row = part.first; row < part.end; ++row) {
    bf16* to = a.dx + row * a.dx_stride;
    Packed dy[CACHED], x[CACHED], old[CACHED];
    // All loads before the first use, so that they are under way together.
#pragma unroll
    for (u32 j = 0; j < CACHED; ++j) {
      const u32 eight = lane + j * Row::THREADS;
      dy[j] = x[j] = old[j] = Packed{};
      if (eight >= eights) continue;
      const u64 at = static_cast<u64>(eight) * EIGHT;
      dy[j] = packed(read_once_16(a.dy + row * a.dy_stride + at));
      x[j] = packed(read_once_16(a.x + row * a.x_stride + at));
      if (a.accumulate_dx) old[j] = packed(load_once_16(to + at));
    }
    const float rstd = a.rstd[row];
    float products = 0.0f;
#pragma unroll
    for (u32 j = 0; j < CACHED; ++j) {
      const u32 eight = lane + j * Row::THREADS;
      if (eight >= eights) continue;
      const auto w = read_eight(weight + static_cast<u64>(eight) * EIGHT);
#pragma unroll
      for (u32 i = 0; i < EIGHT; ++i) {
        const float s = slope(dy[j].get(i), x[j].get(i), rstd);
        sums[j].v[i] = __fadd_rn(sums[j].v[i], s);
        products = __fmaf_rn(w.get(i), s, products);
      }
    }
    const float mean = __fdiv_rn(Row::template total<2>(products, row % 2), static_cast<float>(a.hidden));
#pragma unroll
    for (u32 j = 0; j < CACHED; ++j) {
      const u32 eight = lane + j * Row::THREADS;
      if (eight >= eights) continue;
      const auto w = read_eight(weight + static_cast<u64>(eight) * EIGHT);
      Packed v;
#pragma unroll
      for (u32 i = 0; i < EIGHT / 2; ++i) {
        float low = gradient(dy[j].get(2 * i), x[j].get(2 * i), w.get(2 * i), rstd, mean);
        float high = gradient(dy[j].get(2 * i + 1), x[j].get(2 * i + 1), w.get(2 * i + 1), rstd, mean);
        if (a.accumulate_dx) {
          low = __fadd_rn(old[j].get(2 * i), low);
          high = __fadd_rn(old[j].get(2 * i + 1), high);
        }
        v.word[i] = pack_bf16(low, high);
      }
      store_16(to + static_cast<u64>(eight) * EIGHT, words(v));
    }
  }
  float* parts = a.parts + part.number * a.hidden;
#pragma unroll
  for (u32 j = 0; j < CACHED; ++j) {
    const u32 eight = lane + j * Row::THREADS;
    if (eight >= eights) continue;
    const float(&v)[EIGHT] = sums[j].v;
    float* at = parts + static_cast<u64>(eight) * EIGHT;
    store_f32x4(at, make_float4(v[0], v[1], v[2], v[3]));
    store_f32x4(at + EIGHT / 2, make_float4(v[4], v[5], v[6], v[7]));
  }
}

// Any row, one element at a time; the same elements belong to the same threads, in the same order. Sums over the rows are
// kept where the part leaves them.
template <class Row>
__device__ __forceinline__ void backward_any(const RmsNormBackwardArguments& a) {
  const Part part(a, Row::row());
  if (part.number >= a.parts_count) return;
  const auto weight = [&](u64 e) {
    return a.weight_is_f32 ? static_cast<const float*>(a.weight)[e] : to_f32(static_cast<const bf16*>(a.weight)[e]);
  };
  float* sums = a.parts + part.number * a.hidden;
#pragma unroll 1
  for (u64 row = part.first; row < part.end; ++row) {
    const bf16 *dy = a.dy + row * a.dy_stride, *x = a.x + row * a.x_stride;
    bf16* dx = a.dx + row * a.dx_stride;
    const float rstd = a.rstd[row];
    float products = 0.0f;
#pragma unroll 1
    for (u64 e = Row::lane() * EIGHT; e < a.hidden; e = next_element<Row>(e)) {
      const float s = slope(to_f32(dy[e]), to_f32(x[e]), rstd);
      sums[e] = __fadd_rn(row == part.first ? 0.0f : sums[e], s);
      products = __fmaf_rn(weight(e), s, products);
    }
    const float mean = __fdiv_rn(Row::template total<2>(products, row % 2), static_cast<float>(a.hidden));
#pragma unroll 1
    for (u64 e = Row::lane() * EIGHT; e < a.hidden; e = next_element<Row>(e)) {
      const float fresh = gradient(to_f32(dy[e]), to_f32(x[e]), weight(e), rstd, mean);
      dx[e] = to_bf16(a.accumulate_dx ? __fadd_rn(to_f32(dx[e]), fresh) : fresh);
    }
  }
}

#define ENTRY(NAME, THREADS, ...)                                                            \
  extern "C" __global__ void __launch_bounds__(THREADS)                                      \
      NAME(const __grid_constant__ RmsNormBackwardArguments arguments) {                     \
    __VA_ARGS__(arguments);                                                                  \
  }

#define ALIGNED(PREFIX, WEIGHT)                                                       \
  ENTRY(PREFIX##_warp, WARP_ROWS* WARP, backward_aligned<WarpRow, 4, WEIGHT>)         \
  ENTRY(PREFIX##_block2, BLOCK_THREADS, backward_aligned<BlockRow, 2, WEIGHT>)        \
  ENTRY(PREFIX##_block4, BLOCK_THREADS, backward_aligned<BlockRow, 4, WEIGHT>)

ALIGNED(rms_norm_backward_bf16, bf16)
ALIGNED(rms_norm_backward_f32, float)

ENTRY(rms_norm_backward_any_warp, WARP_ROWS* WARP, backward_any<WarpRow>)
ENTRY(rms_norm_backward_any_block, BLOCK_THREADS, backward_any<BlockRow>)

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
    rms_norm_backward_finish(const __grid_constant__ ColumnSumsArguments arguments) {
  sum_parts(arguments);
}
