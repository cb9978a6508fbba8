//! How do ops run on a [`Driver`]?
//!
//! One path for all: an op becomes launches (`ops.rs`, the only place that knows which op has which kernel), a launch
//! runs on the compute stream or is captured there. Buffers are allocations; a capture is a list of ops until it
//! ends, so that modules are loaded and mistakes found before the stream is captured. Readbacks run on a stream of
//! their own, so that the loss of one step comes home while the next computes; work that would overwrite what is being
//! read waits for that copy alone (`copies.rs`).
//!
//! It does not check ops: the queue has, and its bounds are what makes kernels safe to launch. Read this file first.

mod copies;
mod ops;

use crate::driver::{Driver, DriverError, Event, Function, GraphExec, Module, Stream};
use crate::tuning::{Capability, Tuning};
use crate::{Addresses, Launch, WORKSPACE_BYTES};
use copies::{Readback, Staging};
use octo_ops::{
    Access, Backend, BackendError, BufferId, DeviceInfo, Op, Precision, Program, SLOTS, Slot, View,
};
use octo_ptx::shipped::{SM_80, Shipped};
use std::collections::BTreeMap;

/// What buffers leave free: for the code of kernels, for graphs, and for allocations that the driver rounds up. Not yet
/// measured.
const RESERVE_BYTES: u64 = 512 << 20;

/// Ops on CUDA kernels.
pub struct CudaBackend {
    kind: &'static str,
    driver: Box<dyn Driver>,
    compute: Stream,
    home: Stream,
    tuning: Tuning,
    ready: Event,
    buffers: Buffers,
    modules: BTreeMap<&'static str, Module>,
    functions: BTreeMap<String, LoadedFunction>,
    staging: Staging,
    readbacks: [Option<Readback>; SLOTS],
    capturing: Option<Vec<Op>>,
    programs: Vec<Captured>,
}

/// Addresses of all buffers and of the workspace, which only the compute stream touches.
struct Buffers {
    tensors: Vec<u64>,
    workspace: u64,
}

impl Addresses for Buffers {
    fn address(&self, view: &View) -> u64 {
        self.tensors.get(view.buffer.0 as usize).copied().unwrap_or(0) + view.offset
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

struct Captured {
    exec: GraphExec,
    written: Vec<View>,
}

impl CudaBackend {
    /// A backend over a driver; `kind` is the device's name as users write it.
    ///
    /// # Errors
    /// What the driver says when streams or the workspace cannot be made.
    pub fn new(kind: &'static str, mut driver: Box<dyn Driver>) -> Result<CudaBackend, BackendError> {
        let (compute, home) = streams(driver.as_mut()).map_err(device)?;
        let ready = driver.create_event().map_err(device)?;
        let workspace = driver.allocate("workspace", WORKSPACE_BYTES).map_err(device)?;
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
            home,
            tuning,
            ready,
            buffers: Buffers { tensors: Vec::new(), workspace },
            modules: BTreeMap::new(),
            functions: BTreeMap::new(),
            staging: Staging::default(),
            readbacks: Default::default(),
            capturing: None,
            programs: Vec::new(),
        })
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
                let module = match self.modules.get(shipped.name) {
                    Some(&module) => module,
                    None => self.driver.load(shipped.name, shipped.text).map_err(device)?,
                };
                self.modules.insert(shipped.name, module);
                let function = self.driver.function(module, &launch.entry).map_err(device)?;
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

    /// Launches with their kernels loaded.
    fn load(&mut self, op: &Op) -> Result<Vec<(Function, Launch)>, BackendError> {
        let launches = self.launches(op)?;
        launches.into_iter().map(|launch| Ok((self.function(&launch)?, launch))).collect()
    }
}

fn streams(driver: &mut dyn Driver) -> Result<(Stream, Stream), DriverError> {
    Ok((driver.create_stream("compute")?, driver.create_stream("device to host")?))
}

/// The shipped module that holds an entry.
fn holder(entry: &str) -> Result<&'static Shipped, BackendError> {
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

/// The views an op writes.
fn written(op: &Op) -> impl Iterator<Item = View> {
    op.operands().into_iter().filter(|o| o.access != Access::Read).map(|o| o.view)
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
            workspace: WORKSPACE_BYTES,
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
        Ok(BufferId(self.buffers.tensors.len() as u32 - 1))
    }

    fn run(&mut self, op: &Op) -> Result<(), BackendError> {
        let launches = self.load(op)?;
        if let Some(ops) = &mut self.capturing {
            ops.push(*op);
            return Ok(());
        }
        self.let_readbacks_pass(written(op))?;
        for (function, launch) in launches {
            self.driver.launch(self.compute, function, &launch).map_err(device)?;
        }
        Ok(())
    }

    fn upload(&mut self, to: &View, from: &[u8]) -> Result<(), BackendError> {
        self.let_readbacks_pass([*to])?;
        let address = self.buffers.address(to);
        self.staging.upload(self.driver.as_mut(), self.compute, address, from).map_err(device)
    }

    fn begin_readback(&mut self, slot: Slot, from: &View) -> Result<(), BackendError> {
        self.start_readback(slot, from)
    }

    fn finish_readback(&mut self, slot: Slot, into: &mut [u8]) -> Result<(), BackendError> {
        match self.readbacks.get(slot.0 as usize) {
            Some(Some(readback)) if readback.bytes() == into.len() as u64 => {
                readback.finish(self.driver.as_mut(), into).map_err(device)
            }
            _ => Err(BackendError::Misuse(format!("{slot:?} does not hold {} bytes", into.len()))),
        }
    }

    fn snapshot(&mut self, from: &View, into: &mut [u8]) -> Result<(), BackendError> {
        let address = self.buffers.address(from);
        self.staging.download(self.driver.as_mut(), self.compute, address, into).map_err(device)
    }

    fn begin_capture(&mut self) -> Result<(), BackendError> {
        self.capturing = Some(Vec::new());
        Ok(())
    }

    fn end_capture(&mut self) -> Result<Program, BackendError> {
        let Some(ops) = self.capturing.take() else {
            return Err(BackendError::Misuse("no capture to end".into()));
        };
        let mut launches = Vec::new();
        for op in &ops {
            launches.extend(self.load(op)?);
        }
        let (driver, stream) = (self.driver.as_mut(), self.compute);
        driver.begin_capture(stream).map_err(device)?;
        let outcome =
            launches.iter().try_for_each(|(function, launch)| driver.launch(stream, *function, launch));
        // The stream must leave the capture whatever happened inside.
        let graph = driver.end_capture(stream);
        let exec = outcome.and(graph).and_then(|graph| driver.instantiate(graph)).map_err(device)?;
        self.programs.push(Captured { exec, written: ops.iter().flat_map(written).collect() });
        Ok(Program(self.programs.len() as u32 - 1))
    }

    fn replay(&mut self, program: Program) -> Result<(), BackendError> {
        let Some(captured) = self.programs.get(program.0 as usize) else {
            return Err(BackendError::Misuse(format!("there is no {program:?}")));
        };
        let (exec, written) = (captured.exec, captured.written.clone());
        self.let_readbacks_pass(written)?;
        self.driver.launch_graph(exec, self.compute).map_err(device)
    }

    fn wait(&mut self) -> Result<(), BackendError> {
        self.driver.synchronize().map_err(device)
    }
}
