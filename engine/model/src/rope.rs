//! Rotary position embeddings: the frequencies and the table of cosines and sines.
//!
//! Su et al., "RoFormer", 2021; the scalings are transformers' "linear" (Chen et al., 2023) and "llama3"
//! (Llama 3.1). Everything is computed in f64 and rounded to f32 once, in the table.

use crate::ModelError;
use crate::config::Keys;
use serde_json::Value;

/// How positions turn into angles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rope {
    /// Frequency i of a head is θ^(−2i / head_dim).
    Default {
        /// θ, `rope_theta`.
        theta: f64,
    },
    /// All frequencies divided by one factor.
    Linear {
        /// θ, `rope_theta`.
        theta: f64,
        /// The divisor.
        factor: f64,
    },
    /// Long wavelengths divided by a factor, short ones kept, a ramp between.
    Llama3 {
        /// θ, `rope_theta`.
        theta: f64,
        /// The divisor of long wavelengths.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are short.
        high_freq_factor: f64,
        /// The context the model was first trained with.
        original_max_position_embeddings: u32,
    },
}

impl Rope {
    /// Reads both spellings: `rope_theta` with `rope_scaling`, and `rope_parameters`.
    ///
    /// Precedence is transformers': a `rope_scaling` that is set replaces `rope_parameters`, and a
    /// `rope_theta` inside either comes before the one outside.
    pub(crate) fn from_keys(top: &Keys<'_>, max_position_embeddings: u32) -> Result<Rope, ModelError> {
        let empty = serde_json::Map::new();
        let mut inner = Keys { file: top.file, prefix: "", map: &empty };
        for (key, prefix) in [("rope_scaling", "rope_scaling."), ("rope_parameters", "rope_parameters.")] {
            match top.get(key) {
                None => continue,
                Some(Value::Object(map)) if map.is_empty() => continue,
                Some(Value::Object(map)) => inner = Keys { file: top.file, prefix, map },
                Some(_) => return Err(top.bad(key, "null or an object")),
            }
            break;
        }
        if let Some((key, value)) = inner.map.iter().find(|(_, value)| value.is_object()) {
            return Err(inner.wrong(key, value, "one set of rope parameters for all layers"));
        }
        for keys in [top, &inner] {
            let whole = keys.number("partial_rotary_factor", Some(1.0), 0.0..=1.0)?;
            if whole != 1.0 {
                return Err(keys.bad("partial_rotary_factor", "1: rotating part of a head is not supported"));
            }
        }
        let positive = f64::MIN_POSITIVE..=1e12;
        let theta = match inner.get("rope_theta") {
            Some(_) => inner.number("rope_theta", None, positive.clone())?,
            None => top.number("rope_theta", Some(10_000.0), positive.clone())?,
        };
        let kind = match inner.get("rope_type").or(inner.get("type")) {
            None => "default",
            Some(Value::String(kind)) => kind,
            Some(_) => return Err(inner.bad("rope_type", "a string")),
        };
        match kind {
            "default" => Ok(Rope::Default { theta }),
            "linear" => Ok(Rope::Linear { theta, factor: inner.number("factor", None, positive)? }),
            "llama3" => {
                let original = "original_max_position_embeddings";
                let outer = if top.get(original).is_some() { top } else { &inner };
                let low_freq_factor = inner.number("low_freq_factor", None, positive.clone())?;
                let high_freq_factor = inner.number("high_freq_factor", None, positive.clone())?;
                if high_freq_factor <= low_freq_factor {
                    let expected = format!("above low_freq_factor, which is {low_freq_factor:?}");
                    return Err(inner.bad("high_freq_factor", &expected));
                }
                Ok(Rope::Llama3 {
                    theta,
                    factor: inner.number("factor", None, positive)?,
                    low_freq_factor,
                    high_freq_factor,
                    original_max_position_embeddings: outer.integer(
                        original,
                        Some(max_position_embeddings),
                        1..=1 << 26,
                    )?,
                })
            }
            other => Err(ModelError::RopeType { file: top.file.to_owned(), found: other.to_owned() }),
        }
    }

    /// Radians a position turns each of the `head_dim / 2` pairs by.
    pub fn inverse_frequencies(&self, head_dim: u32) -> Vec<f64> {
        (0..head_dim / 2).map(|i| self.inverse_frequency(i, head_dim)).collect()
    }

