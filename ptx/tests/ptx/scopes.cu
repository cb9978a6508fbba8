// Inline assembly with scopes, registers and labels of its own, twice.
typedef unsigned u32;
__device__ __forceinline__ u32 steps(u32 n) {
    u32 count;
    asm volatile("{\n .reg .u32 t, u<3>; .reg .pred p, q;\n mov.u32 t, %1; mov.u32 %0, 0;\n"
                 "AGAIN: setp.le.u32 p, t, 1; @p bra DONE;\n and.b32 u0, t, 1; setp.eq.u32 q, u0, 0;\n"
                 "@q shr.u32 t, t, 1;\n @!q mad.lo.u32 t, t, 3, 1;\n add.u32 %0, %0, 1; bra AGAIN;\nDONE:\n }"
                 : "=r"(count) : "r"(n));
    return count;
}
extern "C" __global__ void collatz(u32* v, u32 n) {
    u32 i = threadIdx.x;
    v[i] = steps(v[i]) + steps(n);
    asm volatile("{ .reg .b32 t; .reg .b64 a; cvta.to.global.u64 a, %0; ld.global.b32 t, [a+4]; st.global.b32 [a+-0], t; }" ::"l"(v + i) : "memory");
    asm volatile("prefetch.global.L2 [%0]; prefetchu.L1 [%0];" ::"l"(v));
    asm volatile("{ .reg .b64 policy; createpolicy.fractional.L2::evict_first.b64 policy, 1.0; "
                 "ld.global.nc.L1::no_allocate.L2::cache_hint.L2::256B.u32 %0, [%1], policy; }" : "=r"(i) : "l"(v + 64));
    if (i == 77) asm volatile("trap;");
    if (i == 78) asm volatile("exit;");
    v[threadIdx.x + 32] = i;
}
