//! What a device must offer.

use crate::{BufferId, DType, Op, OpError, View};

/// A fixed place for a readback; a backend has [`SLOTS`] of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u8);

/// Readbacks that may be under way at once.
pub const SLOTS: usize = 8;

/// A captured list of ops, kept by the backend that captured it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Program(pub u32);

/// What a device says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// `cpu`, `plan`, …
    pub kind: &'static str,
    /// One line for the head of a run.
    pub description: String,
    /// The types it computes in.
    pub precision: Precision,
    /// Bytes that it has taken for working memory of its own.
    pub workspace: u64,
    /// Bytes that buffers may still take, where that is known.
    pub available: Option<u64>,
}

/// The types that a device computes models in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision {
    /// Of activations, their gradients and the KV cache.
    pub activations: DType,
    /// That weights may have; the first is taken where nothing else is wanted.
    pub weights: &'static [DType],
}

impl Precision {
    /// CPU cores: nothing is rounded on the way.
    pub const CPU: Precision = Precision { activations: DType::F32, weights: &[DType::F32, DType::Bf16] };
    /// CUDA kernels, on a GPU or simulated: operands of tensor cores.
    pub const CUDA: Precision = Precision { activations: DType::Bf16, weights: &[DType::Bf16] };

    /// The type of weights that lie in files as `stored`.
    pub fn weights_from(&self, stored: DType) -> DType {
        if self.weights.contains(&stored) { stored } else { self.weights[0] }
    }
}

/// Why a backend did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// A broken contract of an op: a bug of the caller.
    #[error(transparent)]
    Op(#[from] OpError),
    /// There is not enough memory.
    #[error("{name}: no memory for {bytes} bytes; take a smaller micro-batch or model")]
    OutOfMemory {
        /// Buffer name.
        name: String,
        /// Bytes asked for.
        bytes: u64,
    },
    /// The queue was used against its rules: a bug of the caller.
    #[error("queue misused: {0}")]
    Misuse(String),
    /// The device failed, or found a fault in what it ran.
    #[error(transparent)]
    Device(Box<dyn std::error::Error + Send + Sync>),
    /// The backend has no way to compute this op on these operands.
    #[error("{op} is not computed on {device}: {what}")]
    Unsupported {
        /// Op name.
        op: &'static str,
        /// Device kind.
        device: &'static str,
        /// What of the op it lacks, and what runs it instead.
        what: String,
    },
    /// Input data broke an op at run time, e.g. a token id outside the vocabulary.
    #[error("{op}: {what}")]
    Data {
        /// Op name.
        op: &'static str,
        /// What was found, where, what is allowed.
        what: String,
    },
}

/// A device: memory, ops in order, capture. Callers go through the queue, which checks every op first.
pub trait Backend {
    /// The device's own words.
    fn describe(&self) -> DeviceInfo;
    /// Whether it computes this op on these operands; [`Backend::run`] refuses the others as
    /// [`BackendError::Unsupported`].
    fn supports(&self, op: &Op) -> bool;
    /// A zeroed buffer, 256-byte aligned; buffers never move or go away.
    fn allocate(&mut self, name: &str, bytes: u64) -> Result<BufferId, BackendError>;
    /// Runs an op in order, or records it while capturing.
    fn run(&mut self, op: &Op) -> Result<(), BackendError>;
    /// Copies host bytes into a contiguous view, in order.
    fn upload(&mut self, to: &View, from: &[u8]) -> Result<(), BackendError>;
    /// Starts copying a contiguous view to the host.
    fn begin_readback(&mut self, slot: Slot, from: &View) -> Result<(), BackendError>;
    /// Waits for that copy; `into` has its exact size.
    fn finish_readback(&mut self, slot: Slot, into: &mut [u8]) -> Result<(), BackendError>;
    /// Copies a contiguous view of any size to the host, after everything asked for before; for checkpoints.
    fn snapshot(&mut self, from: &View, into: &mut [u8]) -> Result<(), BackendError>;
    /// From here on ops are recorded, not executed.
    fn begin_capture(&mut self) -> Result<(), BackendError>;
    /// Ends recording.
    fn end_capture(&mut self) -> Result<Program, BackendError>;
    /// Runs a recorded program.
    fn replay(&mut self, program: Program) -> Result<(), BackendError>;
    /// Waits until everything asked for is done.
    fn wait(&mut self) -> Result<(), BackendError>;
}
