//! Small operands for each kernel, and what its launcher makes of them.

use crate::device::Device;
use crate::problem::{EXACT, prepare, shape};
use octo_kernels::tuning::rows;
use octo_kernels::{Launch, LaunchError, adamw, random_fill, rms_norm, swiglu};
use octo_ops::{AdamW, DType, RandomFill, RmsNorm, Rounding, SwigluBackward, View};

fn only(launches: Result<Vec<Launch>, LaunchError>) -> Launch {
    let launches = launches.unwrap();
    let [launch] = launches.as_slice() else { panic!("{} launches", launches.len()) };
    launch.clone()
}

/// Some number of a place in a matrix, bf16 as it is.
pub fn some(i: u32, j: u32) -> f32 {
    ((i * 7 + j * 5) % 23) as f32 / 8.0 - 1.25
}

fn input(device: &mut Device, name: &str, dtype: DType, shape: [u32; 2], stride: u32) -> View {
    let view = device.matrix(name, dtype, shape, stride);
    device.write(&view, some);
    view
}

/// A matrix of one row as a list.
fn line(view: View) -> View {
    View::new(view.buffer, view.offset, view.dtype, &[view.row_elements() as u32])
}

/// A norm of rows so many elements apart, y as far; `add` with a residual.
pub fn norm(device: &mut Device, rows: u32, hidden: u32, stride: u32, add: bool) -> (Launch, View) {
    let (shape, bf16) = ([rows, hidden], DType::Bf16);
    let op = RmsNorm {
        x: input(device, "x", bf16, shape, stride),
        residual: add.then(|| input(device, "residual", bf16, shape, hidden)),
        weight: line(input(device, "weight", bf16, [1, hidden], hidden)),
        y: device.matrix("y", bf16, shape, stride),
        sum: add.then(|| device.matrix("sum", bf16, shape, hidden)),
        rstd: line(device.matrix("rstd", DType::F32, [1, rows], rows)),
        eps: 1e-5,
    };
    (only(rms_norm::rms_norm(&op, device)), op.y)
}

pub fn swiglu_backward(device: &mut Device, rows: u32, ffn: u32, stride: u32) -> (Launch, View) {
    let op = SwigluBackward {
        dproduct: input(device, "dproduct", DType::Bf16, [rows, ffn], ffn),
        gate_up: input(device, "gate_up", DType::Bf16, [rows, 2 * ffn], stride),
    };
    (only(swiglu::swiglu_backward(&op, device)), op.gate_up)
}

/// AdamW with f32 moments.
pub fn adamw(device: &mut Device, elements: u32, weight: DType) -> (Launch, View) {
    adamw_of(device, elements, weight, DType::F32)
}

pub fn adamw_of(device: &mut Device, elements: u32, weight: DType, moments: DType) -> (Launch, View) {
    let mut line = |name: &str, dtype: DType, n: u32| {
        let view = device.matrix(name, dtype, [1, n], n);
        // The last word of the result says that the step is not halted.
        device.write(&view, |_, j| if name == "result" && j == 3 { 0.0 } else { some(1, j).abs() + 0.5 });
        line(view)
    };
    let op = AdamW {
        weight: line("weight", weight, elements),
        remainder: (weight == DType::Bf16).then(|| line("remainder", DType::I16, elements)),
        grad: line("grad", DType::F32, elements),
        m: line("m", moments, elements),
        v: line("v", moments, elements),
        step_block: line("step_block", DType::F32, 6),
        result: line("result", DType::F32, 4),
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.1,
        rounding: (moments == DType::Bf16).then_some(Rounding { seed: 7, first: 0 }),
    };
    (only(adamw::adamw(&op, device)), op.weight)
}

pub fn fill(device: &mut Device, elements: u32, dtype: DType) -> (Launch, View) {
    let out = device.matrix("out", dtype, [1, elements], elements);
    let op = RandomFill { out: line(out), seed: 7, stream: 3, scale: 1.0 };
    (only(random_fill::random_fill(&op, device)), out)
}

/// A product by the row of the tuning table that is named so, of exact values.
pub fn product(device: &mut Device, entry: &str, m: u32, n: u32, k: u32) -> (Launch, View) {
    product_apart(device, entry, [m, n, k], 0)
}

/// As [`product`], so many elements after each row of the operands.
pub fn product_apart(device: &mut Device, entry: &str, [m, n, k]: [u32; 3], gap: u32) -> (Launch, View) {
    let row = rows().iter().find(|row| row.entry == entry).unwrap();
    let shape = crate::problem::Shape { in_gap: gap, ..shape(m, n, k) };
    let product = prepare(device, row, shape, &EXACT, false);
    (product.launch, product.out)
}

/// Six stages in flight, four warps along n.
pub const NARROW: &str = "linear_residual_sm80_nt_16x64x64_s6";
