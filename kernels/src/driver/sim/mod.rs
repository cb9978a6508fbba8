//! CUDA's driver over the simulated GPU.
//!
//! Work is kept back and run in some order that streams and events allow, drawn by a seed (`queue.rs`): a program
//! that forgot to wait sees it in its values for some seed. Apart from values, every launch, copy and host access is
//! held against the history of the bytes it touches (`races.rs`, `order.rs`), so that a missing event is reported for
//! every seed, with both pieces of work. `capture.rs` holds the rules of stream capture, `host.rs` page-locked
//! memory. Time, overlap inside a kernel's run, and what a real driver does on its own are not simulated.

mod capture;
mod enqueue;
mod host;
mod order;
mod queue;
mod races;
#[cfg(test)]
mod tests;
mod work;

use super::*;
use capture::{Capture, Nodes};
use host::HostMemory;
use octo_ptx::count::Limits;
use octo_ptx::sim::{Architecture, Config, Gpu, KernelId};
use octo_ptx::{Kernel, Space, Variable};
use order::{Chains, Clock};
use queue::{WorkId, WorkQueue};
use races::History;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use work::Work;

/// Dynamic shared memory that a launch gets without [`Driver::allow_shared`].
const SHARED_WITHOUT_ASKING: u32 = 48 * 1024;

/// How the simulated device is made. Without `gpu.checks` races are not looked for, in launches or between them.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The GPU below.
    pub gpu: Config,
    /// Chooses the order of work that streams leave open.
    pub seed: u64,
    /// Bytes of device memory.
    pub memory: u64,
    /// A planted fault: [`Driver::wait`] does nothing the time of this number, counted from 0.
    pub forgotten_wait: Option<u64>,
}

impl SimConfig {
    /// An A100 with 80 GiB and every check, simulated on so many threads of the CPU, all by default.
    pub fn new(threads: Option<usize>) -> SimConfig {
        let all = || std::thread::available_parallelism().map_or(1, |threads| threads.get());
        let gpu = Config {
            architecture: Architecture::Ampere,
            seed: 0,
            threads: threads.unwrap_or_else(all),
            resident_blocks: None,
            instruction_limit: 1 << 40,
            checks: true,
        };
        SimConfig { gpu, seed: 0, memory: 80 << 30, forgotten_wait: None }
    }
}

/// A driver whose device is simulated.
pub struct SimDriver {
    gpu: Gpu,
    facts: DeviceFacts,
    memory: u64,
    allocations: BTreeMap<u64, Allocation>,
    modules: Vec<LoadedModule>,
    functions: Vec<LoadedFunction>,
    streams: Vec<StreamState>,
    events: Vec<EventState>,
    pinned: Vec<HostMemory>,
    captures: BTreeMap<u32, Capture>,
    captured: u32,
    graphs: Vec<Arc<Nodes>>,
    execs: Vec<Exec>,
    queue: WorkQueue,
    chains: Chains,
    host_chain: u32,
    host: Clock,
    device: History,
    checks: bool,
    forgotten_wait: Option<u64>,
    waits: u64,
    failure: Option<String>,
}

struct Allocation {
    name: String,
    bytes: u64,
}

struct LoadedModule {
    name: String,
    kernels: BTreeMap<String, LoadedFunction>,
}

#[derive(Clone)]
struct LoadedFunction {
    entry: Arc<str>,
    kernel: KernelId,
    attributes: FunctionAttributes,
    allowed_shared: u32,
}

struct StreamState {
    name: String,
    chain: u32,
    clock: Clock,
    last: Vec<WorkId>,
    capture: Option<u32>,
}

#[derive(Clone)]
enum EventState {
    Never,
    Recorded { last: Vec<WorkId>, clock: Clock },
    Captured { capture: u32, nodes: BTreeSet<usize> },
}

struct Exec {
    nodes: Arc<Nodes>,
    chains: Vec<u32>,
    clock: Clock,
    last: Vec<WorkId>,
}

