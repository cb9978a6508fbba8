// Sixteen rows against one segment of 1,024 keys, by eight warps.
//
// Where few blocks have work, time is what one block waits for, so nothing is done by one warp that several can share:
// - scores: every warp fetches and multiplies a block of 128 keys of its own, and keeps the scores in registers;
// - the running maximum after a block is the largest of the blocks' maxima so far: each warp takes it from the others', and
//   rounds its probabilities against it;
// - the output: warps have columns of their own, and go through all keys in ascending order;
// - sums of probabilities are chains through all keys. While the values of a block are multiplied, the warp that has its
//   probabilities adds them to what the warp before has left.
// An output adds the same products in the same order as in attention_tile.cuh, so that its bits are the same.
//
// Two barriers a segment, and one a stage of values. Keys need none: a warp waits for its own copies alone.
#pragma once
#include "attention_keys.cuh"
#include "shared.cuh"

// Head dimension as it is computed, keys of one of the slots that each warp has, slots, blocks that share a multiprocessor.
template <u32 HEAD_DIM_, u32 SLOT_KEYS_, u32 SLOTS_, u32 RESIDENT_>
struct SegmentTile {
  static constexpr u32 HEAD_DIM = HEAD_DIM_, SLOT_KEYS = SLOT_KEYS_, SLOTS = SLOTS_, RESIDENT = RESIDENT_;
  static constexpr u32 ROWS = 16, WARPS = KEY_SEGMENT / KEY_BLOCK, THREADS = WARPS * WARP;
  // Fills of slots in a block of keys; steps of 16 elements.
  static constexpr u32 FILLS = KEY_BLOCK / SLOT_KEYS, STEPS = HEAD_DIM / 16;
  // Warps with columns of the output, at least sixteen each, and eights of them.
  static constexpr u32 VALUE_WARPS = STEPS < WARPS ? STEPS : WARPS, EIGHTS = HEAD_DIM / 8 / VALUE_WARPS;
  // Values come in stages of 16 KiB, copied in pieces that lie within a page.
  static constexpr u32 STAGES = 4, STAGE_BYTES = 16384, STAGE_KEYS = STAGE_BYTES / 2 / HEAD_DIM;
  static constexpr u32 PARTS = KEY_BLOCK / STAGE_KEYS;
  static constexpr u32 PIECE_KEYS = STAGE_KEYS < PAGE_TOKENS ? STAGE_KEYS : PAGE_TOKENS;
  using Queries = Panel<ROWS, HEAD_DIM>;
  using Keys = Panel<SLOT_KEYS, HEAD_DIM>;
  using Values = Panel<PIECE_KEYS, HEAD_DIM>;
  static constexpr u32 SLOT_BYTES = SLOT_KEYS * HEAD_DIM * 2, PIECE_BYTES = PIECE_KEYS * HEAD_DIM * 2;
  // Shared memory: of each block of keys the rows' maxima and factors; then probabilities and stages. Keys and queries lie
  // where these will be once they are read, sums where maxima were.
  static constexpr u32 NUMBERS = WARPS * ROWS * 4, PROBABILITIES_BYTES = KEY_SEGMENT * ROWS * 2;
  static constexpr u32 MAXIMA = 0, FACTORS = NUMBERS, PROBABILITIES = 2 * NUMBERS;
  static constexpr u32 RING = PROBABILITIES + PROBABILITIES_BYTES, END = RING + STAGES * STAGE_BYTES;
  static constexpr u32 KEYS_AT = PROBABILITIES, QUERIES = END - ROWS * HEAD_DIM * 2;
  static constexpr u32 SUMS = MAXIMA, WHOLE_SUMS = SUMS + 2 * WARP * 4;
  static_assert(HEAD_DIM % 64 == 0 && EIGHTS % 2 == 0 && SLOT_KEYS % 8 == 0 && SLOTS <= FILLS);
  static_assert(KEYS_AT + WARPS * SLOTS * SLOT_BYTES <= QUERIES && WHOLE_SUMS + ROWS * 4 <= FACTORS);
};

