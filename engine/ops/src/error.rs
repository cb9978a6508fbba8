//! What is wrong with an op's operands. These are bugs of the caller, never of a user's input.

use crate::{DType, View};
use std::cell::Cell;

/// A broken contract of an op.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// An operand's shape does not follow from the others.
    #[error("{op}: operand `{operand}` is {got:?}, expected {want:?}")]
    Shape {
        /// Op name.
        op: &'static str,
        /// Operand name.
        operand: &'static str,
        /// Shape found.
        got: Vec<u32>,
        /// Shape expected; `u32::MAX` stands for any.
        want: Vec<u32>,
    },
    /// An operand's element type is not one the op takes.
    #[error("{op}: operand `{operand}` is {got}, expected one of {want:?}")]
    DType {
        /// Op name.
        op: &'static str,
        /// Operand name.
        operand: &'static str,
        /// Type found.
        got: DType,
        /// Types the op takes there.
        want: Vec<DType>,
    },
    /// A relation between operands or constants does not hold.
    #[error("{op}: {what}")]
    Relation {
        /// Op name.
        op: &'static str,
        /// The relation, as a sentence.
        what: String,
    },
    /// A view reaches past its buffer, or is not aligned to its element type.
    #[error("{op}: operand `{operand}` ({view:?}) does not lie inside its buffer of {size} bytes, aligned")]
    Bounds {
        /// Op name.
        op: &'static str,
        /// Operand name.
        operand: &'static str,
        /// The view.
        view: View,
        /// Bytes of the buffer; 0 when there is no such buffer.
        size: u64,
    },
    /// Rows of an operand lie over each other.
    #[error("{op}: rows of operand `{operand}` ({view:?}) overlap: they begin {stride} elements apart")]
    Rows {
        /// Op name.
        op: &'static str,
        /// Operand name.
        operand: &'static str,
        /// The view.
        view: View,
        /// Elements between the beginnings of two rows.
        stride: usize,
    },
    /// Two operands share bytes and at least one of them is written.
    #[error("{op}: operands `{a}` and `{b}` overlap and one of them is written")]
    Overlap {
        /// Op name.
        op: &'static str,
        /// One operand.
        a: &'static str,
        /// The other.
        b: &'static str,
    },
}

/// Stands for "any size" in an expected shape.
pub const ANY: u32 = u32::MAX;

/// Stands for a size that no axis has: what would follow from the others is beyond 32 bits. Axes of this size and above
/// are refused, so that neither this nor [`ANY`] is ever found in a shape.
pub(crate) const NONE: u32 = u32::MAX - 1;

/// The size of an axis that is the product of two others.
pub(crate) fn times(a: usize, b: usize) -> u32 {
    a.checked_mul(b).and_then(|product| u32::try_from(product).ok()).unwrap_or(NONE)
}

/// Collects the checks of one op; each method returns at the first that fails.
pub(crate) struct Check {
    op: &'static str,
    activation: Cell<Option<DType>>,
}

impl Check {
    pub fn new(op: &'static str) -> Check {
        Check { op, activation: Cell::new(None) }
    }

    pub fn shape(&self, operand: &'static str, view: &View, want: &[u32]) -> Result<(), OpError> {
        let (op, got) = (self.op, view.shape());
        let is = |(&got, &want): (&u32, &u32)| got < NONE && (want == ANY || got == want);
        if got.len() != want.len() || !got.iter().zip(want).all(is) {
            return Err(OpError::Shape { op, operand, got: got.to_vec(), want: want.to_vec() });
        }
        let stride = view.row_stride();
        if view.rows() > 1 && stride < view.row_elements() {
            return Err(OpError::Rows { op, operand, view: *view, stride });
        }
        Ok(())
    }

    pub fn dtype(&self, operand: &'static str, view: &View, want: &[DType]) -> Result<(), OpError> {
        if want.contains(&view.dtype) {
            Ok(())
        } else {
            Err(OpError::DType { op: self.op, operand, got: view.dtype, want: want.to_vec() })
        }
    }

    /// Shape and a single element type at once.
    pub fn tensor(
        &self,
        operand: &'static str,
        view: &View,
        dtype: DType,
        shape: &[u32],
    ) -> Result<(), OpError> {
        self.dtype(operand, view, &[dtype])?;
        self.shape(operand, view, shape)
    }

    /// An activation: f32 on the CPU, bf16 on a GPU; all activations of an op are alike.
    pub fn activation(&self, operand: &'static str, view: &View, shape: &[u32]) -> Result<(), OpError> {
        match self.activation.replace(Some(view.dtype)) {
            None => self.dtype(operand, view, &[DType::F32, DType::Bf16])?,
            Some(first) => self.dtype(operand, view, &[first])?,
        }
        self.shape(operand, view, shape)
    }

    /// A parameter: f32 or bf16, without gaps.
    pub fn weight(&self, operand: &'static str, view: &View, shape: &[u32]) -> Result<(), OpError> {
        self.dtype(operand, view, &[DType::F32, DType::Bf16])?;
        self.shape(operand, view, shape)?;
        self.relation(view.is_contiguous(), || format!("`{operand}` has gaps between its rows"))
    }

    pub fn relation(&self, holds: bool, what: impl FnOnce() -> String) -> Result<(), OpError> {
        if holds { Ok(()) } else { Err(OpError::Relation { op: self.op, what: what() }) }
    }
}
