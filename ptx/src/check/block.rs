//! The checks of one block. (Signatures first; the bodies follow.)

use super::{Access, GlobalCheck, Hazard};
use crate::Scope;

/// Order and shared memory of one block; one object serves one block after another.
pub struct BlockCheck {
    _block: u32,
}

#[allow(missing_docs, unused_variables, clippy::too_many_arguments, clippy::new_without_default)]
impl BlockCheck {
    /// For blocks of `threads` threads with `shared_bytes` of shared memory, static and dynamic.
    pub fn new(threads: u32, shared_bytes: u32) -> Self {
        Self { _block: 0 }
    }

    /// Starts block number `block` (linear). Call before its first access; nothing of the previous block is left.
    pub fn begin(&mut self, global: &mut GlobalCheck, block: u32) {}

    /// An access of shared memory. `addresses` are offsets into the block's shared memory, read where `mask`
    /// has a bit; bounds and alignment have been checked. `equal(a, b)` is asked only when lanes a and b of a
    /// store hit the same bytes: whether they write the same value.
    pub fn shared(
        &mut self,
        warp: u32,
        mask: u32,
        access: &Access,
        addresses: &[u32; 32],
        equal: impl Fn(usize, usize) -> bool,
    ) -> Result<(), Box<Hazard>> {
        Ok(())
    }

    /// An access of global memory; as [`BlockCheck::shared`].
    pub fn global(
        &mut self,
        global: &mut GlobalCheck,
        warp: u32,
        mask: u32,
        access: &Access,
        addresses: &[u64; 32],
        equal: impl Fn(usize, usize) -> bool,
    ) -> Result<(), Box<Hazard>> {
        Ok(())
    }

    /// `cp.async` of `bytes` to shared addresses `to`, of which the first `source_bytes[lane]` are read at `from`.
    pub fn copy_issue(
        &mut self,
        global: &mut GlobalCheck,
        warp: u32,
        mask: u32,
        instruction: u32,
        bytes: u32,
        to: &[u32; 32],
        from: &[u64; 32],
        source_bytes: &[u32; 32],
    ) -> Result<(), Box<Hazard>> {
        Ok(())
    }

    /// `cp.async.commit_group`
    pub fn copy_commit(&mut self, warp: u32, mask: u32) {}

    /// `cp.async.wait_group n` (`Some(n)`) or `wait_all` (`None`).
    pub fn copy_wait(&mut self, global: &mut GlobalCheck, warp: u32, mask: u32, pending: Option<u32>) {}

    /// `bar.warp.sync` completed by the lanes of `mask`, each call one meeting. Not for shfl, vote and the like.
    pub fn warp_sync(&mut self, warp: u32, mask: u32) {}

    /// Lanes reach a `bar` of any kind (`sync`, `arrive`, `red`).
    pub fn barrier_arrive(&mut self, id: u32, warp: u32, mask: u32) {}

    /// Barrier `id` completes: `waiting[warp]` are the lanes that go on from `sync` or `red` (not `arrive`).
    pub fn barrier_complete(&mut self, id: u32, waiting: &[u32]) {}

    /// `fence`/`membar` of either semantics.
    pub fn fence(&mut self, warp: u32, mask: u32, scope: Scope) {}

    /// Lanes exit.
    pub fn exit(&mut self, warp: u32, mask: u32) {}
}
