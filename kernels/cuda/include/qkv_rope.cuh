// Heads of q, k and v as columns of a matrix product, and what becomes of the product's sums.
//
// A column tile's rows of the weight are fetched in another order than they lie in: of a head, eight elements of the first
// half, then the eight that they pair with in the second half. Both are then sums of one thread, as gate and up are in a
// SwiGLU, and the rotation needs no exchange. A head is padded to whole sixteens of columns, whose rows are zeros.
#pragma once
#include "exchange.cuh"
#include "gemm_epilogue.cuh"
#include "gemm_tile.cuh"
#include "memory.cuh"
#include "pack.cuh"
#include "rope.cuh"
#include "types.cuh"

constexpr u32 PAGE_TOKENS = 64;

// Strides are in elements.
struct QkvRopeArguments {
  const bf16* x;
  const bf16* weight;
  const bf16* bias; // or null
  const float* rope;
  const u32* positions;
  const u32* slots; // null where k and v are rows
  bf16* q;
  bf16* k;
  bf16* v;
  u64 x_stride;
  u64 q_stride;
  u64 k_stride; // from row to row, or from page to page
  u64 v_stride;
  u32 tokens;
  u32 hidden;
  u32 heads;
  u32 kv_heads;
  u32 half;       // of a head's elements
  u32 table_rows; // of `rope`
  u32 slot_count; // of the pages together
  u32 wide;       // bits: WIDE_Q and so on
};

// Which of q, k and v can be written 16 bytes at a time, and whether two neighbours of the table can be read at once.
constexpr u32 WIDE_Q = 1, WIDE_K = 2, WIDE_V = 4, WIDE_ROPE = 8;

// Sixteen columns: of `head`, elements `first` onwards of each half.
struct HeadSixteen {
  u32 head, first;

  __device__ __forceinline__ HeadSixteen(u32 column, u32 half) {
    const u32 sixteens = (half + 7) / 8, number = column / 16;
    head = number / sixteens;
    first = number % sixteens * 8;
  }
};

// Columns of the product, padding included.
__device__ __forceinline__ u32 qkv_columns(const QkvRopeArguments& a) {
  return (a.heads + 2 * a.kv_heads) * ((a.half + 7) / 8 * 16);
}

// Copies the panels of the weight, stage after stage; as PanelLoader, but for which row is where.
template <class Panel, u32 THREADS>
struct HeadLoader {
  static constexpr u32 PASS = THREADS / Panel::CHUNKS, COPIES = Panel::ROWS / PASS;
  static_assert(THREADS % Panel::CHUNKS == 0 && Panel::ROWS % PASS == 0);
  static_assert(PASS % 8 == 0, "a thread's rows share their key");
  static constexpr u32 NONE = 0xffffffff;

  u64 from;        // of this thread's chunk of row 0 in the stage copied next
  u32 row[COPIES]; // of the weight, or NONE
  u32 step;        // bytes between rows
  u32 column;      // of the chunk
  u32 place;       // of the thread's first chunk in the panel

  __device__ __forceinline__ HeadLoader(const QkvRopeArguments& a, u32 origin) {
    const u32 first = threadIdx.x / Panel::CHUNKS, chunk = threadIdx.x % Panel::CHUNKS;
    place = Panel::offset(first, chunk);
    column = chunk * 8;
    from = global_address(a.weight) + column * 2;
    step = a.hidden * 2;
#pragma unroll
    for (u32 i = 0; i < COPIES; ++i) {
      const u32 at = origin + first + i * PASS;
      const HeadSixteen sixteen(at, a.half);
      const u32 element = sixteen.first + at % 8;
      const bool there = element < a.half && sixteen.head < a.heads + 2 * a.kv_heads;
      row[i] = there ? (sixteen.head * 2 + at / 8 % 2) * a.half + element : NONE;
    }
  }

  // Copies the next stage to `to`; what lies past `columns` becomes zero, as rows that are not there.
  __device__ __forceinline__ void copy(u32 to, u32, u32 columns) {
    const u32 left = columns > column ? columns - column : 0;
    copy_rows(Upto<COPIES>{}, to + place, left < 8 ? left * 2 : 16);
    from += Panel::COLUMNS * 2;
    column += Panel::COLUMNS;
  }

