//! How do ops run on a [`Driver`]?
//!
//! One path for all: an op becomes launches (`ops.rs`, the only place that knows which op has which kernel), a launch
//! runs on the compute stream or is captured there. Buffers are allocations; a capture is a list of ops until it
//! ends, so that modules are loaded and mistakes found before the stream is captured. Uploads and readbacks run on
//! streams of their own, so that inputs arrive and losses come home while compute goes on; only work on the same bytes
//! waits (`copies.rs`). What they go through is page-locked memory (`staging.rs`).
//!
//! It checks an op's shapes and types, not where its operands lie: that the queue has, and its bounds are what makes
//! kernels safe to launch. Read this file first.

mod copies;
mod ops;
mod products;
mod resources;
mod staging;
#[cfg(test)]
mod tests;
mod touched;

use crate::driver::{
    Driver, DriverError, Event, Function, GraphExec, Module, Product, ProductPlan, Scratch, Stream,
};
use crate::tuning::{Capability, Tuning, TuningError};
use crate::{Addresses, Launch, WORKSPACE_BYTES};
use copies::Readback;
use octo_ops::{
    Access, Backend, BackendError, BufferId, DeviceInfo, Forward, KernelUse, Op, Precision, Program, SLOTS,
    Slot, View,
};
use octo_ptx::shipped::{SM_80, Shipped};
pub use ops::launches;
use staging::Staging;
use std::collections::BTreeMap;
use touched::Touched;

/// What buffers leave free: for the code of kernels, for graphs, and for allocations that the driver rounds up. Not yet
/// measured.
const RESERVE_BYTES: u64 = 512 << 20;

/// Ops on CUDA kernels.
pub struct CudaBackend {
    kind: &'static str,
    driver: Box<dyn Driver>,
    compute: Stream,
    inbound: Stream,
    home: Stream,
    tuning: Tuning,
    /// Compute has come so far.
    ready: Event,
    /// Uploads have come so far.
    arrived: Event,
    /// What compute was asked to touch since uploads last waited for it.
    in_use: Touched,
    /// What was uploaded since compute last waited for uploads.
    arriving: Touched,
    buffers: Buffers,
    modules: BTreeMap<&'static str, Module>,
    functions: BTreeMap<String, LoadedFunction>,
    staging: Staging,
    readbacks: [Option<Readback>; SLOTS],
    /// What products may use while they run, where there is a library of them. Only compute's.
    scratch: Option<Scratch>,
    forward: Forward,
    capturing: Option<Recorded>,
    programs: Vec<Captured>,
}

/// Scratch memory of the library of products: what NVIDIA advises from compute capability 9.0 on.
const SCRATCH_BYTES: u64 = 32 << 20;

/// Addresses of all buffers and of the workspace, which only the compute stream touches.
struct Buffers {
    tensors: Vec<u64>,
    workspace: u64,
}

impl Addresses for Buffers {
    fn address(&self, view: &View) -> u64 {
        // Bounds are the queue's: a place past all memory comes to some address, and no further than this.
        self.tensors.get(view.buffer.0 as usize).copied().unwrap_or(0).wrapping_add(view.offset)
    }

    fn workspace(&self) -> u64 {
        self.workspace
    }
}

#[derive(Clone, Copy)]
struct LoadedFunction {
    function: Function,
    allowed_shared: u32,
}

/// What an op comes to on the compute stream.
enum Work {
    Launch(Function, Launch),
    Product(ProductPlan, Product, Scratch),
}

impl Work {
    fn start(&self, driver: &mut dyn Driver, stream: Stream) -> Result<(), DriverError> {
        match self {
            Work::Launch(function, launch) => driver.launch(stream, *function, launch),
            Work::Product(plan, product, scratch) => driver.product(stream, *plan, product, *scratch),
        }
    }
}

/// A capture under way: ready to be put on the stream, as the kernels were chosen when each op came.
#[derive(Default)]
struct Recorded {
    ops: Vec<Op>,
    work: Vec<Work>,
}

struct Captured {
    exec: GraphExec,
    touched: Touched,
    written: Vec<View>,
}

