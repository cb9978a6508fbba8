//! A program's ops, each with its predicted time beside its floor.

use octo_kernels::predict::{Chip, Inputs, LaunchTime, Limiter, PredictError, Predictor};
use octo_ops::Op;

/// Ops of one kind and size, predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct OpTime {
    /// Op and, where it has a matrix, its shape.
    pub name: String,
    /// How many there are.
    pub times: usize,
    /// Operations of one's products.
    pub flops: u64,
    /// Bytes that one moves at least.
    pub bytes: u64,
    /// Launches of one.
    pub launches: Vec<LaunchTime>,
}

impl OpTime {
    /// Predicted seconds of one.
    pub fn seconds(&self) -> f64 {
        self.launches.iter().map(|launch| launch.time.seconds).sum()
    }

    /// What no kernel goes below on the chip, seconds of one: its products at the data sheet's rate, or its bytes at
    /// that of a plain copy.
    pub fn floor(&self, chip: &Chip) -> f64 {
        (self.flops as f64 / chip.peak_flops).max(self.bytes as f64 / chip.dram_bytes)
    }

    /// What holds up the longest of its launches.
    pub fn limiter(&self) -> Limiter {
        let longest = self.launches.iter().max_by(|a, b| a.time.seconds.total_cmp(&b.time.seconds));
        longest.map_or(Limiter::Boundary, |launch| launch.time.limiter)
    }
}

/// Predicts ops, equal ones together, in the order of their first.
///
/// # Errors
/// [`PredictError`].
pub fn roofline(predictor: &mut Predictor, ops: &[Op], inputs: Inputs) -> Result<Vec<OpTime>, PredictError> {
    let mut rows: Vec<OpTime> = Vec::new();
    for (op, launches) in ops.iter().zip(predictor.ops(ops, inputs)?) {
        let name = name(op);
        match rows.iter_mut().find(|row| row.name == name && row.launches == launches) {
            Some(row) => row.times += 1,
            None => {
                let cost = op.cost();
                // An op that looks rows up is said to read its whole table: it does not.
                let moved: f64 = launches.iter().map(|launch| launch.work.dram_bytes).sum();
                let bytes = cost.bytes.min(moved as u64);
                rows.push(OpTime { name, times: 1, flops: cost.flops / documents(op), bytes, launches });
            }
        }
    }
    Ok(rows)
}

/// Documents of equal length that an op's rows are, as [`Inputs`] has them: attention's cost is that of one, since what
/// documents there are only the data says.
fn documents(op: &Op) -> u64 {
    let operands = op.operands();
    let paged = operands.iter().any(|o| o.name == "page_table");
    let bounds = operands.iter().find(|o| o.name == "cu_seqlens" && !paged);
    bounds.map_or(1, |o| o.view.rows().saturating_sub(1).max(1) as u64)
}

/// Op with the shape of its matrix.
fn name(op: &Op) -> String {
    let matrix = op.operands().into_iter().find(|o| matches!(o.name, "weight" | "dweight"));
    match matrix.map(|o| o.view).filter(|view| view.shape().len() == 2) {
        Some(view) => format!("{} {}x{}", op.name(), view.rows(), view.row_elements()),
        None => op.name().into(),
    }
}

/// Predicted seconds of all rows.
pub fn seconds(rows: &[OpTime]) -> f64 {
    rows.iter().map(|row| row.times as f64 * row.seconds()).sum()
}

/// The floors of all rows, seconds.
pub fn floor(rows: &[OpTime], chip: &Chip) -> f64 {
    rows.iter().map(|row| row.times as f64 * row.floor(chip)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_ops::{BufferId, DType, LinearResidual, View};

    fn product(layer: u64, n: u32) -> Op {
        let at = |buffer, shape: &[u32]| View::new(BufferId(buffer), layer << 24, DType::Bf16, shape);
        LinearResidual {
            x: at(1, &[8, 64]),
            weight: at(2, &[n, 64]),
            residual: at(3, &[8, n]),
            out: at(4, &[8, n]),
        }
        .into()
    }

    #[test]
    fn attention_costs_half_as_much_in_two_documents() {
        let of = |documents: u32| {
            let rows = |buffer| View::new(BufferId(buffer), 0, DType::Bf16, &[256, 64]);
            let op = octo_ops::Attention {
                q: rows(1),
                k: rows(2),
                v: rows(3),
                cu_seqlens: View::new(BufferId(4), 0, DType::U32, &[documents + 1]),
                positions: None,
                page_table: None,
                out: rows(5),
                lse: View::new(BufferId(6), 0, DType::F32, &[256, 1]),
                head_dim: 64,
                scale: 0.125,
            };
            let inputs = Inputs { document: 256 / documents, context: 0 };
            let mut predictor = Predictor::new(Chip::ALL.first().unwrap(), 1);
            roofline(&mut predictor, &[op.into()], inputs).unwrap().remove(0)
        };
        let (one, two) = (of(1), of(2));
        assert_eq!(one.flops, 2 * two.flops);
        let mma = |row: &OpTime| row.launches.iter().map(|launch| launch.work.mma_flops).sum::<f64>();
        assert!(mma(&two) < mma(&one) && mma(&two) >= two.flops as f64);
    }

    #[test]
    fn equal_ops_are_one_row_and_no_prediction_beats_its_floor() {
        let chip = Chip::named("h200").unwrap();
        let inputs = Inputs { document: 8, context: 0 };
        let ops = [product(0, 64), product(0, 128), product(1, 64), product(2, 64)];
        let rows = roofline(&mut Predictor::new(chip, 1), &ops, inputs).unwrap();
        let named: Vec<(&str, usize)> = rows.iter().map(|row| (row.name.as_str(), row.times)).collect();
        assert_eq!(named, [("linear_residual 64x64", 3), ("linear_residual 128x64", 1)]);
        assert!(rows.iter().all(|row| row.seconds() > row.floor(chip) && row.flops > 0));
        let all = 3.0 * rows[0].seconds() + rows[1].seconds();
        assert!((seconds(&rows) / all - 1.0).abs() < 1e-12 && floor(&rows, chip) < all);
        assert_eq!(rows[0].limiter(), Limiter::Boundary);
    }
}
