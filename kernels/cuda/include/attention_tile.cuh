// One block's tile of causal attention: which rows, which keys, the pipeline, the tensor cores, the state of a row.
//
// Rows are those of attention_rows.cuh. Keys come from packed rows or from pages of 64 tokens: the loop sees a base address
// and a step from key to key, which is all that differs.
//
// The canonical order (docs/numerics.md) hangs on nothing but the row's own position: keys from the document's start in
// blocks of 128; scores of a block are sums over steps of 16 elements ascending; the row's maximum is raised once a block;
// probabilities are rounded to bf16 against it; every 1,024 keys the state starts anew and the segments are merged,
// ascending. A key that a row does not see has probability +0, and adding +0 or multiplying by 1 changes no bit but
// the sign of a zero, which `finish` takes away. So blocks, warps and stages may be left out where no row sees a key.
#pragma once
#include "attention_keys.cuh"
#include "local.cuh"

// Head dimension as it is computed, rows of a block, keys of a stage, blocks that share a multiprocessor. A warp has 16 rows.
template <u32 HEAD_DIM_, u32 ROWS_, u32 STAGE_KEYS_, u32 RESIDENT_>
struct AttentionTile {
  static constexpr u32 HEAD_DIM = HEAD_DIM_, ROWS = ROWS_, STAGE_KEYS = STAGE_KEYS_, RESIDENT = RESIDENT_;
  static constexpr u32 THREADS = ROWS / 16 * WARP;
  static constexpr u32 STAGES = 4;
  // Stages of keys in a block; as many of values follow them.
  static constexpr u32 PARTS = KEY_BLOCK / STAGE_KEYS;
  // Steps of 16 elements, and eights of columns of the output.
  static constexpr u32 STEPS = HEAD_DIM / 16, EIGHTS = HEAD_DIM / 8;
  using Queries = Panel<ROWS, HEAD_DIM>;
  using Keys = Panel<STAGE_KEYS, HEAD_DIM>;
  static constexpr u32 STAGE_BYTES = STAGE_KEYS * HEAD_DIM * 2, RING_BYTES = STAGES * STAGE_BYTES;
  // Whether the fragments of the queries stay in registers.
  static constexpr bool QUERIES_STAY = HEAD_DIM <= 128;
  static_assert(ROWS % 16 == 0 && HEAD_DIM % 64 == 0 && PAGE_TOKENS % STAGE_KEYS == 0 && 2 * PARTS % STAGES == 0);
};

// State of a thread's two rows, g and g + 8 of the warp's sixteen: the largest score, the sum of what the thread saw or of
// all, and the sums of the output as mma_m16n8k16 lays them out.
template <u32 EIGHTS>
struct AttentionState {
  float max[2], sum[2];
  float out[EIGHTS][4];

  __device__ __forceinline__ void clear() {
    max[0] = max[1] = -__int_as_float(0x7f800000);
    sum[0] = sum[1] = 0.0f;
#pragma unroll
    for (u32 j = 0; j < EIGHTS; ++j) out[j][0] = out[j][1] = out[j][2] = out[j][3] = 0.0f;
  }
};

// The block's way through the keys. All threads of the block run it together.
template <class Tile>
struct AttentionPipeline {
  static constexpr u32 PARTS = Tile::PARTS, STAGE_KEYS = Tile::STAGE_KEYS;
  static constexpr u32 ROW_BYTES = Tile::Keys::ROW_BYTES;
  // Whether lanes keep a segment's pages: a warp alone would wait for each, several hide each other's waiting.
  static constexpr bool PAGES_STAY = Tile::ROWS == 16;
  using State = AttentionState<Tile::EIGHTS>;
  using Earlier = LocalArray<Tile::EIGHTS>;

  const AttentionArguments& a;
  const AttentionWork& work;
  u32 keys;         // that any row of the block sees
  u32 warp_keys;    // that any row of the warp sees
  u32 common_keys;  // that all rows of the warp see
  i32 position[2];  // of the thread's rows
  u32 pages;        // if PAGES_STAY, number lane % SEGMENT_PAGES of the segment that is copied
  u32 queries;      // in shared memory
  u32 ring;         // beside them
  RowCopier<typename Tile::Keys, Tile::THREADS> copier;
  FragmentAddresses query_at, key_at, value_at;
  u32 query[Tile::QUERIES_STAY ? Tile::STEPS : 1][4];
  State now;
  // The segments before this one. They wait in local memory: they are touched once in 1,024 keys.
  float earlier_max[2], earlier_sum[2];

