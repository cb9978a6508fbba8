// y = s · rstd · weight with rstd = 1/√(mean(s²) + eps), a row at a time; s is x, or x + residual rounded to bf16, which
// is then written to `sum`: the norm reads the rounded value.
//
// Shapes: x, residual, y, sum bf16 [rows, hidden] with row strides of their own; weight bf16 or f32 [hidden]; rstd f32
// [rows]. Any hidden, any rows. Rows made of whole aligned eights go 16 bytes at a time; `_any` takes all others, element
// by element, with the same bits.
// Tile: hidden up to 1024, a warp a row, four rows a block of 128 threads; else a block of 256 threads a row. A thread owns
// every 32nd (256th) eight of elements and keeps the first two (`_block2`, hidden up to 4096) or four of them in
// registers; `_wide` reads what a row has beyond 8192 elements a second time.
//   rms_norm_any_*: 22 registers, 32 bytes of shared memory
//   rms_norm_*_warp: 47 registers, 0 bytes of shared memory
//   rms_norm_*_block2: 32 registers, 32 bytes of shared memory
//   rms_norm_add_*: 60 registers, 32 bytes of shared memory
//   rms_norm_*: 40 registers, 32 bytes of shared memory
// Determinism: a thread's squares are one chain of fused multiply-adds over ascending elements, threads are summed by the
// trees of rows.cuh. The order depends on hidden alone. Division, square root and reciprocal round to nearest.
// Floor: bytes, 4 an element of x (8 with residual), 4 a row, and the weight once.
// Measured: not yet.
#include "eight.cuh"
#include "rows.cuh"

struct RmsNormArguments {
  const bf16* x;
  const bf16* residual;
  const void* weight;
  bf16* y;
  bf16* sum;
  float* rstd;
  u64 x_stride, residual_stride, y_stride, sum_stride; // elements from row to row
  u32 rows, hidden;
  float eps;
  u32 weight_is_f32;
};

__device__ __forceinline__ float inverse_root(float squares, const RmsNormArguments& a) {
  const float mean = __fdiv_rn(squares, static_cast<float>(a.hidden));
  return __frcp_rn(__fsqrt_rn(__fadd_rn(mean, a.eps)));
}

__device__ __forceinline__ float normed(float s, float rstd, float weight) {
  return __fmul_rn(__fmul_rn(s, rstd), weight);
}

// A row of whole aligned eights.
template <class Weight, bool ADD>
struct AlignedRow {
  const bf16 *x, *residual;
  bf16 *y, *sum;
  const Weight* weight;

  __device__ __forceinline__ AlignedRow(const RmsNormArguments& a, u64 row)
      : x(a.x + row * a.x_stride),
        residual(ADD ? a.residual + row * a.residual_stride : nullptr),
        y(a.y + row * a.y_stride),
        sum(ADD ? a.sum + row * a.sum_stride : nullptr),
        weight(static_cast<const Weight*>(a.weight)) {}

  // s of one eight, from its x and residual; written where it is new.
  __device__ __forceinline__ Packed take(u32 eight, const Packed& from, const Packed& more) const {
    if constexpr (ADD) {
      Packed s;
#pragma unroll
      for (u32 i = 0; i < EIGHT / 2; ++i) {
        s.word[i] = pack_bf16(__fadd_rn(from.get(2 * i), more.get(2 * i)),
                              __fadd_rn(from.get(2 * i + 1), more.get(2 * i + 1)));
      }
      store_16(sum + static_cast<u64>(eight) * EIGHT, words(s));
      return s;
    } else {
      return from;
    }
  }

  __device__ __forceinline__ Packed read(const bf16* row, u32 eight) const {
    return packed(read_once_16(row + static_cast<u64>(eight) * EIGHT));
  }

  // s of one eight again.
  __device__ __forceinline__ Packed again(u32 eight) const {
    return ADD ? packed(load_once_16(sum + static_cast<u64>(eight) * EIGHT)) : read(x, eight);
  }

  static __device__ __forceinline__ void add_squares(float& squares, const Packed& s) {
#pragma unroll
    for (u32 i = 0; i < EIGHT; ++i) squares = __fmaf_rn(s.get(i), s.get(i), squares);
  }

  __device__ __forceinline__ void write_y(u32 eight, const Packed& s, float rstd) const {
    const auto w = read_eight(weight + static_cast<u64>(eight) * EIGHT);
    Packed v;
#pragma unroll
    for (u32 i = 0; i < EIGHT / 2; ++i) {
      v.word[i] = pack_bf16(normed(s.get(2 * i), rstd, w.get(2 * i)), normed(s.get(2 * i + 1), rstd, w.get(2 * i + 1)));
    }
    store_16(y + static_cast<u64>(eight) * EIGHT, words(v));
  }
};

