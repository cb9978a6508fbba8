// What becomes of a tile's sums. Each epilogue is a struct with `finish`, which the kernel calls once a thread.
//
// A thread's fragment holds two neighbouring columns of every row, a quad of lanes eight: a piece. So that memory is
// touched 16 bytes at a time and in whole sectors, the lanes of a quad exchange pieces by shuffles: bf16 pieces four at a
// time, each lane leaving with one whole piece; f32 pieces two at a time, each lane leaving with half a piece. No shared
// memory, no barrier. Rows that are not 16-byte aligned, and the last columns of a ragged row, go element by element.
#pragma once
#include "exchange.cuh"
#include "gemm_tile.cuh"
#include "memory.cuh"
#include "pack.cuh"
#include "silu.cuh"
#include "types.cuh"

// A matrix of outputs, or of what is added to them: rows of `stride` elements.
template <class T>
struct GemmRows {
  T* base;
  u64 stride;
  // Whether every eight columns of every row can be touched 16 bytes at a time.
  __device__ __forceinline__ bool aligned() const {
    return is_aligned<16>(base) && stride * sizeof(T) % 16 == 0;
  }
};

// Moves 128 bits down by sixteen; `top` comes in above.
__device__ __forceinline__ void shift_sixteen(u32 (&v)[4], u32 top) {
  v[0] = __funnelshift_r(v[0], v[1], 16);
  v[1] = __funnelshift_r(v[1], v[2], 16);
  v[2] = __funnelshift_r(v[2], v[3], 16);
  v[3] = __funnelshift_r(v[3], top, 16);
}

// Pieces of sixteen rows of a warp: number p covers row p / WIDTH · 8 + lane / 4 and columns p % WIDTH · 8 onwards, WIDTH
// pieces a row. `p` differs between the lanes of a quad when rows are handed out after an exchange.
template <u32 WIDTH>
struct Pieces {
  static constexpr u32 COUNT = 2 * WIDTH, GROUPS = (COUNT + 3) / 4;
  u32 row, column; // of the sixteen rows' first element in the matrix
  u32 rows, columns;

  __device__ __forceinline__ u32 row_of(u32 piece) const { return row + piece / WIDTH * 8 + threadIdx.x % WARP / 4; }
  __device__ __forceinline__ u32 column_of(u32 piece) const { return column + piece % WIDTH * 8; }

  // Lane t's row of bf16 piece 4·group + t: zeros where the matrix ends.
  __device__ __forceinline__ void load_group(u32 (&v)[4], const GemmRows<const bf16>& from, u32 group) const {
    const u32 piece = group * 4 + threadIdx.x % 4, r = row_of(piece), c = column_of(piece);
    v[0] = v[1] = v[2] = v[3] = 0;
    if (piece >= COUNT || r >= rows || c >= columns) return;
    const bf16* p = from.base + r * from.stride + c;
    if (from.aligned() && c + 8 <= columns) {
      const uint4 all = read_once_16(p);
      v[0] = all.x, v[1] = all.y, v[2] = all.z, v[3] = all.w;
    } else {
#pragma unroll 1
      for (u32 e = 0; e < 8; ++e) {
        shift_sixteen(v, c + e < columns ? static_cast<u32>(p[e]) : 0);
      }
    }
  }

  // The way back: v as load_group hands it out.
  __device__ __forceinline__ void store_group(const GemmRows<bf16>& to, u32 group, u32 (&v)[4]) const {
    const u32 piece = group * 4 + threadIdx.x % 4, r = row_of(piece), c = column_of(piece);
    if (piece >= COUNT || r >= rows || c >= columns) return;
    bf16* p = to.base + r * to.stride + c;
    if (to.aligned() && c + 8 <= columns) {
      store_16(p, make_uint4(v[0], v[1], v[2], v[3]));
    } else {
#pragma unroll 1
      for (u32 e = 0; e < 8 && c + e < columns; ++e) {
        p[e] = static_cast<bf16>(static_cast<u16>(v[0]));
        shift_sixteen(v, 0);
      }
    }
  }

  // Stores pieces given as each lane's two columns of each.
  __device__ __forceinline__ void store(const GemmRows<bf16>& to, const u32 (&packed)[COUNT]) const {
#pragma unroll
    for (u32 group = 0; group < GROUPS; ++group) {
      u32 v[4];
#pragma unroll
      for (u32 i = 0; i < 4; ++i) v[i] = group * 4 + i < COUNT ? packed[group * 4 + i] : 0;
      transpose_quad(v);
      store_group(to, group, v);
    }
  }
};

