// The gradients of causal attention over packed rows: what both kernels share, then one struct a kernel.
//
// With s = scale · q·k, p = e^(s - lse), dp = dout·v and delta = dout·out (both sums over a head's elements):
//   ds = p · (dp - delta), dq = scale · Σ ds·k over keys, dk = scale · Σ ds·q, dv = Σ p·dout over rows.
// p and ds are rounded to bf16 where they multiply rows; p in ds is not.
//
// Two kernels, so that each sum has one owner and one order: `QueryGradient` has rows and goes through keys, `KeyGradient`
// has keys and goes through rows. Both compute s and dp again. Rows are those of attention_rows.cuh: a token's heads of the
// group side by side, so a step of 16 rows may hold several heads. A key that a row does not see has p = ds = 0, and adding
// +0 changes no bit but the sign of a zero, which `store_row` takes away. So steps may be left out where no row sees a key,
// and sums hang on the document alone: keys and rows count from its start, steps of 16 are aligned there.
#pragma once
#include "approximate.cuh"
#include "attention_rows.cuh"

// Strides are in elements.
struct AttentionBackwardArguments {
  const bf16* q;
  const bf16* k;
  const bf16* v;
  const bf16* out;
  const bf16* dout;
  const float* lse;
  const u32* cu_seqlens;
  bf16* dq;
  bf16* dk;
  bf16* dv;
  float2* rows; // of each row lse · log2 e and delta: written by the first kernel, read by the second
  u64 q_stride;
  u64 k_stride;
  u64 v_stride;
  u64 out_stride;
  u64 dout_stride;
  u64 dq_stride;
  u64 dk_stride;
  u64 dv_stride;
  u32 tokens;
  u32 documents;
  u32 heads;    // of a row of lse
  u32 kv_heads; // that this launch computes
  u32 group;    // query heads that share a key-value head
  u32 head_dim;
  float scale;
  float scale_log2; // scale · log2 e
};

// Head dimension as it is computed; rows (or keys) that a block owns, and how many sixteens of them a warp; keys (or rows) of
// a stage, and stages; columns of the gradients that a block owns; blocks that share a multiprocessor.
template <u32 HEAD_DIM_, u32 OWN_, u32 SIXTEENS_, u32 STAGE_, u32 STAGES_, u32 COLUMNS_, u32 RESIDENT_>
struct AttentionBackwardTile {
  static constexpr u32 HEAD_DIM = HEAD_DIM_, OWN = OWN_, STAGE = STAGE_, STAGES = STAGES_, COLUMNS = COLUMNS_;
  // Rows of a warp; of a thread, g and g + 8 of each sixteen.
  static constexpr u32 SIXTEENS = SIXTEENS_, WARP_ROWS = 16 * SIXTEENS, THREAD_ROWS = 2 * SIXTEENS;
  static constexpr u32 RESIDENT = RESIDENT_, THREADS = OWN / WARP_ROWS * WARP;
  // What is computed at a time, so that scores take few registers.
  static constexpr u32 SLICE = STAGE < 32 ? STAGE : 32, SLICES = STAGE / SLICE;
  // Steps of 16 elements of a head; parts of its columns.
  static constexpr u32 STEPS = HEAD_DIM / 16, PARTS = HEAD_DIM / COLUMNS;
  using Owned = Panel<OWN, HEAD_DIM>;
  using Staged = Panel<STAGE, HEAD_DIM>;
  using Copier = RowCopier<Staged, THREADS>;
  static constexpr u32 ROW_BYTES = Staged::ROW_BYTES;
  static constexpr u32 OWNED_BYTES = OWN * ROW_BYTES, STAGED_BYTES = STAGE * ROW_BYTES;
  // A thread's scores of each sixteen rows: a slice's columns in eights.
  using Scores = float[SIXTEENS][SLICE / 8][4];
  // Those rounded, as left operands of steps of 16.
  using Rounded = u32[SIXTEENS][SLICE / 16][4];
  // Sums of a gradient.
  using Sums = float[SIXTEENS][COLUMNS / 8][4];
  // One left operand.
  using Operand = u32[SIXTEENS][4];

  // Row `i` of a thread, counted in what the block owns.
  static __device__ __forceinline__ u32 thread_row(u32 i) {
    return threadIdx.x / WARP * WARP_ROWS + i / 2 * 16 + threadIdx.x % WARP / 4 + i % 2 * 8;
  }

  static_assert(STAGE % 16 == 0 && STAGE % SLICE == 0 && HEAD_DIM % COLUMNS == 0 && COLUMNS % 64 == 0);
};

constexpr float LOG2_E = 1.44269504f;

__device__ __forceinline__ float minus_infinity() { return -__int_as_float(0x7f800000); }

template <u32 SIXTEENS, u32 EIGHTS>
__device__ __forceinline__ void clear(float (&sums)[SIXTEENS][EIGHTS][4]) {
#pragma unroll
  for (u32 j = 0; j < SIXTEENS * EIGHTS * 4; ++j) sums[j / 4 / EIGHTS][j / 4 % EIGHTS][j % 4] = 0.0f;
}

// Where a lane reads a left operand of 16 rows from `row` on; where a right operand whose columns are rows of the panel;
// where one whose terms are rows of the panel (transposed).
template <class Panel>
__device__ __forceinline__ u32 left_place(u32 row) {
  return Panel::offset(row + threadIdx.x % 16, threadIdx.x % WARP / 16);
}
template <class Panel>
__device__ __forceinline__ u32 right_place() {
  return Panel::offset(threadIdx.x % 8 + threadIdx.x % WARP / 16 * 8, threadIdx.x / 8 % 2);
}
template <class Panel>
__device__ __forceinline__ u32 transposed_place() {
  return Panel::offset(threadIdx.x % 16, threadIdx.x % WARP / 16);
}

