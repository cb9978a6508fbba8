// Draws a token of each row of logits, as engine/ops/src/sampling.rs says: temperature, top_k, top_p, min_p, then the first
// token in vocabulary order whose cumulative weight exceeds a uniform number of Philox.
//
// Shapes: logits f32 [rows, vocab], row stride a multiple of four; sampling u32 [rows, 8] (SamplingRow); tokens u32,
// logprob_raw and logprob_sampled f32, each [rows]; support, where it is wanted, u32 [rows, vocab / 32 rounded up]. The
// logits come from the product of gemm.cu (`head_logits`).
// Tile: a block of 1,024 threads a row.
//   head_sample: 52 registers, 2320 bytes of shared memory
// Dynamic shared memory: 8 bytes a part of 128 ids.
//
// No sort. Cuts are thresholds, found by their bits: floats as integers of the same order, eight bits a pass from the top, a
// histogram of what the candidates count for (1, or their weight), and the bin in which the wanted count is reached.
// Determinism: a weight is e^(x - max) in f64 rounded to multiples of 2^-44 and kept as an integer; sums of integers have no
// order, so histograms may add in any. Against sums in f64 a draw differs where the uniform number lies within vocab · 2^-45
// of a boundary: one in millions. Log-sum-exp as in head_rows.cuh: logprob_raw is what head_logprob gives,
// logprob_sampled what head_policy gives by the support.
// Floor: of the op, the product's. This reads a row of logits three times (L2 has it), once more after cuts or at a temperature,
// once for a support, and four times for top_k and for top_p; at 128 Ki ids 125 ids a thread and pass. Rows do not share multiprocessors: one row keeps one busy.
// Measured: not yet.
#include "head_policy.cuh"
#include "philox.cuh"
#include "real.cuh"

constexpr u32 THREADS = 1024, WARPS = THREADS / WARP, DIGITS = 256;
constexpr u32 PURPOSE_SAMPLE = 2; // engine/ops/src/philox.rs

// SamplingRow of engine/ops/src/sampling.rs.
struct Policy {
  float temperature;
  u32 top_k;
  float top_p, min_p;
  u32 seed_low, seed_high, position, sample;
};

struct HeadSampleArguments {
  const float* logits;
  const Policy* sampling;
  u32* tokens;
  float* logprob_raw;
  float* logprob_sampled;
  u32* support; // or null
  u64 stride; // elements from row to row of logits
  u32 vocab;
  u32 unused;
};

// What the threads of a block share.
struct Shared {
  u32 low[DIGITS], high[DIGITS]; // halves of each bin's count
  u64 sums[WARPS];
  u32 found;
};

