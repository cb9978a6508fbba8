//! Launcher of `cuda/adamw.cu`.

use crate::flat::{Flat, THREADS};
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{AdamW, DType, Rounding};

/// Elements a thread takes at once.
const FOUR: u64 = 4;

arguments! {
    /// `AdamWArguments` of `cuda/adamw.cu`. Addresses are the device's.
    pub struct AdamWArguments {
        /// Weights.
        pub weight: u64,
        /// What bf16 weights lack, or 0.
        pub remainder: u64,
        /// Gradient.
        pub grad: u64,
        /// First moment, f32 or bf16.
        pub m: u64,
        /// Second moment, of the same type.
        pub v: u64,
        /// An `octo_ops::StepBlock`.
        pub step_block: u64,
        /// An `octo_ops::StepResult`.
        pub result: u64,
        /// Elements.
        pub elements: u64,
        /// Leading groups of four that are touched as one.
        pub fours: u64,
        /// Key of the random numbers that round bf16 moments, or 0.
        pub seed: u64,
        /// The place in the arena of the first element, by which random numbers go, or 0.
        pub first: u64,
        /// Decay of the first moment.
        pub beta1: f32,
        /// Decay of the second moment.
        pub beta2: f32,
        /// Added to the denominator.
        pub eps: f32,
        /// Multiplied by the learning rate.
        pub weight_decay: f32,
    }
}

