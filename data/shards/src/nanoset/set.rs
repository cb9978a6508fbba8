//! Shards of a file, folder or pattern, as one stream.

use super::card::ShardCard;
use super::handles::Handles;
use super::shard::Shard;
use crate::ShardsError;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// What a folder is called while it is being written ([`super::write`]).
pub(crate) const UNFINISHED: &str = ".unfinished";

/// Places of a file that are looked at when it is opened. A file of fewer tokens is read whole.
#[derive(Clone, Copy)]
struct Samples {
    places: u64,
    /// Tokens of each.
    tokens: u64,
}

/// Of a foreign file, whose ids nobody vouches for.
const FOREIGN: Samples = Samples { places: 64, tokens: 16 << 10 };
/// Of one of ours: enough to see that another stands in its place.
const OWN: Samples = Samples { places: 8, tokens: 1 << 10 };

/// Tokenised files on disk, read by position.
///
/// Files are in the order of their paths. Tokens are read when they are asked for; of an index only every
/// 512th entry is held. At most 256 files are open at a time. Each read notices a file that was replaced, cut
/// or written to since it was opened, and every token is held against the vocabulary as it is read.
#[derive(Debug)]
pub struct ShardSet {
    handles: Handles,
    shards: Vec<Shard>,
    /// Number of each shard's first token, and the number of tokens at the end.
    first_tokens: Vec<u64>,
    /// The same of documents.
    first_documents: Vec<u64>,
    cards: Vec<ShardCard>,
    content_hash: u128,
}

impl ShardSet {
    /// Whether a path, folder or pattern means tokenised files; it then opens as those or not at all.
    pub fn is_at(path: &str) -> bool {
        let pattern_of_shards = !Path::new(path).exists() && is_shard(Path::new(path));
        pattern_of_shards || matches!(find(path), Ok(_) | Err(ShardsError::Unfinished { .. }))
    }

    /// Opens a `.ds` file, the `.ds` files below a folder, or those of a pattern.
    ///
    /// Every index is read through: it has to ascend and to end where its file of tokens does. Where a folder
    /// has a card (`shards.json`), its tokenizer and counts have to be right as well, and 8 stretches of 1,024
    /// tokens of each file are read, for [`ShardSet::content_hash`]. Files without one come from elsewhere: of each,
    /// 64 stretches of 16,384 tokens are read and held against the vocabulary. Use [`crate::verify`] to read all.
    ///
    /// # Errors
    /// Names the file and the numbers that contradict each other.
    pub fn open(
        path: &str,
        vocab_size: usize,
        tokenizer_hash: Option<u128>,
    ) -> Result<ShardSet, ShardsError> {
        let paths = find(path)?;
        let mut set = ShardSet {
            handles: Handles::default(),
            shards: Vec::with_capacity(paths.len()),
            first_tokens: vec![0],
            first_documents: vec![0],
            cards: Vec::new(),
            content_hash: 0,
        };
        let folders = cards(&paths)?;
        if let Some(hash) = tokenizer_hash {
            for (folder, card) in folders.iter().filter_map(|(folder, card)| Some((folder, card.as_ref()?))) {
                if !card.is_of_tokenizer(hash) {
                    return Err(ShardsError::OtherTokenizer {
                        folder: folder.clone(),
                        tokenizer: card.tokenizer.clone(),
                        vocab_size: card.vocab_size,
                    });
                }
            }
        }
        let mut hash = Xxh3::new();
        for path in &paths {
            let card = folders.get(folder_of(path)).and_then(Option::as_ref);
            set.push(path, card, vocab_size, &mut hash)?;
        }
        if Path::new(path).is_dir() {
            whole(&folders, &paths)?;
        }
        set.content_hash = hash.digest128();
        set.cards = folders.into_values().flatten().collect();
        Ok(set)
    }

    fn push(
        &mut self,
        path: &Path,
        card: Option<&ShardCard>,
        vocab_size: usize,
        hash: &mut Xxh3,
    ) -> Result<(), ShardsError> {
        let bad = |reason| ShardsError::BadShards { path: path.to_owned(), reason };
        let listed = match card {
            None => None,
            Some(card) => {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let file = card.file(name).ok_or_else(|| bad("shards.json does not list it".to_owned()))?;
                Some((file, card.width()))
            }
        };
        let vocab_size = card.map_or(vocab_size, |card| card.vocab_size.min(vocab_size));
        let shard = Shard::open(&mut self.handles, path, listed, vocab_size)?;
        let (first, documents) = (self.tokens(), self.documents());
        let sums = (first.checked_add(shard.tokens), documents.checked_add(shard.documents));
        let (Some(tokens), Some(documents)) = sums else { return Err(bad("it has too many tokens".into())) };
        self.first_tokens.push(tokens);
        self.first_documents.push(documents);
        hash.update(&shard.tokens.to_le_bytes());
        hash.update(&shard.index_hash.to_le_bytes());
        self.shards.push(shard);
        if let Some((file, _)) = listed {
            hash.update(file.xxh3.as_bytes());
        }
        self.sample(first..tokens, if listed.is_some() { OWN } else { FOREIGN }, hash)
    }

