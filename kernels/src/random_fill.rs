//! Launcher of `cuda/random_fill.cu`.

use crate::flat::{Flat, THREADS};
use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, RandomFill};

arguments! {
    /// `RandomFillArguments` of `cuda/random_fill.cu`. Addresses are the device's.
    pub struct RandomFillArguments {
        /// Where numbers go.
        pub out: u64,
        /// Elements.
        pub elements: u64,
        /// Leading groups of 16 bytes that are stored as one.
        pub groups: u64,
        /// Key of the generator.
        pub seed: u64,
        /// Stream of the generator.
        pub stream: u64,
        /// What an integer of the bell is multiplied with.
        pub factor: f32,
        /// Fills the struct.
        pub unused: u32,
    }
}

/// Fills a range with random numbers.
///
/// # Errors
/// [`LaunchError`].
pub fn random_fill(op: &RandomFill, at: &dyn Addresses) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: RandomFill::NAME, at };
    let out = operands.dense("out", &op.out, &[DType::F32, DType::Bf16])?;
    let elements = op.out.elements() as u64;
    let flat = Flat::new(elements, 16 / op.out.dtype.bytes(), out.is_multiple_of(16));
    let arguments = RandomFillArguments {
        out,
        elements,
        groups: flat.groups,
        seed: op.seed,
        stream: op.stream,
        factor: op.factor(),
        unused: 0,
    };
    operands.launch(&format!("random_fill_{}", op.out.dtype), flat.blocks, THREADS, &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat as Memory, only};

    fn op(elements: u32, dtype: DType) -> RandomFill {
        RandomFill { out: Memory::view(1, dtype, &[elements]), seed: 7, stream: 1 << 40, scale: 65536.0 }
    }

    #[test]
    fn sixteen_bytes_are_one_group() {
        for (dtype, entry, groups) in
            [(DType::F32, "random_fill_f32", 250), (DType::Bf16, "random_fill_bf16", 125)]
        {
            let (launch, a) = only::<RandomFillArguments>(random_fill(&op(1003, dtype), &Memory));
            assert_eq!((launch.entry.as_str(), launch.grid), (entry, [1, 1, 1]));
            assert_eq!((a.out, a.elements, a.groups), (1 << 40, 1003, groups));
            assert_eq!((a.seed, a.stream, a.factor), (7, 1 << 40, 3f32.sqrt()));
        }
    }

    #[test]
    fn memory_off_sixteen_bytes_is_filled_one_by_one() {
        let mut op = op(1003, DType::F32);
        op.out.offset = 4;
        let (launch, a) = only::<RandomFillArguments>(random_fill(&op, &Memory));
        assert_eq!((launch.grid, a.groups), ([4, 1, 1], 0));
    }

    #[test]
    fn gaps_are_refused_and_nothing_is_no_launch() {
        let mut gaps = op(64, DType::F32);
        gaps.out = Memory::view(1, DType::F32, &[4, 16]).with_row_stride(17);
        assert!(matches!(random_fill(&gaps, &Memory), Err(LaunchError::Gaps { operand: "out", .. })));
        assert_eq!(random_fill(&op(0, DType::F32), &Memory), Ok(Vec::new()));
    }
}
