//! Return codes as errors.

use crate::driver::{CaptureError, DriverError};
use cudarc::driver::sys::{CUresult, cuGetErrorString};

/// A return code as a result; `name` is the CUDA function.
pub(super) fn call(name: &'static str, code: CUresult) -> Result<(), DriverError> {
    let capture = |error| Err(DriverError::Capture { call: name, error });
    match code {
        CUresult::CUDA_SUCCESS => Ok(()),
        CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED => capture(CaptureError::Unsupported),
        CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED => {
            capture(CaptureError::Invalidated { why: "an earlier call was not allowed in it".into() })
        }
        CUresult::CUDA_ERROR_STREAM_CAPTURE_MERGE => capture(CaptureError::Merge),
        CUresult::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED => capture(CaptureError::Unmatched),
        CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED => {
            capture(CaptureError::Unjoined { stream: "(the driver does not say which)".into() })
        }
        CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION => capture(CaptureError::Isolation),
        CUresult::CUDA_ERROR_CAPTURED_EVENT => capture(CaptureError::CapturedEvent),
        CUresult::CUDA_ERROR_INVALID_VALUE => {
            Err(DriverError::InvalidValue { call: name, what: "CUDA_ERROR_INVALID_VALUE".into() })
        }
        code => Err(DriverError::Cuda {
            call: name,
            code: code as u32,
            what: format!("{code:?}: {}", words(code)),
        }),
    }
}

/// The driver's words for a code.
fn words(code: CUresult) -> String {
    let mut text = std::ptr::null();
    // SAFETY: on success the driver points `text` at a string that lives as long as the library.
    unsafe {
        if cuGetErrorString(code, &mut text) == CUresult::CUDA_SUCCESS && !text.is_null() {
            return std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned();
        }
    }
    "no description".into()
}

/// The text in a buffer that the driver filled up to a zero.
pub(super) fn fixed(buffer: &[u8]) -> String {
    let end = buffer.iter().position(|&byte| byte == 0).unwrap_or(buffer.len());
    String::from_utf8_lossy(&buffer[..end]).trim().to_owned()
}
