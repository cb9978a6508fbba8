//! Fuzz targets: functions of bytes that may return errors and must do nothing worse.

use super::header;
use crate::{ModelConfig, ParamTable, WeightDType};

/// The start of a safetensors file.
pub fn safetensors(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk() else { return };
    let Ok(bytes) = header::json_bytes(*length, data.len() as u64) else { return };
    let Ok(tensors) = header::parse(&rest[..bytes as usize], data.len() as u64) else { return };
    // What the reader relies on: every accepted tensor lies inside the file.
    for tensor in tensors {
        assert!(tensor.begin <= tensor.end && tensor.end <= data.len() as u64);
    }
}

/// A `config.json`; an accepted one survives being written, and its parameters can be laid out.
pub fn config(data: &[u8]) {
    let Ok(config) = ModelConfig::from_slice(data, "fuzz") else { return };
    let table = ParamTable::new(&config);
    assert!(table.total_elements() >= table.parameter_count());
    let written = config.to_json(WeightDType::F32).to_string();
    let again = ModelConfig::from_slice(written.as_bytes(), "written").ok();
    assert_eq!(again.map(|c| c.to_json(WeightDType::F32)), Some(config.to_json(WeightDType::F32)));
}
