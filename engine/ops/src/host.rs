//! Memory for references: one tensor a buffer, in one of the two precisions.

use crate::{BufferId, DType, Real, View};
use half::bf16;

/// Buffers as numbers rather than bytes. Every buffer holds elements of a single type.
#[derive(Clone, Debug)]
pub struct HostMemory<R> {
    buffers: Vec<Vec<R>>,
}

impl<R: Real> HostMemory<R> {
    /// Memory whose buffer `i` starts as `tensors[i]`.
    pub fn new<'a>(tensors: impl IntoIterator<Item = &'a [f64]>) -> HostMemory<R> {
        HostMemory { buffers: tensors.into_iter().map(|t| t.iter().map(|&v| R::of(v)).collect()).collect() }
    }

    /// The elements of a view, row by row without gaps.
    pub fn load(&self, view: &View) -> Vec<R> {
        let buffer = &self.buffers[view.buffer.0 as usize];
        rows(view).flat_map(|row| buffer[row].iter().copied()).collect()
    }

    /// Overwrites the elements of a view; in single precision each is rounded to the view's dtype.
    pub fn store(&mut self, view: &View, values: &[R]) {
        let buffer = &mut self.buffers[view.buffer.0 as usize];
        let width = view.row_elements();
        for (i, row) in rows(view).enumerate() {
            for (to, &from) in buffer[row].iter_mut().zip(&values[i * width..]) {
                *to = rounded(from, view.dtype);
            }
        }
    }

    /// The whole buffer.
    pub fn buffer(&self, id: BufferId) -> &[R] {
        &self.buffers[id.0 as usize]
    }

    /// The whole buffer, to change a value of an input.
    pub fn buffer_mut(&mut self, id: BufferId) -> &mut [R] {
        &mut self.buffers[id.0 as usize]
    }

    /// The elements of an index view as integers.
    pub(crate) fn indices(&self, view: &View) -> Vec<i64> {
        self.load(view).into_iter().map(|v| v.to_f64() as i64).collect()
    }
}

/// The value as a backend would keep it in that dtype; the truth is never rounded.
pub(crate) fn rounded<R: Real>(value: R, dtype: DType) -> R {
    if R::ROUNDS && dtype == DType::Bf16 { R::of(bf16::from_f64(value.to_f64()).to_f64()) } else { value }
}

/// The element ranges of a view's rows inside its buffer.
fn rows(view: &View) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
    let (stride, width) = (view.row_stride(), view.row_elements());
    let first = (view.offset / view.dtype.bytes()) as usize;
    (0..view.rows()).map(move |r| first + r * stride..first + r * stride + width)
}
