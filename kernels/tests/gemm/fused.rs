//! What an epilogue does to a product is what would be done to its f32 sums afterwards, bit for bit: a fusion saves a trip
//! to memory and moves no rounding point. The sums are those of `head_logits`, whose epilogue only stores them.

use crate::device::Device;
use crate::problem::{ROUGH, prepare, run, shape};
use half::bf16;
use octo_kernels::qkv_rope::qkv_rope;
use octo_kernels::swiglu::swiglu;
use octo_kernels::tuning::{Capability, Row, Tuning, rows};
use octo_ops::{DType, QkvRope, Swiglu, View};

const M: u32 = 70;
const K: u32 = 328;

fn rows_of(op: &str) -> impl Iterator<Item = &'static Row> {
    rows().iter().filter(move |row| row.op == op)
}

/// The product's sums, in f32.
fn sums(n: u32) -> Vec<Vec<f32>> {
    let row = rows_of("head_logits").next().unwrap();
    run(&mut Device::new(7), row, shape(M, n, K), &ROUGH, false).out
}

/// Rounds each number of an `M` × `columns` matrix once, and takes its bits.
fn rounded(columns: u32, value: impl Fn(usize, usize) -> f32) -> Vec<Vec<u32>> {
    let row = |i| (0..columns as usize).map(|j| bf16::from_f32(value(i, j)).to_f32().to_bits()).collect();
    (0..M as usize).map(row).collect()
}

fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    rows.iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
}

#[test]
fn the_residual_is_added_to_the_sum_and_rounded_once() {
    let sums = sums(80);
    let wanted = rounded(80, |i, j| (ROUGH.extra)(i as u32, j as u32) + sums[i][j]);
    for row in rows_of("linear_residual") {
        let out = run(&mut Device::new(7), row, shape(M, 80, K), &ROUGH, false).out;
        assert_eq!(bits(&out), wanted, "{}", row.entry);
    }
}

#[test]
fn gate_and_up_are_the_rounded_sums_and_their_product_is_the_same_kept_or_not() {
    let sums = sums(96);
    let wanted = rounded(96, |i, j| sums[i][j]);
    for row in rows_of("gate_up_swiglu") {
        let of = |keep| run(&mut Device::new(7), row, shape(M, 96, K), &ROUGH, keep);
        let (kept, alone) = (of(true), of(false));
        assert_eq!(bits(&kept.second.unwrap()), wanted, "{}", row.entry);
        assert_eq!(bits(&kept.out), bits(&alone.out), "{}", row.entry);
    }
}

#[test]
fn the_product_of_gate_and_up_is_what_their_own_kernel_makes_of_them() {
    for row in rows_of("gate_up_swiglu") {
        let mut device = Device::new(7);
        let fused = prepare(&mut device, row, shape(M, 96, K), &ROUGH, true);
        device.launch(&fused.launch).unwrap();
        let product = device.matrix("product", DType::Bf16, [M, 48], 48);
        let op = Swiglu { gate_up: fused.second.unwrap(), product };
        for launch in swiglu(&op, &device).unwrap() {
            device.launch(&launch).unwrap();
        }
        assert_eq!(bits(&device.read(&fused.out)), bits(&device.read(&product)), "{}", row.entry);
    }
}

#[test]
fn heads_are_the_sums_with_their_bias_turned_and_rounded_once() {
    const HEAD_DIM: u32 = 16;
    const COLUMNS: u32 = 5 * HEAD_DIM;
    const POSITIONS: u32 = 9;
    let half = HEAD_DIM as usize / 2;
    let sums = sums(COLUMNS);
    let bias = |j: usize| bf16::from_f32(0.37 * j as f32 - 9.0).to_f32();
    // No true angles: only how they are used counts here.
    let table = |position: usize, element: usize| (1 + 3 * position + 7 * element) as f32 / 90.0 - 0.4;
    let position = |t: usize| t * 5 % POSITIONS as usize;
    // Three heads of q, one of k; the last is v.
    let wanted = rounded(COLUMNS, |t, column| {
        let (head, element) = (column / HEAD_DIM as usize, column % HEAD_DIM as usize);
        let at = |element: usize| sums[t][head * 2 * half + element] + bias(head * 2 * half + element);
        if head == 4 {
            return at(element);
        }
        let (low, high) = (at(element % half), at(element % half + half));
        let (cosine, sine) = (table(position(t), element % half), table(position(t), element % half + half));
        if element < half { low * cosine - high * sine } else { high * cosine + low * sine }
    });
    for row in rows_of("qkv_rope") {
        let mut device = Device::new(7);
        let mut matrix = |dtype, shape: [u32; 2], value: &dyn Fn(u32, u32) -> f32| {
            let view = device.matrix("operand", dtype, shape, shape[1]);
            device.write(&view, value);
            view
        };
        let flat = |view: View| View::new(view.buffer, 0, view.dtype, &[view.rows() as u32]);
        let x = matrix(DType::Bf16, [M, K], &ROUGH.a);
        let weight = matrix(DType::Bf16, [COLUMNS, K], &ROUGH.b);
        let bias = flat(matrix(DType::Bf16, [COLUMNS, 1], &|j, _| bias(j as usize)));
        let rope =
            matrix(DType::F32, [POSITIONS, HEAD_DIM], &|p, element| table(p as usize, element as usize));
        let positions = flat(matrix(DType::U32, [M, 1], &|t, _| position(t as usize) as f32));
        let out = matrix(DType::Bf16, [M, COLUMNS], &|_, _| 0.0);
        let op = QkvRope {
            x,
            weight,
            bias: Some(bias),
            rope,
            positions,
            slots: None,
            q: out.slice_columns(0, 3 * HEAD_DIM),
            k: out.slice_columns(3 * HEAD_DIM, HEAD_DIM),
            v: out.slice_columns(4 * HEAD_DIM, HEAD_DIM),
        };
        let mut tuning = Tuning::new(Capability::A100);
        tuning.fix(row.op, &row.entry).unwrap();
        for launch in qkv_rope(&op, &device, &tuning).unwrap() {
            device.launch(&launch).unwrap();
        }
        assert_eq!(bits(&device.read(&out)), wanted, "{}", row.entry);
    }
}
