// Integers of every width: products, quotients, bit fields, byte permutations, funnel shifts, carries.
typedef unsigned u32;
typedef unsigned long long u64;

extern "C" __global__ void integers(u32* a, u64* w, int* s, long long* sw, short* h, unsigned char* b, signed char* sb) {
    u32 i = threadIdx.x;
    u32 x = a[i], y = a[i + 32];
    a[i] = x / y + x % y + x / 10 + x % 1000003 + __umulhi(x, y) + __brev(x) + __ffs(y) + __clz(x ^ y);
    a[i + 64] = __byte_perm(x, y, 0x5140) ^ __funnelshift_l(x, y, 7) ^ __funnelshift_r(x, y, i) ^ __funnelshift_lc(x, y, i);
    a[i + 96] = ((x >> 5) & 31) | (y << 9) | (x & 0xff00ff00) ^ ~y | __sad(x, y, 3u) + min(x, y) - max(x, 7u);
    s[i] = s[i] / (int)y + s[i] % 9 + abs(s[i]) + __mulhi(s[i], 77) + (s[i] >> 3) + min(s[i], -5);
    w[i] = w[i] / w[i + 1] + w[i] % 1000 + __umul64hi(w[i], w[i + 2]) + __popcll(w[i]) + __clzll(w[i]) + __brevll(w[i]);
    unsigned __int128 product = (unsigned __int128)w[i + 3] * w[i + 4] + w[i + 5];
    product = (product << 13) - w[i + 6];
    w[i + 7] = (u64)(product >> 64);
    w[i + 8] = (u64)product;
    sw[i] = sw[i] / sw[i + 1] + (sw[i] >> 7) + (long long)s[i] * s[i + 1] + llabs(sw[i]);
    h[i] = h[i] * h[i + 1] / 3 + (h[i] >> 2);
    b[i] = (unsigned char)(b[i] + 3) > 7 ? b[i + 1] : (unsigned char)(x >> 24);
    sb[i] = sb[i] * 3 - (sb[i + 1] >> 1);
    sb[i + 32] = sb[i + 32] < 0 ? -1 : 1;
    u32 low, high;
    asm("add.cc.u32 %0, %2, %3; addc.u32 %1, %4, 0;" : "=r"(low), "=r"(high) : "r"(x), "r"(y), "r"(i));
    asm("bfi.b32 %0, %1, %2, 3, 9; " : "=r"(x) : "r"(low), "r"(high));
    asm("bfe.s32 %0, %1, %2, 9; " : "=r"(y) : "r"(x), "r"(i));
    asm("lop3.b32 %0, %1, %2, %3, 0xca;" : "=r"(x) : "r"(x), "r"(y), "r"(low));
    a[i + 128] = x;
}
