//! Buffers, and views of them as slices.
//!
//! SAFETY, for the whole crate: the queue has checked every op before it arrives here: each view lies inside
//! its buffer, is aligned to its element type, and a written view shares no byte with any other operand.
//! Buffers are never freed or moved while the backend lives, and one op runs at a time, so within an op the
//! rows of a written view may be handed out as `&mut`, each row once at a time.

use crate::matmul::Weight;
use crate::{Matrix, MatrixMut};
use bytemuck::Pod;
use half::bf16;
use octo_ops::{BackendError, BufferId, DType, View};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::borrow::Cow;
use std::ptr::NonNull;

/// Alignment of every buffer; rows of tensors start at multiples of it where the layout says so.
const ALIGNMENT: usize = 256;

struct Buffer {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a buffer is plain memory that it owns; access is ordered by the backend (see the module's head).
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `Memory::allocate` with this layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// All buffers of one backend.
#[derive(Default)]
pub(crate) struct Memory {
    buffers: Vec<Buffer>,
}

impl Memory {
    pub fn allocate(&mut self, name: &str, bytes: u64) -> Result<BufferId, BackendError> {
        let out_of_memory = || BackendError::OutOfMemory { name: name.into(), bytes };
        let size = usize::try_from(bytes.max(1)).map_err(|_| out_of_memory())?;
        let layout = Layout::from_size_align(size, ALIGNMENT).map_err(|_| out_of_memory())?;
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(out_of_memory)?;
        self.buffers.push(Buffer { start, layout });
        Ok(BufferId(self.buffers.len() as u32 - 1))
    }

    fn pointer(&self, view: &View) -> *mut u8 {
        let buffer = &self.buffers[view.buffer.0 as usize];
        debug_assert!(view.offset + view.span_bytes() <= buffer.layout.size() as u64);
        // SAFETY: the queue has checked that the view lies inside its buffer.
        unsafe { buffer.start.as_ptr().add(view.offset as usize) }
    }

    /// The elements of a view from first to last, gaps included.
    pub fn span<T: Pod>(&self, view: &View) -> &[T] {
        debug_assert_eq!(size_of::<T>() as u64, view.dtype.bytes());
        let elements = view.span_bytes() as usize / size_of::<T>();
        // SAFETY: in bounds and aligned (module's head); nothing writes to it during this op.
        unsafe { std::slice::from_raw_parts(self.pointer(view).cast::<T>(), elements) }
    }

    /// The elements of a written view without gaps.
    #[allow(clippy::mut_from_ref, reason = "written views are disjoint from all others: the module's head")]
    pub fn span_mut<T: Pod>(&self, view: &View) -> &mut [T] {
        debug_assert_eq!(size_of::<T>() as u64, view.dtype.bytes());
        debug_assert!(view.is_contiguous());
        let elements = view.span_bytes() as usize / size_of::<T>();
        // SAFETY: in bounds, aligned, and disjoint from every other operand (module's head).
        unsafe { std::slice::from_raw_parts_mut(self.pointer(view).cast::<T>(), elements) }
    }

    /// The bytes of a view without gaps, for copies between host and device.
    pub fn bytes_mut(&mut self, view: &View) -> &mut [u8] {
        debug_assert!(view.is_contiguous());
        // SAFETY: in bounds (module's head), and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(view), view.span_bytes() as usize) }
    }

    /// A small vector of parameters in f32.
    pub fn vector(&self, view: &View) -> Cow<'_, [f32]> {
        match view.dtype {
            DType::Bf16 => Cow::Owned(self.span::<bf16>(view).iter().map(|v| v.to_f32()).collect()),
            _ => Cow::Borrowed(self.span(view)),
        }
    }

    /// A read matrix: an index of axis 0 a row.
    pub fn matrix(&self, view: &View) -> Matrix<'_> {
        Matrix::new(self.span(view), view.rows(), view.row_elements(), view.row_stride())
    }

    /// A matrix of parameters.
    pub fn weight(&self, view: &View) -> Weight<'_> {
        let (rows, cols) = (view.rows(), view.row_elements());
        match view.dtype {
            DType::Bf16 => Weight::Bf16(Matrix::new(self.span(view), rows, cols, cols)),
            _ => Weight::F32(Matrix::new(self.span(view), rows, cols, cols)),
        }
    }

    /// A written matrix that may have gaps: an index of axis 0 a row.
    pub fn matrix_mut(&self, view: &View) -> MatrixMut<'_> {
        debug_assert_eq!(view.dtype, DType::F32);
        // SAFETY: in bounds, aligned, and disjoint from every other operand (module's head).
        unsafe {
            MatrixMut::from_raw(
                self.pointer(view).cast(),
                view.rows(),
                view.row_elements(),
                view.row_stride(),
            )
        }
    }
}
