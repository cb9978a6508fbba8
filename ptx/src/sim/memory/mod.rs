//! Memory of the simulated GPU, with one "written" bit a byte.
//!
//! [`bank`] says how a warp reads and writes 32-bit words of any memory; [`global`] is sparse device memory.
//! Generic addresses lie in windows ([`Window`]); their bases are odd on
//! purpose, so that a generic pointer cut to 32 bits is not by luck an address of its space.

pub(super) mod bank;
pub(super) mod global;

use crate::Space;

/// Bytes at the start of a block's shared memory that belong to the system, as on real devices since sm_80: address 0
/// is never valid.
pub(super) const SHARED_RESERVED: u32 = 1024;
/// Bytes below a thread's local variables, so that address 0 is never valid.
pub(super) const LOCAL_RESERVED: u32 = 16;

const WINDOW_BYTES: u64 = 1 << 32;
const SHARED_WINDOW: u64 = (1 << 60) + 0x5300_0000;
const LOCAL_WINDOW: u64 = (2 << 60) + 0x1c00_0000;
const PARAM_WINDOW: u64 = (3 << 60) + 0x2a00_0000;
const CONST_WINDOW: u64 = (4 << 60) + 0x3c00_0000;

/// Where generic addresses of a space begin; global memory is its own window.
pub(super) const fn window(space: Space) -> u64 {
    match space {
        Space::Generic | Space::Global => 0,
        Space::Shared => SHARED_WINDOW,
        Space::Local => LOCAL_WINDOW,
        Space::Param => PARAM_WINDOW,
        Space::Const => CONST_WINDOW,
    }
}

/// The space of a generic address and the address within it.
pub(super) fn resolve(address: u64) -> (Space, u64) {
    for space in [Space::Shared, Space::Local, Space::Param, Space::Const] {
        let offset = address.wrapping_sub(window(space));
        if offset < WINDOW_BYTES {
            return (space, offset);
        }
    }
    (Space::Global, address)
}

/// The space's name in messages.
pub(super) const fn space_name(space: Space) -> &'static str {
    match space {
        Space::Generic => "generic",
        Space::Global => "global",
        Space::Shared => "shared",
        Space::Local => "local",
        Space::Param => "param",
        Space::Const => "const",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_disjoint_and_go_both_ways() {
        for space in [Space::Shared, Space::Local, Space::Param, Space::Const] {
            for offset in [0, 1024, 0xffff_ffff] {
                assert_eq!(resolve(window(space) + offset), (space, offset));
            }
            assert_eq!(resolve(window(space) - 1).0, Space::Global);
            assert_eq!(resolve(window(space) + WINDOW_BYTES).0, Space::Global);
        }
        assert_eq!(resolve(1 << 46), (Space::Global, 1 << 46));
    }
}