 private:
  template <u32... I>
  __device__ __forceinline__ void copy_rows(Indices<I...>, u32 to, u32 bytes) const {
    (copy_async_16<I * PASS * Panel::ROW_BYTES>(to, from + static_cast<u64>(row[I]) * step,
                                                row[I] != NONE ? bytes : 0),
     ...);
  }
};

// Two neighbouring numbers of a table's row, of which COUNT there are from here on. PTX ISA 8.4, section 9.7.8 (ld.global.nc).
__device__ __forceinline__ float2 read_pair(const float* from, u32 count, bool wide) {
  float2 v = make_float2(0.0f, 0.0f);
  if (wide && count >= 2) {
    asm("ld.global.nc.v2.f32 {%0,%1}, [%2];" : "=f"(v.x), "=f"(v.y) : "l"(from));
  } else {
    if (count >= 1) v.x = from[0];
    if (count >= 2) v.y = from[1];
  }
  return v;
}

// Cosines and sines of two neighbouring pairs.
struct Angles {
  float2 cosine, sine;

  // Rotates the pairs.
  __device__ __forceinline__ void turn(float (&low)[2], float (&high)[2]) const {
    rotate(low[0], high[0], cosine.x, sine.x);
    rotate(low[1], high[1], cosine.y, sine.y);
  }
};

// One of a thread's rows: its position, and where its keys and values go.
struct QkvRow {
  u32 row, position, slot;
  bool there; // whether there is such a row

  // The angles from `element` onwards of either half. A position past the table has no numbers. Loads stand side by side,
  // without branches between those of several rows: a warp waits for all together. So what is past an end reads what is there.
  __device__ __forceinline__ Angles angles(const QkvRopeArguments& a, u32 element) const {
    const bool known = there && position < a.table_rows;
    const float* from = a.rope + static_cast<u64>(known ? position : 0) * 2 * a.half;
    Angles angles;
    if (a.wide & WIDE_ROPE) {
      const u32 first = element + 2 <= a.half ? element : 0;
      angles.cosine = read_pair(from + first, 2, true);
      angles.sine = read_pair(from + a.half + first, 2, true);
    } else {
      const u32 count = known && element < a.half ? a.half - element : 0;
      angles.cosine = read_pair(from + element, count, false);
      angles.sine = read_pair(from + a.half + element, count, false);
    }
    if (!known) {
      const float none = __uint_as_float(0x7fc00000u);
      angles.cosine = angles.sine = make_float2(none, none);
    }
    return angles;
  }

  // Stores eight elements of a head, or those of them that there are.
  __device__ __forceinline__ void store(const QkvRopeArguments& a, const HeadSixteen& at, u32 second,
                                        const u32 (&v)[4]) const {
    const bool is_q = at.head < a.heads, is_k = !is_q && at.head < a.heads + a.kv_heads;
    const u32 head = at.head - (is_q ? 0 : is_k ? a.heads : a.heads + a.kv_heads);
    bf16* to = is_q ? a.q : is_k ? a.k : a.v;
    const u64 stride = is_q ? a.q_stride : is_k ? a.k_stride : a.v_stride;
    bool stored = there && head < (is_q ? a.heads : a.kv_heads);
    if (is_q || a.slots == nullptr) {
      to += row * stride + static_cast<u64>(head) * 2 * a.half;
    } else {
      to += slot / PAGE_TOKENS * stride + (static_cast<u64>(head) * PAGE_TOKENS + slot % PAGE_TOKENS) * 2 * a.half;
      stored = stored && slot < a.slot_count;
    }
    if (!stored) return;
    to += second * a.half + at.first;
    if (a.wide & (is_q ? WIDE_Q : is_k ? WIDE_K : WIDE_V)) {
      store_16(to, make_uint4(v[0], v[1], v[2], v[3]));
    } else {
      u32 word[4] = {v[0], v[1], v[2], v[3]};
#pragma unroll 1
      for (u32 e = 0; e < 8 && at.first + e < a.half; ++e) {
        to[e] = static_cast<bf16>(static_cast<u16>(word[0]));
        shift_sixteen(word, 0);
      }
    }
  }
};