/// One update of an element range.
///
/// # Errors
/// [`LaunchError`].
pub fn adamw(op: &AdamW, at: &dyn Addresses) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: AdamW::NAME, at };
    let elements = op.weight.elements() as u64;
    let (weight, remainder) = match &op.remainder {
        None => (operands.dense("weight", &op.weight, &[DType::F32])?, None),
        Some(view) => (
            operands.dense("weight", &op.weight, &[DType::Bf16])?,
            Some(operands.dense("remainder", view, &[DType::I16])?),
        ),
    };
    let single = |operand, view| operands.dense(operand, view, &[DType::F32]);
    let held = if op.rounding.is_some() { DType::Bf16 } else { DType::F32 };
    let moment = |operand, view| operands.dense(operand, view, &[held]);
    let (grad, m, v) = (single("grad", &op.grad)?, moment("m", &op.m)?, moment("v", &op.v)?);
    let entry = match (&op.remainder, &op.rounding) {
        (None, None) => "adamw_f32",
        (None, Some(_)) => "adamw_f32_moments_bf16",
        (Some(_), None) => "adamw_bf16",
        (Some(_), Some(_)) => "adamw_bf16_moments_bf16",
    };
    let Rounding { seed, first } = op.rounding.unwrap_or(Rounding { seed: 0, first: 0 });
    let aligned = grad.is_multiple_of(16)
        && (m | v).is_multiple_of(FOUR * held.bytes())
        && first.is_multiple_of(FOUR)
        && match remainder {
            None => weight.is_multiple_of(16),
            Some(remainder) => (weight | remainder).is_multiple_of(8),
        };
    let flat = Flat::new(elements, FOUR, aligned);
    let arguments = AdamWArguments {
        weight,
        remainder: remainder.unwrap_or(0),
        grad,
        m,
        v,
        step_block: single("step_block", &op.step_block)?,
        result: single("result", &op.result)?,
        elements,
        fours: flat.groups,
        seed,
        first,
        beta1: op.beta1,
        beta2: op.beta2,
        eps: op.eps,
        weight_decay: op.weight_decay,
    };
    operands.launch(entry, flat.blocks, THREADS, &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat as Memory, only};

    fn op(elements: u32, weight: DType) -> AdamW {
        of(elements, weight, DType::F32)
    }

    fn of(elements: u32, weight: DType, moments: DType) -> AdamW {
        let view = |buffer, dtype| Memory::view(buffer, dtype, &[elements]);
        AdamW {
            weight: view(1, weight),
            remainder: (weight == DType::Bf16).then(|| view(2, DType::I16)),
            grad: view(3, DType::F32),
            m: view(4, moments),
            v: view(5, moments),
            step_block: Memory::view(6, DType::F32, &[6]),
            result: Memory::view(7, DType::F32, &[4]),
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            rounding: (moments == DType::Bf16).then_some(Rounding { seed: 9, first: 64 }),
        }
    }

    #[test]
    fn operands_reach_the_kernel() {
        let (launch, a) = only::<AdamWArguments>(adamw(&op(4099, DType::Bf16), &Memory));
        assert_eq!(
            (launch.entry.as_str(), launch.grid, launch.block),
            ("adamw_bf16", [4, 1, 1], [256, 1, 1])
        );
        let addresses = [a.weight, a.remainder, a.grad, a.m, a.v, a.step_block, a.result];
        assert_eq!(addresses, [1, 2, 3, 4, 5, 6, 7].map(|buffer| buffer << 40));
        assert_eq!((a.elements, a.fours), (4099, 1024));
        assert_eq!([a.beta1, a.beta2, a.eps, a.weight_decay], [0.9, 0.95, 1e-8, 0.1]);
        let (launch, a) = only::<AdamWArguments>(adamw(&op(1, DType::F32), &Memory));
        assert_eq!(
            (launch.entry.as_str(), launch.grid, a.remainder, a.fours),
            ("adamw_f32", [1, 1, 1], 0, 0)
        );
        assert_eq!((a.seed, a.first), (0, 0));
    }

    #[test]
    fn moments_in_bf16_have_entries_of_their_own_and_bring_seed_and_place() {
        for (weight, entry) in
            [(DType::F32, "adamw_f32_moments_bf16"), (DType::Bf16, "adamw_bf16_moments_bf16")]
        {
            let (launch, a) = only::<AdamWArguments>(adamw(&of(4099, weight, DType::Bf16), &Memory));
            assert_eq!((launch.entry.as_str(), a.fours, a.seed, a.first), (entry, 1024, 9, 64));
        }
        let fours = |change: fn(&mut AdamW)| {
            let mut op = of(4099, DType::F32, DType::Bf16);
            change(&mut op);
            only::<AdamWArguments>(adamw(&op, &Memory)).1.fours
        };
        // Four bf16 are eight bytes; a block of random numbers is four places.
        assert_eq!(fours(|op| (op.m.offset, op.v.offset) = (8, 24)), 1024);
        assert_eq!(fours(|op| op.v.offset = 4), 0);
        assert_eq!(fours(|op| op.rounding = Some(Rounding { seed: 9, first: 66 })), 0);
        let single = AdamW { rounding: None, ..of(64, DType::F32, DType::Bf16) };
        assert!(matches!(adamw(&single, &Memory), Err(LaunchError::DType { operand: "m", .. })));
    }

    #[test]
    fn any_operand_off_its_boundary_makes_all_go_one_by_one() {
        for change in [
            |op: &mut AdamW| op.weight.offset = 4,
            |op: &mut AdamW| op.grad.offset = 8,
            |op: &mut AdamW| op.m.offset = 4,
            |op: &mut AdamW| op.v.offset = 12,
            |op: &mut AdamW| op.remainder.iter_mut().for_each(|view| view.offset = 2),
        ] {
            let mut op = op(4099, DType::Bf16);
            change(&mut op);
            let (launch, a) = only::<AdamWArguments>(adamw(&op, &Memory));
            assert_eq!((a.fours, launch.grid), (0, [17, 1, 1]));
        }
        // Four bf16 are eight bytes.
        let mut half = op(4099, DType::Bf16);
        half.weight.offset = 8;
        assert_eq!(only::<AdamWArguments>(adamw(&half, &Memory)).1.fours, 1024);
    }

    #[test]
    fn what_the_kernel_cannot_take_is_named() {
        let mut gaps = op(64, DType::F32);
        gaps.m = gaps.m.with_row_stride(2);
        assert!(matches!(adamw(&gaps, &Memory), Err(LaunchError::Gaps { operand: "m", .. })));
        let mut half = op(64, DType::F32);
        half.weight.dtype = DType::Bf16;
        assert!(matches!(adamw(&half, &Memory), Err(LaunchError::DType { operand: "weight", .. })));
        assert_eq!(adamw(&op(0, DType::F32), &Memory), Ok(Vec::new()));
    }
}
