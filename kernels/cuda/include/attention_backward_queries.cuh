// dq of a block's rows: keys and values come by in ascending order. Also what the other kernel wants to know of each row.
#pragma once
#include "attention_backward_tile.cuh"

// Shared memory: a ring of stages, each keys and then values. Queries, dout and out lie where the ring will be if fragments of
// queries and dout stay in registers; else queries and dout lie before the ring, out in it.
template <class Tile>
struct QueryGradient {
  static constexpr bool STAY = Tile::HEAD_DIM <= 128;
  static constexpr u32 SLOT_BYTES = 2 * Tile::STAGED_BYTES, RING_BYTES = Tile::STAGES * SLOT_BYTES;
  static constexpr u32 RING = STAY ? 0 : 2 * Tile::OWNED_BYTES, OUT = 2 * Tile::OWNED_BYTES;
  static_assert(RING + RING_BYTES >= 3 * Tile::OWNED_BYTES && Tile::PARTS == 1);

  const AttentionBackwardArguments& a;
  const AttentionWork& work;
  u32 shared;
  typename Tile::Copier copier;
  u32 keys;        // that any row of the block sees
  u32 warp_keys;   // that any row of the warp sees
  u32 common_keys; // that all rows of the warp see
  // Of the thread's rows: -1 where there is none; times log2 e; dout·out.
  i32 position[Tile::THREAD_ROWS];
  float lse[Tile::THREAD_ROWS];
  float delta[Tile::THREAD_ROWS];
  Left<Tile, STAY> query, dout;
  typename Tile::Sums sums;

  // Tiles with the most keys come first.
  static __device__ __forceinline__ bool find(AttentionWork& work, const AttentionBackwardArguments& a) {
    return work.find<Tile::OWN, true>(a, blockIdx.x, a.group);
  }

  __device__ __forceinline__ QueryGradient(const AttentionBackwardArguments& arguments, const AttentionWork& w, u32 to)
      : a(arguments), work(w), shared(to), copier(arguments.head_dim) {
    see();
  }

  __device__ __forceinline__ void run() {
    copy_owned();
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
    const u32 own = shared + left_place<typename Tile::Owned>(threadIdx.x / WARP * Tile::WARP_ROWS);
    query.keep(FragmentAddresses(own));
    dout.keep(FragmentAddresses(own + Tile::OWNED_BYTES));
    know_rows(FragmentAddresses(own));
    // The ring takes the place of what has been read.
    __syncthreads();
    clear(sums);
    u32 slot = shared + RING, free = slot + RING_BYTES - SLOT_BYTES;
#pragma unroll
    for (u32 stage = 0; stage + 1 < Tile::STAGES; ++stage) copy_stage(stage * Tile::STAGE, slot + stage * SLOT_BYTES);
#pragma unroll 1
    for (u32 key = 0; key < keys; key += Tile::STAGE) {
      // This stage has arrived for all, and all have read the one before, into whose place the last one goes.
      copy_async_wait<Tile::STAGES - 2>();
      __syncthreads();
      copy_stage(key + (Tile::STAGES - 1) * Tile::STAGE, free);
      add_stage(Upto<Tile::SLICES>{}, key, slot);
      free = slot;
      slot = slot == shared + RING + RING_BYTES - SLOT_BYTES ? shared + RING : slot + SLOT_BYTES;
    }
    copy_async_wait<0>();
  }

  __device__ __forceinline__ void finish() const {
#pragma unroll
    for (u32 i = 0; i < Tile::THREAD_ROWS; ++i) {
      const u32 row = own_row(i);
      bf16* to = a.dq + (work.begin + row / a.group) * a.dq_stride + head_of(row) * a.head_dim;
      store_row(sums[i / 2], i % 2, a.scale, to, a.head_dim, position[i] >= 0);
    }
  }

 private:
  // Row `i` of the thread, and the head that a row is a query of.
  __device__ __forceinline__ u32 own_row(u32 i) const { return work.first + Tile::thread_row(i); }
  __device__ __forceinline__ u32 head_of(u32 row) const { return work.kv_head * a.group + row % a.group; }

  // Which keys are seen: those up to the token of the last row.
  __device__ __forceinline__ void see() {
    const u32 warp = work.first + threadIdx.x / WARP * Tile::WARP_ROWS, end = warp + Tile::WARP_ROWS;
    keys = (min(work.first + Tile::OWN, work.rows) - 1) / a.group + 1;
    warp_keys = warp < work.rows ? (min(end, work.rows) - 1) / a.group + 1 : 0;
    common_keys = end <= work.rows ? warp / a.group + 1 : 0;
#pragma unroll
    for (u32 i = 0; i < Tile::THREAD_ROWS; ++i) {
      const u32 row = own_row(i);
      position[i] = row < work.rows ? static_cast<i32>(row / a.group) : -1;
    }
  }

  // Queries, dout and out of the block's rows; zeros where there is none.
  __device__ __forceinline__ void copy_owned() const {
    using Panel = typename Tile::Owned;
    const u64 q = global_address(a.q), dout = global_address(a.dout), out = global_address(a.out);
#pragma unroll
    for (u32 i = 0; i < Panel::ROWS * Panel::CHUNKS; i += Tile::THREADS) {
      const u32 row = (i + threadIdx.x) / Panel::CHUNKS, chunk = (i + threadIdx.x) % Panel::CHUNKS;
      const u32 r = work.first + row, column = head_of(r) * a.head_dim + chunk * 8;
      const u64 token = work.begin + r / a.group;
      const u32 to = shared + Panel::offset(row, chunk);
      const u32 bytes = r < work.rows && chunk * 8 < a.head_dim ? 16 : 0;
      copy_async_16<0>(to, q + (token * a.q_stride + column) * 2, bytes);
      copy_async_16<Tile::OWNED_BYTES>(to, dout + (token * a.dout_stride + column) * 2, bytes);
      copy_async_16<OUT>(to, out + (token * a.out_stride + column) * 2, bytes);
    }
  }

