//! A model as a checkpoint from which runs start: no step taken, nothing read, no moments.

use super::write::write;
use super::{Content, DataState, RunState, Sections};
use crate::TrainError;
use octo_durable::Disk;
use octo_model::hf::{Companions, Values};
use octo_model::{ModelConfig, ParamTable, Section, WeightDType};
use octo_ops::{NUMERICS_VERSION, master};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A model to be written as a checkpoint. What it keeps and a directory does not are f32 masters behind bf16 weights.
pub struct FirstCheckpoint {
    /// The shape and every key of `config.json`.
    pub config: ModelConfig,
    /// The dtype of the weights: f32 or bf16.
    pub dtype: WeightDType,
    /// Tokenizer and the like.
    pub companions: Companions,
    /// What the model came from, for its README.
    pub origin: String,
}

impl FirstCheckpoint {
    /// Writes a folder with `model/`, `state/` and a manifest, or nothing. `values` gives elements `first ..` of a parameter.
    ///
    /// # Errors
    /// [`TrainError::CheckpointDtype`]; what reading and writing say.
    pub fn write(self, target: &Path, values: &mut Values<'_>) -> Result<(), TrainError> {
        let weights = match self.dtype {
            WeightDType::F32 => "f32",
            WeightDType::Bf16 => "bf16",
            other => return Err(TrainError::CheckpointDtype { dtype: other.torch_name() }),
        };
        let mut sections = Sections::default();
        sections.put(
            "run",
            &RunState {
                version: RunState::VERSION,
                numerics: NUMERICS_VERSION,
                step: 0,
                updates: 0,
                skipped: 0,
                consumed_tokens: 0,
                weights: weights.to_owned(),
                recipe: String::new(),
                products: String::new(),
            },
        )?;
        sections.put("data", &DataState { sources: BTreeMap::new() })?;
        let table = ParamTable::new(&self.config);
        let content = Content {
            step: 0,
            rolling: false,
            milestone: None,
            config: self.config,
            companions: Arc::new(self.companions),
            card: format!("# A model converted by octo-engine\n\n- from: {}\n", self.origin),
            recipe: String::new(),
            sections,
            dtype: self.dtype,
            moments: None,
        };
        let rounded = self.dtype == WeightDType::Bf16;
        write(&Disk, target, true, &content, &table, &mut |section, param, first, into| {
            values(param, first, into)?;
            if rounded && section == Section::Weights {
                // As training rounds its masters, so that the weights here are those it begins with.
                into.iter_mut().for_each(|value| *value = master::split(*value).0.to_f32());
            }
            Ok(())
        })
    }
}
