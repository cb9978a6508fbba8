//! Row-major matrices whose rows may lie further apart than they are long: slices of fused buffers.

use std::marker::PhantomData;

/// A matrix read.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T = f32> {
    pointer: *const T,
    rows: usize,
    cols: usize,
    stride: usize,
    life: PhantomData<&'a [T]>,
}

/// A matrix written, perhaps by several threads at once, each its own elements.
#[derive(Debug)]
pub struct MatrixMut<'a, T = f32> {
    pointer: *mut T,
    rows: usize,
    cols: usize,
    stride: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Matrix` is a shared slice with a shape.
unsafe impl<T: Sync> Send for Matrix<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Matrix<'_, T> {}
// SAFETY: a `MatrixMut` is an exclusive slice with a shape.
unsafe impl<T: Send> Send for MatrixMut<'_, T> {}
// SAFETY: through a shared `MatrixMut` only `row_segment` writes, whose caller promises disjoint elements.
unsafe impl<T: Send + Sync> Sync for MatrixMut<'_, T> {}

/// Elements from the first to the last of a matrix, gaps included; `None` where that is no number.
fn span(rows: usize, cols: usize, stride: usize) -> Option<usize> {
    if rows == 0 || cols == 0 { Some(0) } else { (rows - 1).checked_mul(stride)?.checked_add(cols) }
}

impl<'a, T: Copy> Matrix<'a, T> {
    /// `rows` rows of `cols` elements, each beginning `stride` elements after the one before, in `data`.
    ///
    /// # Panics
    /// When the last row ends outside `data`.
    pub fn new(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        let fits = span(rows, cols, stride).is_some_and(|span| span <= data.len());
        assert!(fits, "a {rows}x{cols} matrix with row stride {stride} does not fit {} elements", data.len());
        // SAFETY: checked above.
        unsafe { Self::from_raw(data.as_ptr(), rows, cols, stride) }
    }

    /// As [`Matrix::new`], from a pointer.
    ///
    /// # Safety
    /// The elements are readable, and nobody writes them, for `'a`.
    pub unsafe fn from_raw(pointer: *const T, rows: usize, cols: usize, stride: usize) -> Self {
        Self { pointer, rows, cols, stride, life: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements between the beginnings of two rows.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// One row.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, row: usize) -> &'a [T] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: inside the matrix (checked above), which is readable for 'a.
        unsafe { std::slice::from_raw_parts(self.pointer.add(row * self.stride), self.cols) }
    }

    /// The columns from `first` on, `count` of them.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn columns(&self, first: usize, count: usize) -> Self {
        assert!(first <= self.cols && count <= self.cols - first, "columns {first}+{count} of {}", self.cols);
        Self { pointer: self.pointer.wrapping_add(first), cols: count, ..*self }
    }

    /// The rows from `first` on, `count` of them.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn row_range(&self, first: usize, count: usize) -> Self {
        assert!(first <= self.rows && count <= self.rows - first, "rows {first}+{count} of {}", self.rows);
        Self { pointer: self.pointer.wrapping_add(first * self.stride), rows: count, ..*self }
    }

    /// Address of an element; reading it is the caller's care.
    #[inline(always)]
    pub(crate) fn at(&self, row: usize, col: usize) -> *const T {
        debug_assert!(row <= self.rows && col <= self.cols);
        self.pointer.wrapping_add(row * self.stride + col)
    }
}

impl<'a, T: Copy> MatrixMut<'a, T> {
    /// `rows` rows of `cols` elements, each beginning `stride` elements after the one before, in `data`.
    ///
    /// # Panics
    /// When the last row ends outside `data`, or rows overlap.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize, stride: usize) -> Self {
        let fits = span(rows, cols, stride).is_some_and(|span| span <= data.len());
        assert!(fits, "a {rows}x{cols} matrix with row stride {stride} does not fit {} elements", data.len());
        assert!(rows <= 1 || stride >= cols, "rows of {cols} elements overlap at row stride {stride}");
        // SAFETY: checked above.
        unsafe { Self::from_raw(data.as_mut_ptr(), rows, cols, stride) }
    }

    /// As [`MatrixMut::new`], from a pointer.
    ///
    /// # Safety
    /// The elements (not the gaps between rows) are this matrix's alone for `'a`, and rows do not overlap.
    pub unsafe fn from_raw(pointer: *mut T, rows: usize, cols: usize, stride: usize) -> Self {
        Self { pointer, rows, cols, stride, life: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The columns before `at` and those from `at` on, as two matrices.
    ///
    /// # Panics
    /// When there are fewer than `at` columns.
    pub fn split_columns(self, at: usize) -> (Self, Self) {
        assert!(at <= self.cols, "column {at} of {}", self.cols);
        let right = Self { pointer: self.pointer.wrapping_add(at), cols: self.cols - at, ..self };
        (Self { cols: at, ..self }, right)
    }

    /// Elements `col .. col + len` of one row, to be written.
    ///
    /// # Safety
    /// Inside the matrix, and in no other live slice of it, on this thread or another.
    #[allow(clippy::mut_from_ref)] // the contract above is what makes it sound
    #[inline(always)]
    pub unsafe fn row_segment(&self, row: usize, col: usize, len: usize) -> &mut [T] {
        debug_assert!(row < self.rows && col + len <= self.cols);
        // SAFETY: inside the matrix and exclusive, by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(row * self.stride + col), len) }
    }
}
