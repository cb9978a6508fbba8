// dq, dk and dv of out = softmax(scale · q·kᵀ) · v, causal within documents, from out, dout and the log-sum-exp of each row;
// grouped query heads, packed rows, bf16 in and out.
//
// Two entries for each width in kernels/src/tuning.rs, launched one after the other: `queries` makes dq, and leaves in the
// workspace lse · log2 e and delta = dout·out of each row; `keys` makes dk and dv. Heads of any multiple of 8 elements up to
// 256: an entry computes with the width in its name, and fills narrower heads up with zeros. Rows begin at multiples of 16
// bytes.
// Tile: 16 queries (or keys) a warp, 32 where heads are 64 wide; their sums stay in registers. Keys (or queries) come by in
// stages, of which 32 are computed at a time. Query heads of a key-value head lie side by side, so that each kernel reads keys,
// and rows, once for all of them. Scores of `keys` are transposed: both kernels have probabilities as left operands in
// registers, none passes through memory. Warps have no roles.
// Stages: of 64 keys and values, three, two on their way by cp.async; of 64 rows of queries and dout, two, one on its way;
// of 16 where heads are 256 wide. One barrier a stage.
// Registers: sums, scores against 32 columns; left operands as far as there is room.
//   attention_backward_queries_sm80_hd64_*: 248 registers, 0 bytes of shared memory
//   attention_backward_keys_sm80_hd64_*: 255 registers, 0 bytes of shared memory
//   attention_backward_queries_sm80_hd128_*: 220 registers, 0 bytes of shared memory
//   attention_backward_keys_sm80_hd128_*: 255 registers, 0 bytes of shared memory
//   attention_backward_queries_sm80_hd256_*: 225 registers, 0 bytes of shared memory
//   attention_backward_keys_sm80_hd256_*: 215 registers, 0 bytes of shared memory
// Shared memory: stages, what is owned and not in registers; chunks permuted (panel.cuh), no bank conflicts.
//
// In the main loops, an mma takes so many instructions, and clocks of shared memory:
// | entry, head_dim, owned × stage | threads | shared bytes | blocks on an A100's SM | instructions | clocks |
// | queries,  64, 128 × 64         |     128 |        49152 |                      2 | 4.05         | 1.2    |
// | keys,     64, 128 × 64         |     128 |        66560 |                      2 | 4.1          | 1.8    |
// | queries, 128, 128 × 64         |     256 |        98304 |                      1 | 3.25         | 2.2    |
// | keys,    128, 128 × 64         |     256 |        99328 |                      1 | 3.4          | 2.55   |
// | queries, 256,  64 × 16         |     128 |        98304 |                      1 | 3.6          | 3.7    |
// | keys,    256,  64 × 16         |     128 |        98560 |                      1 | 4.4          | 3.8    |
//
// Determinism: no atomics. dq adds keys, dk and dv add rows (the group's heads of a token side by side), in steps of 16
// ascending from the document's start; a document's bits depend on its rows alone. p = 2^(s·c - rn(lse·log2 e)) with
// c = scale·log2 e, one fused multiply-add, ex2.approx; ds = p · (dp - delta) from p before it is rounded; p and ds are
// rounded to bf16 where they multiply rows; scale multiplies the finished sums, which are rounded once. delta is a chain over
// what a thread holds of a row, then xor 1, xor 2.
// Floor: 10·head_dim operations a visible pair of query and key (five products) at the tensor cores' rate. Here it is
// 14·head_dim, 1.4 times the floor, since both kernels compute scores and dout·v; 18·head_dim where heads are wider than 128,
// since blocks that share columns both do.
// Why not five: blocks that own keys would have to add to dq, in a fixed order. For 64 × 128 scores of heads of 128 that saves
// two products, 4.2 million operations, and an A100's multiprocessor does them in 2,048 clocks, an H200's in 1,024. Parts of
// dq left for each block of keys and added later are 512 bytes a row, head and block: 4.3 GB for 8,192 tokens of 32 heads,
// where the workspace has 256 MiB, and written and read they take 5.5 ms of an A100 against 1.8 ms for the products. One dq in
// f32, added to by blocks in turn, is 64 KiB through L2 for these scores: 1,400 clocks at an A100's 47 bytes a clock and
// multiprocessor, and no fewer on an H200. That leaves a tenth of this kernel on the one and a loss on the other, before
// blocks wait for each other, before ds goes through shared memory to become a left operand and sums of warps meet there, and
// before dq is read again to be rounded.
// Beside the tensor cores works shared memory, above: with 16 rows a warp a fragment serves two mma, with 32 four. An mma takes
// two clocks of an A100's tensor cores, one of an H200's.
// Measured: not yet.
#include "attention_backward_keys.cuh"
#include "attention_backward_queries.cuh"

using Tile = AttentionBackwardTile<TILE>;
using Gradient = GRADIENT<Tile>;

extern "C" __global__ void __launch_bounds__(Tile::THREADS, Tile::RESIDENT)
    ENTRY(const __grid_constant__ AttentionBackwardArguments arguments) {
  AttentionWork work;
  if (!Gradient::find(work, arguments)) return;
  extern __shared__ __align__(128) unsigned char shared[];
  Gradient gradient(arguments, work, shared_address(shared));
  gradient.run();
  gradient.finish();
}
