//! Launcher of `cuda/grad_norm.cu`.

use crate::flat::THREADS;
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, GradNorm};

/// Elements a thread takes at once.
const FOUR: u64 = 4;
/// Blocks at most, and threads of the block that sums their sums.
const PARTS: u32 = 1024;

arguments! {
    /// `GradNormPartsArguments` of `cuda/grad_norm.cu`. Addresses are the device's.
    pub struct GradNormPartsArguments {
        /// Gradient.
        pub grad: u64,
        /// A sum of squares a block, in the workspace.
        pub parts: u64,
        /// Elements.
        pub elements: u64,
    }
}

arguments! {
    /// `GradNormFinishArguments` of `cuda/grad_norm.cu`.
    pub struct GradNormFinishArguments {
        /// What the launch before left.
        pub parts: u64,
        /// An `octo_ops::StepBlock`.
        pub step_block: u64,
        /// An `octo_ops::StepResult`.
        pub result: u64,
        /// Sums.
        pub count: u32,
        /// Fills the struct.
        pub unused: u32,
    }
}

/// The gradient's norm, what it is clipped by, and whether the step must not be taken.
///
/// # Errors
/// [`LaunchError`].
pub fn grad_norm(op: &GradNorm, at: &dyn Addresses) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: GradNorm::NAME, at };
    let grad = operands.dense("grad", &op.grad, &[DType::F32])?;
    let parts = operands.workspace(4 * u64::from(PARTS))?;
    let elements = op.grad.elements() as u64;
    let blocks = elements.div_ceil(FOUR * u64::from(THREADS)).min(PARTS.into());
    let entry = if grad.is_multiple_of(16) { "grad_norm_parts" } else { "grad_norm_parts_any" };
    let arguments = GradNormPartsArguments { grad, parts, elements };
    let mut launches = operands.launch(entry, blocks, THREADS, &arguments)?;
    let arguments = GradNormFinishArguments {
        parts,
        step_block: operands.dense("step_block", &op.step_block, &[DType::F32])?,
        result: operands.dense("result", &op.result, &[DType::F32])?,
        count: blocks as u32,
        unused: 0,
    };
    launches.extend(operands.launch("grad_norm_finish", 1, PARTS, &arguments)?);
    Ok(launches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat, WORKSPACE, arguments_of};

    fn op(elements: u32) -> GradNorm {
        GradNorm {
            grad: Flat::view(1, DType::F32, &[elements]),
            step_block: Flat::view(2, DType::F32, &[6]),
            result: Flat::view(3, DType::F32, &[4]),
        }
    }

    #[test]
    fn elements_alone_decide_how_the_sum_is_cut() {
        for (elements, blocks) in [(1, 1), (1024, 1), (1025, 2), (1 << 20, 1024), (1 << 30, 1024)] {
            let launches = grad_norm(&op(elements), &Flat).unwrap();
            let [first, second] = launches.as_slice() else { panic!("{launches:?}") };
            assert_eq!((first.entry.as_str(), first.grid), ("grad_norm_parts", [blocks, 1, 1]));
            let a: GradNormPartsArguments = arguments_of(first);
            assert_eq!([a.grad, a.parts, a.elements], [1 << 40, WORKSPACE, elements.into()]);
            assert_eq!((second.entry.as_str(), second.grid), ("grad_norm_finish", [1; 3]));
            let a: GradNormFinishArguments = arguments_of(second);
            assert_eq!([a.parts, a.step_block, a.result], [WORKSPACE, 2 << 40, 3 << 40]);
            assert_eq!(a.count, blocks);
        }
    }

    #[test]
    fn a_gradient_off_sixteen_bytes_is_cut_alike() {
        let mut off = op(1025);
        off.grad.offset = 4;
        let launches = grad_norm(&off, &Flat).unwrap();
        assert_eq!((launches[0].entry.as_str(), launches[0].grid[0]), ("grad_norm_parts_any", 2));
    }

    #[test]
    fn no_gradient_has_norm_zero() {
        let launches = grad_norm(&op(0), &Flat).unwrap();
        let [only] = launches.as_slice() else { panic!("{launches:?}") };
        assert_eq!(arguments_of::<GradNormFinishArguments>(only).count, 0);
    }
}