impl SimDriver {
    /// A device with nothing on it.
    pub fn new(config: SimConfig) -> SimDriver {
        let (mut chains, checks) = (Chains::default(), config.gpu.checks);
        SimDriver {
            facts: facts(config.gpu.architecture),
            checks,
            gpu: Gpu::new(config.gpu),
            memory: config.memory,
            allocations: BTreeMap::new(),
            modules: Vec::new(),
            functions: Vec::new(),
            streams: Vec::new(),
            events: Vec::new(),
            pinned: Vec::new(),
            captures: BTreeMap::new(),
            captured: 0,
            graphs: Vec::new(),
            execs: Vec::new(),
            queue: WorkQueue::new(config.seed),
            host_chain: chains.open(),
            chains,
            host: Clock::default(),
            device: History::new(checks),
            forgotten_wait: config.forgotten_wait,
            waits: 0,
            failure: None,
        }
    }

    /// Fails once anything has failed before.
    fn usable(&self) -> Result<(), DriverError> {
        match &self.failure {
            None => Ok(()),
            Some(first) => Err(DriverError::Poisoned { first: first.clone() }),
        }
    }

    /// Fails, and ends every capture, while a stream is being captured.
    fn outside_captures(&mut self, call: &'static str) -> Result<(), DriverError> {
        self.usable()?;
        if self.captures.is_empty() {
            return Ok(());
        }
        self.captures.values_mut().for_each(|capture| capture.lose(call));
        Err(DriverError::Capture { call, error: CaptureError::Unsupported })
    }
}

/// What the simulated device is.
fn facts(architecture: Architecture) -> DeviceFacts {
    let (name, capability, multiprocessors) = match architecture {
        Architecture::Ampere => ("simulated A100 (sm_80)", (8, 0), 108),
        Architecture::Hopper => ("simulated H100 (sm_90a)", (9, 0), 132),
    };
    let shared_bytes = Limits::of(architecture).block_shared_bytes;
    DeviceFacts { name: name.into(), capability, multiprocessors, shared_bytes }
}

/// A kernel's name and what it says of itself; no assembler has seen it.
fn described(module: &octo_ptx::Module, kernel: &Kernel) -> (String, FunctionAttributes) {
    let bytes = |space: Space| {
        let shared = |v: &&Variable| v.space == space;
        let own = kernel.variables.iter().filter(shared);
        let modules = module.variables.iter().filter(shared).filter(|_| space == Space::Shared);
        own.chain(modules).filter_map(|v| v.bytes).sum()
    };
    let threads = |axes: [u32; 3]| axes.iter().product();
    let attributes = FunctionAttributes {
        registers: None,
        local_bytes: bytes(Space::Local),
        shared_bytes: bytes(Space::Shared),
        max_threads: kernel.required_threads.or(kernel.max_threads).map_or(1024, threads),
    };
    (kernel.name.clone(), attributes)
}

fn handle<'a, T>(
    call: &'static str,
    kind: &str,
    list: &'a mut [T],
    index: u32,
) -> Result<&'a mut T, DriverError> {
    list.get_mut(index as usize)
        .ok_or_else(|| DriverError::InvalidHandle { call, handle: format!("{kind} {index}") })
}

impl Driver for SimDriver {
    fn device(&self) -> &DeviceFacts {
        &self.facts
    }

    fn memory(&self) -> Result<MemoryInfo, DriverError> {
        self.usable()?;
        let used: u64 = self.allocations.values().map(|allocation| allocation.bytes).sum();
        Ok(MemoryInfo { free: self.memory - used, total: self.memory })
    }

    fn load(&mut self, name: &str, ptx: &str) -> Result<Module, DriverError> {
        self.outside_captures("load")?;
        let invalid = |why: String| DriverError::InvalidPtx { module: name.into(), why };
        let module = octo_ptx::parse(ptx).map_err(|error| invalid(error.to_string()))?;
        let described: Vec<_> = module.kernels.iter().map(|kernel| described(&module, kernel)).collect();
        let id = self.gpu.load(module).map_err(|fault| invalid(fault.to_string()))?;
        let mut kernels = BTreeMap::new();
        for (entry, attributes) in described {
            let kernel = self.gpu.kernel(id, &entry).map_err(|fault| invalid(fault.to_string()))?;
            let allowed_shared = SHARED_WITHOUT_ASKING.saturating_sub(attributes.shared_bytes as u32);
            let entry: Arc<str> = entry.into();
            let function = LoadedFunction { entry: entry.clone(), kernel, attributes, allowed_shared };
            kernels.insert(entry.to_string(), function);
        }
        self.modules.push(LoadedModule { name: name.into(), kernels });
        Ok(Module(self.modules.len() as u32 - 1))
    }

