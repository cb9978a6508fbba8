// Logits of a row turned into their gradients in place, in bf16: these take the first half of the row's bytes.
//
// A thread takes four ids a turn. A barrier stands between what a turn reads and what it writes; bytes that a turn writes
// were read in it or before.
#pragma once
#include "head_rows.cuh"
#include "pack.cuh"

// Four neighbours of a row, or those that there are.
__device__ __forceinline__ void store_gradients(bf16* row, u32 id, u32 vocab, u32 low, u32 high) {
  if (id + FOUR <= vocab) {
    store_8(row + id, make_uint2(low, high));
  } else {
    if (id < vocab) row[id] = static_cast<bf16>(static_cast<u16>(low));
    if (id + 1 < vocab) row[id + 1] = static_cast<bf16>(static_cast<u16>(low >> 16));
    if (id + 2 < vocab) row[id + 2] = static_cast<bf16>(static_cast<u16>(high));
  }
}

// Of a row that has none. All threads of a block together, as below.
template <u32 THREADS>
__device__ __forceinline__ void no_gradients(float* logits, u32 vocab) {
  bf16* gradients = reinterpret_cast<bf16*>(logits);
#pragma unroll 1
  for (u32 id = threadIdx.x * FOUR; id < vocab; id += THREADS * FOUR) store_gradients(gradients, id, vocab, 0, 0);
}

// `gradient.of` says an id's from what `row` has there.
template <u32 THREADS, class Row, class Gradient>
__device__ __forceinline__ void row_gradients(float* logits, const Row& row, const Gradient& gradient) {
  bf16* gradients = reinterpret_cast<bf16*>(logits);
#pragma unroll 1
  for (u32 turn = 0; turn < row.vocab; turn += THREADS * FOUR) {
    const u32 id = turn + threadIdx.x * FOUR;
    const float4 x = row.four(id);
    const u32 low = pack_bf16(gradient.of(x.x, id), gradient.of(x.y, id + 1));
    const u32 high = pack_bf16(gradient.of(x.z, id + 2), gradient.of(x.w, id + 3));
    __syncthreads();
    store_gradients(gradients, id, row.vocab, low, high);
  }
}
