// What a log-probability needs of a product hidden · weightᵀ: of each 128 ids of a row the largest logit and the sum of
// exponentials, and the label's logit. Logits themselves are never written.
//
// Shapes: those of gemm.cu's `head_logits`; labels i32 [m] (`extra`); out f32 [m, out_stride], of a row the largest logit of
// each part, then the sum of each, then the label's logit where the label is in the vocabulary.
// One entry a row of kernels/src/tuning/table.rs; operands, tile and pipeline of gemm.cu. Two warps side by side have a part:
// they trade the row's largest logit and the second half's sums of four through shared memory that the pipeline has left.
//   head_parts_sm80_nt_128x128x32_s4: 242 registers, 0 bytes of shared memory
//   head_parts_sm80_nt_128x256x32_s4: 238 registers, 0 bytes of shared memory
// Dynamic shared memory: as gemm.cu.
//
// Determinism: logits are gemm.cu's; sums are those of head_rows.cuh, in its order: four ids, then 64, 32, 16, 8 and 4 ids
// apart.
// Floor: gemm.cu's, without what it writes. Beside the product stand about ten instructions an output (an exponential among
// them), a twentieth of the product's time at hidden 2,048 by an A100's rates, in place of eight bytes a logit through memory,
// two fifths of it.
// Measured: not yet.
#include "exchange.cuh"
#include "gemm_tile.cuh"
#include "head_rows.cuh"

using Tile = GemmTile<TILE>;

// Half of a part belongs to each of two neighbouring warps: 64 columns, of which a lane has, after an exchange, four
// neighbours of every other eight.
static_assert(Tile::WARP_M == 64 && Tile::WARP_N == 64 && Tile::WARPS_N % 2 == 0);

constexpr u32 ROWS = Tile::BLOCKS_M * 2, FOURS = Tile::BLOCKS_N / 2, WARPS = Tile::THREADS / WARP;

// What warps trade: of each warp the largest logit of its 64 rows, and sums of four of each lane.
struct Traded {
  float max[WARPS][64];
  float sums[WARPS][ROWS * FOURS * WARP];
};
static_assert(sizeof(Traded) <= Tile::STAGES * Tile::STAGE_BYTES);

extern "C" __global__ void __launch_bounds__(Tile::THREADS, Tile::RESIDENT)
    ENTRY(const __grid_constant__ GemmArguments arguments) {
  const GemmOrigin origin = GemmOrigin::of<Tile>(arguments.m, arguments.n);
  GemmSums<Tile> sums = {};
  extern __shared__ __align__(128) unsigned char ring[];
  GemmPipeline<Tile, LAYOUT>(arguments, origin, shared_address(ring)).run(sums);
  Traded& traded = *reinterpret_cast<Traded*>(ring);
  const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, beside = warp ^ 1;
  const u32 first_row = origin.m + warp / Tile::WARPS_N * 64 + lane / 4;
  const u32 first_column = origin.n + warp % Tile::WARPS_N * 64, own_column = first_column + lane % 2 * 8 + lane % 4 / 2 * 4;
  const u32 parts = (arguments.n + PART - 1) / PART;
  const i32* labels = static_cast<const i32*>(arguments.extra);
  float* out = static_cast<float*>(arguments.out);
  float(&x)[Tile::BLOCKS_M][Tile::BLOCKS_N][4] = sums.block;
  // All have read the last stage.
  __syncthreads();
#pragma unroll
  for (u32 r = 0; r < ROWS; ++r) {
    const u32 i = r / 2, half = r % 2 * 2, row = first_row + r * 8;
    const i32 label = row < arguments.m ? labels[row] : -1;
    float max = minus_infinity();
#pragma unroll
    for (u32 j = 0; j < FOURS; ++j) {
      u32 v[4] = {__float_as_uint(x[i][2 * j][half]), __float_as_uint(x[i][2 * j][half + 1]),
                  __float_as_uint(x[i][2 * j + 1][half]), __float_as_uint(x[i][2 * j + 1][half + 1])};
      // Lanes 2i and 2i + 1 then have four neighbours each, of eight 2j and of eight 2j + 1.
      exchange<1>(v[0], v[2]);
      exchange<1>(v[1], v[3]);
#pragma unroll
      for (u32 e = 0; e < 4; ++e) {
        const u32 column = own_column + j * 16 + e;
        const float logit = column < arguments.n ? __uint_as_float(v[e]) : minus_infinity();
        if (static_cast<u32>(label) == column && column < arguments.n) {
          out[row * arguments.out_stride + 2 * parts] = logit;
        }
        x[i][2 * j + e / 2][half + e % 2] = logit;
        max = fmaxf(max, logit);
      }
    }
    max = fmaxf(max, __shfl_xor_sync(FULL_WARP, max, 1));
    max = fmaxf(max, __shfl_xor_sync(FULL_WARP, max, 2));
    if (lane % 4 == 0) traded.max[warp][r * 8 + lane / 4] = max;
  }
  __syncthreads();
#pragma unroll
  for (u32 r = 0; r < ROWS; ++r) {
    const u32 i = r / 2, half = r % 2 * 2, place = r * 8 + lane / 4;
    const float base = base_of(fmaxf(traded.max[warp][place], traded.max[beside][place]));
#pragma unroll
    for (u32 j = 0; j < FOURS; ++j) {
      float e[4];
#pragma unroll
      for (u32 f = 0; f < 4; ++f) e[f] = exp_apart(x[i][2 * j + f / 2][half + f % 2], base);
      const float four = __fadd_rn(__fadd_rn(e[0], e[1]), __fadd_rn(e[2], e[3]));
      x[i][2 * j][half] = four;
      if (warp % 2 == 1) traded.sums[warp][(r * FOURS + j) * WARP + lane] = four;
    }
  }
  __syncthreads();
  if (warp % 2 == 1) return;
  const u32 part = first_column / PART;
#pragma unroll
  for (u32 r = 0; r < ROWS; ++r) {
    const u32 i = r / 2, half = r % 2 * 2, row = first_row + r * 8, place = r * 8 + lane / 4;
    float four[FOURS];
#pragma unroll
    for (u32 j = 0; j < FOURS; ++j) {
      four[j] = __fadd_rn(x[i][2 * j][half], traded.sums[beside][(r * FOURS + j) * WARP + lane]);
    }
    float sum = __fadd_rn(__fadd_rn(four[0], four[2]), __fadd_rn(four[1], four[3]));
    sum = __fadd_rn(sum, __shfl_xor_sync(FULL_WARP, sum, 1));
    sum = __fadd_rn(sum, __shfl_xor_sync(FULL_WARP, sum, 2));
    if (lane % 4 == 0 && row < arguments.m && part < parts) {
      float* to = out + row * arguments.out_stride + part;
      to[0] = fmaxf(traded.max[warp][place], traded.max[beside][place]);
      to[parts] = sum;
    }
  }
}
