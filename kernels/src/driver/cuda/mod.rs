//! CUDA's driver library behind [`Driver`]: an NVIDIA GPU.
//!
//! A thin layer over `cudarc`'s raw bindings, which load the library at run time: where it is missing, opening is one
//! clear error and nothing else of the program changes. Handles are indices into tables, so that a caller cannot pass
//! one that the driver never gave out; the tables own what they hold until the driver is dropped.
//!
//! Not checked here, because no call could: what kernels do. The queue's bounds and the proofs on the simulated GPU
//! are the argument for that.

mod call;
mod cubin;
mod cublaslt;
mod nvtx;
mod open;

use crate::Launch;
use crate::driver::libraries::{self, CUBLASLT, NVTX};
use crate::driver::{
    DeviceFacts, Driver, DriverError, Event, Function, FunctionAttributes, Graph, GraphExec, Layout,
    MemoryInfo, Module, Pinned, Product, ProductPlan, ProductShape, Scratch, Stream,
};
use call::{call, fixed};
pub use cubin::cubin_file;
use cublaslt::CublasLt;
use cudarc::driver::sys::{self, CUfunction_attribute as FunctionAttribute, CUresult};
use nvtx::Nvtx;
use octo_ops::DeviceLibrary;
use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::path::PathBuf;
use std::ptr::null_mut;

/// Bytes of the log that the assembler in the driver may write about a module.
const LOG_BYTES: usize = 16 * 1024;

/// One GPU, its primary context current on the thread that opened it.
pub struct CudaDriver {
    device: sys::CUdevice,
    facts: DeviceFacts,
    /// Where kernels lie that were assembled for this device beforehand.
    cubins: Option<PathBuf>,
    modules: Vec<(String, sys::CUmodule)>,
    functions: Vec<(String, sys::CUfunction)>,
    streams: Vec<sys::CUstream>,
    events: Vec<sys::CUevent>,
    graphs: Vec<sys::CUgraph>,
    execs: Vec<sys::CUgraphExec>,
    pinned: Vec<HostBlock>,
    /// Device allocations and their sizes.
    allocations: BTreeMap<u64, u64>,
    libraries: Vec<DeviceLibrary>,
    products: Option<CublasLt>,
    ranges: Option<Nvtx>,
}

/// Page-locked memory.
struct HostBlock {
    start: *mut u8,
    bytes: u64,
}

impl CudaDriver {
    /// Opens a GPU by its ordinal among those that `CUDA_VISIBLE_DEVICES` leaves.
    ///
    /// # Errors
    /// [`DriverError::NoDevice`] says why there is none; [`DriverError::Library`] which library was named and is none.
    pub fn open(ordinal: u32) -> Result<CudaDriver, DriverError> {
        let opened = open::open(ordinal)?;
        let (mut found, mut products, mut ranges) = (Vec::new(), None, None);
        match libraries::open(&CUBLASLT, opened.cuda)? {
            Err(missing) => found.push(missing),
            Ok(library) => {
                let told = library.told(&CUBLASLT, None);
                let opened = CublasLt::open(library)?;
                found.push(DeviceLibrary { version: Some(opened.version()), ..told });
                products = Some(opened);
            }
        }
        match libraries::open(&NVTX, opened.cuda)? {
            Err(missing) => found.push(missing),
            Ok(library) => {
                found.push(library.told(&NVTX, None));
                ranges = Nvtx::open(library).inspect_err(|error| tracing::warn!("NVTX: {error}")).ok();
            }
        }
        found.iter().for_each(|library| tracing::info!("{library}"));
        let cubins = cubin::target(opened.facts.capability).and_then(cubin::folder);
        if let Some(folder) = &cubins {
            tracing::info!("kernels assembled beforehand: {}", folder.display());
        }
        Ok(CudaDriver {
            cubins,
            libraries: found,
            products,
            ranges,
            device: opened.device,
            facts: opened.facts,
            modules: Vec::new(),
            functions: Vec::new(),
            streams: Vec::new(),
            events: Vec::new(),
            graphs: Vec::new(),
            execs: Vec::new(),
            pinned: Vec::new(),
            allocations: BTreeMap::new(),
        })
    }

    fn stream(&self, name: &'static str, stream: Stream) -> Result<sys::CUstream, DriverError> {
        let found = self.streams.get(stream.0 as usize).copied();
        found.ok_or_else(|| DriverError::InvalidHandle { call: name, handle: format!("{stream:?}") })
    }

