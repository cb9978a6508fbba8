//! A simulated GPU with matrices on it.

use octo_kernels::{Addresses, Launch, WORKSPACE_BYTES};
use octo_ops::{BufferId, DType, View};
use octo_ptx::sim::{Config, Fault, Gpu, Grid, KernelId, Report};
use octo_ptx::{Kernel, parse, shipped::SM_80};
use std::collections::BTreeMap;

pub struct Device {
    gpu: Gpu,
    buffers: Vec<u64>,
    workspace: u64,
    kernels: BTreeMap<String, KernelId>,
    /// Changes every kernel that is launched, before it is loaded.
    change: fn(&mut Kernel),
}

impl Addresses for Device {
    fn address(&self, view: &View) -> u64 {
        self.buffers[view.buffer.0 as usize] + view.offset
    }

    /// Out of bounds unless there is one.
    fn workspace(&self) -> u64 {
        self.workspace
    }
}

impl Device {
    pub fn new(seed: u64) -> Device {
        Device::with(seed, |_| {})
    }

    /// A device whose kernels are changed as they are loaded.
    pub fn with(seed: u64, change: fn(&mut Kernel)) -> Device {
        let gpu = Gpu::new(Config { seed, ..Config::default() });
        Device { gpu, buffers: Vec::new(), workspace: 0, kernels: BTreeMap::new(), change }
    }

    /// The same with a workspace.
    #[allow(dead_code, reason = "not every test needs one")]
    pub fn and_workspace(mut self) -> Device {
        self.workspace = self.gpu.allocate("workspace", WORKSPACE_BYTES).unwrap();
        self
    }

    /// A matrix in a buffer that ends with its last element; nothing is written yet.
    pub fn matrix(&mut self, name: &str, dtype: DType, [rows, columns]: [u32; 2], stride: u32) -> View {
        let buffer = BufferId(self.buffers.len() as u32);
        let view = View::new(buffer, 0, dtype, &[rows, columns]).with_row_stride(stride);
        self.buffers.push(self.gpu.allocate(name, view.span_bytes().max(1)).unwrap());
        view
    }

    /// Writes the rows; what lies between them stays as it is.
    pub fn write(&mut self, view: &View, value: impl Fn(u32, u32) -> f32) {
        for row in 0..view.rows() as u32 {
            let bytes: Vec<u8> = (0..view.row_elements() as u32)
                .flat_map(|column| match view.dtype {
                    DType::Bf16 => half::bf16::from_f32(value(row, column)).to_le_bytes().to_vec(),
                    DType::I16 => (value(row, column) as i16).to_le_bytes().to_vec(),
                    DType::U32 => (value(row, column) as u32).to_le_bytes().to_vec(),
                    _ => value(row, column).to_le_bytes().to_vec(),
                })
                .collect();
            let at = self.address(&view.slice_rows(row, 1));
            self.gpu.write(at, &bytes).unwrap();
        }
    }

    /// Writes a matrix without gaps as its bytes.
    #[allow(dead_code, reason = "not every test needs it")]
    pub fn write_bytes(&mut self, view: &View, bytes: &[u8]) {
        let at = self.address(view);
        self.gpu.write(at, bytes).unwrap();
    }

    /// The rows, as f32 bits. Panics where nothing was written.
    pub fn read(&mut self, view: &View) -> Vec<Vec<f32>> {
        self.try_read(view).unwrap()
    }

    pub fn try_read(&mut self, view: &View) -> Result<Vec<Vec<f32>>, Fault> {
        let width = view.dtype.bytes() as usize;
        let mut rows = Vec::new();
        for row in 0..view.rows() as u32 {
            let mut bytes = vec![0; view.row_elements() * width];
            let at = self.address(&view.slice_rows(row, 1));
            self.gpu.read(at, &mut bytes)?;
            let value = |b: &[u8]| match width {
                2 => half::bf16::from_le_bytes([b[0], b[1]]).to_f32(),
                _ => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            };
            rows.push(bytes.chunks_exact(width).map(value).collect());
        }
        Ok(rows)
    }

    pub fn launch(&mut self, launch: &Launch) -> Result<Report, Box<Fault>> {
        let kernel = match self.kernels.get(&launch.entry) {
            Some(&kernel) => kernel,
            None => {
                let declaration = format!(".entry {}(", launch.entry);
                let shipped = SM_80.iter().find(|shipped| shipped.text.contains(&declaration)).unwrap();
                let mut module = parse(shipped.text).unwrap();
                module.kernels.retain(|kernel| kernel.name == launch.entry);
                module.kernels.iter_mut().for_each(self.change);
                let module = self.gpu.load(module).unwrap();
                let kernel = self.gpu.kernel(module, &launch.entry).unwrap();
                self.kernels.insert(launch.entry.clone(), kernel);
                kernel
            }
        };
        let Launch { grid, block, shared_bytes, cooperative, .. } = *launch;
        self.gpu.launch(kernel, &Grid { grid, block, shared_bytes, cooperative }, &launch.arguments)
    }
}
