//! Vectors of f32: one source of every kernel, three instruction sets.
//!
//! A kernel is written once over [`Simd`] and run by [`dispatch`], which instantiates it inside a function
//! compiled for the processor found. Every operation here is one IEEE 754 operation a lane (or moves bits),
//! so a kernel that never adds across lanes gives the same bits on every instruction set.

use std::cell::Cell;
use std::sync::OnceLock;

/// An instruction set the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the compilation target guarantees: NEON on aarch64, SSE2 (with a slow `fma`) on x86-64.
    Portable,
    /// AVX2 with FMA: 8 lanes, 16 registers.
    Avx2,
    /// AVX-512 F, VL, BW and DQ: 16 lanes, 32 registers.
    Avx512,
}

thread_local! {
    static FORCED: Cell<Option<Isa>> = const { Cell::new(None) };
}

impl Isa {
    /// The best set this processor has, asked once; inside [`Isa::force`], the set forced.
    pub fn current() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        FORCED.get().unwrap_or_else(|| *BEST.get_or_init(|| Isa::available().pop().unwrap_or(Isa::Portable)))
    }

    /// The sets this processor has, slowest first.
    pub fn available() -> Vec<Isa> {
        let mut sets = vec![Isa::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                sets.push(Isa::Avx2);
            }
            let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
            let rest = is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq");
            if wide && rest && sets.contains(&Isa::Avx2) {
                sets.push(Isa::Avx512);
            }
        }
        sets
    }

    /// Columns of a packed panel: two vectors.
    pub(crate) fn panel_width(self) -> usize {
        match self {
            Isa::Avx512 => 32,
            Isa::Avx2 | Isa::Portable => 16,
        }
    }

    /// Runs `f` with every kernel that this thread starts on `isa`, whichever threads then share its work:
    /// how tests and benches compare the sets. A set the processor lacks falls back to the best it has.
    pub fn force<R>(isa: Isa, f: impl FnOnce() -> R) -> R {
        struct Restore(Option<Isa>);
        impl Drop for Restore {
            fn drop(&mut self) {
                FORCED.set(self.0);
            }
        }
        let isa = if Isa::available().contains(&isa) { Some(isa) } else { None };
        let _restore = Restore(FORCED.replace(isa));
        f()
    }
}

/// A vector register of f32 and what kernels do with it.
///
/// # Safety
/// Every function may be called only where the processor has the instruction set, which [`dispatch`] sees to;
/// pointers must be valid for `LANES` elements, or for what the function says. No alignment is needed.
pub(crate) unsafe trait Simd: Copy + Send + Sync + 'static {
    /// f32 a vector.
    const LANES: usize;
    /// Rows of the largest product tile whose accumulators (two vectors a row) stay in registers.
    const TILE_ROWS: usize;
    /// The vector.
    type V: Copy;
    /// Eight lanes on the same processor: the width of the in-register transpose.
    type Eight: Transpose;

    /// All lanes `a`.
    unsafe fn splat(a: f32) -> Self::V;
    /// Lanes from memory.
    unsafe fn load(from: *const f32) -> Self::V;
    /// Lanes to memory.
    unsafe fn store(to: *mut f32, v: Self::V);
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Asks for a cache line to be brought near; any address will do.
    unsafe fn prefetch(at: *const u8);
}

/// Eight lanes that transpose 8×4 blocks of 32-bit elements in registers.
///
/// # Safety
/// As for [`Simd`].
pub(crate) unsafe trait Transpose: Simd {
    /// The columns of the 8×4 block of 32-bit elements whose row `r` begins `r · stride` bytes after `from`.
    unsafe fn transposed(from: *const u8, stride: usize) -> [Self::V; 4];
    /// The lower bf16 of every 32-bit lane, widened to f32.
    unsafe fn widen_low(v: Self::V) -> Self::V;
    /// The upper bf16 of every 32-bit lane, widened to f32.
    unsafe fn widen_high(v: Self::V) -> Self::V;
}

/// A piece of work that runs on any instruction set.
pub(crate) trait Kernel {
    /// What it gives back.
    type Output;
    /// The work, marked `#[inline(always)]` down to the last helper, so that it is compiled for the set.
    ///
    /// # Safety
    /// The processor has the instruction set of `S`.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// Runs `kernel` compiled for `isa`.
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    // SAFETY: an `Isa` other than `Portable` is only ever made by `Isa::available`, which asked the processor.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::with_avx512(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::with_avx2(kernel),
            _ => with_portable(kernel),
        }
    }
}

/// A function of its own, as the other sets' are: else every caller would hold a copy of the kernel.
#[inline(never)]
unsafe fn with_portable<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: plain Rust runs anywhere; the kernel's own contract is the caller's care.
    unsafe { kernel.run::<Portable>() }
}

/// Plain Rust in arrays of eight.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; 8] {
    std::array::from_fn(f)
}

// SAFETY: every function is plain Rust, and reads and writes eight elements.
unsafe impl Simd for Portable {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    type V = [f32; 8];
    type Eight = Portable;

