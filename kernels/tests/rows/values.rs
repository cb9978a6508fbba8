//! The way by aligned groups and the way element by element give the same bits; an index past its table reads nothing.

use crate::device::{Device, rough};
use octo_kernels::bias_backward::bias_backward;
use octo_kernels::embed::embed;
use octo_kernels::embed_backward::embed_backward;
use octo_kernels::grad_norm::grad_norm;
use octo_kernels::rms_norm::rms_norm;
use octo_kernels::rms_norm_backward::rms_norm_backward;
use octo_kernels::rope_backward::rope_backward;
use octo_kernels::{Launch, LaunchError};
use octo_ops::{BiasBackward, DType, Embed, EmbedBackward, GradNorm, RmsNorm, RmsNormBackward};
use octo_ops::{RopeBackward, View};

type Launches = Result<Vec<Launch>, LaunchError>;

/// What an op writes with operands from the start of their buffers, and one element after it.
fn hold(op: impl Fn(&mut Device, u32) -> (Launches, Vec<View>)) {
    let [(aligned, bits), (any, bits_any)] = [0, 1].map(|before| {
        let mut device = Device::new();
        let (launches, written) = op(&mut device, before);
        let entries: Vec<String> = device.run(launches).into_iter().map(|(entry, _)| entry).collect();
        let bits: Vec<Vec<u8>> = written.iter().map(|view| device.bytes(view)).collect();
        (entries, bits)
    });
    assert_ne!(aligned, any);
    assert!(any.iter().any(|entry| entry.contains("_any")), "{any:?}");
    assert_eq!(bits, bits_any, "{aligned:?}");
}

#[test]
fn picked_rows_are_the_same_bits_either_way() {
    for weight in [DType::Bf16, DType::F32] {
        hold(|device, before| {
            let op = Embed {
                ids: device.tensor(DType::U32, &[70], before, |t| (t * 7 % 11) as f32),
                weight: device.tensor(weight, &[11, 136], before, rough(1)),
                out: device.tensor(DType::Bf16, &[70, 136], before, |_| 0.0),
            };
            (embed(&op, device), vec![op.out])
        });
    }
}

#[test]
fn gradients_of_picked_rows_are_the_same_bits_either_way() {
    hold(|device, before| {
        let op = EmbedBackward {
            ids: device.tensor(DType::U32, &[70], before, |t| (t * t % 7) as f32),
            dx: device.tensor(DType::Bf16, &[70, 1032], before, rough(1)),
            dweight: device.tensor(DType::F32, &[9, 1032], before, rough(2)),
            accumulate: true,
        };
        (embed_backward(&op, device), vec![op.dweight])
    });
}

#[test]
fn gradients_through_the_norm_are_the_same_bits_either_way() {
    for (rows, hidden, weight) in
        [(1030, 24, DType::Bf16), (5, 1000, DType::F32), (300, 1032, DType::Bf16), (3, 4104, DType::F32)]
    {
        hold(|device, before| {
            let op = RmsNormBackward {
                dy: device.tensor(DType::Bf16, &[rows, hidden], before, rough(1)),
                x: device.tensor(DType::Bf16, &[rows, hidden], before, rough(2)),
                weight: device.tensor(weight, &[hidden], before, rough(3)),
                rstd: device.tensor(DType::F32, &[rows], before, |t| 0.5 + (t % 5) as f32),
                dx: device.tensor(DType::Bf16, &[rows, hidden], before, rough(4)),
                dweight: device.tensor(DType::F32, &[hidden], before, rough(5)),
                accumulate_dx: true,
                accumulate: true,
            };
            (rms_norm_backward(&op, device), vec![op.dx, op.dweight])
        });
    }
}

#[test]
fn column_sums_are_the_same_bits_either_way() {
    hold(|device, before| {
        let op = BiasBackward {
            dy: device.tensor(DType::Bf16, &[200, 264], before, rough(1)),
            dbias: device.tensor(DType::F32, &[264], before, rough(2)),
            accumulate: true,
        };
        (bias_backward(&op, device), vec![op.dbias])
    });
}

#[test]
fn rotated_gradients_are_the_same_bits_either_way() {
    hold(|device, before| {
        let op = RopeBackward {
            rope: device.tensor(DType::F32, &[50, 64], before, rough(1)),
            positions: device.tensor(DType::U32, &[70], before, |t| (t * 7 % 50) as f32),
            dqk: device.tensor(DType::Bf16, &[70, 192], before, rough(2)),
        };
        (rope_backward(&op, device), vec![op.dqk])
    });
}

