// A tile product: cp.async in stages, ldmatrix, mma, dynamic shared memory.
typedef unsigned u32;
typedef unsigned short u16;
struct Arguments { const u16* a; const u16* b; float* c; u32 m, n, k; };

__device__ __forceinline__ u32 shared_address(const void* p) {
    u32 address;
    asm("{ .reg .u64 wide; cvta.to.shared.u64 wide, %1; cvt.u32.u64 %0, wide; }" : "=r"(address) : "l"(p));
    return address;
}
__device__ __forceinline__ void copy(u32 to, const void* from, bool valid) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0) : "memory");
}

extern "C" __global__ void __launch_bounds__(128) tile(const __grid_constant__ Arguments p) {
    extern __shared__ __align__(128) unsigned char memory[];
    u32 base = shared_address(memory), lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    u32 row0 = blockIdx.y * 64, column0 = blockIdx.x * 32;
    float sum[4][4] = {};
    u32 steps = (p.k + 31) / 32;
    auto load = [&](u32 step) {
        u32 stage = base + (step & 1) * (64 + 32) * 80;
        for (u32 i = threadIdx.x; i < 96 * 4; i += 128) {
            u32 row = i / 4, column = i % 4 * 8 + step * 32;
            bool left = row < 64;
            u32 at = left ? row0 + row : column0 + row - 64, limit = left ? p.m : p.n;
            const u16* from = (left ? p.a : p.b) + (size_t)at * p.k + column;
            copy(stage + row * 80 + i % 4 * 16, from, at < limit && column < p.k);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    load(0);
    for (u32 step = 0; step < steps; step++) {
        if (step + 1 < steps) {
            load(step + 1);
            asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else {
            asm volatile("cp.async.wait_all;" ::: "memory");
        }
        __syncthreads();
        u32 stage = base + (step & 1) * (64 + 32) * 80;
        #pragma unroll
        for (u32 k = 0; k < 2; k++) {
            u32 a[4], b[4][2];
            u32 at = stage + (warp * 16 + lane % 16) * 80 + k * 32 + lane / 16 * 16;
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                         : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3]) : "r"(at) : "memory");
            #pragma unroll
            for (u32 j = 0; j < 4; j++) {
                u32 from = stage + (64 + j * 8 + lane % 8) * 80 + k * 32 + lane / 8 % 2 * 16;
                asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                             : "=r"(b[j][0]), "=r"(b[j][1]) : "r"(from) : "memory");
                asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                             : "+f"(sum[j][0]), "+f"(sum[j][1]), "+f"(sum[j][2]), "+f"(sum[j][3])
                             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[j][0]), "r"(b[j][1]));
            }
        }
        __syncthreads();
    }
    #pragma unroll
    for (u32 j = 0; j < 4; j++)
        #pragma unroll
        for (u32 half = 0; half < 2; half++) {
            u32 row = row0 + warp * 16 + lane / 4 + half * 8, column = column0 + j * 8 + lane % 4 * 2;
            if (row < p.m && column < p.n)
                *(float2*)(p.c + (size_t)row * p.n + column) = make_float2(sum[j][half * 2], sum[j][half * 2 + 1]);
        }
}