    fn function(&mut self, module: Module, entry: &str) -> Result<Function, DriverError> {
        self.usable()?;
        let loaded = handle("function", "module", &mut self.modules, module.0)?;
        let Some(function) = loaded.kernels.get(entry) else {
            return Err(DriverError::NotFound { module: loaded.name.clone(), entry: entry.into() });
        };
        self.functions.push(function.clone());
        Ok(Function(self.functions.len() as u32 - 1))
    }

    fn attributes(&self, function: Function) -> Result<FunctionAttributes, DriverError> {
        self.usable()?;
        let loaded = self.functions.get(function.0 as usize);
        loaded.map(|function| function.attributes).ok_or_else(|| DriverError::InvalidHandle {
            call: "attributes",
            handle: format!("function {}", function.0),
        })
    }

    fn allow_shared(&mut self, function: Function, bytes: u32) -> Result<(), DriverError> {
        self.usable()?;
        let most = self.facts.shared_bytes;
        let loaded = handle("allow_shared", "function", &mut self.functions, function.0)?;
        if u64::from(bytes) + loaded.attributes.shared_bytes > u64::from(most) {
            return Err(DriverError::InvalidValue {
                call: "allow_shared",
                what: format!(
                    "{} has {} static bytes of shared memory; with {bytes} more it exceeds a block's {most}",
                    loaded.entry, loaded.attributes.shared_bytes
                ),
            });
        }
        loaded.allowed_shared = bytes;
        Ok(())
    }

    fn allocate(&mut self, name: &str, bytes: u64) -> Result<u64, DriverError> {
        self.outside_captures("allocate")?;
        if bytes == 0 {
            let what = format!("`{name}` of 0 bytes");
            return Err(DriverError::InvalidValue { call: "allocate", what });
        }
        let free = self.memory()?.free;
        if bytes > free {
            return Err(DriverError::OutOfMemory { name: name.into(), bytes, free });
        }
        let address = self.gpu.allocate(name, bytes).map_err(|fault| self.fail("allocate", fault))?;
        self.allocations.insert(address, Allocation { name: name.into(), bytes });
        Ok(address)
    }

    fn free(&mut self, address: u64) -> Result<(), DriverError> {
        self.outside_captures("free")?;
        if !self.allocations.contains_key(&address) {
            let what = format!("{address:#x} is not the start of an allocation");
            return Err(DriverError::InvalidValue { call: "free", what });
        }
        self.synchronize()?;
        let bytes = self.allocations.remove(&address).map_or(0, |allocation| allocation.bytes);
        self.device.forget(address..address + bytes);
        self.gpu.free(address).map_err(|fault| self.fail("free", fault))
    }

    fn allocate_host(&mut self, name: &str, bytes: u64) -> Result<Pinned, DriverError> {
        self.outside_captures("allocate_host")?;
        let size = usize::try_from(bytes).ok().filter(|&bytes| bytes > 0 && bytes < isize::MAX as usize);
        let Some(size) = size else {
            let what = format!("`{name}` of {bytes} bytes");
            return Err(DriverError::InvalidValue { call: "allocate_host", what });
        };
        self.pinned.push(HostMemory::new(name, size, self.checks));
        Ok(Pinned(self.pinned.len() as u32 - 1))
    }

    fn write_host(&mut self, to: Pinned, offset: u64, from: &[u8]) -> Result<(), DriverError> {
        let range = self.host_access("write_host", to, offset, from.len() as u64, true)?;
        let memory = handle("write_host", "page-locked memory", &mut self.pinned, to.0)?;
        memory.slice(&range).copy_from_slice(from);
        memory.written.insert(range);
        Ok(())
    }

    fn read_host(&mut self, from: Pinned, offset: u64, into: &mut [u8]) -> Result<(), DriverError> {
        let range = self.host_access("read_host", from, offset, into.len() as u64, false)?;
        let memory = handle("read_host", "page-locked memory", &mut self.pinned, from.0)?;
        into.copy_from_slice(memory.slice(&range));
        Ok(())
    }

    fn create_stream(&mut self, name: &str) -> Result<Stream, DriverError> {
        self.usable()?;
        let chain = self.chains.open();
        let (clock, last) = (Clock::default(), Vec::new());
        self.streams.push(StreamState { name: name.into(), chain, clock, last, capture: None });
        Ok(Stream(self.streams.len() as u32 - 1))
    }

