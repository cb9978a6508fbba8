//! One product on a device: operands by formula, results as numbers.

use crate::device::Device;
use octo_kernels::tuning::{Capability, Row, Tuning};
use octo_kernels::{Launch, gemm, qkv_rope};
use octo_ops::{DType, GateUpSwiglu, View};
use octo_ops::{LinearBackwardInput, LinearBackwardWeight, LinearResidual, QkvRope};
use octo_ptx::sim::Report;

/// What operands hold, by their place in the product: a(m, k), b(n, k), and what is there before or added.
#[derive(Clone, Copy)]
pub struct Values {
    /// Added to m.
    pub first_row: u32,
    pub a: fn(u32, u32) -> f32,
    pub b: fn(u32, u32) -> f32,
    pub extra: fn(u32, u32) -> f32,
}

/// Small integers: every sum is exact in whatever order, so that a result is right or wrong.
pub const EXACT: Values = Values {
    first_row: 0,
    a: |i, k| (mix(i, k, 1) % 7) as f32 - 3.0,
    b: |j, k| ((mix(j, k, 2) % 7) as f32 - 3.0) / 16.0,
    extra: |i, j| (mix(i, j, 3) % 201) as f32 - 100.0,
};

/// Numbers of many magnitudes, bf16 as they lie in memory.
pub const ROUGH: Values =
    Values { first_row: 0, a: |i, k| rough(i, k, 4), b: |j, k| rough(j, k, 5), extra: |i, j| rough(i, j, 6) };