    fn event(&self, name: &'static str, event: Event) -> Result<sys::CUevent, DriverError> {
        let found = self.events.get(event.0 as usize).copied();
        found.ok_or_else(|| DriverError::InvalidHandle { call: name, handle: format!("{event:?}") })
    }

    fn loaded(
        &self,
        name: &'static str,
        function: Function,
    ) -> Result<&(String, sys::CUfunction), DriverError> {
        let found = self.functions.get(function.0 as usize);
        found.ok_or_else(|| DriverError::InvalidHandle { call: name, handle: format!("{function:?}") })
    }

    /// A part of page-locked memory, which lies inside it.
    fn host(
        &self,
        name: &'static str,
        block: Pinned,
        offset: u64,
        bytes: u64,
    ) -> Result<*mut u8, DriverError> {
        let Some(found) = self.pinned.get(block.0 as usize) else {
            return Err(DriverError::InvalidHandle { call: name, handle: format!("{block:?}") });
        };
        if offset.checked_add(bytes).is_none_or(|end| end > found.bytes) {
            let what =
                format!("{bytes} bytes at {offset} do not lie in page-locked memory of {}", found.bytes);
            return Err(DriverError::InvalidValue { call: name, what });
        }
        // SAFETY: the offset lies inside the block.
        Ok(unsafe { found.start.add(offset as usize) })
    }

    /// Device bytes that lie inside one allocation.
    fn inside(&self, name: &'static str, address: u64, bytes: u64) -> Result<u64, DriverError> {
        let home = self.allocations.range(..=address).next_back();
        if home.is_some_and(|(start, size)| bytes <= size.saturating_sub(address - start)) {
            return Ok(address);
        }
        let what = format!("{bytes} bytes at {address:#x} do not lie in one allocation");
        Err(DriverError::InvalidValue { call: name, what })
    }

    fn attribute(&self, function: sys::CUfunction, attribute: FunctionAttribute) -> Result<u32, DriverError> {
        let mut value = 0;
        // SAFETY: a function that this driver loaded, a valid place for the answer.
        call("cuFuncGetAttribute", unsafe { sys::cuFuncGetAttribute(&mut value, attribute, function) })?;
        Ok(value as u32)
    }
}

