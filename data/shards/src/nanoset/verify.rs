//! Whether shards still are what was written.

use super::set::ShardSet;
use crate::ShardsError;
use octo_durable::MANIFEST_NAME;
use std::path::Path;

/// Tokens read at once.
const CHUNK: usize = 1 << 18;

/// What was found whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Files of tokens.
    pub files: usize,
    /// Documents in them.
    pub documents: u64,
    /// Tokens in them.
    pub tokens: u64,
    /// The highest id there is; `None` without tokens.
    pub highest_id: Option<u32>,
    /// Folders whose every byte was held against their manifest. Files elsewhere have none: of them only the
    /// layout and the ids were checked.
    pub manifests: usize,
}

/// Reads all of a file, folder or pattern of shards. Where a folder has a manifest, a byte that was changed
/// is found and its file named; all ids are held against the vocabulary given, and against that of the card.
///
/// # Errors
/// [`octo_durable::DurableError::Damaged`] with every file that is not as it was written; what
/// [`ShardSet::open`] and [`ShardSet::read`] say.
pub fn verify(path: &str, vocab_size: Option<usize>) -> Result<Verified, ShardsError> {
    let folders = ShardSet::folders(path)?;
    let with_manifest = folders.iter().filter(|folder| folder.join(MANIFEST_NAME).exists());
    let manifests = with_manifest.map(|folder| verified(folder)).sum::<Result<usize, ShardsError>>()?;
    let set = ShardSet::open(path, vocab_size.unwrap_or(usize::MAX), None)?;
    let mut highest: Option<u32> = None;
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < set.tokens() {
        let chunk = &mut chunk[..(set.tokens() - at).min(CHUNK as u64) as usize];
        set.read(at, chunk)?;
        highest = highest.max(chunk.iter().copied().max());
        at += chunk.len() as u64;
    }
    Ok(Verified {
        files: set.files().len(),
        documents: set.documents(),
        tokens: set.tokens(),
        highest_id: highest,
        manifests,
    })
}

fn verified(folder: &Path) -> Result<usize, ShardsError> {
    octo_durable::verify(folder)?;
    Ok(1)
}
