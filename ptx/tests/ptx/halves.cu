// Floats of 16 bits by inline assembly: conversions, pairs, arithmetic.
typedef unsigned u32;
typedef unsigned short u16;

extern "C" __global__ void halves(u16* h, u32* p, float* f) {
    u32 i = threadIdx.x;
    u16 a = h[i], b = h[i + 32], d;
    float x = f[i], y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(d) : "f"(x)); h[i + 64] = d;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(d) : "f"(x)); h[i + 96] = d;
    asm("cvt.rz.relu.f16.f32 %0, %1;" : "=h"(d) : "f"(x)); h[i + 128] = d;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(a)); f[i + 32] = y;
    asm("cvt.f32.bf16 %0, %1;" : "=f"(y) : "h"(b)); f[i + 64] = y;
    asm("fma.rn.bf16 %0, %1, %2, %1;" : "=h"(d) : "h"(a), "h"(b)); h[i] = d;
    asm("fma.rn.ftz.sat.f16 %0, %1, %2, %1;" : "=h"(d) : "h"(a), "h"(b)); h[i + 1] = d;
    asm("add.rn.f16 %0, %1, %2;" : "=h"(d) : "h"(a), "h"(b)); h[i + 2] = d;
    asm("max.NaN.bf16 %0, %1, %2;" : "=h"(d) : "h"(a), "h"(b)); h[i + 3] = d;
    u32 q = p[i], r = p[i + 32], s;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(s) : "f"(x), "f"(y)); p[i + 64] = s;
    asm("cvt.rn.relu.f16x2.f32 %0, %1, %2;" : "=r"(s) : "f"(x), "f"(y)); p[i + 96] = s;
    asm("fma.rn.bf16x2 %0, %1, %2, %1;" : "=r"(s) : "r"(q), "r"(r)); p[i + 1] = s;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(s) : "r"(q), "r"(r)); p[i + 2] = s;
    asm("neg.bf16x2 %0, %1;" : "=r"(s) : "r"(q)); p[i + 3] = s;
    asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; mov.b32 %0, {high, low}; }" : "=r"(s) : "r"(q)); p[i + 4] = s;
    asm("{ .reg .pred less; setp.lt.f16 less, %1, %2; selp.b32 %0, 1, 0, less; }" : "=r"(s) : "h"(a), "h"(b)); p[i + 5] = s;
    asm("ex2.approx.f16x2 %0, %1;" : "=r"(s) : "r"(q)); p[i + 6] = s;
    asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x)); f[i] = y;
    asm volatile("red.global.add.noftz.f16x2 [%0], %1;" ::"l"(p + 7), "r"(s) : "memory");
}
