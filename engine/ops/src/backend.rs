//! What a device must offer.

use crate::{BufferId, DType, Op, OpError, View};
use std::fmt;

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
    /// Whether it works on while the host does something else, so that a program costs the host less than its ops
    /// one by one, and work is best asked for before what came before is done.
    pub asynchronous: bool,
    /// Libraries that it uses where they are found, those that were not found too.
    pub libraries: Vec<DeviceLibrary>,
    /// Bytes that it has taken for working memory of its own.
    pub workspace: u64,
    /// Bytes that buffers may still take, where that is known.
    pub available: Option<u64>,
}

impl DeviceInfo {
    /// The library that serves products under [`Forward::Fastest`], with its version.
    pub fn products(&self) -> Option<String> {
        let library = self.libraries.iter().find(|library| library.name == PRODUCTS)?;
        library.version.as_ref().map(|version| format!("{} {version}", library.name))
    }
}

/// Name of the library of matrix products among [`DeviceInfo::libraries`].
pub const PRODUCTS: &str = "cuBLASLt";

/// A library that a device uses where it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceLibrary {
    /// What it is called.
    pub name: &'static str,
    /// Its version, empty where it has none to tell; `None` where it is not used.
    pub version: Option<String>,
    /// Where it was found and why there; or why it is not used, what that costs and what mends it.
    pub detail: String,
}

impl fmt::Display for DeviceLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeviceLibrary { name, version, detail } = self;
        match version.as_deref() {
            None => write!(f, "no {name}, {detail}"),
            Some("") => write!(f, "{name}: {detail}"),
            Some(version) => write!(f, "{name} {version}: {detail}"),
        }
    }
}

/// Which kernels may serve forward products (`docs/numerics.md`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forward {
    /// Those whose rows have the same bits whatever else is in the batch.
    #[default]
    Invariant,
    /// The fastest.
    Fastest,
}

/// What a loaded kernel takes, beside what was stated when it was compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelUse {
    /// Its entry.
    pub entry: String,
    /// Registers of a thread; `None` where no assembler has seen it.
    pub registers: Option<u32>,
    /// Bytes of local memory of a thread.
    pub local_bytes: u64,
    /// Bytes of static shared memory of a block.
    pub shared_bytes: u64,
    /// The same three as stated; `None` for a kernel that the table does not have.
    pub stated: Option<[u64; 3]>,
}

impl KernelUse {
    /// Whether the kernel takes something else than stated, as far as an assembler has seen it.
    pub fn differs(&self) -> bool {
        let taken = self.registers.map(|registers| [registers.into(), self.local_bytes, self.shared_bytes]);
        taken.is_some_and(|taken| self.stated != Some(taken))
    }
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
    /// Which kernels may serve the forward products that are run or recorded from here on. Without a choice to make, the
    /// device ignores it.
    fn set_forward(&mut self, _forward: Forward) {}
    /// A profiler calls what follows by this name until the range ends; ranges nest. Without a profiler, nothing.
    fn begin_range(&mut self, _name: &str) {}
    /// Ends the range that began last.
    fn end_range(&mut self) {}
    /// What all kernels take on this device, all loaded; none on a device that loads none.
    fn kernels(&mut self) -> Result<Vec<KernelUse>, BackendError> {
        Ok(Vec::new())
    }
}