  // delta of the thread's rows: a chain of fused multiply-adds over the elements that the thread holds of a row, ascending,
  // then over the quad.
  __device__ __forceinline__ void know_rows(const FragmentAddresses& out_at) {
#pragma unroll
    for (u32 i = 0; i < Tile::THREAD_ROWS; ++i) delta[i] = 0.0f;
    add_deltas(Upto<Tile::STEPS>{}, out_at);
#pragma unroll
    for (u32 i = 0; i < Tile::THREAD_ROWS; ++i) {
      const u32 row = own_row(i);
      delta[i] = quad_sum(delta[i]);
      lse[i] = 0.0f;
      if (position[i] >= 0) {
        lse[i] = __fmul_rn(a.lse[static_cast<u64>(work.begin + row / a.group) * a.heads + head_of(row)], LOG2_E);
        const u64 at = (static_cast<u64>(work.kv_head) * a.tokens + work.begin) * a.group + row;
        if (threadIdx.x % 4 == 0) a.rows[at] = make_float2(lse[i], delta[i]);
      }
    }
  }

  template <u32... STEP>
  __device__ __forceinline__ void add_deltas(Indices<STEP...>, const FragmentAddresses& out_at) {
    (add_delta<STEP>(out_at), ...);
  }

  template <u32 STEP>
  __device__ __forceinline__ void add_delta(const FragmentAddresses& out_at) {
    typename Tile::Operand left, right;
    read_left<Tile, STEP, OUT>(Upto<Tile::SIXTEENS>{}, left, out_at);
    dout.template read<STEP>(right);
#pragma unroll
    for (u32 i = 0; i < Tile::SIXTEENS * 4; ++i) {
      const u32 x = left[i / 4][i % 4], y = right[i / 4][i % 4];
      float& sum = delta[i / 4 * 2 + i % 2];
      sum = __fmaf_rn(high_bf16(x), high_bf16(y), __fmaf_rn(low_bf16(x), low_bf16(y), sum));
    }
  }

  // Keys and values from key `first` on; nothing past the last key that is seen, zeros within its stage.
  __device__ __forceinline__ void copy_stage(u32 first, u32 slot) const {
    if (first < keys) {
      const u64 token = work.begin + first, column = work.kv_head * a.head_dim;
      const u64 k = global_address(a.k) + (token * a.k_stride + column) * 2;
      const u64 v = global_address(a.v) + (token * a.v_stride + column) * 2;
      copier.copy(slot, k, a.k_stride * 2, keys - first);
      copier.copy(slot + Tile::STAGED_BYTES, v, a.v_stride * 2, keys - first);
    }
    copy_async_commit();
  }

  template <u32... I>
  __device__ __forceinline__ void add_stage(Indices<I...>, u32 key, u32 slot) {
    const FragmentAddresses staged(slot + right_place<typename Tile::Staged>());
    const FragmentAddresses transposed(slot + transposed_place<typename Tile::Staged>());
    (add_slice<I>(key + I * Tile::SLICE, staged, transposed), ...);
  }

  template <u32 I>
  __device__ __forceinline__ void add_slice(u32 key, const FragmentAddresses& staged,
                                            const FragmentAddresses& transposed) {
    if (key >= warp_keys) return;
    typename Tile::Scores scores, dp;
    SliceProducts<Tile, I, 0>::scores(scores, query, staged);
    SliceProducts<Tile, I, Tile::STAGED_BYTES>::scores(dp, dout, staged);
    if (key + Tile::SLICE > common_keys) hide(key, scores);
    typename Tile::Rounded ds;
#pragma unroll
    for (u32 i = 0; i < Tile::THREAD_ROWS; ++i) {
#pragma unroll
      for (u32 j = 0; j < Tile::SLICE / 8; ++j) {
        const float* s = scores[i / 2][j] + i % 2 * 2;
        const float* d = dp[i / 2][j] + i % 2 * 2;
        ds[i / 2][j / 2][j % 2 * 2 + i % 2] = pack_bf16(gradient(s[0], d[0], i), gradient(s[1], d[1], i));
      }
    }
    SliceProducts<Tile, I, 0>::add(sums, ds, transposed);
  }

  // ds of a score of row `i` of the thread.
  __device__ __forceinline__ float gradient(float score, float dp, u32 i) const {
    const float p = exp2_approx(__fmaf_rn(score, a.scale_log2, -lse[i]));
    return __fmul_rn(p, __fsub_rn(dp, delta[i]));
  }

  // Keys that a row does not see have a probability of 0.
  __device__ __forceinline__ void hide(u32 key, typename Tile::Scores& scores) const {
    const i32 own = key + threadIdx.x % 4 * 2;
#pragma unroll
    for (u32 i = 0; i < Tile::THREAD_ROWS; ++i) {
#pragma unroll
      for (u32 j = 0; j < Tile::SLICE / 4; ++j) {
        float& score = scores[i / 2][j / 2][i % 2 * 2 + j % 2];
        if (own + static_cast<i32>(j / 2 * 8 + j % 2) > position[i]) score = minus_infinity();
      }
    }
  }
};
