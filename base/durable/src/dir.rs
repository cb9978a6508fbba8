//! A folder of files, whole or absent.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::error::DurableError;
use crate::file::{fill_and_sync, folder_of, unused};
use crate::fs::Fs;
use crate::manifest::{FileEntry, MANIFEST_NAME, Manifest, bad_name, hex};

/// A folder that is built aside and appears under its name with [`AtomicDir::commit`], or not at all. Dropped
/// before that, it removes what it has built; killed before that, it leaves a `.tmp-NAME-…` that
/// [`remove_leftovers`](crate::remove_leftovers) clears.
pub struct AtomicDir<'fs> {
    fs: &'fs dyn Fs,
    target: PathBuf,
    aside: PathBuf,
    files: Vec<FileEntry>,
    /// Folders made below `aside`, relative to it; parents sort before children.
    folders: BTreeSet<PathBuf>,
    committed: bool,
}

impl<'fs> AtomicDir<'fs> {
    /// Begins the folder `target`, whose parent exists.
    ///
    /// # Errors
    /// [`DurableError::Exists`] where anything of that name exists, or what the system refuses.
    pub fn create(fs: &'fs dyn Fs, target: &Path) -> Result<AtomicDir<'fs>, DurableError> {
        refuse_existing(target)?;
        let (aside, ()) = unused(target, |aside| fs.create_folder(aside))?;
        Ok(AtomicDir {
            fs,
            target: target.to_owned(),
            aside,
            files: Vec::new(),
            folders: BTreeSet::new(),
            committed: false,
        })
    }

    /// Writes one file, hashed on its way and synced; folders of its `name` (`model/config.json`) are made.
    ///
    /// # Errors
    /// [`DurableError::BadName`] for a name that leads outside, was written before or is the manifest's; what
    /// the system or `fill` refuses.
    pub fn write_file(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), DurableError> {
        let taken = || self.files.iter().any(|entry| entry.path == name).then_some("it was written before");
        let reserved = || (name == MANIFEST_NAME).then_some("that name is kept for the manifest");
        if let Some(why) = bad_name(name).or_else(reserved).or_else(taken) {
            return Err(DurableError::BadName { name: name.to_owned(), folder: self.target.clone(), why });
        }
        self.make_folders(Path::new(name))?;
        let (bytes, xxh3) = self.write_synced(name, fill)?;
        self.files.push(FileEntry { path: name.to_owned(), bytes, xxh3: hex(xxh3) });
        Ok(())
    }

    /// Writes the manifest, syncs every folder and gives the whole its name. Returns what was written.
    ///
    /// # Errors
    /// [`DurableError::Exists`] where the name was taken meanwhile; what the system refuses. Nothing is left
    /// under the name then, unless only the very last sync of the parent failed: in that case the whole folder
    /// is there but may vanish in a power cut.
    pub fn commit(mut self) -> Result<Manifest, DurableError> {
        let manifest = Manifest::new(std::mem::take(&mut self.files));
        self.write_synced(MANIFEST_NAME, |writer| writer.write_all(&manifest.to_json()))?;
        for folder in self.folders.iter().map(|folder| self.aside.join(folder)).chain([self.aside.clone()]) {
            self.fs.sync_folder(&folder).map_err(DurableError::io("sync", &self.target))?;
        }
        refuse_existing(&self.target)?;
        self.fs.rename(&self.aside, &self.target).map_err(DurableError::io("finish", &self.target))?;
        self.committed = true;
        let parent = folder_of(&self.target);
        self.fs.sync_folder(parent).map_err(DurableError::io("sync", parent))?;
        Ok(manifest)
    }

    fn make_folders(&mut self, name: &Path) -> Result<(), DurableError> {
        let mut missing: Vec<&Path> = name
            .ancestors()
            .skip(1)
            .filter(|folder| !folder.as_os_str().is_empty() && !self.folders.contains(*folder))
            .collect();
        missing.reverse();
        for folder in missing {
            self.fs
                .create_folder(&self.aside.join(folder))
                .map_err(DurableError::io("create", self.target.join(folder)))?;
            self.folders.insert(folder.to_owned());
        }
        Ok(())
    }

    /// Writes and syncs one file of the folder; returns its length and hash.
    fn write_synced(
        &self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(u64, u64), DurableError> {
        let shown = || self.target.join(name);
        let mut file =
            self.fs.create_file(&self.aside.join(name)).map_err(DurableError::io("create", shown()))?;
        let (mut bytes, mut hash) = (0, Xxh3::new());
        fill_and_sync(&mut *file, |writer| {
            let mut hashed = Hashed { writer, hash: &mut hash, bytes: &mut bytes };
            fill(&mut hashed)
        })
        .map_err(DurableError::io("write", shown()))?;
        Ok((bytes, hash.digest()))
    }
}

impl Drop for AtomicDir<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // Nobody is left to tell; a folder that cannot be removed does no harm.
            let _ = self.fs.remove_folder(&self.aside);
        }
    }
}