// Copies rows of a page into a panel; of THREADS threads each copies the same chunk of every PASS-th row.
template <class Panel, u32 THREADS>
struct PageCopier {
  static constexpr u32 PASS = THREADS / Panel::CHUNKS, COPIES = Panel::ROWS / PASS;
  static_assert(THREADS % Panel::CHUNKS == 0 && Panel::ROWS % PASS == 0 && (PASS & (PASS - 1)) == 0);

  u64 first;      // where the thread's chunk of the first row of page 0 is
  u64 page_bytes; // from page to page
  u32 row_bytes;
  u32 row, place; // of the thread's first chunk, in the panel
  u32 bytes;      // of the row there are in the chunk: 16 or none

  __device__ __forceinline__ PageCopier(const AttentionArguments& a, const bf16* base, u64 stride, u32 kv_head, u32 thread)
      : page_bytes(stride * 2),
        row_bytes(a.head_dim * 2),
        row(thread / Panel::CHUNKS),
        place(Panel::offset(thread / Panel::CHUNKS, thread % Panel::CHUNKS)),
        bytes(thread % Panel::CHUNKS * 8 < a.head_dim ? 16 : 0) {
    first = global_address(base) + (kv_head * PAGE_TOKENS + row) * row_bytes + thread % Panel::CHUNKS * 16;
  }

  // Where the thread's chunk of the first row of a page is.
  __device__ __forceinline__ u64 in_page(u32 page) const { return first + page * page_bytes; }

  // The rows of a page from `from` on, of which `at` is in_page; rows from `rows` on become zero.
  __device__ __forceinline__ void copy(u32 to, u64 at, u32 from, u32 rows) const {
    at += from * row_bytes;
    if (rows >= Panel::ROWS) {
      copy_rows<true>(to + place, at, 0, Upto<COPIES>{});
    } else {
      copy_rows<false>(to + place, at, static_cast<i32>(rows - row), Upto<COPIES>{});
    }
  }

 private:
  template <bool ALL, u32... I>
  __device__ __forceinline__ void copy_rows(u32 to, u64 at, i32 left, Indices<I...>) const {
    // As RowCopier: the keys of the thread's first row and of I · PASS do not overlap.
    ((copy_async_16<I * PASS * Panel::ROW_BYTES>(to ^ (I * PASS % 8 * 16), at,
                                                 ALL || static_cast<i32>(I * PASS) < left ? bytes : 0),
      at += row_bytes * PASS),
     ...);
  }
};

// The block's way through its segments, of HALVES · 8 rows at most. All threads run it together.
template <class Tile, u32 HALVES>
struct SegmentPipeline {
  // Bytes of the probabilities of 32 keys: sixteen a lane where there are eight rows, 32 where there are sixteen.
  static constexpr u32 THIRTY_TWO_BYTES = HALVES * WARP * 16;

  const AttentionArguments& a;
  const AttentionWork& work;
  const u32 lane, warp, shared;
  u32 keys;         // that any row sees
  u32 common_keys;  // that all rows see
  i32 position[2];  // of the thread's rows, g and g + 8 of the sixteen
  u32 end;          // of the keys of the segment
  u32 pages;        // number lane % SEGMENT_PAGES of the segment
  PageCopier<typename Tile::Keys, WARP> key_copier;
  PageCopier<typename Tile::Values, Tile::THREADS> value_copier;

  __device__ __forceinline__ SegmentPipeline(const AttentionArguments& arguments, const AttentionWork& w, u32 base)
      : a(arguments),
        work(w),
        lane(threadIdx.x % WARP),
        warp(threadIdx.x / WARP),
        shared(base),
        key_copier(arguments, arguments.k, arguments.k_stride, w.kv_head, threadIdx.x % WARP),
        value_copier(arguments, arguments.v, arguments.v_stride, w.kv_head, threadIdx.x) {}

  // Every gridDim.y-th segment from number blockIdx.y on. What comes of each goes to memory.
  __device__ __forceinline__ void run() {
    see();
    u32 segment = blockIdx.y * KEY_SEGMENT;
    if (segment >= keys) return;
#pragma unroll 1
    while (true) {
      walk(segment);
      segment += gridDim.y * KEY_SEGMENT;
      if (segment >= keys) break;
      // All have read the last values, into whose place keys go.
      __syncthreads();
    }
  }

