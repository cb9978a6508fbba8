// What this card computes, bit for bit, and how fast it moves and multiplies: the facts that docs/numerics.md
// marks "to be confirmed", and the records that the simulated GPU is held to (ptx/golden/).
//
//   nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -o atlas benches/gpu/atlas.cu && ./atlas OUT
//   nvcc -O3 -std=c++17 -gencode=arch=compute_80,code=sm_80 …       on Ampere; the wgmma part is then left out
//
// Prints a table and writes OUT/mma.bin, OUT/unary.bin (results only: inputs are functions of their index, see
// `tile_value` and `unary_input`) and OUT/atlas.txt (the table). Takes well under a minute. Needs no library.

#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <cuda_runtime.h>

#define CHECK(call)                                                                                        \
    do {                                                                                                   \
        cudaError_t status = (call);                                                                       \
        if (status != cudaSuccess) {                                                                       \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(status));     \
            exit(1);                                                                                       \
        }                                                                                                  \
    } while (0)

// ---- inputs: functions of their index, so that only results need recording -----------------------------------

// Philox4x32-10 (Salmon et al., 2011), the first word of a block.
__host__ __device__ inline uint32_t philox(uint32_t index, uint32_t stream) {
    uint32_t c0 = index, c1 = stream, c2 = 0, c3 = 0, k0 = 0x0c70, k1 = 0x2026;
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)c0 * 0xD2511F53u, b = (uint64_t)c2 * 0xCD9E8D57u;
        uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c0 = n0, c1 = (uint32_t)b, c2 = n2, c3 = (uint32_t)a;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    return c0;
}

// Kinds of tiles: how far exponents spread decides which bits of a sum survive.
enum Kind { NARROW, WIDE, CANCELLING, SUBNORMAL, KINDS };

// A bf16 pattern for element `index` of operand `stream` (tile and step mixed in by the caller).
__host__ __device__ inline uint16_t tile_value(int kind, uint32_t index, uint32_t stream) {
    uint32_t bits = philox(index, stream);
    uint32_t sign = bits >> 31, mantissa = bits & 0x7f, exponent;
    switch (kind) {
    case NARROW: exponent = 124 + (bits >> 8) % 4; break;
    case WIDE: exponent = 107 + (bits >> 8) % 40; break;
    case CANCELLING: exponent = 126 + 14 * ((bits >> 8) % 2); break;
    default: exponent = (bits >> 8) % 3 == 0 ? 0 : 120 + (bits >> 10) % 8; break;
    }
    return (uint16_t)(sign << 15 | exponent << 7 | mantissa);
}

__host__ __device__ inline float widen(uint16_t bits) {
    uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, 4);
    return value;
}

constexpr int ROWS = 64, COLUMNS = 8, DEPTH = 16;  // one wgmma m64n8k16; four mma.sync m16n8k16

__host__ __device__ inline uint16_t a_value(int kind, int tile, int step, int row, int k) {
    return tile_value(kind, (uint32_t)(row * DEPTH + k), (uint32_t)((tile * 64 + step) * 2));
}
__host__ __device__ inline uint16_t b_value(int kind, int tile, int step, int k, int column) {
    return tile_value(kind, (uint32_t)(k * COLUMNS + column), (uint32_t)((tile * 64 + step) * 2 + 1));
}

// ---- mma.sync m16n8k16 (PTX ISA: Warp-level Matrix Instructions, mma) ----------------------------------------

__device__ inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline uint32_t pair(uint16_t low, uint16_t high) { return (uint32_t)high << 16 | low; }

// One block a tile, four warps of 16 rows; d[tile][64][8] = sum over steps, ascending.
__global__ void mma_tiles(int kind, int steps, float* d) {
    int tile = blockIdx.x, warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    float sum[4] = {0, 0, 0, 0};
    for (int s = 0; s < steps; s++) {
        uint32_t a[4], b[2];
        for (int i = 0; i < 4; i++) {
            int row = 16 * warp + g + 8 * (i & 1), k = 2 * t + 8 * (i >> 1);
            a[i] = pair(a_value(kind, tile, s, row, k), a_value(kind, tile, s, row, k + 1));
        }
        for (int i = 0; i < 2; i++) {
            int k = 2 * t + 8 * i;
            b[i] = pair(b_value(kind, tile, s, k, g), b_value(kind, tile, s, k + 1, g));
        }
        mma_m16n8k16(sum, a, b);
    }
    for (int i = 0; i < 4; i++) {
        int row = 16 * warp + g + 8 * (i >> 1), column = 2 * t + (i & 1);
        d[(tile * ROWS + row) * COLUMNS + column] = sum[i];
    }
}