fn mix(a: u32, b: u32, salt: u32) -> u32 {
    let mut z = (u64::from(a) << 32 | u64::from(b)).wrapping_add(u64::from(salt) << 17);
    for _ in 0..2 {
        z = (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    (z >> 40) as u32
}

fn rough(a: u32, b: u32, salt: u32) -> f32 {
    let bits = mix(a, b, salt);
    let value = ((bits % 4096) as f32 / 2048.0 - 1.0) * f32::powi(2.0, (bits >> 12) as i32 % 7 - 4);
    half::bf16::from_f32(value).to_f32()
}

/// Shapes and gaps: `k_gap` elements after each row of an input, on top of what alignment needs; `out_gap` likewise
/// after each row of an output.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub m: u32,
    pub n: u32,
    pub k: u32,
    pub in_gap: u32,
    pub out_gap: u32,
}

pub const fn shape(m: u32, n: u32, k: u32) -> Shape {
    Shape { m, n, k, in_gap: 0, out_gap: 0 }
}

/// Gaps of outputs up to this are watched for stray writes.
const WATCHED: u32 = 64;

/// What came of a product.
pub struct Outcome {
    pub out: Vec<Vec<f32>>,
    /// Gate and up.
    pub second: Option<Vec<Vec<f32>>>,
    pub report: Report,
}

/// A tuning that serves the row's op with the row alone.
pub fn only(row: &Row) -> Tuning {
    let mut tuning = Tuning::new(Capability::A100);
    tuning.fix(row.op, &row.entry).unwrap();
    tuning
}

/// A product ready to run: its operands lie on the device.
pub struct Product {
    pub launch: Launch,
    pub out: View,
    /// Gate and up.
    pub second: Option<View>,
}

/// Puts operands of the shape on the device. `flag` asks for gate_up, or for accumulation.
pub fn prepare(device: &mut Device, row: &Row, s: Shape, values: &Values, flag: bool) -> Product {
    let Shape { m, n, k, .. } = s;
    let input =
        |device: &mut Device, name: &str, [rows, columns]: [u32; 2], value: &dyn Fn(u32, u32) -> f32| {
            let stride = (columns + s.in_gap).next_multiple_of(8);
            let view = device.matrix(name, DType::Bf16, [rows, columns], stride);
            device.write(&view, value);
            view
        };
    let output =
        |device: &mut Device, name: &str, dtype: DType, columns: u32, value: &dyn Fn(u32, u32) -> f32| {
            let gap = if s.out_gap < WATCHED { s.out_gap } else { 0 };
            let view = device.matrix(name, dtype, [m, columns + gap], columns + s.out_gap);
            device.write(&view, value);
            view.slice_columns(0, columns)
        };
    let Values { first_row, b, .. } = *values;
    let a = move |i, k| (values.a)(first_row + i, k);
    let extra = move |i, j| (values.extra)(first_row + i, j);
    let (a_t, b_t) = (move |k, i| a(i, k), move |k, j| b(j, k));
    // What an overwritten output and the gaps of any output hold before, and gaps after.
    let before = |_: u32, _: u32| -77.0;
    let (launches, out, second): (Vec<Launch>, View, Option<View>) = match row.op {
        "linear_residual" => {
            let op = LinearResidual {
                x: input(device, "x", [m, k], &a),
                weight: input(device, "weight", [n, k], &b),
                residual: output(device, "residual", DType::Bf16, n, &extra),
                out: output(device, "out", DType::Bf16, n, &before),
            };
            (gemm::linear_residual(&op, device, &only(row)).unwrap(), op.out, None)
        }
        "gate_up_swiglu" => {
            let op = GateUpSwiglu {
                x: input(device, "x", [m, k], &a),
                weight: input(device, "weight", [n, k], &b),
                product: output(device, "product", DType::Bf16, n / 2, &before),
                gate_up: flag.then(|| output(device, "gate_up", DType::Bf16, n, &before)),
            };
            (gemm::gate_up_swiglu(&op, device, &only(row)).unwrap(), op.product, op.gate_up)
        }
        "qkv_rope" => {
            let out = output(device, "qkv", DType::Bf16, n, &before);
            let x = input(device, "x", [m, k], &a);
            // A weight has no gaps.
            let weight = device.matrix("weight", DType::Bf16, [n, k], k);
            device.write(&weight, b);
            let op = heads(device, [x, weight], &out);
            (qkv_rope::qkv_rope(&op, device, &only(row)).unwrap(), out, None)
        }
        "head_logits" => {
            let (x, weight) = (input(device, "x", [m, k], &a), input(device, "weight", [n, k], &b));
            let out = output(device, "logits", DType::F32, n, &before);
            let launches = gemm::head_logits("head_loss", [&x, &weight], &out, device, &only(row));
            (launches.unwrap(), out, None)
        }
        "linear_backward_input" => {
            let op = LinearBackwardInput {
                dy: input(device, "dy", [m, k], &a),
                weight: input(device, "weight", [k, n], &b_t),
                dx: output(device, "dx", DType::Bf16, n, &before),
            };
            (gemm::linear_backward_input(&op, device, &only(row)).unwrap(), op.dx, None)
        }
        _ => {
            let op = LinearBackwardWeight {
                dy: input(device, "dy", [k, m], &a_t),
                x: input(device, "x", [k, n], &b_t),
                dweight: output(device, "dweight", DType::F32, n, &extra),
                accumulate: flag,
            };
            (gemm::linear_backward_weight(&op, device, &only(row)).unwrap(), op.dweight, None)
        }
    };
    let [launch] = launches.as_slice() else { panic!("{} launches", launches.len()) };
    Product { launch: launch.clone(), out, second }
}

/// q, k and v side by side in one matrix, at a position where nothing turns: the plain product.
fn heads(device: &mut Device, [x, weight]: [View; 2], out: &View) -> QkvRope {
    let [tokens, columns] = [out.rows() as u32, out.row_elements() as u32];
    let head_dim = if columns.is_multiple_of(64) { 64 } else { 16 };
    let kv_heads = (columns / head_dim - 1) / 2;
    let narrow = kv_heads * head_dim;
    let rope = device.matrix("rope", DType::F32, [1, head_dim], head_dim);
    device.write(&rope, |_, element| f32::from(u8::from(element < head_dim / 2)));
    let positions = device.matrix("positions", DType::U32, [tokens, 1], 1);
    device.write(&positions, |_, _| 0.0);
    QkvRope {
        x,
        weight,
        bias: None,
        rope,
        positions: View::new(positions.buffer, 0, DType::U32, &[tokens]),
        slots: None,
        q: out.slice_columns(0, columns - 2 * narrow),
        k: out.slice_columns(columns - 2 * narrow, narrow),
        v: out.slice_columns(columns - narrow, narrow),
    }
}

/// Runs the row on operands of the shape, and watches the gaps between rows.
pub fn run(device: &mut Device, row: &Row, s: Shape, values: &Values, flag: bool) -> Outcome {
    let Product { launch, out, second } = prepare(device, row, s, values, flag);
    let Shape { m, .. } = s;
    let extra = move |i, j| (values.extra)(values.first_row + i, j);
    let report = device.launch(&launch).unwrap_or_else(|fault| panic!("{} {s:?}: {fault}", row.entry));
    for view in [Some(out), second].into_iter().flatten().filter(|_| (1..WATCHED).contains(&s.out_gap)) {
        let offset = view.offset + view.row_elements() as u64 * view.dtype.bytes();
        let gap = View::new(view.buffer, offset, view.dtype, &[m, s.out_gap])
            .with_row_stride(view.row_stride() as u32);
        let held = if row.op == "linear_backward_weight" { None } else { Some(-77.0) };
        for (i, gaps) in device.read(&gap).into_iter().enumerate() {
            for (j, value) in gaps.into_iter().enumerate() {
                let before = held.unwrap_or(extra(i as u32, view.row_elements() as u32 + j as u32));
                assert_eq!(value, before, "{} {s:?}: wrote past row {i}", row.entry);
            }
        }
    }
    Outcome { out: device.read(&out), second: second.map(|view| device.read(&view)), report }
}

/// Rows of an operand of the product.
pub fn matrix(value: fn(u32, u32) -> f32, rows: u32, k: u32) -> Vec<Vec<f64>> {
    (0..rows).map(|i| (0..k).map(|k| value(i, k).into()).collect()).collect()
}

/// Σ a·b and Σ |a·b|.
pub fn dot(a: &[f64], b: &[f64]) -> (f64, f64) {
    a.iter().zip(b).fold((0.0, 0.0), |(sum, size), (a, b)| (sum + a * b, size + (a * b).abs()))
}

pub fn bf16(value: f64) -> f32 {
    half::bf16::from_f64(value).to_f32()
}