 private:
  // Which keys are seen. Rows that are not there see what they like: nothing of them is kept.
  __device__ __forceinline__ void see() {
    const i32 own = AttentionRow(a, work, work.first + lane % 16).position;
    i32 largest = own, smallest = own < 0 ? 0x7fffffff : own;
#pragma unroll
    for (u32 apart = 8; apart > 0; apart /= 2) {
      largest = max(largest, __shfl_xor_sync(FULL_WARP, largest, apart));
      smallest = min(smallest, __shfl_xor_sync(FULL_WARP, smallest, apart));
    }
    keys = largest + 1;
    common_keys = static_cast<u32>(smallest) + 1;
    position[0] = __shfl_sync(FULL_WARP, own, lane / 4);
    position[1] = __shfl_sync(FULL_WARP, own, lane / 4 + 8);
  }

  __device__ __forceinline__ void walk(u32 segment) {
    end = keys - segment < KEY_SEGMENT ? keys : segment + KEY_SEGMENT;
    const u32 number = segment / PAGE_TOKENS + lane % SEGMENT_PAGES;
    const u32* table = a.page_table + static_cast<u64>(work.document) * a.pages_a_document;
    pages = number * PAGE_TOKENS < keys ? table[number] : 0;
    const u32 block = segment + warp * KEY_BLOCK;
    float scores[SCORES][4], largest[HALVES], factor[HALVES], out[Tile::EIGHTS][4];
    score(block, scores);
    find_largest(block, scores, largest);
    __syncthreads();
    // All have read keys and queries, and left their maxima.
#pragma unroll
    for (u32 stage = 0; stage < Tile::STAGES - 1; ++stage) copy_values(segment, stage);
    if (block < end) soften(scores, largest, factor);
    add_values(segment, scores, largest, factor, out);
    put(segment, out);
  }

  // Rows of the tile that there are; the others become zeros.
  __device__ __forceinline__ void copy_queries() const {
    using Panel = typename Tile::Queries;
    const u64 from = global_address(a.q);
#pragma unroll
    for (u32 i = 0; i < Panel::ROWS * Panel::CHUNKS; i += Tile::THREADS) {
      const u32 row = (i + threadIdx.x) / Panel::CHUNKS, chunk = (i + threadIdx.x) % Panel::CHUNKS;
      const u32 r = work.first + row, token = work.begin + r / a.group, head = work.kv_head * a.group + r % a.group;
      const u64 at = from + (token * a.q_stride + head * a.head_dim + chunk * 8) * 2;
      if (row < Panel::ROWS) {
        copy_async_16<0>(shared + Tile::QUERIES + Panel::offset(row, chunk), at,
                         r < work.rows && chunk * 8 < a.head_dim ? 16 : 0);
      }
    }
  }

  // Page `number` of the segment.
  __device__ __forceinline__ u32 page(u32 number) const { return __shfl_sync(FULL_WARP, pages, number); }

  // The keys of fill FILL of the warp's block, which begins with page `at`, into their slot.
  template <u32 FILL>
  __device__ __forceinline__ void copy_keys(u32 block, const u64 (&at)[2]) const {
    if constexpr (FILL < Tile::FILLS) {
      constexpr u32 WITHIN = FILL * Tile::SLOT_KEYS;
      const u32 slot = shared + Tile::KEYS_AT + (warp * Tile::SLOTS + FILL % Tile::SLOTS) * Tile::SLOT_BYTES;
      if (block + WITHIN < end) {
        key_copier.copy(slot, at[WITHIN / PAGE_TOKENS], WITHIN % PAGE_TOKENS, end - block - WITHIN);
      }
    }
    copy_async_commit();
  }

  // Values of stage number `stage` of the segment.
  __device__ __forceinline__ void copy_values(u32 segment, u32 stage) const {
    const u32 to = shared + Tile::RING + stage % Tile::STAGES * Tile::STAGE_BYTES;
#pragma unroll
    for (u32 piece = 0; piece < Tile::STAGE_KEYS / Tile::PIECE_KEYS; ++piece) {
      const u32 within = stage * Tile::STAGE_KEYS + piece * Tile::PIECE_KEYS, first = segment + within;
      if (first < end) {
        value_copier.copy(to + piece * Tile::PIECE_BYTES, value_copier.in_page(page(within / PAGE_TOKENS)),
                          within % PAGE_TOKENS, end - first);
      }
    }
    copy_async_commit();
  }

