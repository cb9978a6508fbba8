//! The named sections of a checkpoint's state, but for its tensors.

use crate::TrainError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The most bytes of a section: positions of thousands of sources are a fraction of it.
const LIMIT: u64 = 16 << 20;

/// Where the run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunState {
    /// Of these sections' layout.
    pub version: u32,
    /// Which bits the ops give: see `octo_ops::NUMERICS_VERSION`.
    pub numerics: u32,
    /// Steps done.
    pub step: u64,
    /// Optimizer updates done: fewer than steps where steps were skipped.
    pub updates: u64,
    /// Steps left out because their loss or gradient was not finite.
    pub skipped: u64,
    /// Tokens trained on.
    pub consumed_tokens: u64,
    /// The dtype of the weights, resolved at the run's start and kept.
    pub weights: String,
    /// What a hash of the resolved recipe was.
    pub recipe: String,
    /// The library that served matrix products, with its version; empty where all were the engine's own.
    #[serde(default)]
    pub products: String,
}

impl RunState {
    /// The layout that this program writes and reads.
    pub const VERSION: u32 = 1;
}

/// Where the data stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataState {
    /// By the name of the source.
    pub sources: BTreeMap<String, SourceState>,
}

/// A source's content, and how far it has been read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceState {
    /// Of its tokens and document borders.
    pub content_hash: String,
    /// Tokens of it that were taken before the run began.
    pub start: u64,
    /// Tokens of it that have been taken, over all its epochs.
    pub tokens: u64,
}

impl DataState {
    /// Tokens taken, by the run that this state is of, from the source of a name and content: a run that branches
    /// off begins there.
    pub fn taken(&self, content_hash: u128) -> u64 {
        let hash = format!("{content_hash:032x}");
        self.sources.values().find(|source| source.content_hash == hash).map_or(0, |source| source.tokens)
    }
}

/// Lines of the logs that belong to the steps done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogState {
    /// Of `metrics.jsonl`.
    pub metrics: u64,
    /// Of `samples.jsonl`.
    pub samples: u64,
}

/// Sections by name; whoever needs one more adds it under a name of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sections(BTreeMap<&'static str, Value>);

impl Sections {
    /// Adds a section.
    pub fn put(&mut self, name: &'static str, content: &impl Serialize) -> Result<(), TrainError> {
        let value = serde_json::to_value(content)
            .map_err(|e| TrainError::Io { path: Path::new(name).into(), source: e.into() })?;
        self.0.insert(name, value);
        Ok(())
    }

    /// Each section's file name and text.
    pub fn files(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.0.iter().map(|(name, value)| (format!("{name}.json"), format!("{value:#}\n")))
    }

    /// Reads a section of a checkpoint.
    pub fn read<T: DeserializeOwned>(checkpoint: &Path, name: &str) -> Result<T, TrainError> {
        let path = checkpoint.join("state").join(format!("{name}.json"));
        let bad = |reason: String| TrainError::BadState { path: path.clone(), reason };
        let size = std::fs::metadata(&path).map_err(|e| bad(e.to_string()))?.len();
        if size > LIMIT {
            return Err(bad(format!("{size} bytes are too many")));
        }
        let bytes = std::fs::read(&path).map_err(|e| bad(e.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))
    }
}
