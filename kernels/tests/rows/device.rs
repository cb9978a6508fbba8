//! A simulated GPU with tensors on it.

use octo_kernels::{Addresses, Launch, LaunchError, WORKSPACE_BYTES};
use octo_ops::{BufferId, DType, View};
use octo_ptx::count::Counters;
use octo_ptx::sim::{Config, Gpu, Grid};
use octo_ptx::{parse, shipped::SM_80};

pub struct Device {
    gpu: Gpu,
    buffers: Vec<u64>,
    workspace: u64,
}

impl Addresses for Device {
    fn address(&self, view: &View) -> u64 {
        self.buffers[view.buffer.0 as usize] + view.offset
    }

    fn workspace(&self) -> u64 {
        self.workspace
    }
}

impl Device {
    pub fn new() -> Device {
        let mut gpu = Gpu::new(Config::default());
        let workspace = gpu.allocate("workspace", WORKSPACE_BYTES).unwrap();
        Device { gpu, buffers: Vec::new(), workspace }
    }

    /// A tensor that begins `before` elements after the start of its buffer.
    pub fn tensor(&mut self, dtype: DType, shape: &[u32], before: u32, value: impl Fn(u32) -> f32) -> View {
        let offset = u64::from(before) * dtype.bytes();
        let view = View::new(BufferId(self.buffers.len() as u32), offset, dtype, shape);
        let bytes: Vec<u8> = (0..view.elements() as u32)
            .flat_map(|e| match dtype {
                DType::Bf16 => half::bf16::from_f32(value(e)).to_le_bytes().to_vec(),
                DType::U32 => (value(e) as u32).to_le_bytes().to_vec(),
                _ => value(e).to_le_bytes().to_vec(),
            })
            .collect();
        let buffer = self.gpu.allocate("tensor", offset + view.span_bytes()).unwrap();
        self.gpu.write(buffer + offset, &bytes).unwrap();
        self.buffers.push(buffer);
        view
    }

    /// A tensor of four-byte elements given as their bits.
    pub fn words(&mut self, dtype: DType, shape: &[u32], words: &[u32]) -> View {
        let view = View::new(BufferId(self.buffers.len() as u32), 0, dtype, shape);
        let buffer = self.gpu.allocate("words", view.span_bytes()).unwrap();
        self.gpu.write(buffer, bytemuck::cast_slice(words)).unwrap();
        self.buffers.push(buffer);
        view
    }

    /// The bytes of a tensor.
    pub fn bytes(&mut self, view: &View) -> Vec<u8> {
        let (mut bytes, at) = (vec![0; view.span_bytes() as usize], self.address(view));
        self.gpu.read(at, &mut bytes).unwrap();
        bytes
    }

    /// The elements of a bf16 tensor.
    pub fn values(&mut self, view: &View) -> Vec<f32> {
        let pairs = self.bytes(view);
        pairs.as_chunks::<2>().0.iter().map(|&pair| half::bf16::from_le_bytes(pair).to_f32()).collect()
    }

    /// Runs an op's launches: their entries, and what each did.
    pub fn run(&mut self, launches: Result<Vec<Launch>, LaunchError>) -> Vec<(String, Counters)> {
        let mut done = Vec::new();
        for launch in launches.unwrap() {
            let declaration = format!(".entry {}(", launch.entry);
            let shipped = SM_80.iter().find(|shipped| shipped.text.contains(&declaration)).unwrap();
            let module = self.gpu.load(parse(shipped.text).unwrap()).unwrap();
            let kernel = self.gpu.kernel(module, &launch.entry).unwrap();
            let Launch { grid, block, shared_bytes, cooperative, .. } = launch;
            let grid = Grid { grid, block, shared_bytes, cooperative };
            let report = self.gpu.launch(kernel, &grid, &launch.arguments).unwrap();
            done.push((launch.entry, report.counters));
        }
        done
    }
}

/// Numbers of many magnitudes.
pub fn rough(salt: u32) -> impl Fn(u32) -> f32 {
    move |e| {
        let bits = (u64::from(e) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ u64::from(salt) << 40) >> 40;
        ((bits % 4096) as f32 / 2048.0 - 1.0) * f32::powi(2.0, (bits >> 12) as i32 % 7 - 4)
    }
}
