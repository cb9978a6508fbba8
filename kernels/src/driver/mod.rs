//! What does a GPU have to offer so that launches can run on it?
//!
//! [`Driver`] is CUDA's driver library as far as the engine uses it, with its rules: work is asked for on streams
//! and runs later; streams are ordered by events alone; a stream may be captured into a graph; an error of
//! asynchronous work surfaces in a later call, after which nothing works any more. Two things are stricter
//! than CUDA, so that callers stay safe code: asynchronous copies take page-locked host memory that the driver owns,
//! by handle, and there is no default stream: every stream is created as non-blocking.
//!
//! It does not know ops, views or PTX tables; those are the backend's. Read this file first, then `sim/mod.rs`.

#[allow(unsafe_code, reason = "the edge to the driver library")]
mod cuda;
mod error;
#[allow(unsafe_code, reason = "loads libraries")]
mod libraries;
mod product;
mod sim;

pub use cuda::{CudaDriver, cubin_file};
pub use error::{CaptureError, DriverError};
pub use product::{Layout, Product, ProductPlan, ProductShape, Scratch};
pub use sim::{SimConfig, SimDriver};

use crate::Launch;
use octo_ops::DeviceLibrary;

/// A loaded module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Module(pub u32);

/// A kernel of a loaded module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Function(pub u32);

/// A queue of work; work of one stream runs in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream(pub u32);

/// A point in a stream that others can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Event(pub u32);

/// Captured work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Graph(pub u32);

/// A graph ready to be launched any number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GraphExec(pub u32);

/// Page-locked host memory; lives as long as the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pinned(pub u32);

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// As the vendor calls it.
    pub name: String,
    /// Compute capability, e.g. (8, 0).
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Shared memory that a block may have after [`Driver::allow_shared`].
    pub shared_bytes: u32,
}

/// Bytes of device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryInfo {
    /// Not allocated.
    pub free: u64,
    /// All there is.
    pub total: u64,
}

/// What a loaded kernel needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionAttributes {
    /// Registers of a thread; `None` where no assembler has seen the kernel.
    pub registers: Option<u32>,
    /// Local memory of a thread: arrays, and spills where an assembler has seen the kernel.
    pub local_bytes: u64,
    /// Static shared memory of a block.
    pub shared_bytes: u64,
    /// Threads a block may have at most.
    pub max_threads: u32,
}

/// The driver library of a GPU. Each method names its CUDA function.
pub trait Driver {
    /// What the device is (`cuDeviceGetAttribute`).
    fn device(&self) -> &DeviceFacts;

    /// Free and total memory (`cuMemGetInfo`).
    fn memory(&self) -> Result<MemoryInfo, DriverError>;

    /// Loads PTX text; `name` is for messages (`cuModuleLoadDataEx`).
    fn load(&mut self, name: &str, ptx: &str) -> Result<Module, DriverError>;

    /// The entry of that name (`cuModuleGetFunction`).
    fn function(&mut self, module: Module, entry: &str) -> Result<Function, DriverError>;

    /// What the loaded kernel needs (`cuFuncGetAttribute`).
    fn attributes(&self, function: Function) -> Result<FunctionAttributes, DriverError>;

    /// Lets launches of a kernel ask for more than 48 KiB of dynamic shared memory
    /// (`cuFuncSetAttribute`, `MAX_DYNAMIC_SHARED_SIZE_BYTES`).
    fn allow_shared(&mut self, function: Function, bytes: u32) -> Result<(), DriverError>;

    /// Device memory, 256-byte aligned, with unspecified contents; `name` is for messages (`cuMemAlloc`).
    fn allocate(&mut self, name: &str, bytes: u64) -> Result<u64, DriverError>;

    /// Gives device memory back after all work is done (`cuMemFree`, which synchronises).
    fn free(&mut self, address: u64) -> Result<(), DriverError>;

    /// Page-locked host memory with unspecified contents (`cuMemHostAlloc`).
    fn allocate_host(&mut self, name: &str, bytes: u64) -> Result<Pinned, DriverError>;

    /// The host writes into page-locked memory, at once: no copy that is under way may use these bytes.
    fn write_host(&mut self, to: Pinned, offset: u64, from: &[u8]) -> Result<(), DriverError>;

    /// The host reads page-locked memory, at once: a copy into it must have been waited for.
    fn read_host(&mut self, from: Pinned, offset: u64, into: &mut [u8]) -> Result<(), DriverError>;

    /// A non-blocking stream; `name` is for messages (`cuStreamCreate`).
    fn create_stream(&mut self, name: &str) -> Result<Stream, DriverError>;

    /// An event, not yet recorded (`cuEventCreate`).
    fn create_event(&mut self) -> Result<Event, DriverError>;

    /// The event stands for all work of the stream so far (`cuEventRecord`).
    fn record(&mut self, event: Event, stream: Stream) -> Result<(), DriverError>;

