// dk and dv of a block's keys: the rows that see them come by in ascending order.
#pragma once
#include "attention_backward_tile.cuh"

// Scores are computed transposed, keys by rows, so that probabilities come as left operands. Shared memory: values, keys if
// their fragments do not stay in registers, and a ring of stages, each queries, dout and what is known of the rows. Keys
// that stay lie in the last slot of the ring before.
template <class Tile>
struct KeyGradient {
  static constexpr bool KEYS_STAY = Tile::HEAD_DIM <= 128 && Tile::SIXTEENS == 1;
  static constexpr u32 KNOWN = 2 * Tile::STAGED_BYTES, SLOT_BYTES = KNOWN + Tile::STAGE * 8;
  static constexpr u32 RING = (KEYS_STAY ? 1 : 2) * Tile::OWNED_BYTES, RING_BYTES = Tile::STAGES * SLOT_BYTES;
  static constexpr u32 KEYS = KEYS_STAY ? RING + RING_BYTES - SLOT_BYTES : Tile::OWNED_BYTES;
  static constexpr u32 PASS = Tile::Copier::PASS;
  static_assert(!KEYS_STAY || SLOT_BYTES >= Tile::OWNED_BYTES);
  static_assert(Tile::STAGES == 2 && Tile::STAGE <= Tile::THREADS && SLOT_BYTES % 128 == 0);

  const AttentionBackwardArguments& a;
  const AttentionWork& work; // its rows are keys
  u32 shared;
  typename Tile::Copier copier;
  u32 part;             // of the columns
  u32 rows;             // of the document
  u32 seen;             // the first row that sees any key of the warp
  u32 row, token, head; // the row whose chunk the thread copies next; the head counts within the group
  u32 tokens_a_pass, heads_a_pass;
  Left<Tile, KEYS_STAY> key;
  Left<Tile, false> value;
  typename Tile::Sums dk, dv;

  // Tiles with the most rows come first.
  static __device__ __forceinline__ bool find(AttentionWork& work, const AttentionBackwardArguments& a) {
    return work.find<Tile::OWN, false>(a, blockIdx.x / Tile::PARTS, 1);
  }

  __device__ __forceinline__ KeyGradient(const AttentionBackwardArguments& arguments, const AttentionWork& w, u32 to)
      : a(arguments),
        work(w),
        shared(to),
        copier(arguments.head_dim),
        part(Tile::PARTS == 1 ? 0 : blockIdx.x % Tile::PARTS),
        rows(w.rows * arguments.group),
        seen((w.first + threadIdx.x / WARP * Tile::WARP_ROWS) * arguments.group),
        row(w.first * arguments.group + copier.row),
        token(w.begin + row / arguments.group),
        head(row % arguments.group),
        tokens_a_pass(PASS / arguments.group),
        heads_a_pass(PASS % arguments.group) {}

  __device__ __forceinline__ void run() {
    const u32 first = work.first * a.group;
    copy_owned();
    u32 slot = shared + RING, free = slot + SLOT_BYTES;
    copy_stage(first, slot);
    copy_async_wait<0>();
    __syncthreads();
    const u32 own = shared + left_place<typename Tile::Owned>(threadIdx.x / WARP * Tile::WARP_ROWS);
    key.keep(FragmentAddresses(own + KEYS));
    value.keep(FragmentAddresses(own));
    clear(dk);
    clear(dv);
#pragma unroll 1
    for (u32 r = first; r < rows; r += Tile::STAGE) {
      // This stage has arrived for all, and all have read the one before (or the keys), into whose place the next goes.
      copy_async_wait<0>();
      __syncthreads();
      copy_stage(r + Tile::STAGE, free);
      add_stage(Upto<Tile::SLICES>{}, r, slot);
      const u32 next = free;
      free = slot;
      slot = next;
    }
    copy_async_wait<0>();
  }

  __device__ __forceinline__ void finish() const {
    const u32 before = part * Tile::COLUMNS, columns = a.head_dim > before ? a.head_dim - before : 0;
#pragma unroll
    for (u32 i = 0; i < Tile::THREAD_ROWS; ++i) {
      const u32 k = own_key(i);
      const u64 t = work.begin + k, column = work.kv_head * a.head_dim + before;
      store_row(dk[i / 2], i % 2, a.scale, a.dk + t * a.dk_stride + column, columns, k < work.rows);
      store_row(dv[i / 2], i % 2, 1.0f, a.dv + t * a.dv_stride + column, columns, k < work.rows);
    }
  }

 private:
  // Key `i` of the thread, counted in the document.
  __device__ __forceinline__ u32 own_key(u32 i) const { return work.first + Tile::thread_row(i); }

  // Keys and values of the block; zeros where there is none.
  __device__ __forceinline__ void copy_owned() const {
    const RowCopier<typename Tile::Owned, Tile::THREADS> owned(a.head_dim);
    const u64 t = work.begin + work.first, column = work.kv_head * a.head_dim;
    const u64 k = global_address(a.k) + (t * a.k_stride + column) * 2;
    const u64 v = global_address(a.v) + (t * a.v_stride + column) * 2;
    owned.copy(shared + KEYS, k, a.k_stride * 2, work.rows - work.first);
    owned.copy(shared, v, a.v_stride * 2, work.rows - work.first);
  }