// A warp's sixteen rows number `i` of the tile, as pieces WIDTH a row: as wide as the sums, or half as wide.
template <class Tile, u32 WIDTH>
__device__ __forceinline__ Pieces<WIDTH> pieces_of(GemmOrigin origin, u32 i, u32 rows, u32 columns) {
  const u32 warp = threadIdx.x / WARP, column = origin.n + warp % Tile::WARPS_N * Tile::WARP_N;
  return {origin.m + warp / Tile::WARPS_N * Tile::WARP_M + i * 16, column / (Tile::BLOCKS_N / WIDTH), rows, columns};
}

// out = sums, rounded once to bf16.
struct StoreBf16 {
  template <class Tile>
  static __device__ __forceinline__ void finish(const GemmSums<Tile>& sums, const GemmArguments& arguments,
                                                GemmOrigin origin) {
    const GemmRows<bf16> out{static_cast<bf16*>(arguments.out), arguments.out_stride};
#pragma unroll
    for (u32 i = 0; i < Tile::BLOCKS_M; ++i) {
      const auto pieces = pieces_of<Tile, Tile::BLOCKS_N>(origin, i, arguments.m, arguments.n);
      u32 packed[2 * Tile::BLOCKS_N];
#pragma unroll
      for (u32 p = 0; p < 2 * Tile::BLOCKS_N; ++p) {
        const float(&s)[4] = sums.block[i][p % Tile::BLOCKS_N];
        packed[p] = pack_bf16(s[p / Tile::BLOCKS_N * 2], s[p / Tile::BLOCKS_N * 2 + 1]);
      }
      pieces.store(out, packed);
    }
  }
};

// out = residual + sums in f32, rounded once to bf16.
struct AddResidual {
  template <class Tile>
  static __device__ __forceinline__ void finish(const GemmSums<Tile>& sums, const GemmArguments& arguments,
                                                GemmOrigin origin) {
    const GemmRows<bf16> out{static_cast<bf16*>(arguments.out), arguments.out_stride};
    const GemmRows<const bf16> residual{static_cast<const bf16*>(arguments.extra), arguments.extra_stride};
#pragma unroll
    for (u32 i = 0; i < Tile::BLOCKS_M; ++i) {
      const auto pieces = pieces_of<Tile, Tile::BLOCKS_N>(origin, i, arguments.m, arguments.n);
      constexpr u32 GROUPS = decltype(pieces)::GROUPS;
      // All loads of sixteen rows first, so that they wait together.
      u32 added[GROUPS][4];
#pragma unroll
      for (u32 group = 0; group < GROUPS; ++group) pieces.load_group(added[group], residual, group);
      u32 packed[2 * Tile::BLOCKS_N];
#pragma unroll
      for (u32 group = 0; group < GROUPS; ++group) transpose_quad(added[group]);
#pragma unroll
      for (u32 p = 0; p < 2 * Tile::BLOCKS_N; ++p) {
        const float(&s)[4] = sums.block[i][p % Tile::BLOCKS_N];
        const u32 pair = added[p / 4][p % 4];
        packed[p] = pack_bf16(__fadd_rn(low_bf16(pair), s[p / Tile::BLOCKS_N * 2]),
                              __fadd_rn(high_bf16(pair), s[p / Tile::BLOCKS_N * 2 + 1]));
      }
      pieces.store(out, packed);
    }
  }
};

// Rows of b are gate and up in turns of eight: out = silu(gate)·up, half as wide; gate and up themselves go to `extra`
// where there is one. Gate and up are rounded to bf16 first, so that a product made from the stored pair is the same.
struct Swiglu {
  template <class Tile>
  static __device__ __forceinline__ void finish(const GemmSums<Tile>& sums, const GemmArguments& arguments,
                                                GemmOrigin origin) {
    static_assert(Tile::BLOCKS_N % 2 == 0, "a gate and its up belong to one thread");
    const GemmRows<bf16> out{static_cast<bf16*>(arguments.out), arguments.out_stride};
    const GemmRows<bf16> gate_up{static_cast<bf16*>(arguments.extra), arguments.extra_stride};
#pragma unroll
    for (u32 i = 0; i < Tile::BLOCKS_M; ++i) {
      u32 packed[2 * Tile::BLOCKS_N], products[Tile::BLOCKS_N];
#pragma unroll
      for (u32 p = 0; p < 2 * Tile::BLOCKS_N; ++p) {
        const float(&s)[4] = sums.block[i][p % Tile::BLOCKS_N];
        packed[p] = pack_bf16(s[p / Tile::BLOCKS_N * 2], s[p / Tile::BLOCKS_N * 2 + 1]);
      }
#pragma unroll
      for (u32 p = 0; p < Tile::BLOCKS_N; ++p) {
        const u32 gate = packed[2 * p], up = packed[2 * p + 1];
        products[p] = pack_bf16(silu_product(low_bf16(gate), low_bf16(up)),
                                silu_product(high_bf16(gate), high_bf16(up)));
      }
      pieces_of<Tile, Tile::BLOCKS_N / 2>(origin, i, arguments.m, arguments.n / 2).store(out, products);
      if (gate_up.base != nullptr) {
        pieces_of<Tile, Tile::BLOCKS_N>(origin, i, arguments.m, arguments.n).store(gate_up, packed);
      }
    }
  }
};

