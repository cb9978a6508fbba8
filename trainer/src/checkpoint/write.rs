//! Writing one checkpoint.

use super::Sections;
use crate::TrainError;
use octo_durable::{AtomicDir, Fs};
use octo_model::hf::{Companions, Export, MAX_SHARD_BYTES, write_params};
use octo_model::{ModelConfig, Param, ParamTable, Section, WeightDType};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Gives values: elements `first ..` of a parameter of a section.
pub(super) type Values<'a> = dyn FnMut(Section, Param, u64, &mut [f32]) -> io::Result<()> + 'a;

/// Everything of a checkpoint but its tensors, owned, so that it may be written while training goes on.
#[derive(Clone)]
pub(crate) struct Content {
    /// Steps done.
    pub step: u64,
    /// Whether this is the newest checkpoint, to be replaced by later ones.
    pub rolling: bool,
    /// Whether it stays for ever, and then whether with its state.
    pub milestone: Option<bool>,
    pub config: ModelConfig,
    pub companions: Arc<Companions>,
    /// The model's README.
    pub card: String,
    /// The resolved recipe.
    pub recipe: String,
    pub sections: Sections,
    /// The dtype of the weights.
    pub dtype: WeightDType,
    /// The dtype of the moments; a model that no step was taken with has none.
    pub moments: Option<WeightDType>,
}

/// Writes a whole checkpoint to `target`, or nothing; without state only the model.
pub(super) fn write(
    fs: &dyn Fs,
    target: &Path,
    with_state: bool,
    content: &Content,
    table: &ParamTable,
    values: &mut Values<'_>,
) -> Result<(), TrainError> {
    let mut dir = AtomicDir::create(fs, target)?;
    let export = Export {
        config: &content.config,
        table,
        dtype: content.dtype,
        max_shard_bytes: MAX_SHARD_BYTES,
        companions: &content.companions,
    };
    export.write(
        &mut |name, fill| dir.write_file(&format!("model/{name}"), |w| fill(w)).map_err(io::Error::other),
        &mut |param, first, into| values(Section::Weights, param, first, into),
    )?;
    dir.write_file("model/README.md", |w| w.write_all(content.card.as_bytes()))?;
    if with_state {
        let masters = ("masters", Section::Masters, WeightDType::F32);
        let masters = (content.dtype != WeightDType::F32).then_some(masters);
        let moments = content
            .moments
            .map(|dtype| [("moment1", Section::Moment1, dtype), ("moment2", Section::Moment2, dtype)]);
        for (name, section, dtype) in masters.into_iter().chain(moments.into_iter().flatten()) {
            write_params(
                &mut |name, fill| {
                    dir.write_file(&format!("state/{name}"), |w| fill(w)).map_err(io::Error::other)
                },
                name,
                table,
                dtype,
                MAX_SHARD_BYTES,
                &mut |param, first, into| values(section, param, first, into),
            )?;
        }
        for (name, text) in content.sections.files() {
            dir.write_file(&format!("state/{name}"), |w| w.write_all(text.as_bytes()))?;
        }
        dir.write_file("state/recipe.toml", |w| w.write_all(content.recipe.as_bytes()))?;
    }
    dir.commit()?;
    Ok(())
}
