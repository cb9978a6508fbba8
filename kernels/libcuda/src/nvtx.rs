//! The functions of NVIDIA's Tools Extension that the engine calls. With `OCTO_LIBCUDA_RANGES` naming a file, each call
//! becomes a line of it: a range's name, indented by how many it lies in, or `end`.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::io::Write;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Writes a line; a file that cannot be written is one that a test does not find.
fn tell(depth: usize, what: &str) {
    let Some(path) = std::env::var_os("OCTO_LIBCUDA_RANGES") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let _ = file.and_then(|mut file| writeln!(file, "{}{what}", "  ".repeat(depth)));
}

/// Gives the depth of the range, from 0.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvtxRangePushA(message: *const c_char) -> c_int {
    let depth = DEPTH.get();
    // SAFETY: the caller passes a text that ends in a zero.
    tell(depth, &unsafe { CStr::from_ptr(message) }.to_string_lossy());
    DEPTH.set(depth + 1);
    depth as c_int
}

/// Gives the depth of the range that ended, or a negative number where none had begun.
#[unsafe(no_mangle)]
unsafe extern "C" fn nvtxRangePop() -> c_int {
    let Some(depth) = DEPTH.get().checked_sub(1) else {
        tell(0, "end without a beginning");
        return -1;
    };
    DEPTH.set(depth);
    tell(depth, "end");
    depth as c_int
}