impl CudaBackend {
    /// A backend over a driver; `kind` is the device's name as users write it.
    ///
    /// # Errors
    /// What the driver says when streams or the workspace cannot be made.
    pub fn new(kind: &'static str, mut driver: Box<dyn Driver>) -> Result<CudaBackend, BackendError> {
        let mut stream = |name| driver.create_stream(name).map_err(device);
        let [compute, inbound, home] =
            [stream("compute")?, stream("host to device")?, stream("device to host")?];
        let [ready, arrived] =
            [driver.create_event().map_err(device)?, driver.create_event().map_err(device)?];
        let workspace = driver.allocate("workspace", WORKSPACE_BYTES).map_err(device)?;
        let scratch = match driver.has_products() {
            false => None,
            true => {
                let at = driver.allocate("scratch of products", SCRATCH_BYTES).map_err(device)?;
                Some(Scratch { at, bytes: SCRATCH_BYTES })
            }
        };
        let facts = driver.device();
        let tuning = Tuning::new(Capability {
            version: facts.capability,
            multiprocessors: facts.multiprocessors,
            shared_bytes: facts.shared_bytes,
        });
        Ok(CudaBackend {
            kind,
            driver,
            compute,
            inbound,
            home,
            tuning,
            ready,
            arrived,
            in_use: Touched::default(),
            arriving: Touched::default(),
            buffers: Buffers { tensors: Vec::new(), workspace },
            modules: BTreeMap::new(),
            functions: BTreeMap::new(),
            staging: Staging::default(),
            readbacks: Default::default(),
            scratch,
            forward: Forward::Invariant,
            capturing: None,
            programs: Vec::new(),
        })
    }

    /// From now on every shape of `op` runs on the row of the tuning table with this entry.
    ///
    /// # Errors
    /// As [`Tuning::fix`].
    pub fn fix(&mut self, op: &str, entry: &str) -> Result<(), TuningError> {
        self.tuning.fix(op, entry)
    }

    /// The launches of an op, or why there are none.
    fn launches(&self, op: &Op) -> Result<Vec<Launch>, BackendError> {
        ops::launches(op, &self.buffers, &self.tuning).map_err(|what| BackendError::Unsupported {
            op: op.name(),
            device: self.kind,
            what,
        })
    }

    /// The kernel of a launch, loaded and allowed its shared memory.
    fn function(&mut self, launch: &Launch) -> Result<Function, BackendError> {
        let mut loaded = match self.functions.get(&launch.entry) {
            Some(&loaded) => loaded,
            None => {
                let shipped = holder(&launch.entry)?;
                let module = self.module(shipped)?;
                let function = self.driver.function(module, &launch.entry).map_err(device)?;
                resources::compare(self.driver.as_ref(), function, &launch.entry).map_err(device)?;
                LoadedFunction { function, allowed_shared: 0 }
            }
        };
        if launch.shared_bytes > loaded.allowed_shared {
            self.driver.allow_shared(loaded.function, launch.shared_bytes).map_err(device)?;
            loaded.allowed_shared = launch.shared_bytes;
        }
        self.functions.insert(launch.entry.clone(), loaded);
        Ok(loaded.function)
    }

    fn module(&mut self, shipped: &'static Shipped) -> Result<Module, BackendError> {
        if let Some(&module) = self.modules.get(shipped.name) {
            return Ok(module);
        }
        let module = self.driver.load(shipped.name, shipped.text).map_err(device)?;
        self.modules.insert(shipped.name, module);
        Ok(module)
    }

    /// An op's work, kernels loaded and algorithms chosen. What the library of products computes, our kernels could too.
    fn load(&mut self, op: &Op) -> Result<Vec<Work>, BackendError> {
        let launches = self.launches(op)?;
        if let Some(scratch) = self.scratch
            && let Some(product) = products::product(op, &self.buffers, self.forward)
            && let Some(plan) = self.driver.plan_product(&product.shape, scratch.bytes).map_err(device)?
        {
            return Ok(vec![Work::Product(plan, product, scratch)]);
        }
        launches.into_iter().map(|launch| Ok(Work::Launch(self.function(&launch)?, launch))).collect()
    }
}

/// The shipped module that holds an entry.
pub(crate) fn holder(entry: &str) -> Result<&'static Shipped, BackendError> {
    let declaration = format!(".entry {entry}(");
    SM_80.iter().find(|shipped| shipped.text.contains(&declaration)).ok_or_else(|| {
        BackendError::Misuse(format!("no shipped PTX has the entry `{entry}`; run `cargo xtask ptx`"))
    })
}

/// An error of the driver as one of the backend.
fn device(error: DriverError) -> BackendError {
    match error {
        DriverError::OutOfMemory { name, bytes, .. } => BackendError::OutOfMemory { name, bytes },
        error => BackendError::Device(Box::new(error)),
    }
}

/// What ops touch, and the views they write.
fn touched(ops: &[Op]) -> (Touched, Vec<View>) {
    let operands: Vec<_> = ops.iter().flat_map(Op::operands).collect();
    let written = operands.iter().filter(|o| o.access != Access::Read).map(|o| o.view).collect();
    (operands.iter().map(|o| o.view).collect(), written)
}

