//! Whole kernels, written as PTX, on the simulated GPU.

mod alu;
mod convert;
mod faults;
mod flow;
mod memory;
mod special;
mod sync;
mod tensor;
mod wide;

use super::{Config, Fault, Gpu, Grid, Report};
use crate::parse;

/// A kernel `k(out, in)` with registers `%r<64>`, `%rd<32>`, `%f<32>`, `%h<16>`, `%p<16>`, `%d<16>`; `%rd0` holds out
/// plus 4 × tid, `%rd1` in plus 4 × tid, `%rd2` out, `%rd3` in, `%r0` tid.
fn text(body: &str) -> String {
    let (declared, body) = body.split_once("---").unwrap_or(("", body));
    format!(
        ".version 8.4\n.target sm_80\n.address_size 64\n{declared}\n.visible .entry k(.param .u64 out, .param .u64 in)\n{{\n\
         .reg .b32 %r<64>; .reg .b64 %rd<32>; .reg .f32 %f<32>; .reg .b16 %h<16>; .reg .pred %p<16>; .reg .f64 %d<16>;\n\
         mov.u32 %r0, %tid.x; mul.wide.u32 %rd9, %r0, 4;\n\
         ld.param.u64 %rd2, [out]; ld.param.u64 %rd3, [in]; add.s64 %rd0, %rd2, %rd9; add.s64 %rd1, %rd3, %rd9;\n\
         {body}\nret;\n}}\n"
    )
}

/// What a test wants of a run.
#[derive(Clone)]
struct Run {
    config: Config,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    cooperative: bool,
    input: Vec<u32>,
    /// Words of `out`, which begin unwritten.
    out: u64,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            config: Config { instruction_limit: 1 << 22, ..Config::default() },
            grid: [1; 3],
            block: [32, 1, 1],
            shared: 0,
            cooperative: false,
            input: vec![0; 64],
            out: 64,
        }
    }
}

impl Run {
    fn threads(threads: u32) -> Self {
        Self { block: [threads, 1, 1], ..Self::default() }
    }

    fn input(mut self, input: impl IntoIterator<Item = u32>) -> Self {
        self.input = input.into_iter().collect();
        self
    }

    /// Runs and gives the report and the GPU with the address of `out`.
    fn launch(&self, body: &str) -> Result<(Report, Gpu, u64), Box<Fault>> {
        let mut gpu = Gpu::new(self.config.clone());
        let module = parse(&text(body)).unwrap_or_else(|error| panic!("{error}\n{}", text(body)));
        let id = gpu.load(module)?;
        let kernel = gpu.kernel(id, "k")?;
        let out = gpu.allocate("out", 4 * self.out)?;
        let input = gpu.allocate("in", 4 * self.input.len() as u64)?;
        let bytes: Vec<u8> = self.input.iter().flat_map(|word| word.to_le_bytes()).collect();
        gpu.write(input, &bytes)?;
        let params: Vec<u8> = [out, input].iter().flat_map(|word| word.to_le_bytes()).collect();
        let grid = Grid {
            grid: self.grid,
            block: self.block,
            shared_bytes: self.shared,
            cooperative: self.cooperative,
        };
        let report = gpu.launch(kernel, &grid, &params)?;
        Ok((report, gpu, out))
    }

    /// Runs and reads the first words of `out`.
    fn words(&self, body: &str, count: usize) -> Vec<u32> {
        let (_, gpu, out) = self.launch(body).unwrap_or_else(|fault| panic!("{fault}\n{body}"));
        let mut bytes = vec![0; 4 * count];
        gpu.read(out, &mut bytes).unwrap();
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
    }

    fn fault(&self, body: &str) -> Fault {
        match self.launch(body) {
            Ok(_) => panic!("no fault\n{body}"),
            Err(fault) => *fault,
        }
    }
}

/// One warp's `%r1` after the body.
fn warp(body: &str) -> Vec<u32> {
    Run::default().words(&format!("{body}\nst.global.u32 [%rd0], %r1;"), 32)
}

/// Lane 0's `%r1`.
fn one(body: &str) -> u32 {
    warp(body)[0]
}

/// Lane 0's `%rd10`.
fn one_wide(body: &str) -> u64 {
    let body = format!("{body}\nsetp.eq.u32 %p15, %r0, 0;\n@%p15 st.global.u64 [%rd2], %rd10;");
    let words = Run::default().words(&body, 2);
    u64::from(words[1]) << 32 | u64::from(words[0])
}
