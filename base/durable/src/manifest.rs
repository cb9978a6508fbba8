//! What a folder holds, and whether it still does.
//!
//! `manifest.json` lists every other file with its size and xxh3 (64 bits: against accidents, not against
//! malice), and carries the xxh3 of that list itself.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::error::{Damage, DamageKind, DurableError};

/// The name of the manifest within its folder.
pub const MANIFEST_NAME: &str = "manifest.json";

/// A manifest larger than this is not one of ours: about half a million files.
const MANIFEST_LIMIT: u64 = 64 << 20;

/// What was written into a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Every file but the manifest, ordered by path.
    pub files: Vec<FileEntry>,
    /// Of the compact JSON of `files`, as 16 hexadecimal digits.
    pub xxh3: String,
}

/// One file of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Path within the folder, with `/` between parts.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Of its bytes, as 16 hexadecimal digits.
    pub xxh3: String,
}

impl Manifest {
    /// The manifest of a folder with these files.
    #[must_use]
    pub fn new(mut files: Vec<FileEntry>) -> Manifest {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let xxh3 = Manifest::digest(&files);
        Manifest { files, xxh3 }
    }

    fn digest(files: &[FileEntry]) -> String {
        // Serialising strings and numbers to memory cannot fail.
        hex(xxh3_64(&serde_json::to_vec(files).unwrap_or_default()))
    }

    /// The bytes of [`MANIFEST_NAME`].
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// Reads the manifest of `folder` without looking at the files it names.
    ///
    /// # Errors
    /// The one [`Damage`] that makes it unusable.
    fn read(folder: &Path) -> Result<Manifest, DamageKind> {
        let bytes = match read_up_to(&folder.join(MANIFEST_NAME), MANIFEST_LIMIT) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(DamageKind::BadManifest("is too large to be a manifest".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DamageKind::Missing),
            Err(error) => return Err(DamageKind::Unreadable(error.to_string())),
        };
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| DamageKind::BadManifest(format!("is not a manifest ({error})")))?;
        if Manifest::digest(&manifest.files) != manifest.xxh3 {
            return Err(DamageKind::BadManifest("does not match its own checksum".to_owned()));
        }
        if let Some(bad) = manifest.files.iter().find(|entry| bad_name(&entry.path).is_some()) {
            return Err(DamageKind::BadManifest(format!(
                "names `{}`, which lies outside the folder",
                bad.path
            )));
        }
        Ok(manifest)
    }
}

/// Reads every byte of a folder written by [`AtomicDir`](crate::AtomicDir) and compares it with its manifest.
/// Links are not followed.
///
/// # Errors
/// [`DurableError::Damaged`] with every missing, extra, short, long or changed file; [`DurableError::Io`] where
/// `folder` cannot be listed at all.
pub fn verify(folder: &Path) -> Result<Manifest, DurableError> {
    compare(folder, |_| false)
}

/// [`verify`], but for the files that `later` names: of these only that they are there and how long they are. Their
/// bytes are compared while somebody else reads them.
///
/// # Errors
/// As [`verify`].
pub fn verify_while_reading(folder: &Path, later: impl Fn(&str) -> bool) -> Result<Verifying, DurableError> {
    let mut files = compare(folder, &later)?.files;
    files.retain(|entry| later(&entry.path));
    Ok(Verifying { folder: folder.to_owned(), files, seen: BTreeMap::new() })
}

/// A folder of which some files have not been compared with the manifest yet.
pub struct Verifying {
    folder: PathBuf,
    files: Vec<FileEntry>,
    /// What was read of each file so far, by its path within the folder.
    seen: BTreeMap<String, (Xxh3, u64)>,
}

impl Verifying {
    /// Takes note of the next bytes of a file of the folder; each file is seen from its first byte to its last.
    pub fn see(&mut self, path: &Path, bytes: &[u8]) {
        let Ok(name) = path.strip_prefix(&self.folder) else { return };
        let name = name.to_string_lossy();
        let (hash, length) = match self.seen.get_mut(&*name) {
            Some(seen) => seen,
            None => self.seen.entry(name.into_owned()).or_default(),
        };
        hash.update(bytes);
        *length += bytes.len() as u64;
    }

