//! What an unfinished tokenising remembers between two starts.

use super::card::{CardFile, CardRows, InputFile};
use crate::ShardsError;
use octo_durable::{FileEntry, Fs, write_bytes};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The name of the state within the unfinished folder.
pub(crate) const STATE_NAME: &str = "tokenize.json";

/// What the tokens depend on. Two starts that agree in all of it write the same files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub tokenizer_xxh3: String,
    pub tokenizer_name: String,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub text: String,
    #[serde(rename = "where")]
    pub filter: Option<String>,
    pub tokens_per_file: u64,
    pub inputs: Vec<Input>,
}

/// An input file as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Input {
    pub path: PathBuf,
    pub bytes: u64,
    /// Seconds and nanoseconds.
    modified: [i64; 2],
}

impl Input {
    pub fn of(path: &Path) -> Result<Input, ShardsError> {
        let found =
            std::fs::metadata(path).map_err(|source| ShardsError::Read { path: path.to_owned(), source })?;
        let modified = [found.mtime(), found.mtime_nsec()];
        Ok(Input { path: path.to_owned(), bytes: found.len(), modified })
    }

    pub fn for_card(&self) -> InputFile {
        InputFile { path: self.path.display().to_string(), bytes: self.bytes }
    }
}

impl Identity {
    /// What is not the same in another, for a person.
    fn differences(&self, now: &Identity) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, was: String, is: String| {
            if was != is {
                found.push(format!("{what} was {was} and is {is}"));
            }
        };
        let token = |token: Option<u32>| token.map_or("none".to_owned(), |id| id.to_string());
        compare("the tokenizer's hash", self.tokenizer_xxh3.clone(), now.tokenizer_xxh3.clone());
        compare("the tokenizer's name", quoted(&self.tokenizer_name), quoted(&now.tokenizer_name));
        compare("the bos token", token(self.bos), token(now.bos));
        compare("the eos token", token(self.eos), token(now.eos));
        compare("the template", quoted(&self.text), quoted(&now.text));
        let filter = |filter: &Option<String>| filter.as_deref().map_or("none".to_owned(), quoted);
        compare("the filter", filter(&self.filter), filter(&now.filter));
        compare("tokens per file", self.tokens_per_file.to_string(), now.tokens_per_file.to_string());
        if self.inputs != now.inputs {
            let differs = self.inputs.iter().zip(&now.inputs).find(|(was, is)| was != is);
            found.push(match differs {
                None => format!("there were {} inputs and are {}", self.inputs.len(), now.inputs.len()),
                Some((was, is)) if was.path != is.path => {
                    format!("an input was {} and is {}", was.path.display(), is.path.display())
                }
                Some((was, is)) if was.bytes != is.bytes => {
                    format!("{} had {} bytes and has {}", was.path.display(), was.bytes, is.bytes)
                }
                Some((was, _)) => format!("{} was written to", was.path.display()),
            });
        }
        found
    }
}

fn quoted(text: &str) -> String {
    format!("`{text}`")
}

/// How far the inputs have been tokenised: up to a row, that one included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Which input.
    pub input: usize,
    /// Line or row in it, from 1; 0 before the first.
    pub line: u64,
    /// What became of the rows of the inputs before this one.
    pub rows: CardRows,
    /// Bytes of the texts of all documents so far.
    pub text_bytes: u64,
}

/// The state: whole files and the place they end at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub identity: Identity,
    pub files: Vec<CardFile>,
    /// Of all files that belong to `files`.
    pub entries: Vec<FileEntry>,
    pub place: Place,
}

impl State {
    /// The state of a folder, or a new one where it has none.
    ///
    /// # Errors
    /// Where it is of another job, or its files are not as they were written.
    pub fn open(folder: &Path, identity: Identity) -> Result<State, ShardsError> {
        let path = folder.join(STATE_NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(State {
                    identity,
                    files: Vec::new(),
                    entries: Vec::new(),
                    place: Place::default(),
                });
            }
            Err(source) => return Err(ShardsError::Read { path, source }),
        };
        let refuse = |differences| ShardsError::OtherJob { folder: folder.to_owned(), differences };
        let state: State = serde_json::from_slice(&bytes)
            .map_err(|error| refuse(vec![format!("{STATE_NAME} cannot be read ({error})")]))?;
        let mut differences = state.identity.differences(&identity);
        for entry in &state.entries {
            let found = std::fs::metadata(folder.join(&entry.path)).map(|found| found.len());
            if found.as_ref().ok() != Some(&entry.bytes) {
                let found = found.map_or("is missing".to_owned(), |bytes| format!("has {bytes}"));
                differences.push(format!("{} had {} bytes and {found}", entry.path, entry.bytes));
            }
        }
        if differences.is_empty() { Ok(state) } else { Err(refuse(differences)) }
    }

    /// Writes the state, whole or not at all.
    pub fn save(&self, fs: &dyn Fs, folder: &Path) -> Result<(), ShardsError> {
        // Strings and numbers cannot fail to be written to memory.
        let json = serde_json::to_vec(self).unwrap_or_default();
        Ok(write_bytes(fs, &folder.join(STATE_NAME), &json)?)
    }
}
