//! Launcher of `cuda/copy_pages.cu`.

use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{CopyPages, DType};

/// Threads of a block.
const THREADS: u32 = 256;
/// Groups of 16 bytes that a block copies.
const GROUPS: u64 = 4 * THREADS as u64;

arguments! {
    /// `CopyPagesArguments` of `cuda/copy_pages.cu`. Addresses are the device's.
    pub struct CopyPagesArguments {
        /// Pages copied.
        pub from: u64,
        /// Where they go.
        pub to: u64,
        /// The cache.
        pub data: u64,
        /// Groups of 16 bytes between layers.
        pub layer_stride: u64,
        /// Pages to copy.
        pub copies: u32,
        /// Pages of a layer.
        pub pages: u32,
        /// Groups of 16 bytes of a page.
        pub sixteens: u32,
        /// Blocks a page.
        pub parts: u32,
    }
}

/// pages\[l\]\[to\[i\]\] = pages\[l\]\[from\[i\]\].
///
/// # Errors
/// [`LaunchError`].
pub fn copy_pages(op: &CopyPages, at: &dyn Addresses) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: CopyPages::NAME, at };
    let [layers, pages, elements] = op.shape();
    // Whole pages of 64 tokens: the check has seen to it that these are groups of 16 bytes, if the first begins as one.
    let bytes = elements as u64 * op.pages.dtype.bytes();
    let (sixteens, copies) = (bytes / 16, op.from.rows() as u64);
    let parts = sixteens.div_ceil(GROUPS);
    let arguments = CopyPagesArguments {
        from: operands.dense("from", &op.from, &[DType::U32])?,
        to: operands.dense("to", &op.to, &[DType::U32])?,
        data: operands.dense("pages", &op.pages, &[DType::Bf16])?,
        layer_stride: pages as u64 * sixteens,
        copies: copies as u32,
        pages: pages as u32,
        sixteens: sixteens as u32,
        parts: parts as u32,
    };
    if !operands.rows_aligned(&op.pages) {
        return Err(LaunchError::Unaligned { op: CopyPages::NAME, operand: "pages", view: op.pages });
    }
    operands.launch("copy_pages", parts * copies * layers as u64, THREADS, &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat, only};

    fn op(copies: u32) -> CopyPages {
        CopyPages {
            from: Flat::view(1, DType::U32, &[copies]),
            to: Flat::view(2, DType::U32, &[copies]),
            pages: Flat::view(3, DType::Bf16, &[16, 100, 9 * 1024]),
        }
    }

    #[test]
    fn a_page_is_cut_into_blocks_in_every_layer() {
        let (launch, a) = only::<CopyPagesArguments>(copy_pages(&op(5), &Flat));
        assert_eq!((launch.entry.as_str(), launch.block), ("copy_pages", [256, 1, 1]));
        // 18 KiB are 1,152 groups, which two blocks copy.
        assert_eq!((a.sixteens, a.parts, launch.grid), (1152, 2, [2 * 5 * 16, 1, 1]));
        assert_eq!((a.layer_stride, a.copies, a.pages), (115_200, 5, 100));
        assert_eq!([a.from, a.to, a.data], [1 << 40, 2 << 40, 3 << 40]);
    }

    #[test]
    fn what_the_kernel_cannot_take_is_named_and_nothing_is_no_launch() {
        let mut askew = op(5);
        askew.pages.offset = 8;
        assert!(matches!(copy_pages(&askew, &Flat), Err(LaunchError::Unaligned { operand: "pages", .. })));
        let mut wide = op(5);
        wide.pages.dtype = DType::F32;
        assert!(matches!(copy_pages(&wide, &Flat), Err(LaunchError::DType { operand: "pages", .. })));
        assert_eq!(copy_pages(&op(0), &Flat), Ok(Vec::new()));
    }
}
