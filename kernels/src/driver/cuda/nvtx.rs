//! Names of ranges for profilers: NVIDIA's Tools Extension, as far as the engine calls it.

use crate::driver::libraries::Opened;
use libloading::Library;
use std::ffi::{CString, c_char, c_int};

/// The library, if it has both functions.
pub(super) struct Nvtx {
    push: unsafe extern "C" fn(*const c_char) -> c_int,
    pop: unsafe extern "C" fn() -> c_int,
    /// Stays loaded as long as its functions are called.
    _library: Library,
}

impl Nvtx {
    pub fn open(opened: Opened) -> Result<Nvtx, libloading::Error> {
        let library = opened.library;
        // SAFETY: the types are those of `nvToolsExt.h`.
        let (push, pop) = unsafe {
            (
                *library.get::<unsafe extern "C" fn(*const c_char) -> c_int>(b"nvtxRangePushA")?,
                *library.get::<unsafe extern "C" fn() -> c_int>(b"nvtxRangePop")?,
            )
        };
        Ok(Nvtx { push, pop, _library: library })
    }

    /// Begins a range of this thread, inside those that have begun.
    pub fn push(&self, name: &str) {
        let name = CString::new(name.replace('\0', " ")).unwrap_or_default();
        // SAFETY: a text that ends in a zero and is copied during the call.
        let _ = unsafe { (self.push)(name.as_ptr()) };
    }

    /// Ends the range that began last.
    pub fn pop(&self) {
        // SAFETY: takes nothing.
        let _ = unsafe { (self.pop)() };
    }
}
