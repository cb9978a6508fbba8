//! The simulated GPU as a driver sees it: modules, memory, launches.

use super::config::{Config, Grid};
use super::fault::Fault;
use super::grid::{self, Report};
use super::launch::Launch;
use super::lower::{Symbols, lower, target_number};
use super::memory::SHARED_RESERVED;
use super::memory::bank::Private;
use super::memory::global::Global;
use super::program::Program;
use super::{alu, random::Random};
use crate::count::{Limits, occupancy};
use crate::{Module, Operation, Space};

/// A loaded module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(u32);

/// A kernel of a loaded module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelId {
    module: u32,
    kernel: u32,
}

struct Loaded {
    module: Module,
    /// One for each kernel, in order.
    programs: Vec<Program>,
    /// Operations of each kernel, for the counts.
    bodies: Vec<Vec<Operation>>,
    /// Address of each module variable within its space.
    symbols: Symbols,
    constants: Private,
    constant_bytes: u32,
}

/// A GPU that runs on the CPU. Launches are synchronous; after a fault in a launch the memory it may have written holds
/// some part of what it wrote.
pub struct Gpu {
    config: Config,
    memory: Global,
    modules: Vec<Loaded>,
    launches: u64,
    /// Whether the host runs the faster build of the arithmetic.
    pub(super) fast: bool,
}

impl Gpu {
    /// A GPU without modules and with empty memory.
    pub fn new(config: Config) -> Self {
        Self { config, memory: Global::new(), modules: Vec::new(), launches: 0, fast: alu::fast_host() }
    }

    /// How it was made.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Loads a module: every kernel is made ready, `.global` variables get memory, which begins as CUDA says (initial
    /// values, else 0).
    ///
    /// # Errors
    /// [`Fault::Target`] for a newer architecture, [`Fault::Unsupported`] with the text of an instruction that is not
    /// simulated, [`Fault::Allocation`].
    pub fn load(&mut self, module: Module) -> Result<ModuleId, Fault> {
        if target_number(&module.target) > self.config.target() {
            let simulated = format!("sm_{}", self.config.target());
            return Err(Fault::Target { target: module.target, simulated });
        }
        let mut symbols = Symbols { module: Vec::new() };
        let mut constants = Vec::new();
        for variable in &module.variables {
            let bytes = variable.bytes.unwrap_or(0);
            let address = match variable.space {
                Space::Global => {
                    let address = self.memory.allocate(&variable.name, bytes, false)?;
                    self.memory.fill(address, 0, bytes)?;
                    self.memory.write(address, &variable.initial)?;
                    address
                }
                Space::Const => {
                    constants.resize(constants.len().next_multiple_of(variable.align.max(1) as usize), 0);
                    let address = constants.len();
                    if bytes > 1 << 16 {
                        let why = "constant memory has 64 KiB";
                        return Err(Fault::Allocation { name: variable.name.clone(), bytes, why });
                    }
                    constants.extend_from_slice(&variable.initial);
                    constants.resize(address + bytes as usize, 0);
                    address as u64
                }
                _ => 0,
            };
            symbols.module.push(address);
        }
        let programs =
            module.kernels.iter().map(|kernel| lower(&module, kernel, &symbols)).collect::<Result<_, _>>()?;
        let body = |kernel: &crate::Kernel| kernel.body.iter().map(|line| line.operation.clone()).collect();
        let bodies = module.kernels.iter().map(body).collect();
        let constant_bytes = constants.len() as u32;
        let mut bank = Private::new(constants.len());
        bank.set(&constants);
        self.modules.push(Loaded { module, programs, bodies, symbols, constants: bank, constant_bytes });
        Ok(ModuleId(self.modules.len() as u32 - 1))
    }

    /// Finds a kernel by name.
    ///
    /// # Errors
    /// [`Fault::NoKernel`] with the names there are.
    pub fn kernel(&self, module: ModuleId, name: &str) -> Result<KernelId, Fault> {
        let loaded = self.modules.get(module.0 as usize).ok_or(Fault::Foreign { what: "module" })?;
        match loaded.module.kernels.iter().position(|kernel| kernel.name == name) {
            Some(kernel) => Ok(KernelId { module: module.0, kernel: kernel as u32 }),
            None => Err(Fault::NoKernel {
                name: String::from(name),
                have: loaded.module.kernels.iter().map(|kernel| kernel.name.clone()).collect(),
            }),
        }
    }