  // Scores of all rows against the warp's block of keys: steps of 16 elements, ascending.
  __device__ __forceinline__ void score(u32 block, float (&scores)[SCORES][4]) const {
#pragma unroll
    for (u32 j = 0; j < SCORES; ++j) scores[j][0] = scores[j][1] = scores[j][2] = scores[j][3] = 0.0f;
    copy_queries();
    const u64 at[2] = {key_copier.in_page(page(warp * 2)), key_copier.in_page(page(warp * 2 + 1))};
    fill(block, at, Upto<Tile::SLOTS>{});
    copy_async_wait<Tile::SLOTS - 1>();
    __syncthreads();
    u32 query[Tile::STEPS][4];
    const FragmentAddresses query_at(shared + Tile::QUERIES + Tile::Queries::offset(lane % 16, lane / 16));
    read_queries(query_at, query, Upto<Tile::STEPS>{});
    const u32 slots = shared + Tile::KEYS_AT + warp * (Tile::SLOTS * Tile::SLOT_BYTES);
    const FragmentAddresses key_at(slots + Tile::Keys::offset(lane % 8, lane / 8));
    if (block < end) score_fills(block, at, key_at, query, scores, Upto<Tile::FILLS>{});
  }

  template <u32... FILL>
  __device__ __forceinline__ void fill(u32 block, const u64 (&at)[2], Indices<FILL...>) const {
    (copy_keys<FILL>(block, at), ...);
  }

  template <u32... STEP>
  __device__ __forceinline__ void read_queries(const FragmentAddresses& at, u32 (&query)[Tile::STEPS][4],
                                               Indices<STEP...>) const {
    (at.template read<false, STEP, 0>(query[STEP]), ...);
  }

  template <u32... FILL>
  __device__ __forceinline__ void score_fills(u32 block, const u64 (&at)[2], const FragmentAddresses& key_at,
                                              const u32 (&query)[Tile::STEPS][4], float (&scores)[SCORES][4],
                                              Indices<FILL...>) const {
    (score_fill<FILL>(block, at, key_at, query, scores), ...);
  }

  template <u32 FILL>
  __device__ __forceinline__ void score_fill(u32 block, const u64 (&at)[2], const FragmentAddresses& key_at,
                                             const u32 (&query)[Tile::STEPS][4], float (&scores)[SCORES][4]) const {
    if constexpr (FILL > 0) {
      copy_async_wait<Tile::SLOTS - 1>();
      __syncwarp();
    }
    if (block + FILL * Tile::SLOT_KEYS < end) score_steps<FILL>(key_at, query, scores, Upto<Tile::STEPS / 2>{});
    // All lanes have read the slot.
    if constexpr (FILL + Tile::SLOTS < Tile::FILLS) __syncwarp();
    copy_keys<FILL + Tile::SLOTS>(block, at);
  }

  template <u32 FILL, u32... STEP>
  __device__ __forceinline__ void score_steps(const FragmentAddresses& key_at, const u32 (&query)[Tile::STEPS][4],
                                              float (&scores)[SCORES][4], Indices<STEP...>) const {
    (score_step<FILL, STEP>(key_at, query, scores, Upto<Tile::SLOT_KEYS / 8>{}), ...);
  }

  template <u32 FILL, u32 STEP, u32... EIGHT>
  __device__ __forceinline__ void score_step(const FragmentAddresses& key_at, const u32 (&query)[Tile::STEPS][4],
                                             float (&scores)[SCORES][4], Indices<EIGHT...>) const {
    (score_eight<FILL, STEP, EIGHT>(key_at, query, scores), ...);
  }

