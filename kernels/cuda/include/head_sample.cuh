// How a token is drawn from a row of logits, by one block or by several that share the row: temperature, top_k, top_p, min_p,
// then the first token in vocabulary order whose cumulative weight exceeds a uniform number of Philox
// (engine/ops/src/sampling.rs).
//
// No sort. Cuts are thresholds, found by their bits: floats as integers of the same order, eight bits a pass from the top, a
// histogram of what the candidates count for (1, or their weight), and the bin in which the wanted count is reached.
// A weight is e^(x - max) in f64 rounded to multiples of 2^-44 and kept as an integer; sums of integers have no order, so
// histograms may add in any, and how many blocks share a row changes no bit. Log-sum-exp as in head_rows.cuh: logprob_raw is
// what head_logprob gives, logprob_sampled what head_policy gives by the support. Against sums in f64 a draw differs where the
// uniform number lies within vocab · 2^-45 of a boundary: one in millions.
//
// What the blocks of a row exchange goes through a meeting: Alone for one block, Together of head_sample_slices.cu for several.
#pragma once
#include "head_policy.cuh"
#include "philox.cuh"
#include "real.cuh"

constexpr u32 DIGITS = 256;
constexpr u32 PURPOSE_SAMPLE = 2; // engine/ops/src/philox.rs

// SamplingRow of engine/ops/src/sampling.rs.
struct Policy {
  float temperature;
  u32 top_k;
  float top_p, min_p;
  u32 seed_low, seed_high, position, sample;
};

// What the threads of a block share.
struct Shared {
  u32 low[DIGITS], high[DIGITS]; // halves of each bin's count
  u64 sums[WARP]; // of each warp, as far as there are
  u32 found;
};

// A bin of the block's own histogram.
__device__ __forceinline__ u64 bin_of(const Shared& shared, u32 place) {
  return static_cast<u64>(shared.high[place]) << 32 | shared.low[place];
}

// The meeting of a block that has its row to itself.
struct Alone {
  float* parts; // shared: two numbers a part

  __device__ __forceinline__ bool first() const { return true; }
  // A lane's eight neighbouring bins, after a barrier.
  __device__ __forceinline__ void bins(const Shared& shared, u64 (&bins)[8]) const {
#pragma unroll
    for (u32 i = 0; i < 8; ++i) bins[i] = bin_of(shared, i * WARP + threadIdx.x % WARP);
  }
  __device__ __forceinline__ u32 first_found(const Shared& shared) const { return shared.found; }
  // Of what each block sums to: the sum of lower blocks, and of all.
  __device__ __forceinline__ void sums(u64 own, u64& lower, u64& total) const { lower = 0, total = own; }
  // Where sums of parts of what is kept go; what lay there has been read when all threads have come here.
  __device__ __forceinline__ float* kept_parts() const {
    __syncthreads();
    return parts;
  }
};

