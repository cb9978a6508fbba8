// Control flow: a dense switch (brx.idx), nested loops with breaks, early returns, irreducible gotos.
extern "C" __global__ void dense(int* values, int n) {
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= n) return;
    int v = values[at];
    switch (v) {
        case 0: v = __clz(at) * 3; break;
        case 1: v ^= 0x55; break;
        case 2: v = v * v * at; break;
        case 3: v = at / 7; break;
        case 4: v = at % 7; break;
        case 5: v = __popc(at); break;
        case 6: v = -at; break;
        case 7: v <<= at & 31; break;
        case 8: return;
        case 9: v = values[at ^ 1]; break;
        default: v = 99;
    }
    values[at] = v;
}

extern "C" __global__ void loops(int* values, int n) {
    int at = threadIdx.x, sum = 0;
    for (int i = 0; i < n; i++) {
        if ((values[i] & 1) == (at & 1)) continue;
        for (int j = i; j < n; j += at + 1) {
            sum += values[j] * i;
            if (sum > 1000000) break;
            if (sum < -1000000) goto out;
        }
        do { sum ^= values[(unsigned)sum % (unsigned)n]; } while (sum & 4);
    }
out:
    values[at] = sum;
}

extern "C" __global__ void gotos(int* values, int n) {
    int i = threadIdx.x;
    if (i & 1) goto inside;
again:
    values[i] += 1;
    i += 2;
inside:
    values[i] -= 3;
    if (i < n) goto again;
    if (__any_sync(__activemask(), i > 2 * n)) values[0] = i;
}