    fn inverse_frequency(&self, i: u32, head_dim: u32) -> f64 {
        let plain = |theta: f64| theta.powf(-2.0 * i as f64 / head_dim as f64);
        match *self {
            Rope::Default { theta } => plain(theta),
            Rope::Linear { theta, factor } => plain(theta) / factor,
            Rope::Llama3 {
                theta,
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let frequency = plain(theta);
                // How many whole turns the original context holds decides.
                let turns = original_max_position_embeddings as f64 * frequency / std::f64::consts::TAU;
                let keep = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                (1.0 - keep) * frequency / factor + keep * frequency
            }
        }
    }

    /// The table for positions `0..positions`: `[positions, head_dim]`, each row `head_dim / 2` cosines and
    /// then as many sines, in f32.
    pub fn table(&self, positions: u32, head_dim: u32) -> Vec<f32> {
        let frequencies = self.inverse_frequencies(head_dim);
        let mut table = Vec::with_capacity(positions as usize * head_dim as usize);
        for position in 0..positions {
            let angles = frequencies.iter().map(|f| f * position as f64);
            table.extend(angles.clone().map(|a| a.cos() as f32));
            table.extend(angles.map(|a| a.sin() as f32));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use crate::ModelConfig;
    use crate::rope::Rope;
    use serde_json::{Value, json};

    fn rope(changes: Value) -> Result<Rope, String> {
        let mut value = json!({
            "model_type": "llama", "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 4, "vocab_size": 8, "max_position_embeddings": 4096,
        });
        for (key, change) in changes.as_object().unwrap() {
            value[key] = change.clone();
        }
        ModelConfig::from_value(value, "config.json").map(|c| c.rope).map_err(|e| e.to_string())
    }

    #[test]
    fn both_spellings_mean_the_same() {
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
        let mut newer = llama3.clone();
        newer["rope_theta"] = json!(500_000.0);
        let mut older = llama3.clone();
        older["type"] = older.as_object_mut().unwrap().remove("rope_type").unwrap();
        let expected = rope(json!({"rope_parameters": newer})).unwrap();
        assert!(matches!(expected, Rope::Llama3 { theta: 500_000.0, factor: 8.0, .. }), "{expected:?}");
        for scaling in [llama3, older] {
            assert_eq!(rope(json!({"rope_theta": 500_000.0, "rope_scaling": scaling})).unwrap(), expected);
        }
        for nothing in [json!(null), json!({}), json!({"type": "default"})] {
            assert_eq!(rope(json!({"rope_scaling": nothing})).unwrap(), Rope::Default { theta: 10_000.0 });
        }
    }

    #[test]
    fn an_unknown_type_is_named_with_the_known_ones() {
        for kind in ["yarn", "dynamic", "longrope", "mrope"] {
            assert_eq!(
                rope(json!({"rope_scaling": {"type": kind, "factor": 4.0}})).unwrap_err(),
                format!(
                    "config.json: rope type \"{kind}\" is not known; known are \"default\", \"linear\" and \"llama3\""
                )
            );
        }
    }

    #[test]
    fn parameters_that_divide_by_zero_or_rotate_in_part_are_refused() {
        let llama3 = |low: f64, high: f64| {
            rope(
                json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": low, "high_freq_factor": high}}),
            )
        };
        assert!(llama3(1.0, 4.0).is_ok());
        assert!(llama3(4.0, 4.0).unwrap_err().contains("rope_scaling.high_freq_factor"));
        assert!(llama3(0.0, 4.0).unwrap_err().contains("rope_scaling.low_freq_factor"));
        assert!(
            rope(json!({"rope_scaling": {"type": "linear"}}))
                .unwrap_err()
                .contains("rope_scaling.factor` is missing")
        );
        assert!(rope(json!({"partial_rotary_factor": 0.5})).unwrap_err().contains("partial_rotary_factor"));
        let nested = json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}});
        assert!(rope(nested).unwrap_err().contains("full_attention"));
    }

    #[test]
    fn a_row_is_half_cosines_half_sines() {
        let table = Rope::Default { theta: 100.0 }.table(3, 4);
        let expected = |p: f64| [p.cos(), (p / 10.0).cos(), p.sin(), (p / 10.0).sin()].map(|x| x as f32);
        assert_eq!(table, [expected(0.0), expected(1.0), expected(2.0)].concat());
    }
}