  // Eight keys, 32 elements.
  template <u32 FILL, u32 STEP, u32 EIGHT>
  __device__ __forceinline__ void score_eight(const FragmentAddresses& key_at, const u32 (&query)[Tile::STEPS][4],
                                              float (&scores)[SCORES][4]) const {
    constexpr u32 AT = FILL % Tile::SLOTS * Tile::SLOT_BYTES + EIGHT * 8 * Tile::Keys::ROW_BYTES;
    constexpr u32 J = FILL * (Tile::SLOT_KEYS / 8) + EIGHT;
    u32 right[4];
    key_at.template read<false, 2 * STEP, AT>(right);
    mma_m16n8k16(scores[J], query[2 * STEP], right[0], right[1]);
    mma_m16n8k16(scores[J], query[2 * STEP + 1], right[2], right[3]);
  }

  // Where the thread's first row has its number of block `block`, among maxima or factors; its second is 32 bytes on.
  __device__ __forceinline__ u32 number_at(u32 numbers, u32 block) const {
    return shared + numbers + (block * Tile::ROWS + lane / 4) * 4;
  }

  // The largest score of each row in the warp's block, for all warps to see.
  __device__ __forceinline__ void find_largest(u32 block, float (&scores)[SCORES][4], float (&largest)[HALVES]) const {
    if (block >= end) return;
    if (block + KEY_BLOCK > common_keys) hide(block, position, scores);
#pragma unroll
    for (u32 half = 0; half < HALVES; ++half) {
      largest[half] = -__int_as_float(0x7f800000);
#pragma unroll
      for (u32 j = 0; j < SCORES; ++j) {
        largest[half] = fmaxf(largest[half], fmaxf(scores[j][half * 2], scores[j][half * 2 + 1]));
      }
      largest[half] = quad_max(largest[half]);
      if (lane % 4 == 0) store_shared_f32(number_at(Tile::MAXIMA, warp) + half * 32, largest[half]);
    }
  }

  // From scores to probabilities against the largest score so far, which `largest` becomes; rounded and laid out as left
  // operands of steps of 16 keys. `factor` scales to it what was scaled to the largest before.
  __device__ __forceinline__ void soften(float (&scores)[SCORES][4], float (&largest)[HALVES],
                                         float (&factor)[HALVES]) const {
    u32 p[SCORES / 4][HALVES][4];
#pragma unroll
    for (u32 half = 0; half < HALVES; ++half) {
      float before = -__int_as_float(0x7f800000);
#pragma unroll 1
      for (u32 earlier = 0; earlier < warp; ++earlier) {
        before = fmaxf(before, load_shared_f32<0>(number_at(Tile::MAXIMA, earlier) + half * 32));
      }
      largest[half] = fmaxf(before, largest[half]);
      const float exponent = exponent_of(largest[half], a.scale_log2);
      factor[half] = rescale(before, exponent, a.scale_log2);
      if (lane % 4 == 0) store_shared_f32(number_at(Tile::FACTORS, warp) + half * 32, factor[half]);
#pragma unroll
      for (u32 j = 0; j < SCORES; ++j) {
        float(&pair)[4] = scores[j];
        pair[half * 2] = exp2_approx(__fmaf_rn(pair[half * 2], a.scale_log2, -exponent));
        pair[half * 2 + 1] = exp2_approx(__fmaf_rn(pair[half * 2 + 1], a.scale_log2, -exponent));
        p[j / 4][half][j % 4] = pack_bf16(pair[half * 2], pair[half * 2 + 1]);
      }
    }
    const u32 to = shared + Tile::PROBABILITIES + warp * (KEY_BLOCK / 32 * THIRTY_TWO_BYTES) + lane * 16;
    store_probabilities(to, p, Upto<SCORES / 4>{});
  }

  template <u32... I>
  __device__ __forceinline__ void store_probabilities(u32 to, const u32 (&p)[SCORES / 4][HALVES][4], Indices<I...>) const {
    (store_shared_16<I * THIRTY_TWO_BYTES>(to, p[I][0]), ...);
    if constexpr (HALVES == 2) (store_shared_16<I * THIRTY_TWO_BYTES + WARP * 16>(to, p[I][1]), ...);
  }

