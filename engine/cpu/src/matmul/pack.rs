//! Copies of operands in the order the micro-kernel reads them.

use super::blocking::BLOCK;
use super::tile::{Groups, panel_width};
use crate::simd::{Kernel, Simd, Transpose};
use half::bf16;

/// An element a product reads, widened exactly to f32.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// Elements in 32 bits.
    const PAIR: usize;
    /// The same number as f32.
    fn widen(self) -> f32;
    /// Column `i` of a transposed block of eight rows and `4 · PAIR` columns.
    ///
    /// # Safety
    /// As for [`Simd`].
    unsafe fn column<T: Transpose>(block: &[T::V; 4], i: usize) -> T::V;
}

impl Element for f32 {
    const PAIR: usize = 1;
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    unsafe fn column<T: Transpose>(block: &[T::V; 4], i: usize) -> T::V {
        block[i]
    }
}

impl Element for bf16 {
    const PAIR: usize = 2;
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits((self.to_bits() as u32) << 16)
    }
    #[inline(always)]
    unsafe fn column<T: Transpose>(block: &[T::V; 4], i: usize) -> T::V {
        // Memory order is little-endian: the lower half of a 32-bit lane is the earlier element.
        // SAFETY: passed on.
        unsafe { if i.is_multiple_of(2) { T::widen_low(block[i / 2]) } else { T::widen_high(block[i / 2]) } }
    }
}

/// Panels of the right-hand side: `out[k, j] = from[j, k]` or `from[k, j]`, `depth` rows of [`panel_width`]
/// columns each; columns past the last one are 0.
pub(crate) struct PackPanels<E> {
    /// Its first element.
    pub from: *const E,
    /// Elements between two rows of `from`.
    pub stride: usize,
    /// Whether the reduction runs along the rows of `from` (`from[j, k]`).
    pub along_rows: bool,
    /// Columns of all panels together.
    pub cols: usize,
    /// Terms of the reduction.
    pub depth: usize,
    /// The panels, each `depth` rows of [`panel_width`] f32.
    pub out: *mut f32,
    /// f32 from one panel to the next.
    pub panel_stride: usize,
}

impl<E: Element> Kernel for PackPanels<E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = panel_width::<S>();
        let whole = self.cols / width;
        // SAFETY: the caller's operand and panels hold these rows and columns.
        unsafe {
            if self.along_rows {
                for (panel, col) in (0..self.cols).step_by(width).enumerate() {
                    self.transposed::<S>(col, self.out.add(panel * self.panel_stride));
                }
                return;
            }
            // Row by row through all panels: a row of many columns is read in one go, and its page is looked
            // up once.
            for k in 0..self.depth {
                let from = self.from.add(k * self.stride);
                let out = self.out.add(k * width);
                for panel in 0..whole {
                    for eight in 0..width / 8 {
                        copy_eight(
                            from.add(panel * width + eight * 8),
                            out.add(panel * self.panel_stride + eight * 8),
                        );
                    }
                }
                if whole * width < self.cols {
                    let (first, out) = (whole * width, out.add(whole * self.panel_stride));
                    for j in 0..width {
                        let there = first + j < self.cols;
                        *out.add(j) = if there { (*from.add(first + j)).widen() } else { 0.0 };
                    }
                }
            }
        }
    }
}

impl<E: Element> PackPanels<E> {
    /// The panel of the columns from `first` on, where they are rows of `from`.
    #[inline(always)]
    unsafe fn transposed<S: Simd>(&self, first: usize, out: *mut f32) {
        let width = panel_width::<S>();
        let cols = width.min(self.cols - first);
        let whole = cols - cols % 8;
        // SAFETY: the caller's operand and panels hold these rows and columns.
        unsafe {
            let from = self.from.add(first * self.stride);
            for j in (0..whole).step_by(8) {
                let from = from.add(j * self.stride);
                transpose::<E, S::Eight>(from, self.stride, self.depth, out.add(j), width);
            }
            for j in whole..width {
                for k in 0..self.depth {
                    *out.add(k * width + j) =
                        if j < cols { (*from.add(j * self.stride + k)).widen() } else { 0.0 };
                }
            }
        }
    }
}

/// Eight elements, all read before any is written, so that the copy is one of vectors.
#[inline(always)]
unsafe fn copy_eight<E: Element>(from: *const E, to: *mut f32) {
    // SAFETY: the caller gives eight elements on both sides.
    unsafe {
        let elements = from.cast::<[E; 8]>().read_unaligned();
        to.cast::<[f32; 8]>().write_unaligned(elements.map(E::widen));
    }
}