fn refuse_existing(target: &Path) -> Result<(), DurableError> {
    match std::fs::symlink_metadata(target) {
        Ok(_) => Err(DurableError::Exists { path: target.to_owned() }),
        Err(_) => Ok(()),
    }
}

/// Counts and hashes what passes through.
struct Hashed<'a> {
    writer: &'a mut dyn Write,
    hash: &'a mut Xxh3,
    bytes: &'a mut u64,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.hash.update(&bytes[..written]);
        *self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Damage, DamageKind};
    use crate::faulty::{Fault, FaultyFs};
    use crate::fs::Disk;
    use crate::manifest::{Verifying, verify, verify_while_reading};

    fn build(fs: &dyn Fs, target: &Path) -> Result<Manifest, DurableError> {
        let mut dir = AtomicDir::create(fs, target)?;
        dir.write_file("model/config.json", |writer| writer.write_all(b"{}"))?;
        dir.write_file("model/deep/weights.bin", |writer| writer.write_all(&[3; 2_000_000]))?;
        dir.write_file("empty", |_| Ok(()))?;
        dir.commit()
    }

    fn damage(folder: &Path) -> Vec<Damage> {
        match verify(folder) {
            Err(DurableError::Damaged { damage, .. }) => damage,
            other => panic!("expected damage, got {other:?}"),
        }
    }

    #[test]
    fn a_committed_folder_verifies_and_says_what_it_holds() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("step-1");
        let written = build(&Disk, &target).unwrap();
        assert_eq!(verify(&target).unwrap(), written);
        let listed: Vec<(&str, u64)> =
            written.files.iter().map(|entry| (entry.path.as_str(), entry.bytes)).collect();
        assert_eq!(listed, [("empty", 0), ("model/config.json", 2), ("model/deep/weights.bin", 2_000_000)]);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_whole_or_absent_after_any_fault_and_any_power_cut() {
        for fault in Fault::ALL {
            for lose_names in [false, true] {
                let mut faults_met = 0;
                for at in 0.. {
                    let parent = tempfile::tempdir().unwrap();
                    let target = parent.path().join("step-1");
                    let fs = FaultyFs::new(fault, at);
                    let result = build(&fs, &target);
                    if fault != Fault::Crash && !target.exists() {
                        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0, "{fault:?} at {at}");
                    }
                    if lose_names {
                        fs.power_cut_losing_names()
                    } else {
                        fs.power_cut()
                    }
                    assert!(result.is_err() || target.exists(), "{fault:?} at {at}: reported, then lost");
                    if target.exists() {
                        verify(&target).unwrap();
                    }
                    if !fs.struck() {
                        assert!(result.is_ok());
                        break;
                    }
                    faults_met += 1;
                }
                assert!(faults_met >= 18, "{faults_met}");
            }
        }
    }

    #[test]
    fn an_existing_folder_is_never_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("step-1");
        let mut late = AtomicDir::create(&Disk, &target).unwrap();
        late.write_file("a", |writer| writer.write_all(b"late")).unwrap();
        build(&Disk, &target).unwrap();
        assert!(matches!(late.commit(), Err(DurableError::Exists { .. })));
        assert!(matches!(AtomicDir::create(&Disk, &target), Err(DurableError::Exists { .. })));
        verify(&target).unwrap();
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_kind_of_damage_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("step-1");
        build(&Disk, &target).unwrap();
        let weights = target.join("model/deep/weights.bin");
        let mut bytes = std::fs::read(&weights).unwrap();
        bytes[1_234_567] ^= 1;
        std::fs::remove_file(&weights).unwrap();
        Disk.create_file(&weights).unwrap().write_all(&bytes).unwrap();
        std::fs::remove_file(target.join("model/config.json")).unwrap();
        Disk.create_file(&target.join("model/deep/stray")).unwrap();
        Disk.open_append(&target.join("empty")).unwrap().write_all(b"tail").unwrap();
        let damage_found: Vec<(String, DamageKind)> =
            damage(&target).into_iter().map(|damage| (damage.file, damage.kind)).collect();
        assert_eq!(
            damage_found,
            [
                ("empty".to_owned(), DamageKind::Size { expected: 0, found: 4 }),
                ("model/config.json".to_owned(), DamageKind::Missing),
                ("model/deep/stray".to_owned(), DamageKind::Extra),
                ("model/deep/weights.bin".to_owned(), DamageKind::Changed),
            ]
        );
    }

    #[test]
    fn what_is_compared_while_it_is_read_is_held_to_the_manifest_in_the_end() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("step-1");
        build(&Disk, &target).unwrap();
        let weights = target.join("model/deep/weights.bin");
        let begin = || verify_while_reading(&target, |name| name.ends_with(".bin"));
        let content = std::fs::read(&weights).unwrap();
        let seen = |bytes: &[u8]| {
            let mut verifying = begin().unwrap();
            bytes.chunks(700_001).for_each(|bytes| verifying.see(&weights, bytes));
            assert_eq!(verifying.bytes(), bytes.len() as u64);
            verifying
        };
        let mut changed = content.clone();
        changed[1_999_999] ^= 1;
        let kind = |verifying: Verifying| match verifying.finish() {
            Err(DurableError::Damaged { damage, .. }) => Some(damage[0].kind.clone()),
            _ => None,
        };
        assert_eq!(kind(seen(&content)), None);
        assert_eq!(kind(seen(&changed)), Some(DamageKind::Changed));
        assert_eq!(
            kind(seen(&content[1..])),
            Some(DamageKind::Size { expected: 2_000_000, found: 1_999_999 })
        );
        // Nobody has read it: it is read now, or left out.
        assert_eq!(kind(begin().unwrap()), None);
        Disk.open_append(&weights).unwrap().set_len(0).unwrap();
        Disk.open_append(&weights).unwrap().write_all(&changed).unwrap();
        assert_eq!(kind(begin().unwrap()), Some(DamageKind::Changed));
        assert!(begin().unwrap().finish_seen().is_ok());
        // Its length and the other files are looked at from the start.
        Disk.open_append(&weights).unwrap().write_all(b"tail").unwrap();
        assert!(matches!(begin(), Err(DurableError::Damaged { damage, .. })
            if damage[0].kind == DamageKind::Size { expected: 2_000_000, found: 2_000_004 }));
    }

    #[test]
    fn a_link_in_place_of_a_file_is_damage() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("step-1");
        build(&Disk, &target).unwrap();
        std::fs::remove_file(target.join("model/config.json")).unwrap();
        Disk.symlink(Path::new("/etc/passwd"), &target.join("model/config.json")).unwrap();
        assert_eq!(damage(&target)[0].kind, DamageKind::NotAFile);
    }

    #[test]
    fn a_manifest_that_was_cut_changed_or_lost_is_damage() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("step-1");
        build(&Disk, &target).unwrap();
        let path = target.join(MANIFEST_NAME);
        let whole = std::fs::read_to_string(&path).unwrap();
        for bad in [&whole[..whole.len() / 2], "", "{}", &whole.replace("2000000", "2000001")] {
            crate::write_bytes(&Disk, &path, bad.as_bytes()).unwrap();
            assert!(
                matches!(damage(&target)[..], [Damage { kind: DamageKind::BadManifest(_), .. }]),
                "{bad}"
            );
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(damage(&target)[0].kind, DamageKind::Missing);
    }

    #[test]
    fn a_manifest_that_points_outside_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("step-1");
        build(&Disk, &target).unwrap();
        let lying =
            Manifest::new(vec![FileEntry { path: "../../etc/passwd".to_owned(), bytes: 1, xxh3: hex(0) }]);
        crate::write_bytes(&Disk, &target.join(MANIFEST_NAME), &lying.to_json()).unwrap();
        assert!(matches!(damage(&target)[0].kind, DamageKind::BadManifest(_)));
    }

    #[test]
    fn names_that_lead_outside_or_repeat_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let mut dir = AtomicDir::create(&Disk, &parent.path().join("a")).unwrap();
        dir.write_file("twice", |_| Ok(())).unwrap();
        for bad in
            ["", "/a", "../a", "a/../b", "./a", "a/", "a//b", "a/./b", "twice", "manifest.json", "a\0b"]
        {
            let refused = dir.write_file(bad, |_| Ok(()));
            assert!(matches!(refused, Err(DurableError::BadName { .. })), "{bad:?}: {refused:?}");
        }
    }
}
