//! How fast does the simulated GPU run a kernel with every check on?
//!
//! `cargo bench -p octo-ptx --bench speed`: thread instructions a second on one host thread, of the shipped matrix product
//! (tensor cores, ldmatrix, asynchronous copies) and of RMSNorm (loads, f32 arithmetic, shuffles).

#![expect(clippy::expect_used, clippy::panic, reason = "a bench that cannot run has nothing else to say")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use octo_ptx::shipped::SM_80;
use octo_ptx::sim::{Config, Gpu, Grid, KernelId, Report};

struct Case {
    gpu: Gpu,
    kernel: KernelId,
    grid: Grid,
    params: Vec<u8>,
}

impl Case {
    fn run(&mut self) -> Report {
        self.gpu.launch(self.kernel, &self.grid, &self.params).unwrap_or_else(|fault| panic!("{fault}"))
    }
}

fn load(module: &str) -> (Gpu, KernelId) {
    let shipped = SM_80.iter().find(|shipped| shipped.name == module).expect("a shipped module");
    let module = octo_ptx::parse(shipped.text).expect("shipped PTX");
    let name = module.kernels[0].name.clone();
    let mut gpu = Gpu::new(Config::default());
    let id = gpu.load(module).expect("a simulated module");
    let kernel = gpu.kernel(id, &name).expect("its kernel");
    (gpu, kernel)
}

/// A matrix of bf16 between −1 and 1.
fn matrix(gpu: &mut Gpu, name: &str, elements: u64) -> u64 {
    let address = gpu.allocate(name, 2 * elements).expect("an allocation");
    let mut state = 1u64;
    let bytes: Vec<u8> = (0..elements)
        .flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
            ((value.to_bits() >> 16) as u16).to_le_bytes()
        })
        .collect();
    gpu.write(address, &bytes).expect("its bytes");
    address
}

/// 256 × 256 × 512 in tiles of 128 × 128.
fn product() -> Case {
    let (mut gpu, kernel) = load("linear_residual_sm80_nt_128x128x32_s4");
    let (m, n, k) = (256u64, 256u64, 512u64);
    let addresses = [matrix(&mut gpu, "x", m * k), matrix(&mut gpu, "weight", n * k)];
    let out = gpu.allocate("out", 2 * m * n).expect("an allocation");
    let residual = matrix(&mut gpu, "residual", m * n);
    let mut params = Vec::new();
    for word in addresses.into_iter().chain([out, residual, k, k, n, n]) {
        params.extend(word.to_le_bytes());
    }
    for word in [m as u32, n as u32, k as u32, 0] {
        params.extend(word.to_le_bytes());
    }
    let grid = Grid { grid: [4, 1, 1], block: [128, 1, 1], shared_bytes: 65_536, cooperative: false };
    Case { gpu, kernel, grid, params }
}

fn speed(criterion: &mut Criterion) {
    let mut case = product();
    let report = case.run();
    let threads: u64 = report.counters.thread_instructions.iter().sum();
    let mut group = criterion.benchmark_group("simulated");
    group.throughput(Throughput::Elements(threads)).sample_size(10);
    group.bench_function("linear_residual 256x256x512", |bencher| bencher.iter(|| case.run()));
    group.finish();
}

criterion_group!(benches, speed);
criterion_main!(benches);