    fn create_event(&mut self) -> Result<Event, DriverError> {
        self.usable()?;
        self.events.push(EventState::Never);
        Ok(Event(self.events.len() as u32 - 1))
    }

    fn record(&mut self, event: Event, stream: Stream) -> Result<(), DriverError> {
        let call = "record";
        self.usable()?;
        let state = handle(call, "stream", &mut self.streams, stream.0)?;
        let recorded = match state.capture.and_then(|id| Some((id, self.captures.get(&id)?))) {
            None => EventState::Recorded { last: state.last.clone(), clock: state.clock.clone() },
            Some((capture, under_way)) => {
                let nodes = under_way.record(stream).map_err(|error| DriverError::Capture { call, error })?;
                EventState::Captured { capture, nodes }
            }
        };
        *handle(call, "event", &mut self.events, event.0)? = recorded;
        Ok(())
    }

    fn wait(&mut self, stream: Stream, event: Event) -> Result<(), DriverError> {
        let call = "wait";
        self.usable()?;
        self.waits += 1;
        if self.forgotten_wait == Some(self.waits - 1) {
            return Ok(());
        }
        let event = handle(call, "event", &mut self.events, event.0)?.clone();
        let state = handle(call, "stream", &mut self.streams, stream.0)?;
        let refused = |error| Err(DriverError::Capture { call, error });
        match (state.capture, event) {
            (None, EventState::Never) => {}
            (None, EventState::Recorded { last, clock }) => {
                let queue = &self.queue;
                state.last.extend(last.iter().filter(|&&id| !queue.is_done(id)));
                state.clock.join(&clock);
            }
            (Some(inside), EventState::Captured { capture, nodes }) if inside == capture => {
                if let Some(under_way) = self.captures.get_mut(&capture) {
                    under_way.wait(stream, &nodes).or_else(refused)?;
                }
            }
            (Some(inside), outside) => {
                self.captures.get_mut(&inside).into_iter().for_each(|capture| capture.lose(call));
                return refused(match outside {
                    EventState::Captured { .. } => CaptureError::Merge,
                    _ => CaptureError::Isolation,
                });
            }
            (None, EventState::Captured { capture, nodes }) => match self.captures.get_mut(&capture) {
                None => return refused(CaptureError::CapturedEvent),
                Some(under_way) => {
                    under_way.wait(stream, &nodes).or_else(refused)?;
                    state.capture = Some(capture);
                }
            },
        }
        Ok(())
    }

    fn query(&mut self, event: Event) -> Result<bool, DriverError> {
        let (last, clock) = match self.host_event("query", event)? {
            None => return Ok(true),
            Some(recorded) => recorded,
        };
        // Some of the work may have got done meanwhile; asking again and again comes to an end.
        let mut needed = self.queue.needed(&last);
        if let Some(work) = self.queue.take_of(&mut needed) {
            self.execute(work)?;
        }
        let done = last.iter().all(|&id| self.queue.is_done(id));
        if done {
            self.host.join(&clock);
        }
        Ok(done)
    }

    fn synchronize_event(&mut self, event: Event) -> Result<(), DriverError> {
        match self.host_event("synchronize_event", event)? {
            None => Ok(()),
            Some((last, clock)) => self.finish(&last, &clock),
        }
    }

    fn synchronize_stream(&mut self, stream: Stream) -> Result<(), DriverError> {
        let call = "synchronize_stream";
        self.usable()?;
        let state = handle(call, "stream", &mut self.streams, stream.0)?;
        if let Some(capture) = state.capture {
            self.captures.get_mut(&capture).into_iter().for_each(|capture| capture.lose(call));
            return Err(DriverError::Capture { call, error: CaptureError::Unsupported });
        }
        let (last, clock) = (state.last.clone(), state.clock.clone());
        self.finish(&last, &clock)
    }

    fn synchronize(&mut self) -> Result<(), DriverError> {
        self.outside_captures("synchronize")?;
        while let Some(work) = self.queue.take_any() {
            self.execute(work)?;
        }
        let clocks = self.streams.iter().map(|stream| &stream.clock);
        clocks.for_each(|clock| self.host.join(clock));
        Ok(())
    }