/// While term `k` of eight rows is used, brings in some of the eight rows after them.
///
/// A row is too short for hardware prefetchers to come into their own, and requests beyond what the processor
/// can have in flight are dropped: so each step of 16 bytes asks for two lines, at the rate of use. Each row
/// is asked for three lines further on than the row before it (around its end), for rows of a power of two
/// bytes share one set of the first-level cache, which eight of this and eight of the next would overflow.
#[inline(always)]
pub(super) unsafe fn prefetch_next<E: Element, T: Transpose>(
    from: *const E,
    stride: usize,
    k: usize,
    depth: usize,
) {
    const SKEW: usize = 3 * 64;
    let pair = k * size_of::<E>() / 16 % 4 * 2;
    for row in [pair, pair + 1] {
        let at = k + row * (SKEW / size_of::<E>());
        let at = if at < depth { at } else { at.wrapping_sub(depth) };
        // SAFETY: a prefetch may point anywhere.
        unsafe { T::prefetch(from.wrapping_add((8 + row) * stride).wrapping_add(at).cast()) };
    }
}

/// `out[k, r] = from[r, k]` for eight rows of `from` and `depth` columns.
#[inline(always)]
unsafe fn transpose<E: Element, T: Transpose>(
    from: *const E,
    stride: usize,
    depth: usize,
    out: *mut f32,
    out_stride: usize,
) {
    let step = 4 * E::PAIR;
    let whole = depth - depth % step;
    // SAFETY: the caller's operand and output hold these rows and columns.
    unsafe {
        for k in (0..whole).step_by(step) {
            prefetch_next::<E, T>(from, stride, k, depth);
            let block = T::transposed(from.add(k).cast(), stride * size_of::<E>());
            for i in 0..step {
                T::store(out.add((k + i) * out_stride), E::column::<T>(&block, i));
            }
        }
        for k in whole..depth {
            for r in 0..8 {
                *out.add(k * out_stride + r) = (*from.add(r * stride + k)).widen();
            }
        }
    }
}

/// The left-hand side of one block, `from[r, k]`: `out[r · BLOCK + k]`, which is [`Left::Rows`].
///
/// [`Left::Rows`]: super::tile::Left::Rows
pub(crate) struct PackRows {
    /// Its first element.
    pub from: *const f32,
    /// Elements between two rows of `from`.
    pub stride: usize,
    /// Rows of `out`.
    pub rows: usize,
    /// Terms of the reduction.
    pub depth: usize,
    /// `rows` rows of `depth` f32, `BLOCK` apart.
    pub out: *mut f32,
}

impl Kernel for PackRows {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for row in 0..self.rows {
            // SAFETY: the caller's operand and block hold these rows and columns.
            unsafe {
                let from = self.from.add(row * self.stride);
                std::ptr::copy_nonoverlapping(from, self.out.add(row * BLOCK), self.depth);
            }
        }
    }
}

/// The left-hand side of one block whose reduction runs down the columns, `from[k, r]`: as [`Left::Groups`].
///
/// [`Left::Groups`]: super::tile::Left::Groups
pub(crate) struct PackGroups {
    /// Its first element.
    pub from: *const f32,
    /// Elements between two rows of `from`.
    pub stride: usize,
    /// Rows of the product: columns of `from`.
    pub rows: usize,
    /// Terms of the reduction.
    pub depth: usize,
    /// `rows · depth` f32.
    pub out: *mut f32,
}

impl Kernel for PackGroups {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Groups { count, larger, rows } = Groups::of::<S>(self.rows);
        let split = larger * (rows + 1);
        // SAFETY: the caller's operand and block hold these rows and columns.
        unsafe {
            self.run_of::<S>(0, larger, rows + 1);
            self.run_of::<S>(split, count - larger, rows);
        }
    }
}

impl PackGroups {
    /// `groups` groups of `count` rows each, from row `first` on.
    #[inline(always)]
    unsafe fn run_of<S: Simd>(&self, first: usize, groups: usize, count: usize) {
        if groups == 0 {
            return;
        }
        // SAFETY: the caller's operand and block hold these rows and columns.
        unsafe {
            let (from, out) = (self.from.add(first), self.out.add(first * self.depth));
            macro_rules! by_rows {
                ($($rows:literal)*) => {
                    match count {
                        $($rows if $rows <= S::TILE_ROWS => self.copy::<$rows>(from, groups, out),)*
                        _ => debug_assert!(false, "a group of {count} rows"),
                    }
                };
            }
            by_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
        }
    }

    /// Term by term, so that a row of `from` is read in one go.
    #[inline(always)]
    unsafe fn copy<const ROWS: usize>(&self, from: *const f32, groups: usize, out: *mut f32) {
        for k in 0..self.depth {
            for group in 0..groups {
                // SAFETY: the caller's operand and block hold these rows and columns.
                unsafe {
                    let from = from.add(k * self.stride + group * ROWS).cast::<[f32; ROWS]>();
                    let out = out.add(group * ROWS * self.depth + k * ROWS).cast::<[f32; ROWS]>();
                    out.write_unaligned(from.read_unaligned());
                }
            }
        }
    }
}
