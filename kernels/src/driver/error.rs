//! What a driver refuses, and what went wrong in work it ran.

use octo_ptx::sim::Fault;

/// Why a driver did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// An argument no device would take (`CUDA_ERROR_INVALID_VALUE`).
    #[error("{call}: {what}")]
    InvalidValue {
        /// Method of the driver.
        call: &'static str,
        /// What is wrong with which argument, and what is allowed.
        what: String,
    },
    /// A handle that this driver has not given out (`CUDA_ERROR_INVALID_HANDLE`).
    #[error("{call}: there is no {handle}")]
    InvalidHandle {
        /// Method of the driver.
        call: &'static str,
        /// Kind and number.
        handle: String,
    },
    /// The module has no such entry (`CUDA_ERROR_NOT_FOUND`).
    #[error("module `{module}` has no entry `{entry}`")]
    NotFound {
        /// Name of the module.
        module: String,
        /// Entry asked for.
        entry: String,
    },
    /// PTX that cannot be loaded (`CUDA_ERROR_INVALID_PTX`).
    #[error("module `{module}` cannot be loaded: {why}")]
    InvalidPtx {
        /// Name of the module.
        module: String,
        /// What the parser or loader said.
        why: String,
    },
    /// There is not enough memory (`CUDA_ERROR_OUT_OF_MEMORY`).
    #[error("no memory for the {bytes} bytes of `{name}`: {free} bytes are free")]
    OutOfMemory {
        /// Name of the allocation.
        name: String,
        /// Bytes asked for.
        bytes: u64,
        /// Bytes there are.
        free: u64,
    },
    /// A rule of stream capture was broken.
    #[error("{call}: {error}")]
    Capture {
        /// Method of the driver.
        call: &'static str,
        /// Which rule.
        error: CaptureError,
    },
    /// A kernel, copy or fill did something no program may do.
    #[error("{operation}: {fault}")]
    Fault {
        /// What ran.
        operation: String,
        /// What it did.
        fault: Box<Fault>,
    },
    /// Two pieces of work touch the same bytes, at least one writes, and nothing orders them.
    #[error(
        "race between {first} and {second} over {bytes} bytes at {place}: nothing orders them; record an event \
         after one and wait for it before the other"
    )]
    Race {
        /// What ran first here; on a GPU it may be the other way round.
        first: String,
        /// What ran second.
        second: String,
        /// Where: an address or an offset into page-locked memory.
        place: String,
        /// How many bytes both touch, at least.
        bytes: u64,
    },
    /// Host memory is read that neither the host nor a finished copy has written.
    #[error("{operation}: bytes {offset}.. of page-locked memory `{name}` were never written")]
    UnwrittenHost {
        /// What reads.
        operation: String,
        /// Name of the memory.
        name: String,
        /// First such byte.
        offset: u64,
    },
    /// There is no device to open.
    #[error("no GPU: {why}")]
    NoDevice {
        /// What is missing and what to do.
        why: String,
    },
    /// A library that the user named cannot be used.
    #[error("{name} cannot be loaded: {why}; correct {variable}, or set it to `off`")]
    Library {
        /// The library.
        name: &'static str,
        /// The environment variable that names it.
        variable: &'static str,
        /// Which file, and what the loader said.
        why: String,
    },
    /// The driver library reports an error that has no variant of its own.
    #[error("{call}: {what}")]
    Cuda {
        /// CUDA function.
        call: &'static str,
        /// Its return code.
        code: u32,
        /// Name of the code and the library's words.
        what: String,
    },
    /// Earlier work failed, and the context with it (as CUDA's errors of asynchronous work stay).
    #[error("the device no longer works since an earlier failure: {first}")]
    Poisoned {
        /// That failure.
        first: String,
    },
}

/// Rules of stream capture. CUDA programming guide, "Creating a Graph Using Stream Capture".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// A call that is forbidden while a stream is captured; it also ends the capture
    /// (`CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED`).
    #[error("not allowed while a stream is being captured; the capture is lost")]
    Unsupported,
    /// The stream is already being captured (`CUDA_ERROR_ILLEGAL_STATE`).
    #[error("the stream is already being captured")]
    AlreadyCapturing,
    /// The stream is not being captured (`CUDA_ERROR_ILLEGAL_STATE`).
    #[error("the stream is not being captured")]
    NotCapturing,
    /// An earlier call ended the capture (`CUDA_ERROR_STREAM_CAPTURE_INVALIDATED`).
    #[error("the capture was lost: {why}")]
    Invalidated {
        /// Which call.
        why: String,
    },
    /// A capture is ended on a stream where it did not begin (`CUDA_ERROR_STREAM_CAPTURE_UNMATCHED`).
    #[error("the capture did not begin on this stream")]
    Unmatched,
    /// A stream that joined the capture was not waited for (`CUDA_ERROR_STREAM_CAPTURE_UNJOINED`).
    #[error("stream `{stream}` joined the capture and its work was not waited for before the end")]
    Unjoined {
        /// Name of the stream.
        stream: String,
    },
    /// Captured work would wait for work outside the capture (`CUDA_ERROR_STREAM_CAPTURE_ISOLATION`).
    #[error("captured work cannot wait for an event that was recorded outside the capture")]
    Isolation,
    /// Two captures would become one (`CUDA_ERROR_STREAM_CAPTURE_MERGE`).
    #[error("the event belongs to another capture than the stream")]
    Merge,
    /// The event belongs to a capture and has no time (`CUDA_ERROR_CAPTURED_EVENT`).
    #[error("the event was recorded in a capture and is not for the host to ask or wait for")]
    CapturedEvent,
}