  // Sums of the warp's columns over all keys of the segment. In passing, each warp adds its probabilities to the sums.
  __device__ __forceinline__ void add_values(u32 segment, const float (&scores)[SCORES][4], const float (&largest)[HALVES],
                                             const float (&factor)[HALVES], float (&out)[Tile::EIGHTS][4]) const {
#pragma unroll
    for (u32 j = 0; j < Tile::EIGHTS; ++j) out[j][0] = out[j][1] = out[j][2] = out[j][3] = 0.0f;
    const u32 value = shared + Tile::RING + Tile::Values::offset(lane % 16, warp * Tile::EIGHTS + lane / 16);
    u32 left = shared + Tile::PROBABILITIES + lane * 16, stage = 0;
#pragma unroll 1
    for (u32 block = 0; segment + block * KEY_BLOCK < end; ++block) {
#pragma unroll
      for (u32 part = 0; part < Tile::PARTS; ++part, ++stage, left += Tile::STAGE_KEYS / 32 * THIRTY_TWO_BYTES) {
        // The stage has arrived for all, and all have read the one before, into whose place the third from now goes.
        copy_async_wait<Tile::STAGES - 2>();
        __syncthreads();
        copy_values(segment, stage + Tile::STAGES - 1);
        if (part == 0 && warp == block) add_up(segment, scores, largest, factor);
        if (warp < Tile::VALUE_WARPS) {
          if (part == 0) rescale_rows(block, out);
          add_stage(segment + stage * Tile::STAGE_KEYS, left, value + stage % Tile::STAGES * Tile::STAGE_BYTES, out,
                    Upto<Tile::STAGE_KEYS / 32>{});
        }
      }
    }
  }

  __device__ __forceinline__ void rescale_rows(u32 block, float (&out)[Tile::EIGHTS][4]) const {
#pragma unroll
    for (u32 half = 0; half < HALVES; ++half) {
      const float factor = load_shared_f32<0>(number_at(Tile::FACTORS, block) + half * 32);
#pragma unroll
      for (u32 j = 0; j < Tile::EIGHTS; ++j) {
        out[j][half * 2] = __fmul_rn(out[j][half * 2], factor);
        out[j][half * 2 + 1] = __fmul_rn(out[j][half * 2 + 1], factor);
      }
    }
  }

  // Pieces past the last key are not there.
  template <u32... I>
  __device__ __forceinline__ void add_stage(u32 first, u32 left, u32 value, float (&out)[Tile::EIGHTS][4],
                                            Indices<I...>) const {
    ((first + I * 32 / Tile::PIECE_KEYS * Tile::PIECE_KEYS < end ? add_thirty_two<I>(left, value, out) : void()), ...);
  }

  template <u32 I>
  __device__ __forceinline__ void add_thirty_two(u32 left, u32 value, float (&out)[Tile::EIGHTS][4]) const {
    u32 low[4], high[4] = {0, 0, 0, 0};
    load_shared_16<I * THIRTY_TWO_BYTES>(low, left);
    if constexpr (HALVES == 2) load_shared_16<I * THIRTY_TWO_BYTES + WARP * 16>(high, left);
    const u32 first[4] = {low[0], high[0], low[1], high[1]}, second[4] = {low[2], high[2], low[3], high[3]};
    add_sixteen<2 * I>(first, value, out);
    add_sixteen<2 * I + 1>(second, value, out);
  }

  template <u32 STEP>
  __device__ __forceinline__ void add_sixteen(const u32 (&left)[4], u32 value, float (&out)[Tile::EIGHTS][4]) const {
#pragma unroll
    for (u32 j = 0; j < Tile::EIGHTS; j += 2) {
      u32 right[4];
      load_matrix_x4<true, STEP * 16 * Tile::Values::ROW_BYTES>(right, value ^ (j * 16));
      mma_m16n8k16(out[j], left, right[0], right[1]);
      mma_m16n8k16(out[j + 1], left, right[2], right[3]);
    }
  }

