// Memory of every space: local arrays, constants, initialised globals, two-dimensional shared memory.
struct Pair { short small; double large; };
__constant__ float table[16] = {1.0f, -2.5f, 0.0f, 3e10f};
__constant__ Pair pairs[2] = {{1, 2.0}, {-3, 4.5}};
__device__ int counters[4] = {1, -2, 3};
__device__ unsigned char text[] = "shared";
__device__ double scale = 0.1;
static __device__ unsigned long long seed = 0x123456789abcdefull;

extern "C" __global__ void __launch_bounds__(64) spaces(float* out, const int* order, int n) {
    __shared__ float tile[33][33];
    __shared__ __align__(16) double wide[2][8];
    float local[16];
    #pragma unroll 1
    for (int i = 0; i < 16; i++) local[order[i] & 15] = table[i] * (float)i;
    tile[threadIdx.x & 31][threadIdx.x >> 5] = local[threadIdx.x & 15];
    if ((threadIdx.x & 31) < 8) wide[threadIdx.x >> 5][threadIdx.x & 7] = pairs[threadIdx.x & 1].large * scale;
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x & 31][1 - (threadIdx.x >> 5)] + (float)wide[1][threadIdx.x & 7] + (float)pairs[1].small;
    if (threadIdx.x < 4) counters[threadIdx.x] += n + text[threadIdx.x % 7];
    if (threadIdx.x == 0) seed += n;
    volatile float* slow = out + 64;
    slow[threadIdx.x] = slow[threadIdx.x] + 1.0f;
    char bytes[8];
    for (int i = 0; i < 8; i++) bytes[i ^ (n & 7)] = (char)order[i];
    ((char4*)out)[threadIdx.x + 64] = make_char4(bytes[n & 7], bytes[1], bytes[2], bytes[3]);
    const int4 four = __ldg((const int4*)order + threadIdx.x);
    __stcs((int4*)out + 128 + threadIdx.x, make_int4(four.w, four.z, four.y, four.x));
    out[threadIdx.x + 1024] = __ldcg(out + threadIdx.x + 2048);
    __syncthreads();
    float* generic = threadIdx.x & 1 ? &tile[threadIdx.x & 31][threadIdx.x >> 5] : out + threadIdx.x;
    *generic += 1.0f;
}