/// Loads PTX that ends in a zero, or a cubin: the module with what the assembler in the driver says of it (nothing, where
/// there is nothing left to assemble), or why it is refused.
fn load_image(image: &[u8]) -> Result<(sys::CUmodule, String), String> {
    let (mut log, mut told) = (vec![0u8; LOG_BYTES], vec![0u8; LOG_BYTES]);
    let mut options = [
        sys::CUjit_option_enum::CU_JIT_ERROR_LOG_BUFFER,
        sys::CUjit_option_enum::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        sys::CUjit_option_enum::CU_JIT_INFO_LOG_BUFFER,
        sys::CUjit_option_enum::CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
        sys::CUjit_option_enum::CU_JIT_LOG_VERBOSE,
    ];
    let mut values = [
        log.as_mut_ptr().cast::<c_void>(),
        LOG_BYTES as *mut c_void,
        told.as_mut_ptr().cast::<c_void>(),
        LOG_BYTES as *mut c_void,
        std::ptr::without_provenance_mut(1),
    ];
    let mut module = null_mut();
    // SAFETY: text ends in a zero, and a cubin is as long as its headers say; options and values have the length that is
    // said, and the log buffers outlive the call.
    let code = unsafe {
        sys::cuModuleLoadDataEx(
            &mut module,
            image.as_ptr().cast(),
            options.len() as u32,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    match code {
        CUresult::CUDA_SUCCESS => Ok((module, format!("{}\n{}", fixed(&told), fixed(&log)))),
        code => Err(format!("{code:?} {}", fixed(&log))),
    }
}

impl Driver for CudaDriver {
    fn device(&self) -> &DeviceFacts {
        &self.facts
    }

    fn memory(&self) -> Result<MemoryInfo, DriverError> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: valid places for the answers.
        call("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok(MemoryInfo { free: free as u64, total: total as u64 })
    }

    fn load(&mut self, name: &str, ptx: &str) -> Result<Module, DriverError> {
        let refused = |why: String| DriverError::InvalidPtx { module: name.to_owned(), why };
        let assembled = self.cubins.as_ref().and_then(|folder| cubin::read(folder, name, ptx));
        let module = match assembled.map(|code| load_image(&code)) {
            Some(Ok((module, _))) => module,
            other => {
                if let Some(Err(why)) = other {
                    tracing::warn!("{name}: assembled anew, since the driver does not take its cubin: {why}");
                }
                let image = CString::new(ptx).map_err(|_| refused("the text holds a zero byte".into()))?;
                let (module, told) = load_image(image.as_bytes_with_nul()).map_err(refused)?;
                for line in told.lines().filter(|line| !line.trim().is_empty()) {
                    tracing::info!("{name}: {line}");
                }
                module
            }
        };
        self.modules.push((name.to_owned(), module));
        Ok(Module(self.modules.len() as u32 - 1))
    }

    fn function(&mut self, module: Module, entry: &str) -> Result<Function, DriverError> {
        let Some((name, module)) = self.modules.get(module.0 as usize) else {
            return Err(DriverError::InvalidHandle {
                call: "cuModuleGetFunction",
                handle: format!("{module:?}"),
            });
        };
        let missing = || DriverError::NotFound { module: name.clone(), entry: entry.to_owned() };
        let text = CString::new(entry).map_err(|_| missing())?;
        let mut function = null_mut();
        // SAFETY: a module that this driver loaded, a name that ends in a zero.
        match unsafe { sys::cuModuleGetFunction(&mut function, *module, text.as_ptr()) } {
            CUresult::CUDA_ERROR_NOT_FOUND => return Err(missing()),
            code => call("cuModuleGetFunction", code)?,
        }
        self.functions.push((entry.to_owned(), function));
        Ok(Function(self.functions.len() as u32 - 1))
    }

    fn attributes(&self, function: Function) -> Result<FunctionAttributes, DriverError> {
        let (_, function) = *self.loaded("cuFuncGetAttribute", function)?;
        Ok(FunctionAttributes {
            registers: Some(self.attribute(function, FunctionAttribute::CU_FUNC_ATTRIBUTE_NUM_REGS)?),
            local_bytes: self
                .attribute(function, FunctionAttribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?
                .into(),
            shared_bytes: self
                .attribute(function, FunctionAttribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?
                .into(),
            max_threads: self
                .attribute(function, FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
        })
    }

    fn allow_shared(&mut self, function: Function, bytes: u32) -> Result<(), DriverError> {
        let (entry, function) = self.loaded("cuFuncSetAttribute", function)?;
        if bytes > self.facts.shared_bytes {
            let most = self.facts.shared_bytes;
            let what = format!("{entry}: {bytes} bytes of dynamic shared memory, and a block has {most}");
            return Err(DriverError::InvalidValue { call: "cuFuncSetAttribute", what });
        }
        let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: a function that this driver loaded.
        call("cuFuncSetAttribute", unsafe { sys::cuFuncSetAttribute(*function, attribute, bytes as i32) })
    }

    fn allocate(&mut self, name: &str, bytes: u64) -> Result<u64, DriverError> {
        let mut address = 0;
        // SAFETY: a valid place for the answer.
        match unsafe { sys::cuMemAlloc_v2(&mut address, bytes as usize) } {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                let free = self.memory()?.free;
                return Err(DriverError::OutOfMemory { name: name.to_owned(), bytes, free });
            }
            code => call("cuMemAlloc", code)?,
        }
        self.allocations.insert(address, bytes);
        Ok(address)
    }

    fn free(&mut self, address: u64) -> Result<(), DriverError> {
        if self.allocations.remove(&address).is_none() {
            let what = format!("{address:#x} is the start of no allocation");
            return Err(DriverError::InvalidValue { call: "cuMemFree", what });
        }
        // SAFETY: the address is the start of an allocation that nobody freed before; the call waits for all work.
        call("cuMemFree", unsafe { sys::cuMemFree_v2(address) })
    }

    fn allocate_host(&mut self, name: &str, bytes: u64) -> Result<Pinned, DriverError> {
        let mut start = null_mut();
        // SAFETY: a valid place for the answer.
        match unsafe { sys::cuMemHostAlloc(&mut start, bytes.max(1) as usize, 0) } {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                return Err(DriverError::OutOfMemory {
                    name: format!("{name} (page-locked)"),
                    bytes,
                    free: 0,
                });
            }
            code => call("cuMemHostAlloc", code)?,
        }
        self.pinned.push(HostBlock { start: start.cast(), bytes });
        Ok(Pinned(self.pinned.len() as u32 - 1))
    }

    fn write_host(&mut self, to: Pinned, offset: u64, from: &[u8]) -> Result<(), DriverError> {
        let to = self.host("write_host", to, offset, from.len() as u64)?;
        // SAFETY: `to` has that many bytes, which are no Rust object; the caller has waited for copies that use them,
        // as the simulated driver proves of every caller.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
        Ok(())
    }

    fn read_host(&mut self, from: Pinned, offset: u64, into: &mut [u8]) -> Result<(), DriverError> {
        let from = self.host("read_host", from, offset, into.len() as u64)?;
        // SAFETY: as in `write_host`.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    fn create_stream(&mut self, _name: &str) -> Result<Stream, DriverError> {
        let mut stream = null_mut();
        let flags = sys::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: a valid place for the answer.
        call("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut stream, flags) })?;
        self.streams.push(stream);
        Ok(Stream(self.streams.len() as u32 - 1))
    }

    fn create_event(&mut self) -> Result<Event, DriverError> {
        let mut event = null_mut();
        let flags = sys::CUevent_flags_enum::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: a valid place for the answer.
        call("cuEventCreate", unsafe { sys::cuEventCreate(&mut event, flags) })?;
        self.events.push(event);
        Ok(Event(self.events.len() as u32 - 1))
    }

    fn record(&mut self, event: Event, stream: Stream) -> Result<(), DriverError> {
        let name = "cuEventRecord";
        let (event, stream) = (self.event(name, event)?, self.stream(name, stream)?);
        // SAFETY: handles of this driver.
        call(name, unsafe { sys::cuEventRecord(event, stream) })
    }

    fn wait(&mut self, stream: Stream, event: Event) -> Result<(), DriverError> {
        let name = "cuStreamWaitEvent";
        let (event, stream) = (self.event(name, event)?, self.stream(name, stream)?);
        // SAFETY: handles of this driver.
        call(name, unsafe { sys::cuStreamWaitEvent(stream, event, 0) })
    }

    fn query(&mut self, event: Event) -> Result<bool, DriverError> {
        let event = self.event("cuEventQuery", event)?;
        // SAFETY: a handle of this driver.
        match unsafe { sys::cuEventQuery(event) } {
            CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            code => call("cuEventQuery", code).map(|()| true),
        }
    }

    fn synchronize_event(&mut self, event: Event) -> Result<(), DriverError> {
        let event = self.event("cuEventSynchronize", event)?;
        // SAFETY: a handle of this driver.
        call("cuEventSynchronize", unsafe { sys::cuEventSynchronize(event) })
    }

    fn synchronize_stream(&mut self, stream: Stream) -> Result<(), DriverError> {
        let stream = self.stream("cuStreamSynchronize", stream)?;
        // SAFETY: a handle of this driver.
        call("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(stream) })
    }

    fn synchronize(&mut self) -> Result<(), DriverError> {
        // SAFETY: the context is current.
        call("cuCtxSynchronize", unsafe { sys::cuCtxSynchronize() })
    }

    fn copy_in(
        &mut self,
        stream: Stream,
        to: u64,
        from: Pinned,
        offset: u64,
        bytes: u64,
    ) -> Result<(), DriverError> {
        let name = "cuMemcpyHtoDAsync";
        let (stream, to) = (self.stream(name, stream)?, self.inside(name, to, bytes)?);
        let from = self.host(name, from, offset, bytes)?;
        // SAFETY: both sides have that many bytes and live as long as the driver.
        call(name, unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.cast(), bytes as usize, stream) })
    }

    fn copy_out(
        &mut self,
        stream: Stream,
        to: Pinned,
        offset: u64,
        from: u64,
        bytes: u64,
    ) -> Result<(), DriverError> {
        let name = "cuMemcpyDtoHAsync";
        let (stream, from) = (self.stream(name, stream)?, self.inside(name, from, bytes)?);
        let to = self.host(name, to, offset, bytes)?;
        // SAFETY: both sides have that many bytes and live as long as the driver.
        call(name, unsafe { sys::cuMemcpyDtoHAsync_v2(to.cast(), from, bytes as usize, stream) })
    }

    fn copy(&mut self, stream: Stream, to: u64, from: u64, bytes: u64) -> Result<(), DriverError> {
        let name = "cuMemcpyDtoDAsync";
        let stream = self.stream(name, stream)?;
        let (to, from) = (self.inside(name, to, bytes)?, self.inside(name, from, bytes)?);
        // SAFETY: both sides lie inside allocations.
        call(name, unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, bytes as usize, stream) })
    }

    fn fill(&mut self, stream: Stream, to: u64, byte: u8, bytes: u64) -> Result<(), DriverError> {
        let name = "cuMemsetD8Async";
        let (stream, to) = (self.stream(name, stream)?, self.inside(name, to, bytes)?);
        // SAFETY: the bytes lie inside an allocation.
        call(name, unsafe { sys::cuMemsetD8Async(to, byte, bytes as usize, stream) })
    }

    fn launch(&mut self, stream: Stream, function: Function, launch: &Launch) -> Result<(), DriverError> {
        let name = "cuLaunchKernelEx";
        let stream = self.stream(name, stream)?;
        let (entry, function) = self.loaded(name, function)?;
        let mut attribute = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID_enum::CU_LAUNCH_ATTRIBUTE_COOPERATIVE,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { cooperative: 1 },
        };
        let [grid_x, grid_y, grid_z] = launch.grid;
        let [block_x, block_y, block_z] = launch.block;
        let config = sys::CUlaunchConfig {
            gridDimX: grid_x,
            gridDimY: grid_y,
            gridDimZ: grid_z,
            blockDimX: block_x,
            blockDimY: block_y,
            blockDimZ: block_z,
            sharedMemBytes: launch.shared_bytes,
            hStream: stream,
            attrs: &mut attribute,
            numAttrs: u32::from(launch.cooperative),
        };
        // The driver copies the struct during the call; it may want more alignment than bytes have.
        let mut aligned = vec![0u128; launch.arguments.len().div_ceil(16)];
        bytemuck::cast_slice_mut::<u128, u8>(&mut aligned)[..launch.arguments.len()]
            .copy_from_slice(&launch.arguments);
        let mut parameters = [aligned.as_mut_ptr().cast::<c_void>()];
        // SAFETY: the entry takes one struct of exactly these bytes (a test compares every launcher's with the PTX), and
        // what it does to memory stays inside the operands that the queue has checked.
        let code = unsafe { sys::cuLaunchKernelEx(&config, *function, parameters.as_mut_ptr(), null_mut()) };
        if code == CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES {
            let (block, shared) = (launch.block, launch.shared_bytes);
            let what =
                format!("{entry}: blocks of {block:?} threads with {shared} bytes of dynamic shared memory");
            return Err(DriverError::InvalidValue { call: name, what });
        }
        call(name, code)
    }

    fn write(&mut self, to: u64, from: &[u8]) -> Result<(), DriverError> {
        let to = self.inside("cuMemcpyHtoD", to, from.len() as u64)?;
        // SAFETY: the bytes lie inside an allocation; the call returns when they have been copied.
        call("cuMemcpyHtoD", unsafe { sys::cuMemcpyHtoD_v2(to, from.as_ptr().cast(), from.len()) })
    }

    fn read(&mut self, from: u64, into: &mut [u8]) -> Result<(), DriverError> {
        let from = self.inside("cuMemcpyDtoH", from, into.len() as u64)?;
        // SAFETY: the bytes lie inside an allocation; the call returns when they have been copied.
        call("cuMemcpyDtoH", unsafe { sys::cuMemcpyDtoH_v2(into.as_mut_ptr().cast(), from, into.len()) })
    }

    fn begin_capture(&mut self, stream: Stream) -> Result<(), DriverError> {
        let name = "cuStreamBeginCapture";
        let stream = self.stream(name, stream)?;
        let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: a handle of this driver.
        call(name, unsafe { sys::cuStreamBeginCapture_v2(stream, mode) })
    }

    fn end_capture(&mut self, stream: Stream) -> Result<Graph, DriverError> {
        let name = "cuStreamEndCapture";
        let stream = self.stream(name, stream)?;
        let mut graph = null_mut();
        // SAFETY: a handle of this driver, a valid place for the answer.
        call(name, unsafe { sys::cuStreamEndCapture(stream, &mut graph) })?;
        self.graphs.push(graph);
        Ok(Graph(self.graphs.len() as u32 - 1))
    }

    fn instantiate(&mut self, graph: Graph) -> Result<GraphExec, DriverError> {
        let name = "cuGraphInstantiate";
        let Some(&graph) = self.graphs.get(graph.0 as usize) else {
            return Err(DriverError::InvalidHandle { call: name, handle: format!("{graph:?}") });
        };
        let mut exec = null_mut();
        // SAFETY: a graph that this driver captured, a valid place for the answer.
        call(name, unsafe { sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0) })?;
        self.execs.push(exec);
        Ok(GraphExec(self.execs.len() as u32 - 1))
    }

    fn launch_graph(&mut self, exec: GraphExec, stream: Stream) -> Result<(), DriverError> {
        let name = "cuGraphLaunch";
        let stream = self.stream(name, stream)?;
        let Some(&exec) = self.execs.get(exec.0 as usize) else {
            return Err(DriverError::InvalidHandle { call: name, handle: format!("{exec:?}") });
        };
        // SAFETY: handles of this driver; the memory its nodes use lives as long.
        call(name, unsafe { sys::cuGraphLaunch(exec, stream) })
    }

    fn libraries(&self) -> &[DeviceLibrary] {
        &self.libraries
    }

    fn has_products(&self) -> bool {
        self.products.is_some()
    }

    fn plan_product(
        &mut self,
        shape: &ProductShape,
        scratch_bytes: u64,
    ) -> Result<Option<ProductPlan>, DriverError> {
        match &mut self.products {
            Some(library) => library.plan(shape, scratch_bytes),
            None => Ok(None),
        }
    }

    fn product(
        &mut self,
        stream: Stream,
        plan: ProductPlan,
        product: &Product,
        scratch: Scratch,
    ) -> Result<(), DriverError> {
        let name = "cublasLtMatmul";
        let ProductShape { a, b, c, d, .. } = &product.shape;
        for (bytes, at) in [a, b, c, d].map(Layout::span_bytes).into_iter().zip(product.at) {
            self.inside(name, at, bytes)?;
        }
        self.inside(name, scratch.at, scratch.bytes)?;
        let stream = self.stream(name, stream)?;
        match &self.products {
            Some(library) => library.run(plan, product, scratch, stream.cast()),
            None => Err(DriverError::InvalidHandle { call: name, handle: format!("{plan:?}") }),
        }
    }

    fn begin_range(&mut self, name: &str) {
        self.ranges.iter().for_each(|nvtx| nvtx.push(name));
    }

    fn end_range(&mut self) {
        self.ranges.iter().for_each(Nvtx::pop);
    }
}