    /// Holds stretches of a file against the vocabulary, and hashes them.
    fn sample(&self, range: Range<u64>, samples: Samples, hash: &mut Xxh3) -> Result<(), ShardsError> {
        let tokens = range.end - range.start;
        let mut chunk = vec![0; samples.tokens as usize];
        for sample in 0..samples.places {
            let at = match tokens.checked_sub(samples.places * samples.tokens) {
                // The last stretch ends with the file.
                Some(_) => {
                    let last = u128::from(tokens - samples.tokens);
                    (last * u128::from(sample) / u128::from(samples.places - 1)) as u64
                }
                None => sample * samples.tokens,
            };
            let count = tokens.saturating_sub(at).min(samples.tokens) as usize;
            if count == 0 {
                break;
            }
            self.read(range.start + at, &mut chunk[..count])?;
            hash.update(bytemuck::cast_slice(&chunk[..count]));
        }
        Ok(())
    }

    /// The folders of the files that a path means, sorted.
    pub(crate) fn folders(path: &str) -> Result<Vec<PathBuf>, ShardsError> {
        Ok(cards(&find(path)?)?.into_keys().collect())
    }

    /// Number of tokens.
    pub fn tokens(&self) -> u64 {
        self.first_tokens.last().copied().unwrap_or(0)
    }

    /// Number of documents, those without a token included.
    pub fn documents(&self) -> u64 {
        self.first_documents.last().copied().unwrap_or(0)
    }