    /// Address and size of a module's `.global` variable.
    ///
    /// # Errors
    /// [`Fault::NoVariable`].
    pub fn variable(&self, module: ModuleId, name: &str) -> Result<(u64, u64), Fault> {
        let loaded = self.modules.get(module.0 as usize).ok_or(Fault::Foreign { what: "module" })?;
        let mut all = loaded.module.variables.iter().zip(&loaded.symbols.module);
        let found = all.find(|(variable, _)| variable.name == name && variable.space == Space::Global);
        match found {
            Some((variable, &address)) => Ok((address, variable.bytes.unwrap_or(0))),
            None => Err(Fault::NoVariable { name: String::from(name) }),
        }
    }

    /// Allocates device memory: aligned to 256 bytes, far from its neighbours, nothing written, and without cost until
    /// something is. Addresses are never used again.
    ///
    /// # Errors
    /// [`Fault::Allocation`] for 0 bytes or more than 2⁴⁴.
    pub fn allocate(&mut self, name: &str, bytes: u64) -> Result<u64, Fault> {
        self.memory.allocate(name, bytes, false)
    }

    /// As [`Gpu::allocate`], of bytes that all hold a written 0, which costs no more.
    ///
    /// # Errors
    /// [`Fault::Allocation`] for 0 bytes or more than 2⁴⁴.
    pub fn allocate_zeroed(&mut self, name: &str, bytes: u64) -> Result<u64, Fault> {
        self.memory.allocate(name, bytes, true)
    }

    /// Frees an allocation.
    ///
    /// # Errors
    /// [`Fault::Host`] where no allocation begins at the address.
    pub fn free(&mut self, address: u64) -> Result<(), Fault> {
        self.memory.free(address)
    }

    /// Copies bytes to device memory.
    ///
    /// # Errors
    /// [`Fault::Host`] where the range is not inside one allocation.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.memory.write(address, bytes)
    }

    /// Sets bytes of device memory.
    ///
    /// # Errors
    /// [`Fault::Host`] where the range is not inside one allocation.
    pub fn fill(&mut self, address: u64, byte: u8, count: u64) -> Result<(), Fault> {
        self.memory.fill(address, byte, count)
    }

    /// Copies bytes from device memory.
    ///
    /// # Errors
    /// [`Fault::Host`] where the range is not inside one allocation, [`Fault::HostUninitialized`] for bytes that nothing
    /// wrote.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.memory.read(address, bytes)
    }

    /// Makes bytes as if nothing had ever written them.
    ///
    /// # Errors
    /// [`Fault::Host`] where the range is not inside one allocation.
    pub fn poison(&mut self, address: u64, bytes: u64) -> Result<(), Fault> {
        self.memory.poison(address, bytes)
    }

    /// Fails where a driver would refuse a launch: its shape, its shared memory, the size of its parameter block.
    ///
    /// # Errors
    /// [`Fault::Launch`], [`Fault::Foreign`].
    pub fn accepts(&self, kernel: KernelId, grid: &Grid, param_bytes: usize) -> Result<(), Fault> {
        let loaded = self.modules.get(kernel.module as usize);
        let program = loaded.and_then(|loaded| loaded.programs.get(kernel.kernel as usize));
        let program = program.ok_or(Fault::Foreign { what: "kernel" })?;
        check(&self.config, program, grid, param_bytes)
            .map_err(|why| Fault::Launch { kernel: program.name.clone(), why })
    }

    /// Runs a kernel over a grid to its end. `params` is the parameter block, as `ld.param` sees it.
    ///
    /// # Errors
    /// [`Fault::Launch`] for what a driver would refuse, else the first fault of a thread in the launch's seeded order.
    pub fn launch(&mut self, kernel: KernelId, grid: &Grid, params: &[u8]) -> Result<Report, Box<Fault>> {
        self.run(kernel, grid, params, None)
    }

    /// Runs some blocks of a grid, by linear index (x fastest); the others stay out. For counts of grids that are too
    /// large to run whole: a kernel whose blocks wait for each other does not end.
    ///
    /// # Errors
    /// As [`Gpu::launch`]; a block that the grid does not have is refused.
    pub fn launch_blocks(
        &mut self,
        kernel: KernelId,
        grid: &Grid,
        params: &[u8],
        blocks: &[u32],
    ) -> Result<Report, Box<Fault>> {
        self.run(kernel, grid, params, Some(blocks))
    }

    fn run(
        &mut self,
        kernel: KernelId,
        grid: &Grid,
        params: &[u8],
        blocks: Option<&[u32]>,
    ) -> Result<Report, Box<Fault>> {
        let foreign = || Box::new(Fault::Foreign { what: "kernel" });
        let loaded = self.modules.get(kernel.module as usize).ok_or_else(foreign)?;
        let program = loaded.programs.get(kernel.kernel as usize).ok_or_else(foreign)?;
        let body = loaded.bodies.get(kernel.kernel as usize).ok_or_else(foreign)?;
        self.accepts(kernel, grid, params.len())?;
        let all: u64 = grid.grid.iter().map(|&n| u64::from(n)).product();
        if let Some(&block) = blocks.unwrap_or_default().iter().find(|&&block| u64::from(block) >= all) {
            let why = format!("block {block} of a grid of {all}");
            return Err(Box::new(Fault::Launch { kernel: program.name.clone(), why }));
        }
        let mut bank = Private::new(params.len());
        bank.set(params);
        let launch = Launch {
            config: &self.config,
            module: &loaded.module,
            program,
            memory: &self.memory,
            params: bank,
            constants: &loaded.constants,
            constant_bytes: loaded.constant_bytes,
            grid: grid.grid,
            block: grid.block,
            threads: grid.block.iter().product(),
            dynamic_bytes: grid.shared_bytes,
            shared_end: program.shared_end(grid.shared_bytes),
            fast: self.fast,
        };
        let mut seeds = Random::new(self.config.seed);
        let seed = seeds.next() ^ self.launches.wrapping_mul(0xd134_2543_de82_ef95);
        self.launches += 1;
        let order = blocks.map_or_else(|| (0..all as u32).collect(), <[u32]>::to_vec);
        grid::run(&launch, body, seed, grid.cooperative, order)
    }
}