// Half an f32 piece: what a lane holds of pieces 2·pair and 2·pair + 1 after the exchange.
struct HalfPiece {
  float* to;
  u32 left; // columns from here to the end of the row, 0 outside the matrix
  bool aligned;

  template <u32 WIDTH>
  __device__ __forceinline__ HalfPiece(const GemmRows<float>& out, const Pieces<WIDTH>& pieces, u32 pair) {
    const u32 lane = threadIdx.x % 4, piece = pair * 2 + lane % 2;
    const u32 row = pieces.row_of(piece), column = pieces.column_of(piece) + lane / 2 * 4;
    to = out.base + row * out.stride + column;
    left = row < pieces.rows && column < pieces.columns ? pieces.columns - column : 0;
    aligned = out.aligned();
  }

  __device__ __forceinline__ void load(float (&v)[4]) const {
    if (aligned && left >= 4) {
      const float4 all = load_once_f32x4(to);
      v[0] = all.x, v[1] = all.y, v[2] = all.z, v[3] = all.w;
    } else {
#pragma unroll 1
      for (u32 e = 0; e < 4; ++e) {
        v[0] = v[1], v[1] = v[2], v[2] = v[3];
        v[3] = e < left ? to[e] : 0.0f;
      }
    }
  }

  __device__ __forceinline__ void store(float (&v)[4]) const {
    if (aligned && left >= 4) {
      store_f32x4(to, make_float4(v[0], v[1], v[2], v[3]));
    } else {
#pragma unroll 1
      for (u32 e = 0; e < 4 && e < left; ++e) {
        to[e] = v[0];
        v[0] = v[1], v[1] = v[2], v[2] = v[3];
      }
    }
  }
};

// out = sums, or with `accumulate` out += sums, in f32.
struct StoreF32 {
  template <class Tile>
  static __device__ __forceinline__ void finish(const GemmSums<Tile>& sums, const GemmArguments& arguments,
                                                GemmOrigin origin) {
    constexpr u32 WIDTH = Tile::BLOCKS_N;
    const GemmRows<float> out{static_cast<float*>(arguments.out), arguments.out_stride};
    const bool accumulate = arguments.accumulate != 0;
#pragma unroll
    for (u32 i = 0; i < Tile::BLOCKS_M; ++i) {
      const auto pieces = pieces_of<Tile, WIDTH>(origin, i, arguments.m, arguments.n);
      // All loads of sixteen rows first, so that they wait together.
      float old[WIDTH][4] = {};
      if (accumulate) {
#pragma unroll
        for (u32 pair = 0; pair < WIDTH; ++pair) HalfPiece(out, pieces, pair).load(old[pair]);
      }
#pragma unroll
      for (u32 pair = 0; pair < WIDTH; ++pair) {
        const u32 first = pair * 2, second = pair * 2 + 1;
        const float* s = sums.block[i][first % WIDTH] + first / WIDTH * 2;
        const float* t = sums.block[i][second % WIDTH] + second / WIDTH * 2;
        u32 v[4] = {__float_as_uint(s[0]), __float_as_uint(s[1]), __float_as_uint(t[0]), __float_as_uint(t[1])};
        exchange<1>(v[0], v[2]);
        exchange<1>(v[1], v[3]);
        float sum[4];
#pragma unroll
        for (u32 e = 0; e < 4; ++e) {
          const float fresh = __uint_as_float(v[e]);
          sum[e] = accumulate ? __fadd_rn(old[pair][e], fresh) : fresh;
        }
        HalfPiece(out, pieces, pair).store(sum);
      }
    }
  }
};