// Products over a slice: a warp's owned rows against the staged rows of slice SLICE, OFFSET bytes after the stage's
// beginning. Left operands come from registers or from shared memory.
template <class Tile, u32 SLICE, u32 OFFSET>
struct SliceProducts {
  static constexpr u32 BEGIN = OFFSET + SLICE * Tile::SLICE * Tile::ROW_BYTES;

  // scores = left · stagedᵀ, steps of 16 elements ascending.
  template <class Left>
  static __device__ __forceinline__ void scores(typename Tile::Scores& scores, const Left& left,
                                                const FragmentAddresses& staged) {
    clear(scores);
    score_steps(Upto<Tile::STEPS>{}, scores, left, staged);
  }

  // sums += left · staged over its columns, steps of 16 staged rows ascending.
  static __device__ __forceinline__ void add(typename Tile::Sums& sums, const typename Tile::Rounded& left,
                                             const FragmentAddresses& staged) {
    add_steps(Upto<Tile::SLICE / 16>{}, sums, left, staged);
  }

 private:
  template <u32... STEP, class Left>
  static __device__ __forceinline__ void score_steps(Indices<STEP...>, typename Tile::Scores& scores, const Left& left,
                                                     const FragmentAddresses& staged) {
    (score_step<STEP>(Upto<Tile::SLICE / 16>{}, scores, left, staged), ...);
  }

  template <u32 STEP, u32... I, class Left>
  static __device__ __forceinline__ void score_step(Indices<I...>, typename Tile::Scores& scores, const Left& left,
                                                    const FragmentAddresses& staged) {
    typename Tile::Operand operand;
    left.template read<STEP>(operand);
    (score_sixteen<STEP, I>(scores, operand, staged), ...);
  }

  template <u32 STEP, u32 I>
  static __device__ __forceinline__ void score_sixteen(typename Tile::Scores& scores,
                                                       const typename Tile::Operand& left,
                                                       const FragmentAddresses& staged) {
    u32 right[4];
    staged.template read<false, STEP, BEGIN + I * 16 * Tile::ROW_BYTES>(right);
#pragma unroll
    for (u32 i = 0; i < Tile::SIXTEENS; ++i) {
      mma_m16n8k16(scores[i][2 * I], left[i], right[0], right[1]);
      mma_m16n8k16(scores[i][2 * I + 1], left[i], right[2], right[3]);
    }
  }

  template <u32... STEP>
  static __device__ __forceinline__ void add_steps(Indices<STEP...>, typename Tile::Sums& sums,
                                                   const typename Tile::Rounded& left,
                                                   const FragmentAddresses& staged) {
    (add_step<STEP>(Upto<Tile::COLUMNS / 16>{}, sums, left, staged), ...);
  }

  template <u32 STEP, u32... I>
  static __device__ __forceinline__ void add_step(Indices<I...>, typename Tile::Sums& sums,
                                                  const typename Tile::Rounded& left, const FragmentAddresses& staged) {
    (add_sixteen<STEP, I>(sums, left, staged), ...);
  }

  template <u32 STEP, u32 I>
  static __device__ __forceinline__ void add_sixteen(typename Tile::Sums& sums, const typename Tile::Rounded& left,
                                                     const FragmentAddresses& staged) {
    u32 right[4];
    staged.template read<true, I, BEGIN + STEP * 16 * Tile::ROW_BYTES>(right);
#pragma unroll
    for (u32 i = 0; i < Tile::SIXTEENS; ++i) {
      mma_m16n8k16(sums[i][2 * I], left[i][STEP], right[0], right[1]);
      mma_m16n8k16(sums[i][2 * I + 1], left[i][STEP], right[2], right[3]);
    }
  }
};

// Step STEP of a warp's rows of a panel, OFFSET bytes after where `at` points.
template <class Tile, u32 STEP, u32 OFFSET, u32... I>
__device__ __forceinline__ void read_left(Indices<I...>, typename Tile::Operand& d, const FragmentAddresses& at) {
  (at.template read<false, STEP, OFFSET + I * 16 * Tile::ROW_BYTES>(d[I]), ...);
}

// Left operands of a warp's rows of an owned panel: kept in registers, or read again each time.
template <class Tile, bool STAY>
struct Left;

template <class Tile>
struct Left<Tile, true> {
  typename Tile::Operand fragments[Tile::STEPS];

  __device__ __forceinline__ void keep(const FragmentAddresses& at) { keep_steps(Upto<Tile::STEPS>{}, at); }

  template <u32 STEP>
  __device__ __forceinline__ void read(typename Tile::Operand& d) const {
#pragma unroll
    for (u32 i = 0; i < Tile::SIXTEENS * 4; ++i) d[i / 4][i % 4] = fragments[STEP][i / 4][i % 4];
  }

 private:
  template <u32... STEP>
  __device__ __forceinline__ void keep_steps(Indices<STEP...>, const FragmentAddresses& at) {
    (read_left<Tile, STEP, 0>(Upto<Tile::SIXTEENS>{}, fragments[STEP], at), ...);
  }
};

template <class Tile>
struct Left<Tile, false> {
  FragmentAddresses at = FragmentAddresses(0);

  __device__ __forceinline__ void keep(const FragmentAddresses& from) { at = from; }

  template <u32 STEP>
  __device__ __forceinline__ void read(typename Tile::Operand& d) const {
    read_left<Tile, STEP, 0>(Upto<Tile::SIXTEENS>{}, d, at);
  }
};
