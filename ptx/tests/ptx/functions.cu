// Functions of floats, their slow paths with local memory, and doubles.
extern "C" __global__ void singles(float* v) {
    float x = v[threadIdx.x], y = v[threadIdx.x + 32];
    float sum = sinf(x) + cosf(y) + expf(x) + logf(y) + powf(x, y) + tanhf(x) + erff(y) + exp2f(x) + log2f(y);
    sum += sqrtf(x) + rsqrtf(y) + cbrtf(x) + fmodf(x, y) + floorf(x) + ceilf(y) + roundf(x) + rintf(y) + truncf(x);
    sum += __expf(x) + __logf(y) + __sinf(x) + __cosf(y) + __fdividef(x, y) + __frcp_rn(x) + __fsqrt_rz(y);
    sum += __fdiv_rn(x, y) + fminf(x, y) - fmaxf(x, 2.0f) + fabsf(y) + copysignf(x, y) + __saturatef(x);
    sum += isnan(x) ? 1.0f : isinf(y) ? 2.0f : isfinite(x) ? 3.0f : 4.0f;
    sum += __fadd_rz(x, y) + __fmul_ru(x, y) + __fmaf_rd(x, y, sum);
    int exponent = 0;
    sum += frexpf(x, &exponent);
    sum += ldexpf(y, exponent) + (float)__float2int_rn(x) + (float)(unsigned long long)y;
    v[threadIdx.x] = sum;
}

extern "C" __global__ void doubles(double* v, float* f, int* n) {
    double x = v[threadIdx.x], y = v[threadIdx.x + 32];
    double sum = sqrt(x) + 1.0 / y + x / y + fma(x, y, 3.0) + floor(x) + fabs(y) + fmin(x, y) + exp(x) + log(y);
    sum += (double)f[threadIdx.x] + (double)n[threadIdx.x] + rsqrt(x);
    f[threadIdx.x] = (float)sum;
    n[threadIdx.x] = (int)sum + (sum < 3.0 ? 1 : 0) + (int)__double2ll_rd(x);
    v[threadIdx.x] = sum;
}