// ---- wgmma m64n8k16 (PTX ISA: Asynchronous Warpgroup Level Matrix Instructions) ------------------------------

// Shared-memory descriptor without swizzle: core matrices of 8 rows x 16 bytes.
__device__ inline uint64_t descriptor(const void* shared, uint32_t leading, uint32_t stride) {
    uint64_t address = __cvta_generic_to_shared(shared);
    return (address & 0x3ffff) >> 4 | (uint64_t)(leading >> 4) << 16 | (uint64_t)(stride >> 4) << 32;
}

__global__ void wgmma_tiles(int kind, int steps, float* d) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    __shared__ alignas(128) uint16_t a[ROWS * DEPTH];
    __shared__ alignas(128) uint16_t b[COLUMNS * DEPTH];
    int tile = blockIdx.x, warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    float sum[4] = {0, 0, 0, 0};
    for (int s = 0; s < steps; s++) {
        // core matrix (row / 8, k / 8) at 128 B x (2 x row / 8 + k / 8), rows of 16 bytes inside
        for (int i = threadIdx.x; i < ROWS * DEPTH; i += 128) {
            int row = i / DEPTH, k = i % DEPTH;
            a[(row / 8 * 2 + k / 8) * 64 + row % 8 * 8 + k % 8] = a_value(kind, tile, s, row, k);
        }
        for (int i = threadIdx.x; i < COLUMNS * DEPTH; i += 128) {
            int column = i / DEPTH, k = i % DEPTH;
            b[k / 8 * 64 + column * 8 + k % 8] = b_value(kind, tile, s, k, column);
        }
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncthreads();
        uint64_t da = descriptor(a, 128, 256), db = descriptor(b, 128, 256);
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %6, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0,%1,%2,%3}, %4, %5, p, 1, 1, 0, 0; }"
                     : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                     : "l"(da), "l"(db), "r"(1)
                     : "memory");
        asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" ::: "memory");
        __syncthreads();
    }
    for (int i = 0; i < 4; i++) {
        int row = 16 * warp + g + 8 * (i >> 1), column = 2 * t + (i & 1);
        d[(tile * ROWS + row) * COLUMNS + column] = sum[i];
    }
#endif
}

// ---- probes of the fused dot: one row of A, one column of B, an accumulator ----------------------------------

// Row 0 of a 16x8 tile: d = c + sum of a[k] * b[k]; everything else is zero.
__global__ void probe(const float* a, const float* b, float c, float* d) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    auto narrow = [](float v) { return (uint16_t)(__float_as_uint(v) >> 16); };
    uint32_t fa[4] = {0, 0, 0, 0}, fb[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        int k = 2 * t + 8 * i;
        if (g == 0) fa[2 * i] = pair(narrow(a[k]), narrow(a[k + 1]));
        if (g == 0) fb[i] = pair(narrow(b[k]), narrow(b[k + 1]));
    }
    float sum[4] = {g == 0 && t == 0 ? c : 0, 0, 0, 0};
    mma_m16n8k16(sum, fa, fb);
    if (threadIdx.x == 0) *d = sum[0];
}

// ---- approximations (PTX ISA: Floating-Point Instructions) ---------------------------------------------------

const char* const UNARY[] = {"ex2.approx.f32",  "ex2.approx.ftz.f32", "lg2.approx.f32", "rsqrt.approx.f32",
                             "rcp.approx.f32",  "sqrt.approx.f32",    "sin.approx.f32", "cos.approx.f32",
                             "tanh.approx.f32"};
constexpr int UNARIES = sizeof UNARY / sizeof *UNARY;
constexpr uint32_t RECORDED = 16384;  // of each function, in unary.bin

// Inputs spread over all patterns; every eighth lies in [-8, 8), where most arguments do.
__host__ __device__ inline float unary_input(uint32_t index) {
    uint32_t bits = philox(index, 0xffffffffu);
    float value = ((int32_t)bits >> 3) * (8.0f / 268435456.0f);
    if (index % 8) memcpy(&value, &bits, 4);
    return value;
}

