//! What a checkpoint of a run says beside its tensors.

use super::Run;
use crate::TrainError;
use crate::checkpoint::{Content, RunState, Sections};
use crate::setup::Ready;
use octo_model::{Trainer, WeightDType};
use octo_ops::{DType, NUMERICS_VERSION};
use octo_recipe::{ModelStart, Recipe};
use std::time::{Instant, SystemTime};

impl Run<'_> {
    /// Begins to save the state after so many steps: as the newest checkpoint, unless there is one of this step,
    /// and as a milestone, with or without its state.
    pub(super) fn save(
        &mut self,
        done: u64,
        rolling: bool,
        milestone: Option<bool>,
    ) -> Result<(), TrainError> {
        let rolling = rolling && self.saved != Some(done);
        if !rolling && milestone.is_none() {
            return Ok(());
        }
        let Ready { queue, trainer, .. } = &mut self.ready;
        let dtype = trainer.net().weights.dtype;
        let mut sections = Sections::default();
        sections.put(
            "run",
            &RunState {
                version: RunState::VERSION,
                numerics: NUMERICS_VERSION,
                step: done,
                updates: trainer.updates(),
                skipped: self.skipped,
                consumed_tokens: self.recipe.consumed_tokens(done),
                weights: if dtype == DType::Bf16 { "bf16" } else { "f32" }.to_owned(),
                recipe: self.recipe.content_hash(),
                products: queue.describe().products().unwrap_or_default(),
            },
        )?;
        sections.put("data", &self.stream.state(done))?;
        sections.put("logs", &self.folder.logs()?)?;
        let content = Content {
            step: done,
            rolling,
            milestone,
            config: trainer.net().config.clone(),
            companions: self.named.companions.clone(),
            card: card(done, self.recipe.consumed_tokens(done), &self.recipe),
            recipe: self.recipe.to_toml(),
            sections,
            dtype: if dtype == DType::Bf16 { WeightDType::Bf16 } else { WeightDType::F32 },
            moments: Some(moments_dtype(trainer)),
        };
        if let Some(telemetry) = &mut self.telemetry {
            telemetry.saving(SystemTime::now())?;
        }
        self.saver.save(queue, trainer, content)?;
        if rolling {
            (self.saved, self.saved_at) = (Some(done), Instant::now());
        }
        Ok(())
    }
}

/// The dtype of a trainer's moments, in files as on the device.
pub(crate) fn moments_dtype(trainer: &Trainer) -> WeightDType {
    match trainer.moments()[0].dtype {
        DType::Bf16 => WeightDType::Bf16,
        _ => WeightDType::F32,
    }
}

/// The model's README: what it came from.
pub(crate) fn card(step: u64, tokens: u64, recipe: &Recipe) -> String {
    let base = match &recipe.model.start {
        ModelStart::From(path) => {
            path.file_name().map_or_else(|| "a directory".into(), |name| name.to_string_lossy().into_owned())
        }
        _ => "random weights".into(),
    };
    format!(
        "# A model trained by octo-engine\n\n\
         - started from: {base}\n- steps: {step}\n- tokens: {tokens}\n- recipe: {}\n",
        recipe.content_hash(),
    )
}
