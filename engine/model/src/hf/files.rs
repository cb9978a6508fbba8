//! Opening files of a directory that somebody else wrote.

use crate::ModelError;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read_capped(path: &Path, limit: u64) -> Result<Vec<u8>, ModelError> {
    let (file, bytes) = open_regular(path)?;
    let too_large = |bytes| ModelError::TooLarge { path: path.to_owned(), bytes, limit };
    if bytes > limit {
        return Err(too_large(bytes));
    }
    let mut content = Vec::with_capacity(bytes as usize);
    file.take(limit + 1).read_to_end(&mut content).map_err(|e| ModelError::io(path, e))?;
    match content.len() as u64 > limit {
        true => Err(too_large(content.len() as u64)),
        false => Ok(content),
    }
}

/// Opens a regular file and says its length; a pipe or device would block or never end.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64), ModelError> {
    let io = |e| ModelError::io(path, e);
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(io(std::io::Error::other("not a regular file")));
    }
    let file = File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    Ok((file, bytes))
}

/// The path of a file that a model directory names: a plain name, and no link out of the directory.
///
/// The one place outside that links may lead to is the Hugging Face cache's: `R/snapshots/REVISION/name`
/// links to `R/blobs/HASH`.
pub(crate) fn inside(dir: &Path, name: &str) -> Result<PathBuf, ModelError> {
    let outside = || ModelError::Outside { dir: dir.to_owned(), name: name.to_owned() };
    let mut components = Path::new(name).components();
    if !matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        || name.contains(['/', '\\'])
    {
        return Err(outside());
    }
    let path = dir.join(name);
    let real = fs::canonicalize(&path).map_err(|e| ModelError::io(&path, e))?;
    let root = fs::canonicalize(dir).map_err(|e| ModelError::io(dir, e))?;
    match real.starts_with(&root) || cache_blobs(&root).is_some_and(|blobs| real.starts_with(blobs)) {
        true => Ok(path),
        false => Err(outside()),
    }
}

/// Whether a directory has something by this name, be it a broken link.
pub(crate) fn has(dir: &Path, name: &str) -> bool {
    fs::symlink_metadata(dir.join(name)).is_ok()
}

fn cache_blobs(root: &Path) -> Option<PathBuf> {
    let snapshots = root.parent()?;
    (snapshots.file_name()? == "snapshots").then(|| snapshots.parent().map(|r| r.join("blobs")))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_plain_names_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join("plain")).unwrap();
        assert!(inside(dir.path(), "plain").is_ok());
        for name in ["../plain", "..", ".", "", "/etc/passwd", "a/plain", "plain/", "..\\plain"] {
            assert!(matches!(inside(dir.path(), name), Err(ModelError::Outside { .. })), "{name}");
        }
        assert!(matches!(inside(dir.path(), "absent"), Err(ModelError::Io { .. })));
    }

    #[test]
    fn links_stay_inside_the_directory_or_the_cache_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let (blobs, snapshot) = (root.path().join("blobs"), root.path().join("snapshots/1"));
        fs::create_dir_all(&blobs).unwrap();
        fs::create_dir_all(&snapshot).unwrap();
        for target in [blobs.join("b"), snapshot.join("s"), root.path().join("secret")] {
            File::create(target).unwrap();
        }
        symlink("s", snapshot.join("own")).unwrap();
        symlink("../../blobs/b", snapshot.join("cached")).unwrap();
        symlink("../../secret", snapshot.join("out")).unwrap();
        assert!(inside(&snapshot, "own").is_ok());
        assert!(inside(&snapshot, "cached").is_ok());
        assert!(matches!(inside(&snapshot, "out"), Err(ModelError::Outside { .. })));
        // The same links anywhere else lead out.
        let other = root.path().join("others/1");
        fs::create_dir_all(&other).unwrap();
        symlink("../../blobs/b", other.join("cached")).unwrap();
        assert!(matches!(inside(&other, "cached"), Err(ModelError::Outside { .. })));
    }

    #[test]
    fn devices_are_not_read() {
        assert!(open_regular(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn a_file_above_its_limit_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let error = read_capped(&path, 100).unwrap_err();
        assert!(matches!(error, ModelError::TooLarge { bytes, limit: 100, .. } if bytes == 1 << 40));
    }
}