    /// Later work of the stream starts after the event; an event never recorded is past
    /// (`cuStreamWaitEvent`).
    fn wait(&mut self, stream: Stream, event: Event) -> Result<(), DriverError>;

    /// Whether the work before an event is done (`cuEventQuery`).
    fn query(&mut self, event: Event) -> Result<bool, DriverError>;

    /// Waits for the work before an event (`cuEventSynchronize`).
    fn synchronize_event(&mut self, event: Event) -> Result<(), DriverError>;

    /// Waits for a stream (`cuStreamSynchronize`).
    fn synchronize_stream(&mut self, stream: Stream) -> Result<(), DriverError>;

    /// Waits for everything (`cuCtxSynchronize`).
    fn synchronize(&mut self) -> Result<(), DriverError>;

    /// Copies page-locked memory to the device (`cuMemcpyHtoDAsync`).
    fn copy_in(
        &mut self,
        stream: Stream,
        to: u64,
        from: Pinned,
        offset: u64,
        bytes: u64,
    ) -> Result<(), DriverError>;

    /// Copies device memory to page-locked memory (`cuMemcpyDtoHAsync`).
    fn copy_out(
        &mut self,
        stream: Stream,
        to: Pinned,
        offset: u64,
        from: u64,
        bytes: u64,
    ) -> Result<(), DriverError>;

    /// Copies within the device (`cuMemcpyDtoDAsync`).
    fn copy(&mut self, stream: Stream, to: u64, from: u64, bytes: u64) -> Result<(), DriverError>;

    /// Sets every byte (`cuMemsetD8Async`).
    fn fill(&mut self, stream: Stream, to: u64, byte: u8, bytes: u64) -> Result<(), DriverError>;

    /// Launches a kernel (`cuLaunchKernelEx`). The arguments are copied now, captured or not.
    fn launch(&mut self, stream: Stream, function: Function, launch: &Launch) -> Result<(), DriverError>;

    /// Copies ordinary host memory to the device and returns when it is there (`cuMemcpyHtoD`). Orders nothing
    /// on the streams: what they have not been waited for may run before or after.
    fn write(&mut self, to: u64, from: &[u8]) -> Result<(), DriverError>;

    /// Copies device memory to ordinary host memory, as [`Driver::write`] (`cuMemcpyDtoH`).
    fn read(&mut self, from: u64, into: &mut [u8]) -> Result<(), DriverError>;

    /// From here on, work on the stream is recorded instead of run, and so is that of streams that wait for its
    /// events (`cuStreamBeginCapture`). The simulated driver refuses meanwhile what CUDA's mode `GLOBAL` does; a GPU's
    /// does not, because a library of products may load a kernel at its first use.
    fn begin_capture(&mut self, stream: Stream) -> Result<(), DriverError>;

    /// Ends the capture that began on this stream; every stream that joined must have been waited for
    /// (`cuStreamEndCapture`).
    fn end_capture(&mut self, stream: Stream) -> Result<Graph, DriverError>;

    /// Makes a graph ready to run (`cuGraphInstantiate`).
    fn instantiate(&mut self, graph: Graph) -> Result<GraphExec, DriverError>;

    /// Runs a graph as one piece of work of the stream, after any earlier launch of the same graph
    /// (`cuGraphLaunch`).
    fn launch_graph(&mut self, exec: GraphExec, stream: Stream) -> Result<(), DriverError>;

    /// The libraries beside the driver that were looked for, found or not.
    fn libraries(&self) -> &[DeviceLibrary] {
        &[]
    }

    /// Whether there is a library of matrix products; without one the next two are refused.
    fn has_products(&self) -> bool {
        false
    }

    /// The library's algorithm for products of a shape, with at most so many bytes of scratch memory; asked for once
    /// and kept. `None` where it has none (`cublasLtMatmulAlgoGetHeuristic`).
    fn plan_product(
        &mut self,
        shape: &ProductShape,
        scratch_bytes: u64,
    ) -> Result<Option<ProductPlan>, DriverError> {
        Err(without_products("plan_product", &(shape, scratch_bytes)))
    }

    /// Runs a product; `scratch` belongs to the stream (`cublasLtMatmul`).
    fn product(
        &mut self,
        _stream: Stream,
        plan: ProductPlan,
        product: &Product,
        _scratch: Scratch,
    ) -> Result<(), DriverError> {
        Err(without_products("product", &(plan, product.shape)))
    }

    /// A profiler calls what follows by this name, until [`Driver::end_range`]; ranges nest (`nvtxRangePush`).
    fn begin_range(&mut self, _name: &str) {}

    /// Ends the range that began last (`nvtxRangePop`).
    fn end_range(&mut self) {}
}

fn without_products(call: &'static str, asked: &dyn std::fmt::Debug) -> DriverError {
    DriverError::InvalidHandle { call, handle: format!("library of products for {asked:?}") }
}