__device__ inline float unary(int function, float x) {
    float y = 0;
    switch (function) {
    case 0: asm("ex2.approx.f32 %0, %1;" : "=f"(y) : "f"(x)); break;
    case 1: asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); break;
    case 2: asm("lg2.approx.f32 %0, %1;" : "=f"(y) : "f"(x)); break;
    case 3: asm("rsqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x)); break;
    case 4: asm("rcp.approx.f32 %0, %1;" : "=f"(y) : "f"(x)); break;
    case 5: asm("sqrt.approx.f32 %0, %1;" : "=f"(y) : "f"(x)); break;
    case 6: asm("sin.approx.f32 %0, %1;" : "=f"(y) : "f"(x)); break;
    case 7: asm("cos.approx.f32 %0, %1;" : "=f"(y) : "f"(x)); break;
    case 8: asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x)); break;
    }
    return y;
}

__global__ void unary_kernel(int function, uint32_t count, float* y) {
    uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index < count) y[index] = unary(function, unary_input(index));
}

double exact(int function, double x) {
    switch (function) {
    case 0: case 1: return exp2(x);
    case 2: return log2(x);
    case 3: return 1 / sqrt(x);
    case 4: return 1 / x;
    case 5: return sqrt(x);
    case 6: return sin(x);
    case 7: return cos(x);
    default: return tanh(x);
    }
}

// ---- ceilings ------------------------------------------------------------------------------------------------

__global__ void copy(const uint4* __restrict__ from, uint4* __restrict__ to, size_t count) {
    size_t stride = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) to[i] = from[i];
}

__global__ void fill(uint4* to, size_t count) {
    size_t stride = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        uint32_t word = philox((uint32_t)i, 7);
        to[i] = make_uint4(word, word * 2654435761u, ~word, word ^ 0x5bd1e995u);
    }
}

// Eight independent chains a warp, operands random: the rate of mma.sync with nothing to wait for.
__global__ void mma_rate(int rounds, float* sink) {
    uint32_t a[4], b[2];
    for (int i = 0; i < 4; i++) a[i] = philox(threadIdx.x * 4 + i, 1) & 0xbfffbfffu;
    for (int i = 0; i < 2; i++) b[i] = philox(threadIdx.x * 4 + i, 2) & 0xbfffbfffu;
    float sum[8][4] = {};
    for (int r = 0; r < rounds; r++)
        for (int chain = 0; chain < 8; chain++) mma_m16n8k16(sum[chain], a, b);
    float total = 0;
    for (auto& chain : sum)
        for (float v : chain) total += v;
    if (total == 12345.678f) *sink = total;
}

template <class F> float median_ms(F launch) {
    cudaEvent_t from, to;
    CHECK(cudaEventCreate(&from));
    CHECK(cudaEventCreate(&to));
    std::vector<float> times;
    for (int i = 0; i < 15; i++) {
        CHECK(cudaEventRecord(from));
        launch();
        CHECK(cudaGetLastError());
        CHECK(cudaEventRecord(to));
        CHECK(cudaEventSynchronize(to));
        float ms;
        CHECK(cudaEventElapsedTime(&ms, from, to));
        if (i >= 4) times.push_back(ms);
    }
    for (size_t i = 0; i < times.size(); i++)
        for (size_t j = i + 1; j < times.size(); j++)
            if (times[j] < times[i]) std::swap(times[i], times[j]);
    return times[times.size() / 2];
}

// ---- the run -------------------------------------------------------------------------------------------------

FILE* table;

void say(const char* format, ...) {
    char line[512];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    printf("%s\n", line);
    fprintf(table, "%s\n", line);
    fflush(table);
}

FILE* create(const std::string& path) {
    FILE* file = fopen(path.c_str(), "wb");
    if (!file) {
        fprintf(stderr, "cannot write %s\n", path.c_str());
        exit(1);
    }
    return file;
}

