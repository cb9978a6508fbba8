// One block's tile of d[m, n] = Σₖ a(m, k)·b(n, k) in bf16 with f32 sums: loads, pipeline, tensor cores.
//
// Operands lie either with k contiguous ("k-major": x in x·wᵀ) or with their own index contiguous (both operands of a
// weight gradient). Either way a stage in shared memory is a panel of rows as they lie in global memory, its 16-byte
// chunks permuted within the row, so that eight lanes writing along a row (cp.async) and eight lanes reading down a
// column (ldmatrix) each touch all 32 banks once. ldmatrix transposes the panels that are not k-major.
//
// Every output has one f32 accumulator, to which steps of 16 terms are added in ascending k: its bits depend on its own
// row and column alone, not on m, n, the tile or the grid. Terms past k are zero in both operands.
//
// What happens to the sums is the epilogue's affair: gemm_epilogue.cuh.
#pragma once
#include "indices.cuh"
#include "mma.cuh"
#include "panel.cuh"
#include "types.cuh"

// Tile of a block: M × N outputs, K terms a stage, its warps by axis, and how many blocks share a multiprocessor.
template <u32 M_, u32 N_, u32 K_, u32 STAGES_, u32 WARPS_M_, u32 WARPS_N_, u32 RESIDENT_>
struct GemmTile {
  static constexpr u32 M = M_, N = N_, K = K_, STAGES = STAGES_, RESIDENT = RESIDENT_;
  static constexpr u32 WARPS_M = WARPS_M_, WARPS_N = WARPS_N_;
  static constexpr u32 THREADS = WARP * WARPS_M * WARPS_N;
  static constexpr u32 WARP_M = M / WARPS_M, WARP_N = N / WARPS_N;
  // 16×8 products of a warp by axis, and steps of 16 terms in a stage.
  static constexpr u32 BLOCKS_M = WARP_M / 16, BLOCKS_N = WARP_N / 8, STEPS = K / 16;
  static constexpr u32 STAGE_BYTES = (M + N) * K * 2;
  static_assert(M % (16 * WARPS_M) == 0 && N % (8 * WARPS_N) == 0 && K % 32 == 0);
  static_assert(BLOCKS_N == 1 || BLOCKS_N % 2 == 0, "ldmatrix.x4 reads 16 columns of b");
  static_assert(STAGES >= 2);
};

// Which operands have k contiguous, named by BLAS: the left one as it is (N) or transposed (T).
struct NT {
  static constexpr bool A_K_MAJOR = true, B_K_MAJOR = true;
};
struct NN {
  static constexpr bool A_K_MAJOR = true, B_K_MAJOR = false;
};
struct TN {
  static constexpr bool A_K_MAJOR = false, B_K_MAJOR = false;
};

// Copies one operand's panels, stage after stage. A thread copies the same chunk of every PASS-th row.
template <class Panel, bool K_MAJOR, u32 THREADS>
struct PanelLoader {
  static constexpr u32 PASS = THREADS / Panel::CHUNKS, COPIES = Panel::ROWS / PASS;
  static_assert(THREADS % Panel::CHUNKS == 0 && Panel::ROWS % PASS == 0);
  static_assert(PASS % 8 == 0, "a thread's rows share their key");

  u64 from;        // of this thread's first chunk in the stage copied next
  u64 row_step;    // bytes between its rows
  u64 stage_step;  // bytes between stages
  u32 row, column; // of that chunk in the operand
  u32 place;       // of that chunk in the panel

  // The panel at `origin` along the operand's own axis.
  __device__ __forceinline__ PanelLoader(const bf16* base, u64 stride, u32 origin) {
    const u32 first = threadIdx.x / Panel::CHUNKS, chunk = threadIdx.x % Panel::CHUNKS;
    place = Panel::offset(first, chunk);
    row = first + (K_MAJOR ? origin : 0);
    column = chunk * 8 + (K_MAJOR ? 0 : origin);
    from = global_address(base) + (static_cast<u64>(row) * stride + column) * 2;
    row_step = stride * (PASS * 2);
    stage_step = K_MAJOR ? Panel::COLUMNS * 2 : stride * (Panel::ROWS * 2);
  }

  // Copies the next stage to `to`; what lies past `rows` or `columns` becomes zero.
  __device__ __forceinline__ void copy(u32 to, u32 rows, u32 columns) {
    const u32 left = columns > column ? columns - column : 0;
    copy_rows(Upto<COPIES>{}, to + place, rows, left < 8 ? left * 2 : 16);
    from += stage_step;
    if (K_MAJOR) {
      column += Panel::COLUMNS;
    } else {
      row += Panel::ROWS;
    }
  }

 private:
  template <u32... I>
  __device__ __forceinline__ void copy_rows(Indices<I...>, u32 to, u32 rows, u32 bytes) const {
    u64 address = from;
    ((copy_async_16<I * PASS * Panel::ROW_BYTES>(to, address, row + I * PASS < rows ? bytes : 0), address += row_step),
     ...);
  }
};