  __device__ __forceinline__ AttentionPipeline(const AttentionArguments& arguments, const AttentionWork& w, u32 shared)
      : a(arguments),
        work(w),
        queries(shared),
        ring(shared + Tile::ROWS * Tile::HEAD_DIM * 2),
        copier(arguments.head_dim),
        query_at(shared + Tile::Queries::offset(threadIdx.x / WARP * 16 + threadIdx.x % 16, threadIdx.x % WARP / 16)),
        key_at(ring + Tile::Keys::offset(threadIdx.x % 8 + threadIdx.x % WARP / 16 * 8, threadIdx.x / 8 % 2)),
        value_at(ring + Tile::Keys::offset(threadIdx.x % 16, threadIdx.x % WARP / 16)) {}

  // Every segment, ascending, joined as they come.
  __device__ __forceinline__ void run() {
    copy_queries();
    see();
    begin(0);
    Earlier earlier;
#pragma unroll 1
    for (u32 segment = 0; segment < keys; segment += KEY_SEGMENT) {
      run_segment(segment);
      if (segment > 0) merge(earlier);
      if (segment + KEY_SEGMENT < keys) keep(earlier);
    }
    copy_async_wait<0>();
  }

  // out = sums / sum of probabilities, rounded once; the log-sum-exp beside it.
  __device__ __forceinline__ void finish() const {
    const u32 lane = threadIdx.x % WARP, row = work.first + threadIdx.x / WARP * 16 + lane / 4;
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
      const AttentionRow at(a, work, row + half * 8);
      const bool there = at.position >= 0;
      const float inverse = __frcp_rn(now.sum[half]);
      if (there && lane % 4 == 0) {
        a.lse[static_cast<u64>(at.token) * (a.kv_heads * a.group) + at.head] =
            log_sum_exp(now.max[half], now.sum[half], a.scale);
      }
      bf16* to = a.out + at.token * a.out_stride + at.head * a.head_dim;
      store_row(now.out, half, inverse, to, a.head_dim, there);
    }
  }

 private:
  __device__ __forceinline__ void copy_queries() const {
    using Panel = typename Tile::Queries;
    const u64 from = global_address(a.q);
#pragma unroll
    for (u32 i = 0; i < Panel::ROWS * Panel::CHUNKS; i += Tile::THREADS) {
      const u32 row = (i + threadIdx.x) / Panel::CHUNKS, chunk = (i + threadIdx.x) % Panel::CHUNKS;
      const u32 r = work.first + row, token = work.begin + r / a.group, head = work.kv_head * a.group + r % a.group;
      const u64 at = from + (token * a.q_stride + head * a.head_dim + chunk * 8) * 2;
      copy_async_16<0>(queries + Panel::offset(row, chunk), at, r < work.rows && chunk * 8 < a.head_dim ? 16 : 0);
    }
  }

  // Which keys are seen.
  __device__ __forceinline__ void see() {
    const u32 lane = threadIdx.x % WARP, warp = work.first + threadIdx.x / WARP * 16;
    // The warp's rows are loaded once, and the block's where they are more.
    const i32 own = AttentionRow(a, work, warp + lane % 16).position;
    i32 largest = own, smallest = own, last = own;
    if constexpr (Tile::ROWS > 16) {
#pragma unroll 1
      for (u32 row = lane; row < Tile::ROWS; row += WARP) {
        last = max(last, AttentionRow(a, work, work.first + row).position);
      }
    }
#pragma unroll
    for (u32 apart = WARP / 2; apart > 0; apart /= 2) {
      last = max(last, __shfl_xor_sync(FULL_WARP, last, apart));
      largest = max(largest, __shfl_xor_sync(FULL_WARP, largest, apart));
      smallest = min(smallest, __shfl_xor_sync(FULL_WARP, smallest, apart));
    }
    keys = last + 1;
    warp_keys = largest + 1;
    common_keys = smallest + 1;
    position[0] = __shfl_sync(FULL_WARP, own, lane / 4);
    position[1] = __shfl_sync(FULL_WARP, own, lane / 4 + 8);
  }

  // The first stages of the block of keys that begins at `block`, and the queries, which belong to the first group.
  __device__ __forceinline__ void begin(u32 block) {
    static_assert(Tile::STAGES == 4 && PARTS >= 2, "the first three stages are not past the first values");
    copy_stage<0>(block, block);
    copy_stage<1>(block, block);
    copy_stage<2>(block, block);
    if constexpr (Tile::QUERIES_STAY) {
      copy_async_wait<2>();
      __syncthreads();
      read_queries(Upto<Tile::STEPS>{});
    }
  }

  // The segment that begins at `segment`, from nothing to its state.
  __device__ __forceinline__ void run_segment(u32 segment) {
    now.clear();
    const u32 end = keys - segment < KEY_SEGMENT ? keys : segment + KEY_SEGMENT;
#pragma unroll 1
    for (u32 block = segment; block < end; block += KEY_BLOCK) run_block(block, Upto<PARTS>{});
    now.sum[0] = quad_sum(now.sum[0]);
    now.sum[1] = quad_sum(now.sum[1]);
  }

  // Stage STAGE of the block of keys that begins at `block`: PARTS stages of keys, then as many of values, then those of the
  // block at `next`. A stage past the last key copies nothing; rows past it are zeros.
  template <u32 STAGE>
  __device__ __forceinline__ void copy_stage(u32 block, u32 next) {
    constexpr u32 WITHIN = STAGE % (2 * PARTS), PART = WITHIN % PARTS;
    constexpr bool VALUES = WITHIN >= PARTS;
    const u32 first = (STAGE < 2 * PARTS ? block : next) + PART * STAGE_KEYS;
    if (first < keys) {
      const bf16* base = VALUES ? a.v : a.k;
      const u64 stride = VALUES ? a.v_stride : a.k_stride;
      u64 at, step;
      if (a.page_table == nullptr) {
        at = (work.begin + first) * stride + work.kv_head * a.head_dim;
        step = stride * 2;
      } else {
        const u64 page = page_of<WITHIN == 0>(first);
        at = page * stride + (work.kv_head * PAGE_TOKENS + first % PAGE_TOKENS) * a.head_dim;
        step = a.head_dim * 2;
      }
      copier.copy(ring + STAGE % Tile::STAGES * Tile::STAGE_BYTES, global_address(base) + at * 2, step, keys - first);
    }
    copy_async_commit();
  }

  // The page of a key. Stages come in order, so that all of a segment's are asked for between two of its first keys.
  template <bool FIRST>
  __device__ __forceinline__ u32 page_of(u32 key) {
    const u32* table = a.page_table + static_cast<u64>(work.document) * a.pages_a_document;
    const u32 number = key / PAGE_TOKENS;
    if constexpr (!PAGES_STAY) return table[number];
    if (FIRST && key % KEY_SEGMENT == 0) {
      const u32 own = number + threadIdx.x % SEGMENT_PAGES;
      pages = own * PAGE_TOKENS < keys ? table[own] : 0;
    }
    return __shfl_sync(FULL_WARP, pages, number % SEGMENT_PAGES);
  }

  // Stage STAGE has arrived for all, and all have read the one before, into whose place the third from now goes.
  template <u32 STAGE>
  __device__ __forceinline__ void next_stage(u32 block) {
    copy_async_wait<Tile::STAGES - 2>();
    __syncthreads();
    copy_stage<STAGE + Tile::STAGES - 1>(block, block + KEY_BLOCK);
  }

  template <u32... STEP>
  __device__ __forceinline__ void read_queries(Indices<STEP...>) {
    (query_at.template read<false, STEP, 0>(query[STEP]), ...);
  }

  template <u32... PART>
  __device__ __forceinline__ void run_block(u32 block, Indices<PART...>) {
    float scores[SCORES][4];
#pragma unroll
    for (u32 j = 0; j < SCORES; ++j) scores[j][0] = scores[j][1] = scores[j][2] = scores[j][3] = 0.0f;
    (score_part<PART>(block, scores), ...);
    u32 p[SCORES / 2][4];
    if (block < warp_keys) {
      soften(block, scores, p);
    }
    (add_part<PART>(block, p), ...);
  }

  template <u32 PART>
  __device__ __forceinline__ void score_part(u32 block, float (&scores)[SCORES][4]) {
    next_stage<PART>(block);
    if (block + PART * STAGE_KEYS < warp_keys) score_steps<PART>(Upto<Tile::STEPS>{}, scores);
  }

  template <u32 PART, u32... STEP>
  __device__ __forceinline__ void score_steps(Indices<STEP...>, float (&scores)[SCORES][4]) {
    (score_step<PART, STEP>(Upto<STAGE_KEYS / 16>{}, scores), ...);
  }

  template <u32 PART, u32 STEP, u32... I>
  __device__ __forceinline__ void score_step(Indices<I...>, float (&scores)[SCORES][4]) {
    if constexpr (Tile::QUERIES_STAY) {
      (score_sixteen<PART, STEP, I>(query[STEP], scores), ...);
    } else {
      query_at.template read<false, STEP, 0>(query[0]);
      (score_sixteen<PART, STEP, I>(query[0], scores), ...);
    }
  }

  template <u32 PART, u32 STEP, u32 I>
  __device__ __forceinline__ void score_sixteen(const u32 (&left)[4], float (&scores)[SCORES][4]) const {
    constexpr u32 SLOT = PART % Tile::STAGES * Tile::STAGE_BYTES, J = (PART * STAGE_KEYS + I * 16) / 8;
    u32 right[4];
    key_at.template read<false, STEP, SLOT + I * 16 * ROW_BYTES>(right);
    mma_m16n8k16(scores[J], left, right[0], right[1]);
    mma_m16n8k16(scores[J + 1], left, right[2], right[3]);
  }

  // From scores to probabilities, rounded and laid out as left operands of steps of 16 keys. Raises the maximum, rescales
  // the state, adds to the sum: of each thread the keys 2t and 2t + 1 of every eight, ascending.
  __device__ __forceinline__ void soften(u32 block, float (&scores)[SCORES][4], u32 (&p)[SCORES / 2][4]) {
    if (block + KEY_BLOCK > common_keys) hide(block, position, scores);
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
      float raised = now.max[half];
#pragma unroll
      for (u32 j = 0; j < SCORES; ++j) raised = fmaxf(raised, fmaxf(scores[j][half * 2], scores[j][half * 2 + 1]));
      raised = quad_max(raised);
      const float exponent = exponent_of(raised, a.scale_log2);
      const float factor = rescale(now.max[half], exponent, a.scale_log2);
      now.max[half] = raised;
      float sum = __fmul_rn(now.sum[half], factor);
#pragma unroll
      for (u32 j = 0; j < SCORES; ++j) {
        const float low = exp2_approx(__fmaf_rn(scores[j][half * 2], a.scale_log2, -exponent));
        const float high = exp2_approx(__fmaf_rn(scores[j][half * 2 + 1], a.scale_log2, -exponent));
        sum = __fadd_rn(__fadd_rn(sum, low), high);
        p[j / 2][j % 2 * 2 + half] = pack_bf16(low, high);
      }
      now.sum[half] = sum;
#pragma unroll
      for (u32 j = 0; j < Tile::EIGHTS; ++j) {
        now.out[j][half * 2] = __fmul_rn(now.out[j][half * 2], factor);
        now.out[j][half * 2 + 1] = __fmul_rn(now.out[j][half * 2 + 1], factor);
      }
    }
  }

  template <u32 PART>
  __device__ __forceinline__ void add_part(u32 block, const u32 (&p)[SCORES / 2][4]) {
    next_stage<PARTS + PART>(block);
    if (block + PART * STAGE_KEYS < warp_keys) add_steps<PART>(Upto<STAGE_KEYS / 16>{}, p);
  }

  template <u32 PART, u32... STEP>
  __device__ __forceinline__ void add_steps(Indices<STEP...>, const u32 (&p)[SCORES / 2][4]) {
    (add_step<PART, STEP>(Upto<Tile::STEPS>{}, p[PART * STAGE_KEYS / 16 + STEP]), ...);
  }

  template <u32 PART, u32 STEP, u32... I>
  __device__ __forceinline__ void add_step(Indices<I...>, const u32 (&left)[4]) {
    (add_sixteen<PART, STEP, I>(left), ...);
  }

  template <u32 PART, u32 STEP, u32 I>
  __device__ __forceinline__ void add_sixteen(const u32 (&left)[4]) {
    constexpr u32 SLOT = (PARTS + PART) % Tile::STAGES * Tile::STAGE_BYTES;
    u32 right[4];
    value_at.template read<true, I, SLOT + STEP * 16 * ROW_BYTES>(right);
    mma_m16n8k16(now.out[2 * I], left, right[0], right[1]);
    mma_m16n8k16(now.out[2 * I + 1], left, right[2], right[3]);
  }

  // Merges the segments before into this one: both scaled to the larger maximum, the earlier first.
  __device__ __forceinline__ void merge(const Earlier& earlier) {
    const Join first(earlier_max[0], now.max[0], a.scale_log2), second(earlier_max[1], now.max[1], a.scale_log2);
    now.max[0] = first.max;
    now.max[1] = second.max;
    now.sum[0] = first.of(earlier_sum[0], now.sum[0]);
    now.sum[1] = second.of(earlier_sum[1], now.sum[1]);
#pragma unroll
    for (u32 j = 0; j < Tile::EIGHTS; ++j) {
      float(&out)[4] = now.out[j];
      const float4 old = earlier.get(j);
      out[0] = first.of(old.x, out[0]);
      out[1] = first.of(old.y, out[1]);
      out[2] = second.of(old.z, out[2]);
      out[3] = second.of(old.w, out[3]);
    }
  }

  __device__ __forceinline__ void keep(Earlier& earlier) {
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
      earlier_max[half] = now.max[half];
      earlier_sum[half] = now.sum[half];
    }
#pragma unroll
    for (u32 j = 0; j < Tile::EIGHTS; ++j) {
      const float(&out)[4] = now.out[j];
      earlier.set(j, make_float4(out[0], out[1], out[2], out[3]));
    }
  }
};
