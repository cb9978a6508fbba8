// Draws a token of each row of logits, as head_sample.cu does, with several blocks a row: so few rows that a block each would
// leave a device idle. The same tokens and bits.
//
// Shapes: those of head_sample.cu; `rows_between` is one RowBetween a row, `parts` four numbers a part of 128 ids and row.
// Two launches of (slices, rows) blocks of 512 threads. Slice s of a row has `slice_parts` parts from s · slice_parts on.
// head_sample_parts sums them and clears what the second launch counts in; head_sample_slices joins all parts of its row and
// draws. Its blocks wait for each other where they meet (histograms, the sum of the weights, the likeliest), so the launch is
// cooperative, and no larger than a block a multiprocessor.
//   head_sample_parts: 28 registers, 0 bytes of shared memory
//   head_sample_slices: 48 registers, 2320 bytes of shared memory
// Dynamic shared memory of the second: 8 bytes a part.
//
// Determinism: head_sample.cuh. Counts are integers, added by atomics in any order.
// Floor: latency. One row of 128 Ki ids is 63 slices: a pass over its logits is four ids a thread, and a meeting about a
// microsecond: one for a plain draw, four more for top_k and for top_p.
// Measured: not yet.
#include "head_sample.cuh"

constexpr u32 THREADS = 512, SLICES = 256, PASSES = 8;

// What the blocks of a row leave for each other.
struct RowBetween {
  u64 bins[PASSES][DIGITS];
  u64 sums[SLICES];
  u32 arrived, found;
  u32 unused[2];
};

struct HeadSampleSlicesArguments {
  const float* logits;
  const Policy* sampling;
  u32* tokens;
  float* logprob_raw;
  float* logprob_sampled;
  u32* support; // or null
  RowBetween* rows_between;
  float* parts; // of a row the largest logit of each part, the sum of each, then both of what the cuts leave
  u64 stride;   // elements from row to row of logits
  u32 vocab;
  u32 slice_parts;
};

// The meeting of the blocks of a row.
struct Together {
  RowBetween& between;
  float* kept;
  u32 met = 0, pass = 0;

  __device__ __forceinline__ Together(RowBetween& row, float* parts) : between(row), kept(parts) {}

  // Seen by all after the meeting of the sums.
  __device__ __forceinline__ float* kept_parts() const { return kept; }

  __device__ __forceinline__ bool first() const { return blockIdx.x == 0; }

  // What any thread of the row's blocks did before is seen by all after. PTX ISA 8.4, sections 9.7.12 (red), 9.7.8 (ld), 8
  // (release and acquire patterns).
  __device__ __forceinline__ void wait() {
    ++met;
    __syncthreads();
    if (threadIdx.x == 0) {
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(&between.arrived) : "memory");
      u32 arrived;
      do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(arrived) : "l"(&between.arrived) : "memory");
      } while (arrived < met * gridDim.x);
    }
    __syncthreads();
  }

  __device__ __forceinline__ void bins(const Shared& shared, u64 (&bins)[8]) {
    u64* all = between.bins[pass++];
    if (threadIdx.x < DIGITS) {
      const u64 own = bin_of(shared, threadIdx.x);
      if (own != 0) atomicAdd(all + threadIdx.x, own);
    }
    wait();
#pragma unroll
    for (u32 i = 0; i < 8; ++i) bins[i] = all[i * WARP + threadIdx.x % WARP];
  }

  __device__ __forceinline__ u32 first_found(const Shared& shared) {
    if (threadIdx.x == 0) atomicMin(&between.found, shared.found);
    wait();
    return between.found;
  }

  __device__ __forceinline__ void sums(u64 own, u64& lower, u64& total) {
    if (threadIdx.x == 0) between.sums[blockIdx.x] = own;
    wait();
    lower = total = 0;
#pragma unroll 1
    for (u32 base = 0; base < gridDim.x; base += WARP) {
      const u32 slice = base + threadIdx.x % WARP;
      const u64 sum = slice < gridDim.x ? between.sums[slice] : 0;
      lower += __shfl_sync(FULL_WARP, warp_scan(slice < blockIdx.x ? sum : 0), WARP - 1);
      total += __shfl_sync(FULL_WARP, warp_scan(sum), WARP - 1);
    }
  }
};

// A slice of a row.
struct Slice {
  const float* logits;
  float* maxima;
  float* sums;
  RowBetween& between;
  u32 count, first, end;

  __device__ __forceinline__ explicit Slice(const HeadSampleSlicesArguments& a)
      : logits(a.logits + blockIdx.y * a.stride),
        between(a.rows_between[blockIdx.y]),
        count(part_count(a.vocab)),
        first(blockIdx.x * a.slice_parts) {
    maxima = a.parts + static_cast<u64>(blockIdx.y) * 4 * count;
    sums = maxima + count;
    end = first + a.slice_parts < count ? first + a.slice_parts : count;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS)
    head_sample_parts(const __grid_constant__ HeadSampleSlicesArguments a) {
  const Slice slice(a);
  u64* bins = slice.between.bins[0];
#pragma unroll 1
  for (u32 i = blockIdx.x * THREADS + threadIdx.x; i < PASSES * DIGITS; i += gridDim.x * THREADS) bins[i] = 0;
  if (blockIdx.x == 0 && threadIdx.x == 0) slice.between.arrived = 0, slice.between.found = a.vocab;
  const ModelRow row{slice.logits, a.vocab};
  sum_parts(row, slice.first, slice.end, slice.maxima + slice.first, slice.sums + slice.first);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    head_sample_slices(const __grid_constant__ HeadSampleSlicesArguments a) {
  extern __shared__ __align__(16) float parts[];
  __shared__ Shared shared;
  const Slice slice(a);
#pragma unroll 1
  for (u32 i = threadIdx.x; i < 2 * slice.count; i += THREADS) parts[i] = slice.maxima[i];
  __syncthreads();
  const SumExp total = join_parts(parts, parts + slice.count, slice.count);
  const Scaled row{slice.logits, a.vocab, slice.first, slice.end, 1.0f, total.max};
  Together meeting(slice.between, slice.sums + slice.count);
  u32* set = a.support == nullptr ? nullptr : a.support + static_cast<u64>(blockIdx.y) * support_words(a.vocab);
  Drawn drawn{0, 0.0f};
  if (sample(row, a.sampling[blockIdx.y], total, set, shared, meeting, drawn)) {
    a.tokens[blockIdx.y] = drawn.token;
    a.logprob_raw[blockIdx.y] = total.logprob(slice.logits[drawn.token]);
    a.logprob_sampled[blockIdx.y] = drawn.logprob;
  }
}