uint32_t pattern(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

void compare_tiles(const std::string& out, bool hopper) {
    const char* names[KINDS] = {"narrow", "wide", "cancelling", "subnormal"};
    constexpr int TILES = 64;
    size_t count = (size_t)TILES * ROWS * COLUMNS;
    float *device, *device2;
    CHECK(cudaMalloc(&device, count * 4));
    CHECK(cudaMalloc(&device2, count * 4));
    FILE* file = create(out + "/mma.bin");
    std::vector<float> sync(count), async(count);
    for (int kind = 0; kind < KINDS; kind++)
        for (int steps : {1, 2, 64}) {
            CHECK(cudaMemset(device, 0xff, count * 4));
            CHECK(cudaMemset(device2, 0xff, count * 4));
            mma_tiles<<<TILES, 128>>>(kind, steps, device);
            if (hopper) wgmma_tiles<<<TILES, 128>>>(kind, steps, device2);
            CHECK(cudaDeviceSynchronize());
            CHECK(cudaMemcpy(sync.data(), device, count * 4, cudaMemcpyDeviceToHost));
            CHECK(cudaMemcpy(async.data(), device2, count * 4, cudaMemcpyDeviceToHost));
            fwrite(sync.data(), 4, count, file);
            size_t differ = 0;
            double worst = 0;
            for (int tile = 0; tile < TILES; tile++)
                for (int row = 0; row < ROWS; row++)
                    for (int column = 0; column < COLUMNS; column++) {
                        size_t i = ((size_t)tile * ROWS + row) * COLUMNS + column;
                        double truth = 0, size = 0;
                        for (int s = 0; s < steps; s++)
                            for (int k = 0; k < DEPTH; k++) {
                                double p = (double)widen(a_value(kind, tile, s, row, k)) *
                                           widen(b_value(kind, tile, s, k, column));
                                truth += p, size += fabs(p);
                            }
                        worst = fmax(worst, fabs(sync[i] - truth) / fmax(size, 1e-300));
                        differ += pattern(sync[i]) != pattern(async[i]);
                    }
            if (hopper)
                say("mma.sync | %-10s | k = %4d | error / sum of |products| %.2e | wgmma differs in %zu of %zu",
                    names[kind], 16 * steps, worst, differ, count);
            else
                say("mma.sync | %-10s | k = %4d | error / sum of |products| %.2e", names[kind], 16 * steps, worst);
        }
    fclose(file);
    CHECK(cudaFree(device));
    CHECK(cudaFree(device2));
}

void probes() {
    float a[16], b[16], *device;
    CHECK(cudaMalloc(&device, 33 * 4));
    auto run = [&](float c) {
        float d;
        CHECK(cudaMemcpy(device, a, 64, cudaMemcpyHostToDevice));
        CHECK(cudaMemcpy(device + 16, b, 64, cudaMemcpyHostToDevice));
        probe<<<1, 32>>>(device, device + 16, c, device + 32);
        CHECK(cudaGetLastError());
        CHECK(cudaMemcpy(&d, device + 32, 4, cudaMemcpyDeviceToHost));
        return d;
    };
    auto clear = [&] {
        for (int k = 0; k < 16; k++) a[k] = b[k] = 0;
    };
    // 1 - 1 + 2^-n with the big pair at 0 and 1: how small a term survives beside 1, and how far it may lie.
    for (int where : {2, 7, 8, 15}) {
        int survives = -1;
        for (int n = 20; n < 40; n++) {
            clear();
            a[0] = 1, b[0] = 1, a[1] = -1, b[1] = 1, a[where] = ldexpf(1, -n / 2), b[where] = ldexpf(1, -(n - n / 2));
            if (run(0) != 0) survives = n;
        }
        say("probe | 1 - 1 + 2^-n, the small term at k = %2d | survives to n = %d", where, survives);
    }
    for (float c : {1.0f, -1.0f}) {
        int survives = -1;
        for (int n = 20; n < 40; n++) {
            clear();
            a[0] = -c, b[0] = 1, a[1] = ldexpf(1, -n / 2), b[1] = ldexpf(1, -(n - n / 2));
            if (run(c) != 0) survives = n;
        }
        say("probe | c = %+g, -c + 2^-n | survives to n = %d", c, survives);
    }
    // Rounding of the result: 1 + 1.5 * 2^-23 and its negative, from two products.
    for (float sign : {1.0f, -1.0f}) {
        clear();
        a[0] = sign, b[0] = 1, a[1] = sign * ldexpf(1.5f, -12), b[1] = ldexpf(1, -11);
        say("probe | %+g * (1 + 1.5 * 2^-23) | %08x (toward zero %08x)", sign, pattern(run(0)),
            pattern(sign * (1 + ldexpf(1, -23))));
    }
    // Two halves of k: does 2^-25 twice (k = 0 and k = 8) add up before it is cut off beside c = 1?
    for (int second : {1, 8}) {
        clear();
        a[0] = ldexpf(1, -12), b[0] = ldexpf(1, -12), a[second] = ldexpf(1, -12), b[second] = ldexpf(1, -12);
        say("probe | c = 1, 2^-24 at k = 0 and k = %d | %08x (1 is 3f800000, one step above 3f800001)", second,
            pattern(run(1)));
    }
    CHECK(cudaFree(device));
}

void approximations(const std::string& out) {
    constexpr uint32_t COUNT = 1 << 24;
    float* device;
    CHECK(cudaMalloc(&device, (size_t)COUNT * 4));
    std::vector<float> y(COUNT);
    FILE* file = create(out + "/unary.bin");
    for (int f = 0; f < UNARIES; f++) {
        unary_kernel<<<COUNT / 256, 256>>>(f, COUNT, device);
        CHECK(cudaDeviceSynchronize());
        CHECK(cudaMemcpy(y.data(), device, (size_t)COUNT * 4, cudaMemcpyDeviceToHost));
        fwrite(y.data(), 4, RECORDED, file);
        uint64_t hash = 0xcbf29ce484222325u;
        double ulps = 0, absolute = 0;
        float where = 0;
        for (uint32_t i = 0; i < COUNT; i++) {
            hash = (hash ^ pattern(y[i])) * 0x100000001b3u;
            float x = unary_input(i);
            bool sine = f == 6 || f == 7;
            if (!std::isnormal(x) || (sine && fabsf(x) > 3.1415926f)) continue;
            double truth = exact(f, x);
            if (!std::isnormal((float)truth) || !std::isfinite(y[i])) continue;
            int exponent;
            frexp(truth, &exponent);
            double error = fabs(y[i] - truth);
            absolute = fmax(absolute, error);
            if (error / ldexp(1, exponent - 24) > ulps) ulps = error / ldexp(1, exponent - 24), where = x;
        }
        say("%-18s | worst %.2f units in the last place at %a | worst absolute %.3e | hash %016llx", UNARY[f], ulps,
            where, absolute, (unsigned long long)hash);
    }
    fclose(file);
    CHECK(cudaFree(device));
}

void ceilings(int multiprocessors) {
    size_t bytes = (size_t)4 << 30, count = bytes / 16;
    uint4 *from, *to;
    CHECK(cudaMalloc(&from, bytes));
    CHECK(cudaMalloc(&to, bytes));
    fill<<<multiprocessors * 16, 512>>>(from, count);
    CHECK(cudaDeviceSynchronize());
    for (int blocks : {4, 8, 16, 32}) {
        float ms = median_ms([&] { copy<<<multiprocessors * blocks, 512>>>(from, to, count); });
        say("copy, our kernel, %2d blocks of 512 an SM | %.0f GB/s read + written", blocks, 2e-6 * bytes / ms);
    }
    float ms = median_ms([&] { CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice)); });
    say("copy, cudaMemcpyAsync | %.0f GB/s read + written", 2e-6 * bytes / ms);
    int rounds = 4096, blocks = multiprocessors * 4, warps = 4;
    ms = median_ms([&] { mma_rate<<<blocks, 32 * warps>>>(rounds, (float*)to); });
    double flops = 2.0 * 16 * 8 * 16 * 8 * rounds * blocks * warps;
    say("mma.sync m16n8k16 bf16, 16 warps an SM, 8 chains each | %.0f TFLOP/s", 1e-9 * flops / ms);
    CHECK(cudaFree(from));
    CHECK(cudaFree(to));
}

int main(int argc, char** argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: atlas OUT (an existing folder)\n");
        return 2;
    }
    std::string out = argv[1];
    table = create(out + "/atlas.txt");
    cudaDeviceProp device;
    int driver, runtime;
    CHECK(cudaGetDeviceProperties(&device, 0));
    CHECK(cudaDriverGetVersion(&driver));
    CHECK(cudaRuntimeGetVersion(&runtime));
    say("%s, sm_%d%d, %d SMs, %zu MiB L2, %zu GiB, driver %d, runtime %d", device.name, device.major, device.minor,
        device.multiProcessorCount, (size_t)device.l2CacheSize >> 20, device.totalGlobalMem >> 30, driver, runtime);
    ceilings(device.multiProcessorCount);
    compare_tiles(out, device.major == 9);
    probes();
    approximations(out);
    fclose(table);
    return 0;
}
