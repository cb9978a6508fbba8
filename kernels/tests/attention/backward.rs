//! Gradients of documents on a device: tokens as in `problem.rs`, the forward's results by the forward's kernel.

use crate::device::Device;
use crate::problem::{Bits, Heads, Queries, bounds, indices, rows, tuning, value};
use octo_kernels::attention::attention;
use octo_kernels::attention_backward::attention_backward;
use octo_kernels::tuning::{AttentionBackwardTile, AttentionGradient, Row, Tuning};
use octo_ops::{Attention, AttentionBackward, DType, View};
use octo_ptx::count::Counters;

/// Widths of heads that there are kernels for.
pub const WIDTHS: [u32; 3] = [64, 128, 256];

/// The rows of a width: that of queries, that of keys.
pub fn of_width(width: u32) -> [&'static Row<AttentionBackwardTile>; 2] {
    let tuning = tuning(None);
    [AttentionGradient::Queries, AttentionGradient::Keys]
        .map(|gradient| tuning.attention_backward(gradient, width).unwrap())
}

/// The table with the rows of a width for every head.
pub fn fixed(width: u32) -> Tuning {
    let mut tuning = tuning(None);
    of_width(width).iter().for_each(|row| tuning.fix("attention_backward", &row.entry).unwrap());
    tuning
}

/// Of each token the bits of dq, dk and dv as they stand for f32; what each of the two launches did.
pub struct Gradients {
    pub bits: Bits,
    pub counters: [Counters; 2],
}

/// Whole documents, with a gap of so many elements after each row of every matrix.
pub fn gradients(
    seed: u64,
    tuning: &Tuning,
    [heads, kv_heads, head_dim]: Heads,
    asked: &[Queries],
    gap: u32,
) -> Gradients {
    let mut device = Device::new(seed).and_workspace();
    let tokens: Vec<(u32, u32)> = rows(asked);
    let count = tokens.len() as u32;
    let empty = |device: &mut Device, name, heads| {
        device.matrix(name, DType::Bf16, [count, heads * head_dim], heads * head_dim + gap)
    };
    let operand = |device: &mut Device, name, operand, heads| -> View {
        let view = empty(device, name, heads);
        device.write(&view, |row, column| {
            let (document, position) = tokens[row as usize];
            value(operand, document, position, column)
        });
        view
    };
    let bounds = bounds(asked);
    let forward = Attention {
        q: operand(&mut device, "q", 0, heads),
        k: operand(&mut device, "k", 1, kv_heads),
        v: operand(&mut device, "v", 2, kv_heads),
        cu_seqlens: indices(&mut device, "cu_seqlens", [bounds.len() as u32, 1], &bounds),
        positions: None,
        page_table: None,
        out: empty(&mut device, "out", heads),
        lse: device.matrix("lse", DType::F32, [count, heads], heads),
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
    };
    for launch in attention(&forward, &device, tuning).unwrap() {
        device.launch(&launch).unwrap_or_else(|fault| panic!("{asked:?}: {fault}"));
    }
    let Attention { q, k, v, cu_seqlens, out, lse, scale, .. } = forward;
    let op = AttentionBackward {
        q,
        k,
        v,
        out,
        lse,
        dout: operand(&mut device, "dout", 3, heads),
        cu_seqlens,
        dq: empty(&mut device, "dq", heads),
        dk: empty(&mut device, "dk", kv_heads),
        dv: empty(&mut device, "dv", kv_heads),
        head_dim,
        scale,
    };
    octo_ops::Op::from(op).check().unwrap();
    let launches = attention_backward(&op, &device, tuning).unwrap();
    let counters = launches
        .iter()
        .map(|launch| device.launch(launch).unwrap_or_else(|fault| panic!("{asked:?}: {fault}")).counters);
    let counters = counters.collect::<Vec<_>>().try_into().unwrap();
    let mut bits = vec![Vec::new(); tokens.len()];
    for view in [op.dq, op.dk, op.dv] {
        for (of_token, row) in bits.iter_mut().zip(device.read(&view)) {
            of_token.extend(row.into_iter().map(f32::to_bits));
        }
    }
    Gradients { bits, counters }
}
