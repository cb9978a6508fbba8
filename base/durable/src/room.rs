//! How much more fits on a disk.

use std::path::Path;

use crate::error::DurableError;

/// Bytes that may still be written where `path` lies.
///
/// # Errors
/// What the system refuses.
pub fn free_bytes(path: &Path) -> Result<u64, DurableError> {
    let found = rustix::fs::statvfs(path).map_err(|e| DurableError::io("ask for room in", path)(e.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_to_ask_for() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(folder.path()).unwrap() > 0);
        assert!(free_bytes(&folder.path().join("missing")).is_err());
    }
}