    /// Bytes seen so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.seen.values().map(|(_, length)| length).sum()
    }

    /// Compares the files that were seen; the others are left out.
    ///
    /// # Errors
    /// [`DurableError::Damaged`] with every file that differs.
    pub fn finish_seen(mut self) -> Result<(), DurableError> {
        self.files.retain(|entry| self.seen.contains_key(&entry.path));
        self.finish()
    }

    /// Compares the files that were seen, and reads and compares the others.
    ///
    /// # Errors
    /// [`DurableError::Damaged`] with every file that differs.
    pub fn finish(self) -> Result<(), DurableError> {
        let mut damage = Vec::new();
        for entry in &self.files {
            let kind = match self.seen.get(&entry.path) {
                None => difference(&self.folder.join(&entry.path), entry),
                Some((_, found)) if *found != entry.bytes => {
                    Some(DamageKind::Size { expected: entry.bytes, found: *found })
                }
                Some((hash, _)) => (hex(hash.digest()) != entry.xxh3).then_some(DamageKind::Changed),
            };
            damage.extend(kind.map(|kind| Damage { file: entry.path.clone(), kind }));
        }
        if damage.is_empty() { Ok(()) } else { Err(DurableError::Damaged { path: self.folder, damage }) }
    }
}

impl fmt::Debug for Verifying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifying({}, {} bytes seen)", self.folder.display(), self.bytes())
    }
}

/// Compares a folder with its manifest, without the bytes of the files that `later` names.
fn compare(folder: &Path, later: impl Fn(&str) -> bool) -> Result<Manifest, DurableError> {
    let mut found = list_files(folder).map_err(DurableError::io("read", folder))?;
    let damaged = |damage| DurableError::Damaged { path: folder.to_owned(), damage };
    let manifest = Manifest::read(folder)
        .map_err(|kind| damaged(vec![Damage { file: MANIFEST_NAME.to_owned(), kind }]))?;
    found.remove(MANIFEST_NAME);
    let mut damage = Vec::new();
    for entry in &manifest.files {
        let kind = match found.remove(&entry.path) {
            None => Some(DamageKind::Missing),
            Some(false) => Some(DamageKind::NotAFile),
            Some(true) if later(&entry.path) => size_difference(&folder.join(&entry.path), entry),
            Some(true) => difference(&folder.join(&entry.path), entry),
        };
        damage.extend(kind.map(|kind| Damage { file: entry.path.clone(), kind }));
    }
    damage.extend(found.into_keys().map(|file| Damage { file, kind: DamageKind::Extra }));
    if damage.is_empty() {
        return Ok(manifest);
    }
    damage.sort_by(|a, b| a.file.cmp(&b.file));
    Err(damaged(damage))
}

fn size_difference(path: &Path, entry: &FileEntry) -> Option<DamageKind> {
    match std::fs::metadata(path) {
        Ok(found) if found.len() == entry.bytes => None,
        Ok(found) => Some(DamageKind::Size { expected: entry.bytes, found: found.len() }),
        Err(error) => Some(DamageKind::Unreadable(error.to_string())),
    }
}

fn difference(path: &Path, entry: &FileEntry) -> Option<DamageKind> {
    let compare = || -> io::Result<Option<DamageKind>> {
        let mut file = File::open(path)?;
        let found = file.metadata()?.len();
        if found != entry.bytes {
            return Ok(Some(DamageKind::Size { expected: entry.bytes, found }));
        }
        let mut hash = Xxh3::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
        Ok((hex(hash.digest()) != entry.xxh3).then_some(DamageKind::Changed))
    };
    compare().unwrap_or_else(|error| Some(DamageKind::Unreadable(error.to_string())))
}

/// Every entry below `folder` that is not a folder, with whether it is a plain file.
fn list_files(folder: &Path) -> io::Result<BTreeMap<String, bool>> {
    let mut found = BTreeMap::new();
    let mut open = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push((entry.path(), format!("{name}/")));
            } else {
                found.insert(name, kind.is_file());
            }
        }
    }
    Ok(found)
}

/// The bytes of a file, or `None` where it is longer than `limit`.
fn read_up_to(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// Why `name` is not the path of a file within a folder, if it is not.
pub(crate) fn bad_name(name: &str) -> Option<&'static str> {
    let plain = |part: Component| matches!(part, Component::Normal(_));
    if name.is_empty() || name.ends_with('/') {
        Some("it has no last part")
    } else if !Path::new(name).components().all(plain) || name.contains("//") || name.contains("/./") {
        Some("it must lie inside: no leading `/`, no `.` and no `..`")
    } else if name.contains('\0') {
        Some("it holds a zero byte")
    } else {
        None
    }
}

pub(crate) fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}