    fn copy_in(
        &mut self,
        stream: Stream,
        to: u64,
        from: Pinned,
        offset: u64,
        bytes: u64,
    ) -> Result<(), DriverError> {
        let range = self.host_range("copy_in", from, offset, bytes)?;
        self.device_range("copy_in", to, bytes)?;
        self.enqueue("copy_in", stream, Work::CopyIn { to, from, range })
    }

    fn copy_out(
        &mut self,
        stream: Stream,
        to: Pinned,
        offset: u64,
        from: u64,
        bytes: u64,
    ) -> Result<(), DriverError> {
        let range = self.host_range("copy_out", to, offset, bytes)?;
        self.device_range("copy_out", from, bytes)?;
        self.enqueue("copy_out", stream, Work::CopyOut { to, range, from })
    }

    fn copy(&mut self, stream: Stream, to: u64, from: u64, bytes: u64) -> Result<(), DriverError> {
        self.device_range("copy", to, bytes)?;
        self.device_range("copy", from, bytes)?;
        self.enqueue("copy", stream, Work::Copy { to, from, bytes })
    }

    fn fill(&mut self, stream: Stream, to: u64, byte: u8, bytes: u64) -> Result<(), DriverError> {
        self.device_range("fill", to, bytes)?;
        self.enqueue("fill", stream, Work::Fill { to, byte, bytes })
    }

    fn launch(&mut self, stream: Stream, function: Function, launch: &Launch) -> Result<(), DriverError> {
        self.usable()?;
        let work = self.checked_launch(function, launch)?;
        self.enqueue("launch", stream, work)
    }

    fn write(&mut self, to: u64, from: &[u8]) -> Result<(), DriverError> {
        self.outside_captures("write")?;
        self.device_range("write", to, from.len() as u64)?;
        self.host_on_device("write", to..to + from.len() as u64, true)?;
        self.gpu.write(to, from).map_err(|fault| self.fail("write", fault))
    }

    fn read(&mut self, from: u64, into: &mut [u8]) -> Result<(), DriverError> {
        self.outside_captures("read")?;
        self.device_range("read", from, into.len() as u64)?;
        self.host_on_device("read", from..from + into.len() as u64, false)?;
        self.gpu.read(from, into).map_err(|fault| self.fail("read", fault))
    }

    fn begin_capture(&mut self, stream: Stream) -> Result<(), DriverError> {
        let call = "begin_capture";
        self.usable()?;
        let state = handle(call, "stream", &mut self.streams, stream.0)?;
        if state.capture.is_some() {
            return Err(DriverError::Capture { call, error: CaptureError::AlreadyCapturing });
        }
        state.capture = Some(self.captured);
        self.captures.insert(self.captured, Capture::new(stream));
        self.captured += 1;
        Ok(())
    }

    fn end_capture(&mut self, stream: Stream) -> Result<Graph, DriverError> {
        let call = "end_capture";
        self.usable()?;
        let refused = |error| DriverError::Capture { call, error };
        let state = handle(call, "stream", &mut self.streams, stream.0)?;
        let id = state.capture.ok_or_else(|| refused(CaptureError::NotCapturing))?;
        if self.captures.get(&id).is_some_and(|capture| capture.origin() != stream) {
            return Err(refused(CaptureError::Unmatched));
        }
        let capture = self.captures.remove(&id).ok_or_else(|| refused(CaptureError::NotCapturing))?;
        for member in capture.streams() {
            handle(call, "stream", &mut self.streams, member.0)?.capture = None;
        }
        let nodes = capture.end(|stream| self.streams[stream.0 as usize].name.clone()).map_err(refused)?;
        self.graphs.push(Arc::new(nodes));
        Ok(Graph(self.graphs.len() as u32 - 1))
    }

    fn instantiate(&mut self, graph: Graph) -> Result<GraphExec, DriverError> {
        self.usable()?;
        let nodes = handle("instantiate", "graph", &mut self.graphs, graph.0)?.clone();
        let chains = (0..nodes.chains).map(|_| self.chains.open()).collect();
        self.execs.push(Exec { nodes, chains, clock: Clock::default(), last: Vec::new() });
        Ok(GraphExec(self.execs.len() as u32 - 1))
    }

    fn launch_graph(&mut self, exec: GraphExec, stream: Stream) -> Result<(), DriverError> {
        self.enqueue_graph(exec, stream)
    }
}
