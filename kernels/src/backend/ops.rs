//! Which op has which kernel: the only place that matches on ops.

use crate::{Addresses, Launch};
use octo_ops::Op;

/// The launches of an op, or why this backend has none.
pub(super) fn launches(_op: &Op, _at: &dyn Addresses) -> Result<Vec<Launch>, String> {
    Err("it has no CUDA kernel yet; take `--device cpu` (for train: `--set run.device=cpu`)".into())
}
