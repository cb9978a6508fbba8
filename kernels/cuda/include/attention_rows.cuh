// What the passes of attention share: which rows a block works on, how rows come into shared memory and out of it into
// fragments, how sums in fragments become rows again.
//
// A row is a query of one head. The heads that share a key-value head are rows side by side (token · group + head), so that
// keys and values are read once for all of them.
#pragma once
#include "exchange.cuh"
#include "indices.cuh"
#include "memory.cuh"
#include "mma.cuh"
#include "pack.cuh"
#include "panel.cuh"
#include "types.cuh"

// What a block works on: `first` onwards of the `rows` rows that one document has under one key-value head.
struct AttentionWork {
  u32 document, kv_head;
  u32 begin; // the document's first token
  u32 first, rows;

  // Block b has key-value head b % kv_heads of tile b / kv_heads. Tiles of ROWS rows, of which a token has so many, go
  // through the documents in order, and through each from its end if FROM_END, so that long work comes before short. False
  // for a block past the last tile.
  template <u32 ROWS, bool FROM_END, class Arguments>
  __device__ __forceinline__ bool find(const Arguments& a, u32 block, u32 rows_a_token) {
    const u32 lane = threadIdx.x % WARP, wanted = block / a.kv_heads;
    kv_head = block % a.kv_heads;
    u32 before = 0;
#pragma unroll 1
    for (u32 base = 0; base < a.documents; base += WARP) {
      // Documents past the last are empty; both bounds are asked for at once.
      const u32 d = base + lane, next = d + 1;
      const u32 from = a.cu_seqlens[d < a.documents ? d : a.documents];
      const u32 end = a.cu_seqlens[next < a.documents ? next : a.documents];
      const u32 to = end < a.tokens ? end : a.tokens, own = to > from ? (to - from) * rows_a_token : 0;
      const u32 tiles = (own + ROWS - 1) / ROWS;
      u32 upto = tiles;
#pragma unroll
      for (u32 apart = 1; apart < WARP; apart *= 2) {
        const u32 lower = __shfl_up_sync(FULL_WARP, upto, apart);
        upto += lane >= apart ? lower : 0;
      }
      const u32 past = __ballot_sync(FULL_WARP, before + upto > wanted);
      if (past != 0) {
        const u32 owner = __ffs(past) - 1;
        document = base + owner;
        begin = __shfl_sync(FULL_WARP, from, owner);
        rows = __shfl_sync(FULL_WARP, own, owner);
        // `upto` counts the tiles of the document itself too.
        const u32 end = before + __shfl_sync(FULL_WARP, upto, owner);
        first = (FROM_END ? end - 1 - wanted : wanted - (end - (rows + ROWS - 1) / ROWS)) * ROWS;
        return true;
      }
      before += __shfl_sync(FULL_WARP, upto, WARP - 1);
    }
    return false;
  }
};

// Copies 16-byte chunks of rows into a panel; a thread copies the same chunk of every PASS-th row.
template <class Panel, u32 THREADS>
struct RowCopier {
  static constexpr u32 PASS = THREADS / Panel::CHUNKS, COPIES = Panel::ROWS / PASS;
  static_assert(THREADS % Panel::CHUNKS == 0 && Panel::ROWS % PASS == 0 && (PASS & (PASS - 1)) == 0);

  u32 row, column; // of the thread's first chunk
  u32 place;       // of that chunk in the panel
  u32 bytes;       // of the row there are in the chunk: 16 or none

  __device__ __forceinline__ explicit RowCopier(u32 columns)
      : row(threadIdx.x / Panel::CHUNKS),
        column(threadIdx.x % Panel::CHUNKS * 8),
        place(Panel::offset(threadIdx.x / Panel::CHUNKS, threadIdx.x % Panel::CHUNKS)),
        bytes(column < columns ? 16 : 0) {}

  // Row r begins at from + r · step bytes; rows from `rows` on become zero.
  __device__ __forceinline__ void copy(u32 to, u64 from, u64 step, u32 rows) const {
    copy_rows(Upto<COPIES>{}, to + place, from + row * step + column * 2, step * PASS, rows);
  }

 private:
  template <u32... I>
  __device__ __forceinline__ void copy_rows(Indices<I...>, u32 to, u64 from, u64 step, u32 rows) const {
    // The key of a row is its last three bits; those of the thread's first row and of I · PASS do not overlap.
    ((copy_async_16<I * PASS * Panel::ROW_BYTES>(to ^ (I * PASS % 8 * 16), from, row + I * PASS < rows ? bytes : 0),
      from += step),
     ...);
  }
};

// Addresses of a warp's fragments in panels of one width: of sixteen columns number i at [i % 4], i / 4 · 128 bytes on.
struct FragmentAddresses {
  u32 address[4];

  __device__ __forceinline__ explicit FragmentAddresses(u32 place) {
#pragma unroll
    for (u32 i = 0; i < 4; ++i) address[i] = place ^ (i * 32);
  }

  template <bool TRANSPOSE, u32 SIXTEEN, u32 OFFSET>
  __device__ __forceinline__ void read(u32 (&d)[4]) const {
    load_matrix_x4<TRANSPOSE, OFFSET + SIXTEEN / 4 * 128>(d, address[SIXTEEN % 4]);
  }
};

// What the threads of a quad hold of a row, added xor 1, then xor 2: the same bits in all four.
__device__ __forceinline__ float quad_sum(float x) {
  x = __fadd_rn(x, __shfl_xor_sync(FULL_WARP, x, 1));
  return __fadd_rn(x, __shfl_xor_sync(FULL_WARP, x, 2));
}

// Writes row g (half 0) or g + 8 (half 1) of a warp's sums, which lie as mma_m16n8k16 leaves them, times `factor` and
// rounded once: 16 bytes at a time, columns that there are, if there is such a row. Every zero is the positive one. All lanes
// take part.
template <u32 EIGHTS>
__device__ __forceinline__ void store_row(const float (&sums)[EIGHTS][4], u32 half, float factor, bf16* to, u32 columns,
                                          bool there) {
#pragma unroll
  for (u32 four = 0; four < EIGHTS / 4; ++four) {
    u32 v[4];
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
      const float* pair = sums[four * 4 + i] + half * 2;
      // Adding +0 makes every zero the positive one.
      v[i] = pack_bf16(__fadd_rn(__fmul_rn(pair[0], factor), 0.0f), __fadd_rn(__fmul_rn(pair[1], factor), 0.0f));
    }
    transpose_quad(v);
    const u32 column = (four * 4 + threadIdx.x % 4) * 8;
    if (there && column < columns) store_16(to + column, make_uint4(v[0], v[1], v[2], v[3]));
  }
}
