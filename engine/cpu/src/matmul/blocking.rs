//! Every size the products are cut by, with its reason. None of them changes a bit of a result but
//! [`BLOCK`], which is part of the definition.

/// Terms of the reduction in one fused-multiply-add chain: **part of the definition** of every product
/// (see [`super`]). It is also the depth of a packed block: a panel of 16 columns is then 16 KB, half of the
/// smallest first-level cache in use.
pub(crate) const BLOCK: usize = 256;

/// Rows of a task's tile. 96 rows by 256 terms (96 KB) stay in the second-level cache while all panels pass,
/// each of which is then read once for 96 rows; a multiple of both kernels' rows (6 and 12).
pub(super) const TILE_ROWS: usize = 96;

/// Columns of a task's tile, raised to the next multiple the caller needs. 256 repay the copy of the left
/// block 256-fold, leave the tile's sums (96 KB) beside it in the second-level cache, and still cut a
/// 4096×512 product into 86 tasks.
pub(super) const TILE_COLS: usize = 256;

/// f32 of right-hand panels packed before they are used (8 MB): less than a share of the last-level cache,
/// enough for a whole 4096×512 weight.
pub(super) const PACKED: usize = 2 << 20;

/// Columns of a task when the rows are too few to repay packing ahead: enough tasks for many threads out of
/// a narrow weight, each still hundreds of KB to read.
pub(super) const NARROW_TILE_COLS: usize = 64;

/// Up to so many rows, weights are multiplied as they come out of memory, without being stored widened:
/// the kernel has four chains of eight columns, shared between rows and columns.
pub(super) const IN_PLACE_ROWS: usize = 4;

/// Multiply-adds below which starting other threads takes longer than the work.
pub(super) const SERIAL: usize = 1 << 16;
