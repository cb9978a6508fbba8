//! The mean of several models of one shape.

use super::ParamFiles;
use crate::{ModelError, Param};

/// Several files of one table, read as their mean: checkpoint averaging, as of the last few of a run.
#[derive(Debug)]
pub struct Average {
    models: Vec<ParamFiles>,
}

impl Average {
    /// The mean of these; of one, itself.
    ///
    /// # Errors
    /// [`ModelError::Shapes`] where their tables are not the same.
    pub fn new(models: Vec<ParamFiles>) -> Result<Average, ModelError> {
        let shapes = |files: &ParamFiles| -> Vec<(String, Vec<u32>)> {
            let table = files.table();
            let sources = table.params().flat_map(|param| table.sources(param).to_vec());
            sources.map(|source| (source.name, source.shape)).collect()
        };
        if let Some(first) = models.first() {
            let expected = shapes(first);
            for other in &models[1..] {
                let found = shapes(other);
                let differs = expected.iter().zip(&found).find(|(a, b)| a != b).map(|(a, _)| a.0.clone());
                if let Some(tensor) = differs.or((expected.len() != found.len()).then(String::new)) {
                    return Err(ModelError::Shapes {
                        one: first.dir().to_owned(),
                        other: other.dir().to_owned(),
                        tensor,
                    });
                }
            }
        }
        Ok(Average { models })
    }

    /// Elements `first ..` of a parameter: added up in f64 in the models' order, divided, and rounded once.
    ///
    /// # Errors
    /// As [`ParamFiles::read`].
    pub fn read(&self, param: Param, first: u64, into: &mut [f32]) -> Result<(), ModelError> {
        if let [one] = self.models.as_slice() {
            return one.read(param, first, into);
        }
        let mut sums = vec![0.0f64; into.len()];
        for model in &self.models {
            model.read(param, first, into)?;
            sums.iter_mut().zip(&*into).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let count = self.models.len() as f64;
        into.iter_mut().zip(sums).for_each(|(to, sum)| *to = (sum / count) as f32);
        Ok(())
    }
}