// A float as an integer of the same order, and back.
__device__ __forceinline__ u32 key_of(float x) {
  const u32 bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float value_of(u32 key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// A row of logits divided by the temperature.
struct Scaled {
  const float* logits;
  u32 vocab;
  float inverse, max;

  __device__ __forceinline__ float get(u32 id) const { return __fmul_rn(logits[id], inverse); }

  // e^(x - max) in multiples of 2^-44; 0 below a threshold.
  __device__ __forceinline__ u64 weight(float x, float threshold) const {
    const float apart = __fsub_rn(x, max);
    if (!(x >= threshold && apart > -31.0f)) return 0;
    return __double2ull_rn(__dmul_rn(exp_f64(static_cast<double>(apart)), 17592186044416.0));
  }
};

// Adds to a counter of two words in shared memory; the sum is the same in whatever order. Native atomics are of 32 bits.
__device__ __forceinline__ void add_wide(u32* low, u32* high, u64 count) {
  const u32 lower = static_cast<u32>(count), upper = static_cast<u32>(count >> 32);
  const u32 carry = atomicAdd(low, lower) > ~lower ? 1 : 0;
  if (upper + carry != 0) atomicAdd(high, upper + carry);
}

__device__ __forceinline__ u64 warp_scan(u64 x) {
  const u32 lane = threadIdx.x % WARP;
#pragma unroll
  for (u32 apart = 1; apart < WARP; apart *= 2) {
    const u64 lower = __shfl_up_sync(FULL_WARP, x, apart);
    x += lane >= apart ? lower : 0;
  }
  return x;
}

// What top_k counts: each id once.
struct Ids {
  u32 top_k;

  __device__ __forceinline__ u64 of(float) const { return 1; }
  __device__ __forceinline__ u64 wanted(u64) const { return top_k; }
};

// What top_p counts: weights of what top_k has left.
struct Mass {
  const Scaled& row;
  float top_p, threshold;

  __device__ __forceinline__ u64 of(float x) const { return row.weight(x, threshold); }
  __device__ __forceinline__ u64 wanted(u64 total) const {
    const u64 part = __double2ull_ru(__dmul_rn(static_cast<double>(top_p), __ull2double_rn(total)));
    return part > 0 ? part : 1;
  }
};

// The largest number such that the ids from it upwards count for as much as is wanted. All threads together; each ends with
// the same.
template <class Count>
__device__ __forceinline__ float threshold_of(const Scaled& row, const Count& count, Shared& shared) {
  const u32 lane = threadIdx.x % WARP;
  u32 key = 0;
  u64 above = 0, wanted = 0;
#pragma unroll 1
  for (u32 pass = 0; pass < 4; ++pass) {
    const u32 shift = 24 - 8 * pass;
    // Digits descend; eight neighbours belong to a lane, which reads them without conflicts.
    if (threadIdx.x < DIGITS) shared.low[threadIdx.x] = shared.high[threadIdx.x] = 0;
    __syncthreads();
#pragma unroll 1
    for (u32 id = threadIdx.x; id < row.vocab; id += THREADS) {
      const float x = row.get(id);
      const u32 own = key_of(x);
      if (pass > 0 && (own ^ key) >> (shift + 8) != 0) continue;
      const u64 counted = count.of(x);
      const u32 digit = 255 - (own >> shift & 255), place = digit % 8 * WARP + digit / 8;
      if (counted != 0) add_wide(&shared.low[place], &shared.high[place], counted);
    }
    __syncthreads();
    u64 bins[8], own = 0;
#pragma unroll
    for (u32 i = 0; i < 8; ++i) {
      bins[i] = static_cast<u64>(shared.high[i * WARP + lane]) << 32 | shared.low[i * WARP + lane];
      own += bins[i];
    }
    const u64 upto = above + warp_scan(own);
    if (pass == 0) wanted = count.wanted(__shfl_sync(FULL_WARP, upto, WARP - 1));
    const u32 reached = __ballot_sync(FULL_WARP, upto >= wanted);
    // Without finite numbers nothing is reached; the last bin then is as good as any.
    const u32 owner = reached != 0 ? __ffs(reached) - 1 : WARP - 1;
    u64 sum = upto - own;
    u32 digit = 0;
#pragma unroll
    for (u32 i = 0; i < 7; ++i) {
      if (digit == i && sum + bins[i] < wanted) {
        sum += bins[i];
        ++digit;
      }
    }
    key |= (255 - (owner * 8 + __shfl_sync(FULL_WARP, digit, owner))) << shift;
    above = __shfl_sync(FULL_WARP, sum, owner);
    __syncthreads();
  }
  return value_of(key);
}

// The first of the likeliest. All threads together.
__device__ __forceinline__ u32 likeliest(const float* logits, u32 vocab, float max, Shared& shared) {
  if (threadIdx.x == 0) shared.found = vocab;
  __syncthreads();
#pragma unroll 1
  for (u32 id = threadIdx.x; id < vocab; id += THREADS) {
    if (logits[id] == max) {
      atomicMin(&shared.found, id);
      break;
    }
  }
  __syncthreads();
  return shared.found < vocab ? shared.found : 0;
}

// What the cuts leave of it; minus infinity elsewhere.
struct KeptRow {
  const Scaled& row;
  float threshold;
  u32 vocab;

  __device__ __forceinline__ float of(float x) const {
    x = __fmul_rn(x, row.inverse);
    return x >= threshold ? x : minus_infinity();
  }
  __device__ __forceinline__ float4 four(u32 id) const {
    const float4 x = read_logits(row.logits, id, vocab);
    return make_float4(of(x.x), of(x.y), of(x.z), of(x.w));
  }
};

// The set of one token.
__device__ __forceinline__ void store_only(u32 token, u32 vocab, u32* words) {
#pragma unroll 1
  for (u32 at = threadIdx.x; at < support_words(vocab); at += THREADS) words[at] = at == token / 32 ? 1u << token % 32 : 0;
}

// Four neighbours' weights, and their sum.
struct FourWeights {
  u64 weight[FOUR], sum;

  __device__ __forceinline__ FourWeights(const Scaled& row, u32 id, float threshold) : sum(0) {
    const float4 x = read_logits(row.logits, id, row.vocab);
    const float values[FOUR] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (u32 i = 0; i < FOUR; ++i) {
      weight[i] = id + i < row.vocab ? row.weight(__fmul_rn(values[i], row.inverse), threshold) : 0;
      sum += weight[i];
    }
  }
};

// Draws by 53 random bits. All threads together; one of them, whose result is true, ends with the token.
__device__ __forceinline__ bool draw(const Scaled& row, float threshold, u64 random, Shared& shared, u32& token) {
  const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  // A warp has neighbouring parts.
  const u32 parts = (row.vocab + PART - 1) / PART, share = (parts + WARPS - 1) / WARPS;
  const u32 begin = warp * share, end = begin + share < parts ? begin + share : parts;
  u64 own = 0;
#pragma unroll 1
  for (u32 part = begin; part < end; ++part) own += FourWeights(row, part * PART + lane * FOUR, threshold).sum;
  own = __shfl_sync(FULL_WARP, warp_scan(own), WARP - 1);
  if (lane == 0) shared.sums[warp] = own;
  __syncthreads();
  const u64 upto = warp_scan(shared.sums[lane]), total = __shfl_sync(FULL_WARP, upto, WARP - 1);
  // random / 2^53 of the total, rounded down: an integer exceeds the one if and only if it exceeds the other.
  const u64 target = __umul64hi(random << 11, total);
  const u32 past = __ballot_sync(FULL_WARP, upto > target);
  const u32 owner = past != 0 ? __ffs(past) - 1 : 0;
  if (warp != owner) return false;
  u64 before = __shfl_sync(FULL_WARP, upto, owner) - own;
#pragma unroll 1
  for (u32 part = begin; part < end; ++part) {
    const u32 id = part * PART + lane * FOUR;
    const FourWeights four(row, id, threshold);
    const u64 here = before + warp_scan(four.sum);
    const u32 exceeds = __ballot_sync(FULL_WARP, here > target);
    if (exceeds != 0) {
      if (lane != __ffs(exceeds) - 1) return false;
      u64 sum = here - four.sum;
      u32 i = 0;
#pragma unroll
      for (u32 e = 0; e + 1 < FOUR; ++e) {
        sum += four.weight[e];
        if (sum <= target) i = e + 1;
      }
      token = id + i;
      return true;
    }
    before = __shfl_sync(FULL_WARP, here, WARP - 1);
  }
  // No weight is a number: there is no distribution to draw from.
  token = 0;
  return lane == 0;
}

extern "C" __global__ void __launch_bounds__(THREADS) head_sample(const __grid_constant__ HeadSampleArguments a) {
  extern __shared__ __align__(16) float parts[];
  __shared__ Shared shared;
  const float* logits = a.logits + blockIdx.x * a.stride;
  const Policy policy = a.sampling[blockIdx.x];
  u32* set = a.support == nullptr ? nullptr : a.support + static_cast<u64>(blockIdx.x) * support_words(a.vocab);
  const SumExp total = row_sum_exp(ModelRow{logits, a.vocab}, parts);
  u32 token = 0;
  float logprob = 0.0f;
  bool there = threadIdx.x == 0;
  if (!(policy.temperature > 0.0f)) {
    token = likeliest(logits, a.vocab, total.max, shared);
    if (set != nullptr) store_only(token, a.vocab, set);
  } else {
    const float inverse = __fdiv_rn(1.0f, policy.temperature);
    const Scaled row{logits, a.vocab, inverse, __fmul_rn(total.max, inverse)};
    float threshold = minus_infinity();
    if (policy.top_k > 0 && policy.top_k < a.vocab) threshold = threshold_of(row, Ids{policy.top_k}, shared);
    if (policy.top_p < 1.0f) {
      threshold = fmaxf(threshold, threshold_of(row, Mass{row, policy.top_p, threshold}, shared));
    }
    if (policy.min_p > 0.0f) {
      const float log_min_p = __double2float_rn(log_f64(static_cast<double>(policy.min_p)));
      threshold = fmaxf(threshold, __fadd_rn(row.max, log_min_p));
    }
    const u64 seed = static_cast<u64>(policy.seed_high) << 32 | policy.seed_low;
    const uint4 words = philox_draw(seed, PURPOSE_SAMPLE, policy.sample, policy.position);
    const u64 random = (static_cast<u64>(words.x) << 21) ^ (words.y >> 11);
    const KeptRow kept{row, threshold, a.vocab};
    SumExp sampled = total;
    if (inverse != 1.0f || threshold > minus_infinity()) {
      __syncthreads();
      sampled = row_sum_exp(kept, parts);
    }
    if (set != nullptr) store_support(kept, set);
    there = draw(row, threshold, random, shared, token);
    if (there) logprob = sampled.logprob(row.get(token));
  }
  if (there) {
    a.tokens[blockIdx.x] = token;
    a.logprob_raw[blockIdx.x] = total.logprob(logits[token]);
    a.logprob_sampled[blockIdx.x] = logprob;
  }
}