  // Of each thread the keys 2t and 2t + 1 of every eight, ascending, onto what the warp before has left; what the last block
  // makes of each row that sees a key of the segment goes to memory.
  __device__ __forceinline__ void add_up(u32 segment, const float (&probabilities)[SCORES][4],
                                         const float (&largest)[HALVES], const float (&factor)[HALVES]) const {
    const bool last = segment + (warp + 1) * KEY_BLOCK >= end;
    const u32 so_far = shared + Tile::SUMS + lane * 4;
#pragma unroll
    for (u32 half = 0; half < HALVES; ++half) {
      float sum = warp == 0 ? 0.0f : load_shared_f32<0>(so_far + half * WARP * 4);
      sum = __fmul_rn(sum, factor[half]);
#pragma unroll
      for (u32 j = 0; j < SCORES; ++j) {
        sum = __fadd_rn(__fadd_rn(sum, probabilities[j][half * 2]), probabilities[j][half * 2 + 1]);
      }
      if (!last) {
        store_shared_f32(so_far + half * WARP * 4, sum);
        continue;
      }
      sum = quad_sum(sum);
      if (lane % 4 != 0) continue;
      if (whole()) store_shared_f32(number_at(Tile::WHOLE_SUMS, 0) + half * 32, sum);
      if (position[half] < static_cast<i32>(segment)) continue;
      if (whole()) {
        a.lse[row(half)] = log_sum_exp(largest[half], sum, a.scale);
      } else {
        store_8(a.states + state(half, segment) * 2, make_uint2(__float_as_uint(largest[half]), __float_as_uint(sum)));
      }
    }
  }

  // Whether there is no other segment, so that what comes of this one is the row.
  __device__ __forceinline__ bool whole() const { return a.segments == 1; }

  // Number of the thread's row among all heads of all tokens.
  __device__ __forceinline__ u64 row(u32 half) const {
    const u32 row = work.first + lane / 4 + half * 8;
    const u32 token = work.begin + row / a.group, head = work.kv_head * a.group + row % a.group;
    return static_cast<u64>(token) * (a.kv_heads * a.group) + head;
  }

  __device__ __forceinline__ u64 state(u32 half, u32 segment) const {
    return row(half) * a.segments + segment / KEY_SEGMENT;
  }

  // The warp's columns of each row that sees a key of the segment, four a lane: as sums, or divided by those of the
  // probabilities and rounded once.
  __device__ __forceinline__ void put(u32 segment, const float (&out)[Tile::EIGHTS][4]) const {
    if (whole()) __syncthreads();
    if (warp >= Tile::VALUE_WARPS) return;
#pragma unroll
    for (u32 half = 0; half < HALVES; ++half) {
      const bool there = position[half] >= static_cast<i32>(segment);
      const float inverse = whole() ? __frcp_rn(load_shared_f32<0>(number_at(Tile::WHOLE_SUMS, 0) + half * 32)) : 0.0f;
#pragma unroll
      for (u32 j = 0; j < Tile::EIGHTS; j += 2) {
        u32 v[4];
#pragma unroll
        for (u32 e = 0; e < 2; ++e) {
          v[e] = __float_as_uint(out[j][half * 2 + e]);
          v[2 + e] = __float_as_uint(out[j + 1][half * 2 + e]);
          exchange<1>(v[e], v[2 + e]);
        }
        // Lanes 2i and 2i + 1 now have four columns each, of this eight and of the next.
        const u32 column = (warp * Tile::EIGHTS + j + lane % 2) * 8 + lane % 4 / 2 * 4;
        if (!there || column >= a.head_dim) continue;
        if (whole()) {
          const u32 r = work.first + lane / 4 + half * 8, head = work.kv_head * a.group + r % a.group;
          bf16* to = a.out + (work.begin + r / a.group) * a.out_stride + head * a.head_dim + column;
          store_8(to, make_uint2(divided(v[0], v[1], inverse), divided(v[2], v[3], inverse)));
        } else {
          store_16(a.sums + state(half, segment) * a.head_dim + column, make_uint4(v[0], v[1], v[2], v[3]));
        }
      }
    }
  }

  // Adding +0 makes every zero the positive one.
  static __device__ __forceinline__ u32 divided(u32 low, u32 high, float inverse) {
    return pack_bf16(__fadd_rn(__fmul_rn(__uint_as_float(low), inverse), 0.0f),
                     __fadd_rn(__fmul_rn(__uint_as_float(high), inverse), 0.0f));
  }
};
