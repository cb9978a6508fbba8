//! Working memory that outlives a call: each thread keeps its buffers, so that a product allocates only the
//! first time its size is seen.

use std::cell::RefCell;

/// f32 a cache line: buffers begin on a line, so that no vector straddles two.
const LINE: usize = 16;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of this thread's, given back when dropped. Its contents are whatever its last user left.
pub(crate) struct Scratch {
    buffer: Vec<f32>,
    start: usize,
    len: usize,
}

impl Scratch {
    /// At least `len` f32 on a cache-line border: the smallest kept buffer that fits, or the largest grown.
    pub(crate) fn take(len: usize) -> Scratch {
        let need = len + LINE;
        let mut buffer = FREE.with_borrow_mut(|free| {
            let fitting = (0..free.len()).filter(|&i| free[i].len() >= need).min_by_key(|&i| free[i].len());
            let any = fitting.or_else(|| (0..free.len()).max_by_key(|&i| free[i].len()));
            any.map(|i| free.swap_remove(i)).unwrap_or_default()
        });
        if buffer.len() < need {
            buffer = vec![0.0; need];
        }
        let start = (buffer.as_ptr() as usize).wrapping_neg() / size_of::<f32>() % LINE;
        Scratch { buffer, start, len }
    }

    /// The buffer.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.buffer[self.start..self.start + self.len]
    }

    /// The buffer's first element.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.as_mut_slice().as_mut_ptr()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        // A thread that is ending has no list any more; the buffer is then simply freed.
        let _ = FREE.try_with(|free| free.borrow_mut().push(buffer));
    }
}

/// A pointer that tasks share, each reading or writing its own part of what lies behind.
#[derive(Clone, Copy)]
pub(crate) struct Shared(pub(crate) *mut f32);

// SAFETY: what is done through the pointer is unsafe where it is done, and justified there.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The pointer; a method, so that closures capture the whole.
    pub(crate) fn get(self) -> *mut f32 {
        self.0
    }
}