#[test]
fn a_norm_is_the_same_bits_either_way() {
    hold(|device, before| {
        let op = GradNorm {
            grad: device.tensor(DType::F32, &[2_100_003], before, rough(1)),
            step_block: device.tensor(DType::F32, &[6], before, |_| 1.0),
            result: device.tensor(DType::F32, &[4], before, |_| 1.0),
        };
        (grad_norm(&op, device), vec![op.result])
    });
}

#[test]
fn an_index_past_its_table_makes_its_own_row_no_number() {
    let past = |t: u32| if t == 1 { 11.0 } else { t as f32 };
    for before in [0, 1] {
        let mut device = Device::new();
        let op = Embed {
            ids: device.tensor(DType::U32, &[3], 0, past),
            weight: device.tensor(DType::Bf16, &[11, 16], 0, rough(1)),
            out: device.tensor(DType::Bf16, &[3, 16], before, |_| 0.0),
        };
        let launches = embed(&op, &device);
        device.run(launches);
        let out = device.values(&op.out);
        assert!(out.chunks(16).enumerate().all(|(t, row)| row.iter().all(|v| v.is_nan() == (t == 1))));

        let op = RopeBackward {
            rope: device.tensor(DType::F32, &[11, 16], 0, rough(1)),
            positions: device.tensor(DType::U32, &[3], 0, past),
            dqk: device.tensor(DType::Bf16, &[3, 16], before, |_| 1.0),
        };
        let launches = rope_backward(&op, &device);
        device.run(launches);
        let out = device.values(&op.dqk);
        assert!(out.chunks(16).enumerate().all(|(t, row)| row.iter().all(|v| v.is_nan() == (t == 1))));
    }
}

#[test]
fn a_gradient_of_no_token_is_left_out() {
    let mut device = Device::new();
    let op = EmbedBackward {
        ids: device.tensor(DType::U32, &[3], 0, |t| if t == 1 { 2.0 } else { 1.0 }),
        dx: device.tensor(DType::Bf16, &[3, 4], 0, |_| 1.0),
        dweight: device.tensor(DType::F32, &[2, 4], 0, |_| 8.0),
        accumulate: false,
    };
    let launches = embed_backward(&op, &device);
    device.run(launches);
    let expected: Vec<u8> = [0.0f32, 2.0].iter().flat_map(|v| v.to_le_bytes().repeat(4)).collect();
    assert_eq!(device.bytes(&op.dweight), expected);
}

#[test]
fn a_norm_of_a_sum_is_the_norm_of_the_rounded_sum() {
    for hidden in [136, 1000, 1032, 4104] {
        let mut device = Device::new();
        let [x, residual] = [1, 2].map(|salt| device.tensor(DType::Bf16, &[5, hidden], 0, rough(salt)));
        let [y, sum, y_alone] = [0; 3].map(|_| device.tensor(DType::Bf16, &[5, hidden], 0, |_| 0.0));
        let [rstd, rstd_alone] = [0; 2].map(|_| device.tensor(DType::F32, &[5], 0, |_| 0.0));
        let weight = device.tensor(DType::Bf16, &[hidden], 0, rough(3));
        let fused = RmsNorm { x, residual: Some(residual), weight, y, sum: Some(sum), rstd, eps: 1e-5 };
        device.run(rms_norm(&fused, &device));
        let (x_bits, residual_bits) = (device.values(&x), device.values(&residual));
        let pairs = x_bits.iter().zip(&residual_bits);
        let added: Vec<f32> =
            pairs.map(|(x, residual)| half::bf16::from_f32(x + residual).to_f32()).collect();
        assert_eq!(device.values(&sum), added, "{hidden}");
        let (x, y, rstd) = (sum, y_alone, rstd_alone);
        device.run(rms_norm(&RmsNorm { x, residual: None, weight, y, sum: None, rstd, eps: 1e-5 }, &device));
        assert_eq!(device.bytes(&fused.y), device.bytes(&y_alone), "{hidden}");
        assert_eq!(device.bytes(&fused.rstd), device.bytes(&rstd_alone), "{hidden}");
    }
}