/// What a driver refuses. CUDA C++ programming guide, "Technical Specifications per Compute Capability".
fn check(config: &Config, program: &Program, grid: &Grid, param_bytes: usize) -> Result<(), String> {
    if grid.grid.contains(&0) || grid.block.contains(&0) {
        return Err(format!("no dimension may be 0: grid {:?}, block {:?}", grid.grid, grid.block));
    }
    let [_, y, z] = grid.grid;
    if grid.grid[0] > i32::MAX as u32 || y > 65_535 || z > 65_535 {
        return Err(format!("grid {:?} is larger than [2147483647, 65535, 65535]", grid.grid));
    }
    let blocks: u64 = grid.grid.iter().map(|&n| u64::from(n)).product();
    if blocks > u64::from(u32::MAX) {
        return Err(format!("{blocks} blocks are more than the simulator numbers"));
    }
    let threads: u64 = grid.block.iter().map(|&n| u64::from(n)).product();
    if threads > 1024 || grid.block[2] > 64 {
        return Err(format!("block {:?} is larger than 1024 threads, or 64 in z", grid.block));
    }
    let product = |limit: [u32; 3]| limit.iter().map(|&n| u64::from(n)).product::<u64>();
    if let Some(limit) = program.max_threads.filter(|&limit| threads > product(limit)) {
        return Err(format!(
            "{threads} threads a block, and the kernel is compiled for {} (.maxntid)",
            product(limit)
        ));
    }
    if let Some(exact) = program.required_threads.filter(|&exact| exact != grid.block) {
        return Err(format!(
            "block {:?}, and the kernel is compiled for exactly {exact:?} (.reqntid)",
            grid.block
        ));
    }
    let used = program.shared_end(grid.shared_bytes).saturating_sub(SHARED_RESERVED);
    let limit = Limits::of(config.architecture).block_shared_bytes;
    if grid.shared_bytes > limit || used > limit {
        return Err(format!("{used} bytes of shared memory, and a block has at most {limit}"));
    }
    if param_bytes != program.param_bytes as usize {
        return Err(format!(
            "{param_bytes} bytes of parameters, and the kernel takes {}",
            program.param_bytes
        ));
    }
    if grid.cooperative {
        // Registers are known to ptxas alone; without them this is the most that could fit.
        let fitting = occupancy(&Limits::of(config.architecture), threads as u32, 0, used);
        let most = u64::from(fitting.blocks) * u64::from(config.multiprocessors());
        if blocks > most {
            return Err(format!(
                "a cooperative launch of {blocks} blocks, and at most {most} can be resident"
            ));
        }
    }
    Ok(())
}
