// Sums of rows: shuffles, shared memory, vector loads, a tail, launch bounds with two blocks.
struct Arguments { const float4* rows; float* sums; unsigned width; unsigned long long stride; float epsilon; };

template <int THREADS> __device__ __forceinline__ float block_sum(float value) {
    __shared__ float partial[THREADS / 32];
    for (int step = 16; step; step >>= 1) value += __shfl_xor_sync(~0u, value, step);
    if ((threadIdx.x & 31) == 0) partial[threadIdx.x >> 5] = value;
    __syncthreads();
    value = threadIdx.x < THREADS / 32 ? partial[threadIdx.x] : 0.0f;
    if (threadIdx.x < 32)
        for (int step = THREADS / 64; step; step >>= 1) value += __shfl_down_sync(~0u, value, step);
    return value;
}

extern "C" __global__ void __launch_bounds__(256, 2) sum_rows(const __grid_constant__ Arguments a) {
    const float4* row = a.rows + blockIdx.x * a.stride / 4;
    float sum = 0.0f;
    for (unsigned i = threadIdx.x; i < a.width / 4; i += blockDim.x) {
        float4 v = row[i];
        sum = __fmaf_rn(v.x, v.x, sum);
        sum = __fadd_rn(sum, v.y * v.z);
        sum += v.w;
    }
    unsigned tail = a.width & ~3u;
    for (unsigned i = tail + threadIdx.x; i < a.width; i += blockDim.x) sum += ((const float*)row)[i];
    sum = block_sum<256>(sum);
    if (threadIdx.x == 0) a.sums[blockIdx.x] = rsqrtf(sum / (float)a.width + a.epsilon);
}

template <typename T> __global__ void max_rows(const T* rows, T* out, int width) {
    T best = rows[blockIdx.x * width];
    for (int i = threadIdx.x; i < width; i += 32) best = max(best, rows[(long long)blockIdx.x * width + i]);
    for (int step = 16; step; step >>= 1) best = max(best, __shfl_xor_sync(0xffffffffu, best, step));
    if (!threadIdx.x) out[blockIdx.x] = best;
}
template __global__ void max_rows<int>(const int*, int*, int);
template __global__ void max_rows<double>(const double*, double*, int);