// Reads one operand's fragments of a step: 16 terms × 16 (of `a`: rows, of `b`: columns).
//
// `a` wants its four matrices as (own, own + 8) × (k, k + 8) with its own index faster, `b` with k faster: that decides
// which lanes address which matrix.
template <class Panel, bool K_MAJOR, bool IS_A, u32 EXTENT, u32 STEPS>
struct FragmentReader {
  static constexpr bool TRANSPOSE = !K_MAJOR;
  // Sixteens along the chunked axis differ by a bit of the chunk, so each has its own permuted address; sixteens along
  // the other axis keep the key and are an immediate offset.
  static constexpr u32 SIXTEENS = (EXTENT + 15) / 16, KEPT = K_MAJOR ? STEPS : SIXTEENS;
  u32 addresses[KEPT];

  // `first` is the warp's first own index within the panel, `base` the panel's address in the first stage.
  __device__ __forceinline__ FragmentReader(u32 base, u32 first) {
    const u32 lane = threadIdx.x % WARP;
    const u32 own_half = EXTENT < 16 ? 0 : IS_A ? (lane >> 3) & 1 : lane >> 4;
    const u32 k_half = IS_A ? lane >> 4 : (lane >> 3) & 1;
    const u32 row = (lane & 7) + 8 * (K_MAJOR ? own_half : k_half) + (K_MAJOR ? first : 0);
    const u32 chunk = (K_MAJOR ? k_half : own_half) + (K_MAJOR ? 0 : first / 8);
    const u32 place = Panel::offset(row, chunk);
#pragma unroll
    for (u32 i = 0; i < KEPT; ++i) {
      addresses[i] = base + (place ^ (i * 32));
    }
  }

  // All of step STEP, in the stage that lies `stage` bytes after the first.
  template <u32 STEP>
  __device__ __forceinline__ void read(u32 (&d)[SIXTEENS][4], u32 stage) const {
    if constexpr (EXTENT < 16) {
      load_matrix_x2<TRANSPOSE, offset<STEP, 0>()>(d[0], address<STEP, 0>() + stage);
    } else {
      read_sixteens<STEP>(Upto<SIXTEENS>{}, d, stage);
    }
  }

 private:
  template <u32 STEP, u32 I>
  static __device__ constexpr u32 offset() {
    return (K_MAJOR ? I : STEP) * 16 * Panel::ROW_BYTES;
  }

  template <u32 STEP, u32 I>
  __device__ __forceinline__ u32 address() const {
    return addresses[K_MAJOR ? STEP : I];
  }

  template <u32 STEP, u32... I>
  __device__ __forceinline__ void read_sixteens(Indices<I...>, u32 (&d)[SIXTEENS][4], u32 stage) const {
    (load_matrix_x4<TRANSPOSE, offset<STEP, I>()>(d[I], address<STEP, I>() + stage), ...);
  }
};

// Where the block's tile begins. Blocks go down GROUP tiles of m, then on to the next tile of n: blocks that run
// together then share panels of both operands in L2.
struct GemmOrigin {
  static constexpr u32 GROUP = 8;
  u32 m, n;

  template <class Tile>
  static __device__ __forceinline__ GemmOrigin of(u32 m, u32 n) {
    const u32 tiles_m = (m + Tile::M - 1) / Tile::M, tiles_n = (n + Tile::N - 1) / Tile::N;
    const u32 group = blockIdx.x / (GROUP * tiles_n), within = blockIdx.x % (GROUP * tiles_n);
    const u32 left = tiles_m - group * GROUP, height = left < GROUP ? left : GROUP;
    return {(group * GROUP + within % height) * Tile::M, within / height * Tile::N};
  }
};

// Sums of a warp: block (i, j) covers rows 16·i and columns 8·j of the warp's part, as mma_m16n8k16 lays them out.
template <class Tile>
struct GemmSums {
  float block[Tile::BLOCKS_M][Tile::BLOCKS_N][4];
};

// What every kernel over this tile takes. Strides are in elements.
struct GemmArguments {
  const bf16* a;
  const bf16* b;
  void* out;
  void* extra; // the epilogue's other matrix, or null
  u64 a_stride;
  u64 b_stride;
  u64 out_stride;
  u64 extra_stride;
  u32 m;
  u32 n;
  u32 k;
  u32 accumulate; // whether an f32 epilogue adds to `out`
};

// An operand's panel of one stage: EXTENT of its own indices.
template <bool K_MAJOR, u32 EXTENT, u32 K>
using OperandPanel = Panel<K_MAJOR ? EXTENT : K, K_MAJOR ? K : EXTENT>;

// The loader of `b` where it is wanted as it lies.
template <class Tile, class Layout>
struct PlainLoader
    : PanelLoader<OperandPanel<Layout::B_K_MAJOR, Tile::N, Tile::K>, Layout::B_K_MAJOR, Tile::THREADS> {
  using Base = PanelLoader<OperandPanel<Layout::B_K_MAJOR, Tile::N, Tile::K>, Layout::B_K_MAJOR, Tile::THREADS>;

  __device__ __forceinline__ PlainLoader(const GemmArguments& a, u32 origin) : Base(a.b, a.b_stride, origin) {}
};