impl Drop for CudaDriver {
    fn drop(&mut self) {
        // SAFETY: every handle was given out by the driver library to this object and is given back once, after
        // all work is done. Codes are ignored: a context that has failed refuses, and nothing can be done about it.
        unsafe {
            let _ = sys::cuCtxSynchronize();
            // It belongs to the context.
            self.products = None;
            for exec in self.execs.drain(..) {
                let _ = sys::cuGraphExecDestroy(exec);
            }
            for graph in self.graphs.drain(..) {
                let _ = sys::cuGraphDestroy(graph);
            }
            for event in self.events.drain(..) {
                let _ = sys::cuEventDestroy_v2(event);
            }
            for stream in self.streams.drain(..) {
                let _ = sys::cuStreamDestroy_v2(stream);
            }
            for (_, module) in self.modules.drain(..) {
                let _ = sys::cuModuleUnload(module);
            }
            for block in self.pinned.drain(..) {
                let _ = sys::cuMemFreeHost(block.start.cast());
            }
            for (address, _) in std::mem::take(&mut self.allocations) {
                let _ = sys::cuMemFree_v2(address);
            }
            let _ = sys::cuCtxSetCurrent(null_mut());
            let _ = sys::cuDevicePrimaryCtxRelease_v2(self.device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Says nothing where the library is: there the harness on a GPU takes over.
    #[test]
    fn without_the_library_opening_is_one_clear_error() {
        // SAFETY: only looks whether the library can be loaded.
        if unsafe { sys::is_culib_present() } {
            return;
        }
        let error = CudaDriver::open(0).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("libcuda.so.1") && error.contains("install"), "{error}");
    }
}