// A float as an integer of the same order, and back.
__device__ __forceinline__ u32 key_of(float x) {
  const u32 bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float value_of(u32 key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// A row of logits divided by the temperature, and the parts of it that the block goes through.
struct Scaled {
  const float* logits;
  u32 vocab, first_part, end_part;
  float inverse, max;

  __device__ __forceinline__ float get(u32 id) const { return __fmul_rn(logits[id], inverse); }
  __device__ __forceinline__ u32 first() const { return first_part * PART; }
  __device__ __forceinline__ u32 end() const { return end_part * PART < vocab ? end_part * PART : vocab; }

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
template <class Count, class Meeting>
__device__ __forceinline__ float threshold_of(const Scaled& row, const Count& count, Shared& shared, Meeting& meeting) {
  u32 key = 0;
  u64 above = 0, wanted = 0;
#pragma unroll 1
  for (u32 pass = 0; pass < 4; ++pass) {
    const u32 shift = 24 - 8 * pass;
    // Digits descend; eight neighbours belong to a lane, which reads them without conflicts.
    if (threadIdx.x < DIGITS) shared.low[threadIdx.x] = shared.high[threadIdx.x] = 0;
    __syncthreads();
#pragma unroll 1
    for (u32 id = row.first() + threadIdx.x; id < row.end(); id += blockDim.x) {
      const float x = row.get(id);
      const u32 own = key_of(x);
      if (pass > 0 && (own ^ key) >> (shift + 8) != 0) continue;
      const u64 counted = count.of(x);
      const u32 digit = 255 - (own >> shift & 255), place = digit % 8 * WARP + digit / 8;
      if (counted != 0) add_wide(&shared.low[place], &shared.high[place], counted);
    }
    __syncthreads();
    u64 bins[8], own = 0;
    meeting.bins(shared, bins);
#pragma unroll
    for (u32 i = 0; i < 8; ++i) own += bins[i];
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
template <class Meeting>
__device__ __forceinline__ u32 likeliest(const Scaled& row, float max, Shared& shared, Meeting& meeting) {
  if (threadIdx.x == 0) shared.found = row.vocab;
  __syncthreads();
#pragma unroll 1
  for (u32 id = row.first() + threadIdx.x; id < row.end(); id += blockDim.x) {
    if (row.logits[id] == max) {
      atomicMin(&shared.found, id);
      break;
    }
  }
  __syncthreads();
  const u32 found = meeting.first_found(shared);
  return found < row.vocab ? found : 0;
}

// What the cuts leave of a row; minus infinity elsewhere.
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

// Of the block's parts: the set of one token.
__device__ __forceinline__ void store_only(u32 token, const Scaled& row, u32* words) {
  const u32 all = support_words(row.vocab), end = row.end_part * (PART / 32) < all ? row.end_part * (PART / 32) : all;
#pragma unroll 1
  for (u32 at = row.first_part * (PART / 32) + threadIdx.x; at < end; at += blockDim.x) {
    words[at] = at == token / 32 ? 1u << token % 32 : 0;
  }
}

// A token and its log-probability under what it was drawn from.
struct Drawn {
  u32 token;
  float logprob;
};

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

// Draws by 53 random bits. All threads together; one of all that share the row, whose result is `true`, ends with the token.
// `kept` has the sums of parts of what is kept, or is null where that is all, whose sum is `whole`.
template <class Meeting>
__device__ __forceinline__ bool draw(const Scaled& row, float threshold, u64 random, const float* kept, SumExp whole,
                                     Shared& shared, Meeting& meeting, Drawn& drawn) {
  const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
  // A warp has neighbouring parts.
  const u32 share = (row.end_part - row.first_part + warps - 1) / warps, begin = row.first_part + warp * share;
  const u32 end = begin + share < row.end_part ? begin + share : row.end_part;
  u64 own = 0;
#pragma unroll 1
  for (u32 part = begin; part < end; ++part) own += FourWeights(row, part * PART + lane * FOUR, threshold).sum;
  own = __shfl_sync(FULL_WARP, warp_scan(own), WARP - 1);
  if (lane == 0) shared.sums[warp] = own;
  __syncthreads();
  const u64 upto = warp_scan(lane < warps ? shared.sums[lane] : 0), here = __shfl_sync(FULL_WARP, upto, WARP - 1);
  u64 lower, total;
  meeting.sums(here, lower, total);
  // random / 2^53 of the total, rounded down: an integer exceeds the one if and only if it exceeds the other. Where the
  // total is 0, the first warp of all goes on.
  const u64 target = __umul64hi(random << 11, total);
  if (total > 0 ? target < lower || target >= lower + here : !meeting.first()) return false;
  const u32 past = __ballot_sync(FULL_WARP, lower + upto > target);
  const u32 owner = past != 0 ? __ffs(past) - 1 : 0;
  if (warp != owner) return false;
  u64 before = lower + __shfl_sync(FULL_WARP, upto, owner) - own;
#pragma unroll 1
  for (u32 part = begin; part < end; ++part) {
    const u32 id = part * PART + lane * FOUR;
    const FourWeights four(row, id, threshold);
    const u64 here = before + warp_scan(four.sum);
    const u32 exceeds = __ballot_sync(FULL_WARP, here > target);
    if (exceeds != 0) {
      const u32 count = part_count(row.vocab);
      const SumExp sampled = kept != nullptr ? join_parts(kept, kept + count, count) : whole;
      if (lane != __ffs(exceeds) - 1) return false;
      u64 sum = here - four.sum;
      u32 i = 0;
#pragma unroll
      for (u32 e = 0; e + 1 < FOUR; ++e) {
        sum += four.weight[e];
        if (sum <= target) i = e + 1;
      }
      drawn.token = id + i;
      drawn.logprob = sampled.logprob(row.get(id + i));
      return true;
    }
    before = __shfl_sync(FULL_WARP, here, WARP - 1);
  }
  // No weight is a number: there is no distribution to draw from.
  drawn = Drawn{0, not_a_number()};
  return lane == 0;
}

// A token by its policy; `total` is of the logits themselves, `set` the row's support or null. All threads of all blocks that share the row together; one of them, whose result is `true`, ends
// with the token.
template <class Meeting>
__device__ __forceinline__ bool sample(Scaled row, const Policy& policy, SumExp total, u32* set, Shared& shared,
                                       Meeting& meeting, Drawn& drawn) {
  if (!(policy.temperature > 0.0f)) {
    drawn = Drawn{likeliest(row, total.max, shared, meeting), 0.0f};
    if (set != nullptr) store_only(drawn.token, row, set);
    return meeting.first() && threadIdx.x == 0;
  }
  row.inverse = __fdiv_rn(1.0f, policy.temperature);
  row.max = __fmul_rn(total.max, row.inverse);
  float threshold = minus_infinity();
  if (policy.top_k > 0 && policy.top_k < row.vocab) threshold = threshold_of(row, Ids{policy.top_k}, shared, meeting);
  if (policy.top_p < 1.0f) {
    threshold = fmaxf(threshold, threshold_of(row, Mass{row, policy.top_p, threshold}, shared, meeting));
  }
  if (policy.min_p > 0.0f) {
    const float log_min_p = __double2float_rn(log_f64(static_cast<double>(policy.min_p)));
    threshold = fmaxf(threshold, __fadd_rn(row.max, log_min_p));
  }
  const u64 seed = static_cast<u64>(policy.seed_high) << 32 | policy.seed_low;
  const uint4 words = philox_draw(seed, PURPOSE_SAMPLE, policy.sample, policy.position);
  const u64 random = (static_cast<u64>(words.x) << 21) ^ (words.y >> 11);
  const KeptRow left{row, threshold, row.vocab};
  float* kept = nullptr;
  if (row.inverse != 1.0f || threshold > minus_infinity()) {
    kept = meeting.kept_parts();
    float* maxima = kept + row.first_part;
    sum_parts(left, row.first_part, row.end_part, maxima, maxima + part_count(row.vocab));
  }
  if (set != nullptr) store_support(left, row.first_part, row.end_part, set);
  return draw(row, threshold, random, kept, total, shared, meeting, drawn);
}