    /// The files of tokens.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.shards.iter().map(|shard| shard.path(&self.handles))
    }

    /// The cards of the folders that have one.
    pub fn cards(&self) -> &[ShardCard] {
        &self.cards
    }

    /// The tokenizers that the files' metadata name, each once, sorted.
    pub fn tokenizers(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.shards.iter().filter_map(|shard| shard.tokenizer.as_deref()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What the set holds: its indices, the hash that a card gives of a file, and the stretches that were read when
    /// it was opened.
    pub fn content_hash(&self) -> u128 {
        self.content_hash
    }

    /// Reads the tokens from `start` on, as many as fit.
    ///
    /// # Errors
    /// Where the range goes beyond the end; a file that cannot be read, has changed, or has a token outside
    /// the vocabulary.
    pub fn read(&self, start: u64, into: &mut [u32]) -> Result<(), ShardsError> {
        if start.checked_add(into.len() as u64).is_none_or(|end| end > self.tokens()) {
            return Err(ShardsError::OutsideSource { start, count: into.len(), tokens: self.tokens() });
        }
        let (mut at, mut rest) = (start, into);
        while !rest.is_empty() {
            let number = self.shard_at(at);
            let (shard, local) = (&self.shards[number], at - self.first_tokens[number]);
            let count = rest.len().min((shard.tokens - local) as usize);
            let (part, after) = rest.split_at_mut(count);
            shard.read(&self.handles, local, part)?;
            self.check(shard, local, part)?;
            at += count as u64;
            rest = after;
        }
        Ok(())
    }

    fn check(&self, shard: &Shard, start: u64, tokens: &[u32]) -> Result<(), ShardsError> {
        let highest = tokens.iter().copied().fold(0, u32::max);
        if (highest as usize) < shard.vocab_size || tokens.is_empty() {
            return Ok(());
        }
        let at = tokens.iter().position(|&token| token as usize >= shard.vocab_size).unwrap_or(0);
        Err(ShardsError::ShardOutsideVocabulary {
            path: shard.path(&self.handles).to_owned(),
            at: start + at as u64,
            token: tokens[at],
            vocab_size: shard.vocab_size,
        })
    }

    /// The document that holds a token.
    ///
    /// # Errors
    /// Where there is no such token, or its index cannot be read or has changed.
    pub fn document_at(&self, token: u64) -> Result<u64, ShardsError> {
        if token >= self.tokens() {
            return Err(ShardsError::OutsideSource { start: token, count: 1, tokens: self.tokens() });
        }
        let number = self.shard_at(token);
        let local = self.shards[number].document_at(&self.handles, token - self.first_tokens[number])?;
        Ok(self.first_documents[number] + local)
    }

    /// The tokens of a document; `None` where there is none of this number.
    ///
    /// # Errors
    /// Where an index cannot be read or has changed.
    pub fn document(&self, document: u64) -> Result<Option<Range<u64>>, ShardsError> {
        let Some((number, local)) = self.shard_of(document) else { return Ok(None) };
        let range = self.shards[number].document(&self.handles, local)?;
        let first = self.first_tokens[number];
        Ok(Some(first + range.start..first + range.end))
    }

    /// The file that a document is in, and its number there from 0.
    pub fn place(&self, document: u64) -> Option<(&Path, u64)> {
        let (number, local) = self.shard_of(document)?;
        Some((self.shards[number].path(&self.handles), local))
    }

    /// Hands out the tokens in a range that begin a document, in order.
    pub(crate) fn starts(&self, range: Range<u64>, take: &mut dyn FnMut(u64)) -> Result<(), ShardsError> {
        let range = range.start..range.end.min(self.tokens());
        let mut at = range.start;
        while at < range.end {
            let number = self.shard_at(at);
            let first = self.first_tokens[number];
            self.shards[number]
                .starts(&self.handles, at - first..range.end - first, &mut |start| take(first + start))?;
            at = self.first_tokens[number + 1];
        }
        Ok(())
    }

    /// The shard that holds a token; shards without tokens are passed over.
    fn shard_at(&self, token: u64) -> usize {
        self.first_tokens.partition_point(|&first| first <= token).saturating_sub(1)
    }

    /// The shard of a document, and the document's number in it.
    fn shard_of(&self, document: u64) -> Option<(usize, u64)> {
        if document >= self.documents() {
            return None;
        }
        let number = self.first_documents.partition_point(|&first| first <= document) - 1;
        Some((number, document - self.first_documents[number]))
    }
}

/// The `.ds` files that a path means, sorted.
fn find(path: &str) -> Result<Vec<PathBuf>, ShardsError> {
    let plain = Path::new(path);
    let mut found = Vec::new();
    let is_pattern = !plain.exists() && path.contains(['*', '?', '[']);
    if is_pattern {
        let bad = |reason: String| ShardsError::NoShards { path: path.to_owned(), reason };
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: true,
        };
        for entry in glob::glob_with(path, options).map_err(|e| bad(e.to_string()))? {
            let entry =
                entry.map_err(|e| ShardsError::Read { path: e.path().to_owned(), source: e.into() })?;
            collect(&entry, &mut found)?;
        }
    } else if plain.is_file() && !is_shard(plain) {
        let reason = "it is not a .ds file".to_owned();
        return Err(ShardsError::NoShards { path: path.to_owned(), reason });
    } else if plain.exists() {
        collect(plain, &mut found)?;
    }
    if found.is_empty() {
        let reason = match (is_pattern, plain.is_dir()) {
            (true, _) => "no .ds file matches the pattern",
            (_, true) => "the folder holds no .ds file",
            _ => "there is no such file or folder",
        };
        let unfinished = format!("{}{UNFINISHED}", path.trim_end_matches('/'));
        let reason = match Path::new(&unfinished).exists() {
            true => format!("{reason}, but {unfinished}: run `data tokenize` again to go on with it"),
            false => reason.to_owned(),
        };
        return Err(ShardsError::NoShards { path: path.to_owned(), reason });
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Adds a file of tokens, or those below a folder. Hidden ones are passed over, and so are linked folders,
/// which could lead back up.
fn collect(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), ShardsError> {
    if !path.is_dir() {
        found.extend(is_shard(path).then(|| path.to_owned()));
        return Ok(());
    }
    if path.as_os_str().as_encoded_bytes().ends_with(UNFINISHED.as_bytes()) {
        return Err(ShardsError::Unfinished { folder: path.to_owned() });
    }
    let failed = |source| ShardsError::Read { path: path.to_owned(), source };
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && (kind.is_dir() || is_shard(&entry.path())) {
            collect(&entry.path(), found)?;
        }
    }
    Ok(())
}

fn is_shard(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "ds")
}

/// The cards of the folders that these files are in.
fn cards(paths: &[PathBuf]) -> Result<BTreeMap<PathBuf, Option<ShardCard>>, ShardsError> {
    let mut cards = BTreeMap::new();
    for folder in paths.iter().map(|path| folder_of(path)) {
        if !cards.contains_key(folder) {
            if folder.as_os_str().as_encoded_bytes().ends_with(UNFINISHED.as_bytes()) {
                return Err(ShardsError::Unfinished { folder: folder.to_owned() });
            }
            cards.insert(folder.to_owned(), ShardCard::read(folder)?);
        }
    }
    Ok(cards)
}

/// Fails where a card lists a file that is not there: it would be training on a part of the data.
fn whole(folders: &BTreeMap<PathBuf, Option<ShardCard>>, paths: &[PathBuf]) -> Result<(), ShardsError> {
    for (folder, card) in folders.iter().filter_map(|(folder, card)| Some((folder, card.as_ref()?))) {
        let mut listed = card.files.iter().map(|file| folder.join(&file.name));
        if let Some(path) = listed.find(|path| paths.binary_search(path).is_err()) {
            let reason = "it is missing, and shards.json lists it".to_owned();
            return Err(ShardsError::BadShards { path, reason });
        }
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