// Bias and rotation in f32, one rounding to bf16, and each head to where it belongs.
template <class Tile>
__device__ __forceinline__ void finish_qkv(const GemmSums<Tile>& sums, const QkvRopeArguments& a, GemmOrigin origin) {
  static_assert(Tile::BLOCKS_N % 2 == 0, "both halves of a pair belong to one thread");
  constexpr u32 PAIRS = Tile::BLOCKS_N / 2;
  const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, t = lane % 4, turned = a.heads + a.kv_heads;
  const u32 column = origin.n + warp % Tile::WARPS_N * Tile::WARP_N;
  const u32 first_row = origin.m + warp / Tile::WARPS_N * Tile::WARP_M + lane / 4;
  QkvRow rows[Tile::BLOCKS_M][2];
#pragma unroll
  for (u32 i = 0; i < 2 * Tile::BLOCKS_M; ++i) {
    QkvRow& row = rows[i / 2][i % 2];
    row.row = first_row + i * 8;
    row.there = row.row < a.tokens;
    row.position = a.positions[row.there ? row.row : 0];
    row.slot = 0;
  }
  if (a.slots != nullptr) {
#pragma unroll
    for (u32 i = 0; i < 2 * Tile::BLOCKS_M; ++i) {
      QkvRow& row = rows[i / 2][i % 2];
      row.slot = a.slots[row.there ? row.row : 0];
    }
  }
#pragma unroll
  for (u32 i = 0; i < Tile::BLOCKS_M; ++i) {
    // Two sixteens at a time: a quad's lanes then write 32 bytes of either half.
#pragma unroll
    for (u32 p = 0; p < PAIRS; p += 2) {
      constexpr u32 SIXTEENS = PAIRS < 2 ? 1 : 2;
      static_assert(PAIRS % SIXTEENS == 0);
      Angles angles[2][SIXTEENS] = {};
      // Where one is turned, the next is too, but at the end of k.
      if (HeadSixteen(column + p * 16, a.half).head < turned) {
#pragma unroll
        for (u32 h = 0; h < 2; ++h) {
#pragma unroll
          for (u32 j = 0; j < SIXTEENS; ++j) {
            const HeadSixteen at(column + (p + j) * 16, a.half);
            angles[h][j] = rows[i][h].angles(a, at.first + 2 * t);
          }
        }
      }
#pragma unroll
      for (u32 h = 0; h < 2; ++h) {
        u32 v[4] = {};
#pragma unroll
        for (u32 j = 0; j < SIXTEENS; ++j) {
          const HeadSixteen at(column + (p + j) * 16, a.half);
          const u32 element = at.first + 2 * t;
          const float *near = sums.block[i][2 * (p + j)] + 2 * h, *far = sums.block[i][2 * (p + j) + 1] + 2 * h;
          float low[2] = {near[0], near[1]}, high[2] = {far[0], far[1]};
          if (a.bias != nullptr && at.head < a.heads + 2 * a.kv_heads) {
#pragma unroll
            for (u32 e = 0; e < 2; ++e) {
              const bf16* bias = a.bias + at.head * 2 * a.half + element + e;
              if (element + e < a.half) {
                low[e] = __fadd_rn(low[e], to_f32(bias[0]));
                high[e] = __fadd_rn(high[e], to_f32(bias[a.half]));
              }
            }
          }
          if (at.head < turned) angles[h][j].turn(low, high);
          v[j] = pack_bf16(low[0], low[1]);
          v[2 + j] = pack_bf16(high[0], high[1]);
        }
        transpose_quad(v);
        // Lane t has the piece of half t / 2 of sixteen p + t % 2.
        if (t % 2 < SIXTEENS) rows[i][h].store(a, HeadSixteen(column + (p + t % 2) * 16, a.half), t / 2, v);
      }
    }
  }
}