  // Queries, dout and what is known of rows from `first` on; nothing past the last row, zeros within its stage.
  __device__ __forceinline__ void copy_stage(u32 first, u32 slot) {
    if (first < rows) {
      copy_rows(Upto<Tile::Copier::COPIES>{}, slot);
      if (threadIdx.x < Tile::STAGE) {
        const u32 r = first + threadIdx.x;
        const u64 at = (static_cast<u64>(work.kv_head) * a.tokens + work.begin) * a.group + r;
        copy_async_8(slot + KNOWN + threadIdx.x * 8, global_address(a.rows) + at * 8, r < rows ? 8 : 0);
      }
    }
    copy_async_commit();
  }

  template <u32... I>
  __device__ __forceinline__ void copy_rows(Indices<I...>, u32 slot) {
    (copy_row<I>(slot), ...);
  }

  template <u32 I>
  __device__ __forceinline__ void copy_row(u32 slot) {
    constexpr u32 PLACE = I * PASS * Tile::ROW_BYTES;
    const u32 bytes = row < rows ? copier.bytes : 0;
    const u32 to = (slot + copier.place) ^ (I * PASS % 8 * 16);
    const u64 t = token, column = (work.kv_head * a.group + head) * a.head_dim + copier.column;
    copy_async_16<PLACE>(to, global_address(a.q) + (t * a.q_stride + column) * 2, bytes);
    copy_async_16<PLACE + Tile::STAGED_BYTES>(to, global_address(a.dout) + (t * a.dout_stride + column) * 2, bytes);
    // PASS rows on.
    row += PASS;
    token += tokens_a_pass;
    head += heads_a_pass;
    if (head >= a.group) {
      head -= a.group;
      token += 1;
    }
  }

  template <u32... I>
  __device__ __forceinline__ void add_stage(Indices<I...>, u32 r, u32 slot) {
    const FragmentAddresses staged(slot + right_place<typename Tile::Staged>());
    const FragmentAddresses transposed(slot + transposed_place<typename Tile::Staged>() + part * (Tile::COLUMNS * 2));
    (add_slice<I>(r + I * Tile::SLICE, slot, staged, transposed), ...);
  }

  template <u32 I>
  __device__ __forceinline__ void add_slice(u32 r, u32 slot, const FragmentAddresses& staged,
                                            const FragmentAddresses& transposed) {
    if (r + Tile::SLICE <= seen || r >= rows) return;
    typename Tile::Scores scores, dp;
    SliceProducts<Tile, I, 0>::scores(scores, key, staged);
    SliceProducts<Tile, I, Tile::STAGED_BYTES>::scores(dp, value, staged);
    // The last key of the warp is seen from here on.
    if (r < seen + (Tile::WARP_ROWS - 1) * a.group) hide(r, scores);
    typename Tile::Rounded p, ds;
    soften(Upto<Tile::SLICE / 8>{}, slot + KNOWN + I * Tile::SLICE * 8 + threadIdx.x % 4 * 16, scores, dp, p, ds);
    SliceProducts<Tile, I, Tile::STAGED_BYTES>::add(dv, p, transposed);
    SliceProducts<Tile, I, 0>::add(dk, ds, transposed);
  }

  // From scores and dout by values to p and ds, rounded and laid out as left operands of steps of 16 rows. `known` is where
  // the thread finds what is known of the first two of its rows.
  template <u32... EIGHT>
  __device__ __forceinline__ void soften(Indices<EIGHT...>, u32 known, const typename Tile::Scores& scores,
                                         const typename Tile::Scores& dp, typename Tile::Rounded& p,
                                         typename Tile::Rounded& ds) const {
    (soften_eight<EIGHT>(known, scores, dp, p, ds), ...);
  }

  template <u32 EIGHT>
  __device__ __forceinline__ void soften_eight(u32 known, const typename Tile::Scores& scores,
                                               const typename Tile::Scores& dp, typename Tile::Rounded& p,
                                               typename Tile::Rounded& ds) const {
    // Of rows 2t and 2t + 1: lse · log2 e, delta.
    const float4 of = load_shared_f32x4<EIGHT * 64>(known);
#pragma unroll
    for (u32 i = 0; i < Tile::THREAD_ROWS; ++i) {
      constexpr u32 STEP = EIGHT / 2, PLACE = EIGHT % 2 * 2;
      const float* s = scores[i / 2][EIGHT] + i % 2 * 2;
      const float* d = dp[i / 2][EIGHT] + i % 2 * 2;
      const float low = exp2_approx(__fmaf_rn(s[0], a.scale_log2, -of.x));
      const float high = exp2_approx(__fmaf_rn(s[1], a.scale_log2, -of.z));
      p[i / 2][STEP][PLACE + i % 2] = pack_bf16(low, high);
      ds[i / 2][STEP][PLACE + i % 2] =
          pack_bf16(__fmul_rn(low, __fsub_rn(d[0], of.y)), __fmul_rn(high, __fsub_rn(d[1], of.w)));
    }
  }

  // Rows that do not see a key give it a probability of 0.
  __device__ __forceinline__ void hide(u32 r, typename Tile::Scores& scores) const {
    const u32 own = r + threadIdx.x % 4 * 2;
#pragma unroll
    for (u32 i = 0; i < Tile::THREAD_ROWS; ++i) {
      const u32 first_row = own_key(i) * a.group;
#pragma unroll
      for (u32 j = 0; j < Tile::SLICE / 4; ++j) {
        float& score = scores[i / 2][j / 2][i % 2 * 2 + j % 2];
        if (own + (j / 2 * 8 + j % 2) < first_row) score = minus_infinity();
      }
    }
  }
};