// The block's way through k. All threads of the block run it together. LoadB, made of a Source, says what `b` is.
template <class Tile, class Layout, class LoadB = PlainLoader<Tile, Layout>>
struct GemmPipeline {
  static constexpr bool A_K = Layout::A_K_MAJOR, B_K = Layout::B_K_MAJOR;
  static constexpr u32 A_BYTES = Tile::M * Tile::K * 2, RING = Tile::STAGES * Tile::STAGE_BYTES;
  static constexpr u32 PAIRS_N = (Tile::BLOCKS_N + 1) / 2;
  using PanelA = OperandPanel<A_K, Tile::M, Tile::K>;
  using PanelB = OperandPanel<B_K, Tile::N, Tile::K>;

  u32 m, n, k;
  u32 base; // of the ring in shared memory
  PanelLoader<PanelA, A_K, Tile::THREADS> load_a;
  LoadB load_b;
  FragmentReader<PanelA, A_K, true, Tile::WARP_M, Tile::STEPS> read_a;
  FragmentReader<PanelB, B_K, false, Tile::WARP_N, Tile::STEPS> read_b;
  // Two sets of fragments: one multiplies while the other is read.
  u32 a[2][Tile::BLOCKS_M][4], b[2][PAIRS_N][4];
  // Offsets in the ring of the stage that is read and of the one that is copied to.
  u32 reading = 0, writing = RING - Tile::STAGE_BYTES;

  __device__ __forceinline__ GemmPipeline(const GemmArguments& arguments, GemmOrigin origin, u32 ring)
      : GemmPipeline(arguments, origin, ring, arguments) {}

  template <class Source>
  __device__ __forceinline__ GemmPipeline(const GemmArguments& arguments, GemmOrigin origin, u32 ring, const Source& b)
      : m(arguments.m),
        n(arguments.n),
        k(arguments.k),
        base(ring),
        load_a(arguments.a, arguments.a_stride, origin.m),
        load_b(b, origin.n),
        read_a(ring, threadIdx.x / WARP / Tile::WARPS_N * Tile::WARP_M),
        read_b(ring + A_BYTES, threadIdx.x / WARP % Tile::WARPS_N * Tile::WARP_N) {}

  // Adds everything to `sums`; on return no copy is under way.
  __device__ __forceinline__ void run(GemmSums<Tile>& sums) {
#pragma unroll
    for (u32 stage = 0; stage + 1 < Tile::STAGES; ++stage) copy_stage(stage * Tile::STAGE_BYTES);
    await_stage();
    read_step<0, 0>();
    const u32 stages = (k + Tile::K - 1) / Tile::K;
#pragma unroll 1
    for (u32 stage = 0; stage < stages; ++stage) {
      // Where this copies to was last read before the barrier of the previous stage.
      copy_stage(writing);
      writing = reading;
      multiply_stage(Upto<Tile::STEPS>{}, sums);
    }
    copy_async_wait<0>();
  }

 private:
  __device__ __forceinline__ void copy_stage(u32 stage) {
    load_a.copy(base + stage, A_K ? m : k, A_K ? k : m);
    load_b.copy(base + A_BYTES + stage, B_K ? n : k, B_K ? k : n);
    copy_async_commit();
  }

  // The next stage has arrived for this thread, then for all, and all have read the one before.
  __device__ __forceinline__ void await_stage() {
    copy_async_wait<Tile::STAGES - 2>();
    __syncthreads();
  }

  template <u32 INTO, u32 STEP>
  __device__ __forceinline__ void read_step() {
    read_a.template read<STEP>(a[INTO], reading);
    read_b.template read<STEP>(b[INTO], reading);
  }

  template <u32... STEP>
  __device__ __forceinline__ void multiply_stage(Indices<STEP...>, GemmSums<Tile>& sums) {
    (multiply_step<STEP>(sums), ...);
  }

  template <u32 STEP>
  __device__ __forceinline__ void multiply_step(GemmSums<Tile>& sums) {
    static_assert(Tile::STEPS % 2 == 0, "the last step and the next stage's first take turns");
    constexpr u32 NOW = STEP % 2, NEXT = 1 - NOW;
    if constexpr (STEP + 1 < Tile::STEPS) {
      read_step<NEXT, STEP + 1>();
    } else {
      await_stage();
      reading = reading + Tile::STAGE_BYTES == RING ? 0 : reading + Tile::STAGE_BYTES;
      read_step<NEXT, 0>();
    }
#pragma unroll
    for (u32 i = 0; i < Tile::BLOCKS_M; ++i) {
#pragma unroll
      for (u32 j = 0; j < Tile::BLOCKS_N; ++j) {
        const u32(&pair)[4] = b[NOW][j / 2];
        mma_m16n8k16(sums.block[i][j], a[NOW][i], pair[j % 2 * 2], pair[j % 2 * 2 + 1]);
      }
    }
  }
};
