//! A `libcuda.so.1` whose GPU is simulated: what does the program do with a driver library, from the loader on?
//!
//! Put a folder with this library under that name into `LD_LIBRARY_PATH`, and `--device cuda` runs on it: the loader,
//! handles, pointers, argument lists and return codes are those of CUDA's driver, and the work is done by
//! `octo_kernels`' simulated driver. It offers the functions that `CudaDriver` calls and no others. It does not find races
//! between copies and the host: a copy is finished when its call returns, which CUDA allows. `--device sim` finds them.
//!
//! The same file is also the libraries beside the driver, where it lies under their names: cuBLASLt, whose products run on
//! the same simulated GPU, and NVTX. The names have to be links to one file, so that the loader makes one library of them.
//!
//! Variables of the environment make it fail as machines do: `OCTO_LIBCUDA_VERSION` (what `cuDriverGetVersion` says),
//! `OCTO_LIBCUDA_DEVICES` (how many there are), `OCTO_LIBCUDA_MEMORY` (bytes of the device), `OCTO_LIBCUDA_REGISTERS`
//! (what every kernel takes), `OCTO_LIBCUDA_CUBLASLT` (`CALL:STATUS`, or `none` for no algorithms).
//! `OCTO_LIBCUDA_RANGES` names a file to write the names of ranges to.
//!
//! Read this file first, then `calls.rs`.
#![allow(unsafe_code, reason = "functions that C calls")]

mod calls;
mod cublaslt;
mod launch;
mod nvtx;

use cudarc::driver::sys::CUresult;
use octo_kernels::driver::{CaptureError, Driver, DriverError, Pinned, SimConfig, SimDriver};
use std::cell::RefCell;
use std::ffi::CString;

/// The primary context of the one device. It belongs to the thread that retained it.
#[derive(Default)]
struct Context {
    retained: u32,
    driver: Option<SimDriver>,
    /// Parameter bytes of each entry of each module.
    parameters: Vec<Vec<(String, u32)>>,
    /// Entry and parameter bytes of each function.
    functions: Vec<(String, u32)>,
    host: Vec<HostBlock>,
    blas: cublaslt::Descriptors,
    /// Words of the last failure, for `cuGetErrorString`.
    words: CString,
}

/// Page-locked memory, as the caller sees it.
struct HostBlock {
    bytes: Box<[u8]>,
}

thread_local! {
    static CONTEXT: RefCell<Context> = RefCell::default();
}

/// A number from the environment.
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn new_driver() -> SimDriver {
    let mut config = SimConfig::new(Some(1));
    config.memory = setting("OCTO_LIBCUDA_MEMORY", config.memory);
    SimDriver::new(config)
}

/// Runs a call in the current context.
fn within(call: impl FnOnce(&mut Context, &mut SimDriver) -> Result<(), DriverError>) -> CUresult {
    CONTEXT.with_borrow_mut(|context| {
        let Some(mut driver) = context.driver.take() else { return CUresult::CUDA_ERROR_INVALID_CONTEXT };
        let outcome = call(context, &mut driver);
        context.driver = Some(driver);
        let Err(error) = outcome else { return CUresult::CUDA_SUCCESS };
        context.words = CString::new(error.to_string()).unwrap_or_default();
        code(&error)
    })
}

/// The return code that CUDA has for an error; each variant's documentation names it.
fn code(error: &DriverError) -> CUresult {
    match error {
        DriverError::InvalidValue { .. } => CUresult::CUDA_ERROR_INVALID_VALUE,
        DriverError::InvalidHandle { .. } => CUresult::CUDA_ERROR_INVALID_HANDLE,
        DriverError::NotFound { .. } => CUresult::CUDA_ERROR_NOT_FOUND,
        DriverError::InvalidPtx { .. } => CUresult::CUDA_ERROR_INVALID_PTX,
        DriverError::OutOfMemory { .. } => CUresult::CUDA_ERROR_OUT_OF_MEMORY,
        DriverError::NoDevice { .. } => CUresult::CUDA_ERROR_NO_DEVICE,
        DriverError::Capture { error, .. } => match error {
            CaptureError::Unsupported => CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
            CaptureError::Invalidated { .. } => CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
            CaptureError::Unmatched => CUresult::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED,
            CaptureError::Unjoined { .. } => CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED,
            CaptureError::Isolation => CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
            CaptureError::Merge => CUresult::CUDA_ERROR_STREAM_CAPTURE_MERGE,
            CaptureError::CapturedEvent => CUresult::CUDA_ERROR_CAPTURED_EVENT,
            _ => CUresult::CUDA_ERROR_ILLEGAL_STATE,
        },
        _ => CUresult::CUDA_ERROR_LAUNCH_FAILED,
    }
}

/// A table's index as a handle, and back. Handles are never null.
fn handle<T>(index: u32) -> *mut T {
    (index as usize + 1) as *mut T
}

fn index<T>(handle: *mut T) -> u32 {
    (handle as usize).wrapping_sub(1) as u32
}

/// Host memory that the simulated driver may copy from: a copy of the caller's bytes.
fn staged(driver: &mut SimDriver, from: &[u8]) -> Result<Pinned, DriverError> {
    let pinned = driver.allocate_host("bytes of a copy", from.len() as u64)?;
    driver.write_host(pinned, 0, from)?;
    Ok(pinned)
}
