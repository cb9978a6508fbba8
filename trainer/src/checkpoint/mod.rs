//! Checkpoints: written beside the run, found again, damaged ones put away.
//!
//! `checkpoints/step-00012500/` holds `model/`, a Hugging Face directory; `state/`, everything else a run needs
//! to go on, in named sections: `masters` (behind bf16 weights), `moment1` and `moment2` as safetensors by
//! Hugging Face tensor name, and one JSON file for each of [`Sections`]; and `manifest.json` with the size and
//! hash of every file. A folder is whole or absent, and never changed.

mod find;
mod first;
mod saver;
mod sections;
mod write;

pub(crate) use find::{Checkpoint, list, newest, newest_whole, or_damage, put_away};
pub use first::FirstCheckpoint;
pub(crate) use saver::{Saver, bytes_of_state};
pub(crate) use sections::{DataState, LogState, RunState, Sections, SourceState};
pub(crate) use write::Content;

/// The name of a step's checkpoint.
pub(crate) fn name(step: u64) -> String {
    format!("step-{step:08}")
}