// CACHED eights a thread stay in registers; only WIDE rows have more.
template <class Row, u32 CACHED, bool WIDE, class Weight, bool ADD>
__device__ __forceinline__ void rms_norm_aligned(const RmsNormArguments& a) {
  const u64 row = Row::row();
  if (row >= a.rows) return;
  const AlignedRow<Weight, ADD> memory(a, row);
  const u32 lane = Row::lane(), eights = a.hidden / EIGHT;
  Packed s[CACHED], residual[CACHED];
  // All loads before the first use, so that they are under way together.
#pragma unroll
  for (u32 j = 0; j < CACHED; ++j) {
    const u32 eight = lane + j * Row::THREADS;
    s[j] = residual[j] = Packed{};
    if (eight >= eights) continue;
    s[j] = memory.read(memory.x, eight);
    if constexpr (ADD) residual[j] = memory.read(memory.residual, eight);
  }
  float squares = 0.0f;
#pragma unroll
  for (u32 j = 0; j < CACHED; ++j) {
    const u32 eight = lane + j * Row::THREADS;
    if (eight >= eights) continue;
    s[j] = memory.take(eight, s[j], residual[j]);
    memory.add_squares(squares, s[j]);
  }
  if constexpr (WIDE) {
#pragma unroll 1
    for (u32 eight = lane + CACHED * Row::THREADS; eight < eights; eight += Row::THREADS) {
      Packed more{};
      if constexpr (ADD) more = memory.read(memory.residual, eight);
      memory.add_squares(squares, memory.take(eight, memory.read(memory.x, eight), more));
    }
  }
  const float rstd = inverse_root(Row::total(squares), a);
  if (lane == 0) a.rstd[row] = rstd;
#pragma unroll
  for (u32 j = 0; j < CACHED; ++j) {
    const u32 eight = lane + j * Row::THREADS;
    if (eight < eights) memory.write_y(eight, s[j], rstd);
  }
  if constexpr (WIDE) {
#pragma unroll 1
    for (u32 eight = lane + CACHED * Row::THREADS; eight < eights; eight += Row::THREADS) {
      memory.write_y(eight, memory.again(eight), rstd);
    }
  }
}

// Any row, one element at a time; the same elements belong to the same threads, in the same order.
template <class Row>
__device__ __forceinline__ void rms_norm_any(const RmsNormArguments& a) {
  const u64 row = Row::row();
  if (row >= a.rows) return;
  const bf16 *x = a.x + row * a.x_stride, *residual = a.residual + row * a.residual_stride;
  bf16 *y = a.y + row * a.y_stride, *sum = a.sum + row * a.sum_stride;
  const bool add = a.residual != nullptr;
  float squares = 0.0f;
#pragma unroll 1
  for (u64 e = Row::lane() * EIGHT; e < a.hidden; e = next_element<Row>(e)) {
    float s = to_f32(x[e]);
    if (add) {
      const bf16 rounded = to_bf16(__fadd_rn(s, to_f32(residual[e])));
      sum[e] = rounded;
      s = to_f32(rounded);
    }
    squares = __fmaf_rn(s, s, squares);
  }
  const float rstd = inverse_root(Row::total(squares), a);
  if (Row::lane() == 0) a.rstd[row] = rstd;
#pragma unroll 1
  for (u64 e = Row::lane() * EIGHT; e < a.hidden; e = next_element<Row>(e)) {
    const float weight = a.weight_is_f32 ? static_cast<const float*>(a.weight)[e]
                                         : to_f32(static_cast<const bf16*>(a.weight)[e]);
    y[e] = to_bf16(normed(to_f32(add ? sum[e] : x[e]), rstd, weight));
  }
}

#define ENTRY(NAME, THREADS, ...)                                                                              \
  extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ RmsNormArguments arguments) { \
    __VA_ARGS__(arguments);                                                                                    \
  }

#define ALIGNED(PREFIX, WEIGHT, ADD)                                                             \
  ENTRY(PREFIX##_warp, WARP_ROWS* WARP, rms_norm_aligned<WarpRow, 4, false, WEIGHT, ADD>)        \
  ENTRY(PREFIX##_block2, BLOCK_THREADS, rms_norm_aligned<BlockRow, 2, false, WEIGHT, ADD>)       \
  ENTRY(PREFIX##_block4, BLOCK_THREADS, rms_norm_aligned<BlockRow, 4, false, WEIGHT, ADD>)       \
  ENTRY(PREFIX##_wide, BLOCK_THREADS, rms_norm_aligned<BlockRow, 4, true, WEIGHT, ADD>)

ALIGNED(rms_norm_bf16, bf16, false)
ALIGNED(rms_norm_f32, float, false)
ALIGNED(rms_norm_add_bf16, bf16, true)
ALIGNED(rms_norm_add_f32, float, true)

ENTRY(rms_norm_any_warp, WARP_ROWS* WARP, rms_norm_any<WarpRow>)
ENTRY(rms_norm_any_block, BLOCK_THREADS, rms_norm_any<BlockRow>)