impl Backend for CudaBackend {
    fn describe(&self) -> DeviceInfo {
        let facts = self.driver.device();
        let (kind, memory) = (self.kind, self.driver.memory().ok());
        let gib = memory.map_or(0, |memory| memory.total >> 30);
        let description =
            format!("{kind}: {}, {} multiprocessors, {gib} GiB", facts.name, facts.multiprocessors);
        DeviceInfo {
            kind,
            description,
            precision: Precision::CUDA,
            asynchronous: true,
            libraries: self.driver.libraries().to_vec(),
            workspace: WORKSPACE_BYTES + self.scratch.map_or(0, |scratch| scratch.bytes),
            available: memory.map(|memory| memory.free.saturating_sub(RESERVE_BYTES)),
        }
    }

    fn supports(&self, op: &Op) -> bool {
        self.launches(op).is_ok()
    }

    fn allocate(&mut self, name: &str, bytes: u64) -> Result<BufferId, BackendError> {
        let bytes = bytes.max(1);
        let address = self.driver.allocate(name, bytes).map_err(device)?;
        self.driver.fill(self.compute, address, 0, bytes).map_err(device)?;
        self.buffers.tensors.push(address);
        let buffer = BufferId(self.buffers.tensors.len() as u32 - 1);
        self.in_use.insert_bytes(buffer, 0..bytes);
        Ok(buffer)
    }

    fn run(&mut self, op: &Op) -> Result<(), BackendError> {
        let work = self.load(op)?;
        if let Some(recorded) = &mut self.capturing {
            recorded.ops.push(*op);
            recorded.work.extend(work);
            return Ok(());
        }
        let (touched, written) = touched(&[*op]);
        self.order_compute(&touched, &written)?;
        let (driver, stream) = (self.driver.as_mut(), self.compute);
        driver.begin_range(op.name());
        let outcome = work.iter().try_for_each(|work| work.start(driver, stream));
        driver.end_range();
        outcome.map_err(device)
    }

    fn upload(&mut self, to: &View, from: &[u8]) -> Result<(), BackendError> {
        self.start_upload(to, from)
    }

    fn begin_readback(&mut self, slot: Slot, from: &View) -> Result<(), BackendError> {
        self.start_readback(slot, from)
    }

    fn finish_readback(&mut self, slot: Slot, into: &mut [u8]) -> Result<(), BackendError> {
        match self.readbacks.get_mut(slot.0 as usize) {
            Some(Some(readback)) if readback.bytes() == into.len() as u64 => {
                readback.finish(self.driver.as_mut(), into).map_err(device)
            }
            _ => Err(BackendError::Misuse(format!("{slot:?} does not hold {} bytes", into.len()))),
        }
    }

    fn snapshot(&mut self, from: &View, into: &mut [u8]) -> Result<(), BackendError> {
        self.download(from, into)
    }

    fn begin_capture(&mut self) -> Result<(), BackendError> {
        self.capturing = Some(Recorded::default());
        Ok(())
    }

    fn end_capture(&mut self) -> Result<Program, BackendError> {
        let Some(Recorded { ops, work }) = self.capturing.take() else {
            return Err(BackendError::Misuse("no capture to end".into()));
        };
        let (driver, stream) = (self.driver.as_mut(), self.compute);
        driver.begin_capture(stream).map_err(device)?;
        let outcome = work.iter().try_for_each(|work| work.start(driver, stream));
        // The stream must leave the capture whatever happened inside.
        let graph = driver.end_capture(stream);
        let exec = outcome.and(graph).and_then(|graph| driver.instantiate(graph)).map_err(device)?;
        let (touched, written) = touched(&ops);
        self.programs.push(Captured { exec, touched, written });
        Ok(Program(self.programs.len() as u32 - 1))
    }

    fn replay(&mut self, program: Program) -> Result<(), BackendError> {
        let Some(captured) = self.programs.get(program.0 as usize) else {
            return Err(BackendError::Misuse(format!("there is no {program:?}")));
        };
        let (exec, touched, written) = (captured.exec, captured.touched.clone(), captured.written.clone());
        self.order_compute(&touched, &written)?;
        self.driver.launch_graph(exec, self.compute).map_err(device)
    }

    fn wait(&mut self) -> Result<(), BackendError> {
        self.finish_all()
    }

    fn set_forward(&mut self, forward: Forward) {
        self.forward = forward;
    }

    fn begin_range(&mut self, name: &str) {
        self.driver.begin_range(name);
    }

    fn end_range(&mut self) {
        self.driver.end_range();
    }

    fn kernels(&mut self) -> Result<Vec<KernelUse>, BackendError> {
        let mut all = Vec::new();
        for shipped in SM_80 {
            let module = self.module(shipped)?;
            for entry in resources::entries(shipped.text) {
                let function = self.driver.function(module, entry).map_err(device)?;
                all.push(resources::of(self.driver.as_ref(), function, entry).map_err(device)?);
            }
        }
        Ok(all)
    }
}
