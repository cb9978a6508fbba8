//! Kernels that were assembled beforehand: nothing is left to assemble when a module is loaded.
//!
//! `cargo xtask gpu-bundle` puts them beside the program. A file is named after the very PTX that it was made from, so one
//! that is older or newer than the program is not found. Whatever is missing or refused is assembled from the PTX.

use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// The folder, where it is not beside the program.
const VARIABLE: &str = "OCTO_CUBINS";
/// Its name beside the program.
const FOLDER: &str = "cubins";

/// What code of a compute capability is assembled for; a device runs what was assembled for its own major version.
pub(super) fn target(capability: (u32, u32)) -> Option<&'static str> {
    match capability.0 {
        8 => Some("sm_80"),
        9 => Some("sm_90"),
        _ => None,
    }
}

/// The file of a module's code in the folder of its target.
pub fn cubin_file(module: &str, ptx: &str) -> String {
    format!("{module}-{:016x}.cubin", xxh3_64(ptx.as_bytes()))
}

/// Where code for a target lies, if it does.
pub(super) fn folder(target: &str) -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join(FOLDER));
    let folder = named.or_else(beside)?.join(target);
    folder.is_dir().then_some(folder)
}

/// A module's code, if all of it is there.
pub(super) fn read(folder: &Path, module: &str, ptx: &str) -> Option<Vec<u8>> {
    std::fs::read(folder.join(cubin_file(module, ptx))).ok().filter(|code| is_whole(code))
}

/// Whether code is as long as its headers say, which are all that a driver is given to know its length. ELF-64's header:
/// System V ABI, chapter 4.
fn is_whole(code: &[u8]) -> bool {
    let number = |at: usize, bytes: usize| {
        let bytes = code.get(at..at + bytes)?;
        Some(bytes.iter().rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte)))
    };
    // Tables of segments and of sections: where, how large an entry, how many.
    let ends = [[0x20, 0x36, 0x38], [0x28, 0x3a, 0x3c]].map(|[at, size, count]| {
        let bytes = number(size, 2)?.checked_mul(number(count, 2)?)?;
        number(at, 8)?.checked_add(bytes)
    });
    let fits = |end: Option<u64>| end.is_some_and(|end| end <= code.len() as u64);
    code.starts_with(b"\x7fELF\x02\x01") && ends.into_iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header whose table of sections has two entries of 64 bytes right behind it.
    fn code() -> Vec<u8> {
        let mut code = b"\x7fELF\x02\x01".to_vec();
        code.resize(64 + 2 * 64, 0);
        (code[0x28], code[0x3a], code[0x3c]) = (64, 64, 2);
        code
    }

    #[test]
    fn code_is_found_by_the_ptx_that_it_was_made_from_if_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let put = |ptx: &str, code: &[u8]| {
            let mut file = std::fs::File::create(folder.path().join(cubin_file("swiglu", ptx))).unwrap();
            std::io::Write::write_all(&mut file, code).unwrap();
        };
        put("new", &code());
        assert_eq!(read(folder.path(), "swiglu", "new"), Some(code()));
        assert_eq!(read(folder.path(), "swiglu", "newer"), None);
        assert_eq!(read(folder.path(), "adamw", "new"), None);
        for short in [0, 3, 40, code().len() - 1] {
            put("cut short", &code()[..short]);
            assert_eq!(read(folder.path(), "swiglu", "cut short"), None);
        }
    }

    #[test]
    fn a_device_runs_code_for_its_major_version_alone() {
        let targets = [(8, 0), (8, 9), (9, 0), (10, 0), (7, 5)].map(target);
        assert_eq!(targets, [Some("sm_80"), Some("sm_80"), Some("sm_90"), None, None]);
    }
}
