// Atomics of every kind, fences, and a flag that one block sets for the others.
typedef unsigned u32;
typedef unsigned long long u64;

extern "C" __global__ void atomics(u32* n, int* s, u64* w, long long* sw, float* f, double* d, unsigned short* h) {
    __shared__ u32 bins[64];
    __shared__ float total;
    for (u32 i = threadIdx.x; i < 64; i += blockDim.x) bins[i] = 0;
    if (threadIdx.x == 0) total = 0.0f;
    __syncthreads();
    atomicAdd(&bins[n[threadIdx.x] & 63], 1u);
    atomicAdd(&total, f[threadIdx.x]);
    atomicMax(&bins[3], threadIdx.x);
    __syncthreads();
    u32 old = atomicAdd(n, 1u) + atomicSub(n + 1, 2u) + atomicExch(n + 2, 3u) + atomicMin(n + 3, 4u);
    old += atomicMax(n + 4, 5u) + atomicInc(n + 5, 6u) + atomicDec(n + 6, 7u) + atomicCAS(n + 7, 8u, 9u);
    old += atomicAnd(n + 8, 10u) ^ atomicOr(n + 9, 11u) ^ atomicXor(n + 10, 12u);
    old += atomicMin(s, -1) + atomicMax(s + 1, -2) + atomicAdd(s + 2, -3);
    u64 wide = atomicAdd(w, 1ull) + atomicExch(w + 1, 2ull) + atomicCAS(w + 2, 3ull, 4ull) + atomicMin(w + 3, 5ull);
    wide += atomicMax(sw, -6ll) + atomicOr(w + 4, 7ull);
    wide += atomicCAS(h, (unsigned short)1, (unsigned short)2);
    f[0] = atomicAdd(f + 1, total) + (float)old;
    d[0] = atomicAdd(d + 1, 1.5) + (double)wide;
    atomicAdd_block(n + 11, bins[threadIdx.x & 63]);
    atomicAdd_system(n + 12, 1u);
    atomicAdd(f + 2, 2.0f);
}

extern "C" __global__ void last_block(const float* in, float* partial, float* out, u32* count) {
    __shared__ bool last;
    float sum = 0.0f;
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < gridDim.x * blockDim.x * 4; i += gridDim.x * blockDim.x)
        sum += in[i];
    sum += __shfl_xor_sync(~0u, sum, 1);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sum;
        __threadfence();
        last = atomicAdd(count, 1u) == gridDim.x - 1;
        __threadfence_block();
        __threadfence_system();
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        float all = 0.0f;
        for (u32 i = 0; i < gridDim.x; i++) all += ((volatile float*)partial)[i];
        *out = all;
        *count = 0;
    }
}

extern "C" __global__ void flag(u32* flag, u32* data) {
    if (blockIdx.x == 0) {
        data[threadIdx.x] = threadIdx.x;
        __syncthreads();
        if (threadIdx.x == 0) asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(flag), "r"(1u) : "memory");
    } else {
        u32 seen = 0;
        if (threadIdx.x == 0)
            do {
                asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
                __nanosleep(20);
            } while (!seen);
        __syncthreads();
        u32 value;
        asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(data + threadIdx.x) : "memory");
        asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(data + 1024), "r"(value) : "memory");
        asm volatile("atom.acq_rel.sys.global.add.u32 %0, [%1], 1;" : "=r"(value) : "l"(data + 1025) : "memory");
        asm volatile("fence.acq_rel.gpu; fence.sc.sys; membar.gl;" ::: "memory");
    }
}