    #[inline(always)]
    unsafe fn splat(a: f32) -> [f32; 8] {
        [a; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 8] {
        // SAFETY: the caller gives eight elements.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: [f32; 8]) {
        // SAFETY: the caller gives eight elements.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        each(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn prefetch(_at: *const u8) {}
}

// SAFETY: as above.
unsafe impl Transpose for Portable {
    #[inline(always)]
    unsafe fn transposed(from: *const u8, stride: usize) -> [[f32; 8]; 4] {
        let mut out = [[0.0; 8]; 4];
        for (column, out) in out.iter_mut().enumerate() {
            for (row, out) in out.iter_mut().enumerate() {
                // SAFETY: the caller gives eight rows of four 32-bit elements.
                *out = f32::from_bits(unsafe {
                    from.add(row * stride + column * 4).cast::<u32>().read_unaligned()
                });
            }
        }
        out
    }
    #[inline(always)]
    unsafe fn widen_low(v: [f32; 8]) -> [f32; 8] {
        each(|i| f32::from_bits(v[i].to_bits() << 16))
    }
    #[inline(always)]
    unsafe fn widen_high(v: [f32; 8]) -> [f32; 8] {
        each(|i| f32::from_bits(v[i].to_bits() & 0xffff_0000))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, Simd, Transpose};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: compiled, and by the caller called, for this set.
        unsafe { kernel.run::<Avx2>() }
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    pub(super) unsafe fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
        // SAFETY: compiled, and by the caller called, for this set.
        unsafe { kernel.run::<Avx512>() }
    }

    #[derive(Clone, Copy)]
    pub(super) struct Avx2;

    // SAFETY: every function is the intrinsic of its name.
    unsafe impl Simd for Avx2 {
        const LANES: usize = 8;
        const TILE_ROWS: usize = 6;
        type V = __m256;
        type Eight = Avx2;

        #[inline(always)]
        unsafe fn splat(a: f32) -> __m256 {
            // SAFETY: the set is present (contract of the trait), here and below.
            unsafe { _mm256_set1_ps(a) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            // SAFETY: eight elements (contract of the trait).
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, v: __m256) {
            // SAFETY: eight elements (contract of the trait).
            unsafe { _mm256_storeu_ps(to, v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            // SAFETY: the set is present.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: the set is present.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn prefetch(at: *const u8) {
            // SAFETY: a prefetch does not fault.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
    }

    // SAFETY: as above.
    unsafe impl Transpose for Avx2 {
        #[inline(always)]
        unsafe fn transposed(from: *const u8, stride: usize) -> [__m256; 4] {
            // Row r and row r + 4 share a register from the load on, so that all that is left is a 4×4
            // transpose within each 128-bit half: two rounds of in-lane shuffles.
            // SAFETY: eight rows of four 32-bit elements (contract of the trait).
            unsafe {
                let (r0, r1) = (row_pair(from, stride, 0), row_pair(from, stride, 1));
                let (r2, r3) = (row_pair(from, stride, 2), row_pair(from, stride, 3));
                let (a, b) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
                let (c, d) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
                [
                    _mm256_shuffle_ps::<0x44>(a, c),
                    _mm256_shuffle_ps::<0xee>(a, c),
                    _mm256_shuffle_ps::<0x44>(b, d),
                    _mm256_shuffle_ps::<0xee>(b, d),
                ]
            }
        }
        #[inline(always)]
        unsafe fn widen_low(v: __m256) -> __m256 {
            // SAFETY: the set is present.
            unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(v))) }
        }
        #[inline(always)]
        unsafe fn widen_high(v: __m256) -> __m256 {
            // SAFETY: the set is present.
            unsafe { _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000_u32 as i32))) }
        }
    }

    /// Row `row` of four 32-bit elements and, above it, the row four further on.
    // Functions, not closures: only what is marked `inline(always)` is sure to be compiled for the set.
    #[inline(always)]
    unsafe fn row_pair(from: *const u8, stride: usize, row: usize) -> __m256 {
        // SAFETY: eight rows of four 32-bit elements.
        unsafe {
            let low = _mm_loadu_ps(from.add(row * stride).cast());
            let high = _mm_loadu_ps(from.add((row + 4) * stride).cast());
            _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
        }
    }

    #[derive(Clone, Copy)]
    pub(super) struct Avx512;

    // SAFETY: every function is the intrinsic of its name.
    unsafe impl Simd for Avx512 {
        const LANES: usize = 16;
        const TILE_ROWS: usize = 12;
        type V = __m512;
        type Eight = Avx2;

        #[inline(always)]
        unsafe fn splat(a: f32) -> __m512 {
            // SAFETY: the set is present (contract of the trait), here and below.
            unsafe { _mm512_set1_ps(a) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: sixteen elements (contract of the trait).
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, v: __m512) {
            // SAFETY: sixteen elements (contract of the trait).
            unsafe { _mm512_storeu_ps(to, v) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            // SAFETY: the set is present.
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the set is present.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn prefetch(at: *const u8) {
            // SAFETY: a prefetch does not fault.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
    }
}
