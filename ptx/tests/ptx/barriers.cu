// Barriers with names, counts and reductions; clocks.
typedef unsigned u32;
extern "C" __global__ void __launch_bounds__(256) barriers(u32* v, u32 n) {
    __shared__ u32 buffer[2][128];
    u32 warp = threadIdx.x >> 5;
    if (warp < 4) {
        for (u32 i = 0; i < n; i++) {
            asm volatile("bar.sync %0, 256;" ::"r"(1 + (i & 1)) : "memory");
            buffer[i & 1][threadIdx.x] = v[threadIdx.x + i * 128];
            asm volatile("bar.arrive %0, 256;" ::"r"(3 + (i & 1)) : "memory");
        }
    } else {
        for (u32 i = 0; i < n; i++) {
            asm volatile("bar.arrive %0, 256;" ::"r"(1 + (i & 1)) : "memory");
            asm volatile("bar.sync %0, 256;" ::"r"(3 + (i & 1)) : "memory");
            v[threadIdx.x + i * 128] += buffer[i & 1][255 - threadIdx.x];
        }
    }
    u32 counted = __syncthreads_count(v[threadIdx.x] & 1);
    bool all = __syncthreads_and(counted > 3), any = __syncthreads_or(counted > 30);
    asm volatile("barrier.sync 5, 256;" ::: "memory");
    unsigned long long now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    if (threadIdx.x == 0) v[0] = all ? counted : any;
    if (threadIdx.x == 1) v[1] += (u32)(now - now) + (clock() > 0);
}
