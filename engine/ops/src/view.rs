//! Views: where an operand lies in which buffer, with which shape.

use crate::DType;
use std::fmt;

/// Names a buffer of a backend; buffers never move, grow or go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// A row-major window into a buffer, of rank 1 to 4.
///
/// Everything inside one index of axis 0 is contiguous; axis 0 itself may stride further than that
/// (`row_stride`), so that one head group of a fused QKV matrix, or one layer of a KV page, is a view.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct View {
    /// The buffer.
    pub buffer: BufferId,
    /// Byte offset of the first element.
    pub offset: u64,
    /// Element type.
    pub dtype: DType,
    rank: u8,
    shape: [u32; 4],
    row_stride: u32,
}

impl View {
    /// A contiguous view.
    ///
    /// `shape` has one to four axes; more are cut off (debug builds assert).
    pub fn new(buffer: BufferId, offset: u64, dtype: DType, shape: &[u32]) -> View {
        debug_assert!((1..=4).contains(&shape.len()), "rank {} is not 1 to 4", shape.len());
        let rank = shape.len().min(4);
        let mut full = [1; 4];
        full[..rank].copy_from_slice(&shape[..rank]);
        let row_stride = full[1..].iter().fold(1u32, |row, &axis| row.saturating_mul(axis));
        View { buffer, offset, dtype, rank: rank as u8, shape: full, row_stride }
    }

    /// The same elements with axis 0 striding `row_stride` elements.
    pub fn with_row_stride(mut self, row_stride: u32) -> View {
        self.row_stride = row_stride;
        self
    }

    /// The axes.
    pub fn shape(&self) -> &[u32] {
        &self.shape[..self.rank as usize]
    }

    /// Axis 0.
    pub fn rows(&self) -> usize {
        self.shape[0] as usize
    }

    /// Elements inside one index of axis 0. As all counts here it ends at the largest number there is: no memory holds
    /// such a view.
    pub fn row_elements(&self) -> usize {
        self.shape[1..].iter().fold(1usize, |row, &axis| row.saturating_mul(axis as usize))
    }

    /// Elements between two indices of axis 0.
    pub fn row_stride(&self) -> usize {
        self.row_stride as usize
    }

    /// Number of elements seen.
    pub fn elements(&self) -> usize {
        self.rows().saturating_mul(self.row_elements())
    }

    /// Whether the elements lie without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.rows() <= 1 || self.row_stride() == self.row_elements()
    }

    /// Bytes from the first element to the end of the last, gaps included; 0 when empty.
    pub fn span_bytes(&self) -> u64 {
        if self.elements() == 0 {
            return 0;
        }
        let last_row = (self.rows() as u64 - 1).saturating_mul(self.row_stride() as u64);
        last_row.saturating_add(self.row_elements() as u64).saturating_mul(self.dtype.bytes())
    }

    /// The end of the last element in its buffer.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.span_bytes())
    }

    /// Rows `first .. first + count` of axis 0.
    pub fn slice_rows(&self, first: u32, count: u32) -> View {
        debug_assert!(u64::from(first) + u64::from(count) <= u64::from(self.shape[0]));
        let mut out = *self;
        let before = u64::from(first) * u64::from(self.row_stride);
        out.offset = self.offset.saturating_add(before.saturating_mul(self.dtype.bytes()));
        out.shape[0] = count;
        out
    }

    /// Columns `first .. first + count` of a matrix.
    pub fn slice_columns(&self, first: u32, count: u32) -> View {
        debug_assert!(self.rank == 2 && u64::from(first) + u64::from(count) <= u64::from(self.shape[1]));
        let mut out = *self;
        out.offset = self.offset.saturating_add(u64::from(first) * self.dtype.bytes());
        out.shape[1] = count;
        out
    }

    /// Whether two views can touch a common byte.
    ///
    /// Exact for equal row strides inside one matrix (column slices of a fused buffer do not overlap),
    /// otherwise the spans decide.
    pub fn overlaps(&self, other: &View) -> bool {
        if self.buffer != other.buffer || self.elements() == 0 || other.elements() == 0 {
            return false;
        }
        let (a, b) = if self.offset <= other.offset { (self, other) } else { (other, self) };
        if a.end() <= b.offset {
            return false;
        }
        let stride = a.row_stride as u64 * a.dtype.bytes();
        if stride == 0 || stride != b.row_stride as u64 * b.dtype.bytes() {
            return true;
        }
        // Rows repeat with one period: compare the two byte ranges modulo the stride.
        let phase = (b.offset - a.offset) % stride;
        let [a_row, b_row] =
            [a, b].map(|view| (view.row_elements() as u64).saturating_mul(view.dtype.bytes()));
        phase < a_row || phase.saturating_add(b_row) > stride
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}+{} {}{:?}", self.buffer.0, self.offset, self.dtype, self.shape())?;
        if !self.is_contiguous() {
            write!(f, "/{}", self.row_stride)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn bytes(v: &View) -> HashSet<u64> {
        (0..v.rows() as u64)
            .flat_map(|r| {
                let start = v.offset + r * v.row_stride() as u64 * v.dtype.bytes();
                start..start + v.row_elements() as u64 * v.dtype.bytes()
            })
            .collect()
    }

    fn any_view() -> impl Strategy<Value = View> {
        (0u64..16, 0u32..4, 1u32..5, 0u32..3, prop_oneof![Just(DType::F32), Just(DType::Bf16)]).prop_map(
            |(offset, rows, columns, gap, dtype)| {
                View::new(BufferId(0), offset * dtype.bytes(), dtype, &[rows, columns])
                    .with_row_stride(columns + gap)
            },
        )
    }

    proptest! {
        #[test]
        fn views_that_share_a_byte_overlap(a in any_view(), b in any_view()) {
            let shared = !bytes(&a).is_disjoint(&bytes(&b));
            prop_assert!(!shared || a.overlaps(&b));
            prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
        }

        #[test]
        fn column_slices_of_one_matrix_do_not_overlap(rows in 1u32..5, left in 1u32..5, right in 1u32..5) {
            let all = View::new(BufferId(0), 0, DType::F32, &[rows, left + right]);
            prop_assert!(!all.slice_columns(0, left).overlaps(&all.slice_columns(left, right)));
        }
    }
}
