//! The figures of a rollout step, under verl's names.

use octo_trainer::Figures;
use serde::Serializer;
use serde::ser::SerializeMap;

/// One line of `metrics.jsonl` of an RL run. docs/rl.md lists the names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RlMetrics {
    /// Rollout steps done, this one included.
    pub step: u64,
    /// Rollout steps of the whole run.
    pub total_steps: u64,
    /// Tokens of prompts and responses trained on so far.
    pub consumed_tokens: u64,
    /// The policy loss.
    pub loss: Option<f64>,
    /// Learning rate of the step's last update.
    pub lr: f64,
    /// Tokens of prompts and responses a second.
    pub tokens_per_sec: f64,
    pub(crate) values: Vec<(String, f64)>,
}

/// Whether a field depends on the clock: two equal runs differ in such fields and in no others.
#[must_use]
pub fn is_time_field(name: &str) -> bool {
    name.starts_with("timing_s/") || ["perf/throughput", "perf/time_per_step"].contains(&name)
}

impl RlMetrics {
    /// Adds a figure; one that is not finite has no meaning and is left out.
    pub(crate) fn put(&mut self, name: impl Into<String>, value: f64) {
        if value.is_finite() {
            self.values.push((name.into(), value));
        }
    }

    /// Adds mean, largest and least.
    pub(crate) fn spread(&mut self, name: &str, values: &[f64]) {
        if values.is_empty() {
            return;
        }
        self.put(format!("{name}/mean"), values.iter().sum::<f64>() / values.len() as f64);
        self.put(format!("{name}/max"), values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        self.put(format!("{name}/min"), values.iter().copied().fold(f64::INFINITY, f64::min));
    }

    /// A figure by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

impl Figures for RlMetrics {
    fn step(&self) -> u64 {
        self.step
    }

    fn total_steps(&self) -> u64 {
        self.total_steps
    }

    fn consumed_tokens(&self) -> u64 {
        self.consumed_tokens
    }

    fn loss(&self) -> Option<f64> {
        self.loss
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn tokens_per_sec(&self) -> f64 {
        self.tokens_per_sec
    }

    fn scalars(&self) -> Vec<(&str, f64)> {
        self.values.iter().map(|(name, value)| (name.as_str(), *value)).collect()
    }

    fn line(&self) -> Result<String, serde_json::Error> {
        let mut line = Vec::new();
        let mut serializer = serde_json::Serializer::new(&mut line);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("step", &self.step)?;
        map.serialize_entry("consumed_tokens", &self.consumed_tokens)?;
        for (name, value) in &self.values {
            map.serialize_entry(name, value)?;
        }
        map.end()?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_figures_in_their_order_and_none_that_is_no_number() {
        let mut metrics = RlMetrics { step: 3, consumed_tokens: 9, ..RlMetrics::default() };
        metrics.put("b", 1.5);
        metrics.put("a", f64::NAN);
        metrics.spread("len", &[1.0, 3.0]);
        metrics.spread("none", &[]);
        let line = r#"{"step":3,"consumed_tokens":9,"b":1.5,"len/mean":2.0,"len/max":3.0,"len/min":1.0}"#;
        assert_eq!(metrics.line().unwrap(), line);
        assert_eq!((metrics.get("b"), metrics.get("a")), (Some(1.5), None));
        assert_eq!(metrics.scalars().len(), 4);
    }

    #[test]
    fn the_clock_is_in_fields_that_say_so() {
        assert!(is_time_field("timing_s/gen") && is_time_field("perf/throughput"));
        assert!(!is_time_field("actor/lr") && !is_time_field("perf/total_num_tokens"));
    }
}
