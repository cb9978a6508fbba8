// What the lanes of a warp do together.
typedef unsigned u32;
extern "C" __global__ void warps(u32* v, unsigned long long* w, int* s) {
    u32 x = v[threadIdx.x], lane = threadIdx.x & 31;
    u32 ballot = __ballot_sync(~0u, x & 1);
    bool all = __all_sync(~0u, x > 3), any = __any_sync(~0u, x > 300);
    u32 same = __match_any_sync(~0u, x);
    int agreed;
    u32 everyone = __match_all_sync(~0u, w[0], &agreed);
    u32 sum = __reduce_add_sync(~0u, x) + __reduce_max_sync(~0u, x) + __reduce_xor_sync(~0u, x) + (u32)__reduce_min_sync(~0u, s[lane]);
    u32 up = __shfl_up_sync(~0u, x, 1), down = __shfl_down_sync(~0u, x, 2, 16), at = __shfl_sync(~0u, x, lane ^ 5, 8);
    unsigned long long wide = __shfl_xor_sync(~0u, w[lane], 4);
    __syncwarp();
    if (x & 2) {
        u32 mask = __activemask();
        v[threadIdx.x + 32] = __popc(mask);
        __syncwarp(mask);
    }
    u32 below;
    asm("mov.u32 %0, %%lanemask_lt;" : "=r"(below));
    u32 rank = __popc(ballot & below);
    v[threadIdx.x] = ballot + same + everyone + sum + up + down + at + rank + (all ? 1 : 0) + (any ? 2 : 0) + (agreed ? 4 : 0);
    w[threadIdx.x] = wide + clock64();
}
