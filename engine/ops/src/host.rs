//! Memory for references: one tensor a buffer, in one of the two precisions.

use crate::rounding::stochastic;
use crate::{BufferId, DType, Real, Tensor, View};
use half::bf16;

/// Buffers as numbers rather than bytes. Every buffer holds elements of a single type.
#[derive(Clone, Debug)]
pub struct HostMemory<R> {
    buffers: Vec<Vec<R>>,
    /// Buffers of integers in f64, in which words of 32 bits are themselves; the others are empty here.
    words: Vec<Vec<f64>>,
    rounds: bool,
}

impl<R: Real> HostMemory<R> {
    /// Memory whose buffer `i` starts as `tensors[i]`, and that keeps what is stored as it is.
    pub fn new(tensors: &[Tensor]) -> HostMemory<R> {
        let words = |t: &Tensor| if t.dtype.is_float() { Vec::new() } else { t.values.clone() };
        HostMemory {
            buffers: tensors.iter().map(|t| t.values.iter().map(|&v| R::of(v)).collect()).collect(),
            words: tensors.iter().map(words).collect(),
            rounds: false,
        }
    }

    /// The same memory, rounding to the dtype of each view as backends do.
    pub fn rounding(mut self) -> HostMemory<R> {
        self.rounds = true;
        self
    }

    /// A value as this memory would keep it in that dtype: for rounding points between an op's formulas.
    pub(crate) fn rounded(&self, value: R, dtype: DType) -> R {
        match dtype {
            DType::Bf16 if self.rounds => R::of(bf16::from_f64(value.to_f64()).to_f64()),
            _ => value,
        }
    }

    /// A value as [`crate::rounding::stochastic`] would make it bf16, where this memory rounds.
    pub(crate) fn stochastic(&self, value: R, random: u16) -> R {
        match self.rounds {
            true => R::of(stochastic(value.to_f64() as f32, random).to_f64()),
            false => value,
        }
    }

    /// The elements of a view, row by row without gaps.
    pub fn load(&self, view: &View) -> Vec<R> {
        let buffer = &self.buffers[view.buffer.0 as usize];
        rows(view).flat_map(|row| buffer[row].iter().copied()).collect()
    }

    /// Overwrites the elements of a view.
    pub fn store(&mut self, view: &View, values: &[R]) {
        let width = view.row_elements();
        for (i, row) in rows(view).enumerate() {
            for (at, &value) in row.zip(&values[i * width..]) {
                let value = self.rounded(value, view.dtype);
                self.buffers[view.buffer.0 as usize][at] = value;
                if let Some(word) = self.words[view.buffer.0 as usize].get_mut(at) {
                    *word = value.to_f64();
                }
            }
        }
    }

    /// Overwrites the elements of an index view.
    pub(crate) fn store_words(&mut self, view: &View, values: &[u32]) {
        let width = view.row_elements();
        for (i, row) in rows(view).enumerate() {
            for (at, &value) in row.zip(&values[i * width..]) {
                self.buffers[view.buffer.0 as usize][at] = R::of(value.into());
                self.words[view.buffer.0 as usize][at] = value.into();
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
        let buffer = &self.words[view.buffer.0 as usize];
        rows(view).flat_map(|row| buffer[row].iter().map(|&v| v as i64)).collect()
    }

    /// The elements of an index view as words of 32 bits.
    pub(crate) fn load_words(&self, view: &View) -> Vec<u32> {
        self.indices(view).into_iter().map(|word| word as u32).collect()
    }
}

/// The element ranges of a view's rows inside its buffer.
fn rows(view: &View) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
    let (stride, width) = (view.row_stride(), view.row_elements());
    let first = (view.offset / view.dtype.bytes()) as usize;
    (0..view.rows()).map(move |r| first + r * stride..first + r * stride + width)
}
