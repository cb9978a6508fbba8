//! The figures of a step, under nanotron's names.

use octo_model::ModelConfig;
use serde::Serialize;
use std::collections::BTreeMap;

/// Fields that depend on the clock: two equal runs differ in these and in no others.
pub const TIME_FIELDS: [&str; 3] = ["tokens_per_sec", "tokens_per_sec_per_gpu", "mfu"];

/// Figures of a step, as logs, TensorBoard, `status.json` and sinks take them.
pub trait Figures {
    /// Steps done, this one included.
    fn step(&self) -> u64;
    /// Steps of the whole run.
    fn total_steps(&self) -> u64;
    /// Tokens trained on so far.
    fn consumed_tokens(&self) -> u64;
    /// What `status.json` calls the loss; `None` where there is none.
    fn loss(&self) -> Option<f64>;
    /// Learning rate of the step.
    fn lr(&self) -> f64;
    /// Tokens a second over the step.
    fn tokens_per_sec(&self) -> f64;
    /// Everything but the step itself, by name, in the order of the line.
    fn scalars(&self) -> Vec<(&str, f64)>;
    /// The line of `metrics.jsonl`, without its end.
    ///
    /// # Errors
    /// Where the figures cannot be written as JSON.
    fn line(&self) -> Result<String, serde_json::Error>;
}

/// One line of `metrics.jsonl`. docs/metrics.md lists the names.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepMetrics {
    /// Optimizer steps taken, this one included.
    pub step: u64,
    /// Steps of the whole run.
    #[serde(skip)]
    pub total_steps: u64,
    /// Tokens trained on so far.
    pub consumed_tokens: u64,
    /// Mean loss a target, in nats.
    pub lm_loss: f64,
    /// Learning rate of the step.
    pub lr: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    /// Tokens a second over the last step, of all devices. A time field.
    pub tokens_per_sec: f64,
    /// The same of one GPU; left out on the CPU. A time field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_sec_per_gpu: Option<f64>,
    /// Model FLOPs utilisation, see [`mfu`]; left out where the device's peak is not known. A time field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfu: Option<f64>,
    /// Mean loss a target of each source in the step, as `lm_loss/<source>`.
    #[serde(flatten)]
    pub sources: BTreeMap<String, f64>,
    /// Held-out losses measured after this step, as `val_loss/<name>`.
    #[serde(flatten)]
    pub validation: BTreeMap<String, f64>,
}

impl StepMetrics {
    /// Everything but the step itself, under the names of the JSON line and in its order.
    pub fn scalars(&self) -> impl Iterator<Item = (&str, f64)> {
        let fixed = [
            ("consumed_tokens", Some(self.consumed_tokens as f64)),
            ("lm_loss", Some(self.lm_loss)),
            ("lr", Some(self.lr)),
            ("grad_norm", Some(self.grad_norm)),
            ("tokens_per_sec", Some(self.tokens_per_sec)),
            ("tokens_per_sec_per_gpu", self.tokens_per_sec_per_gpu),
            ("mfu", self.mfu),
        ];
        let fixed = fixed.into_iter().filter_map(|(name, value)| Some((name, value?)));
        fixed.chain(self.sources.iter().chain(&self.validation).map(|(name, value)| (name.as_str(), *value)))
    }
}

impl Figures for StepMetrics {
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
        Some(self.lm_loss)
    }

    fn lr(&self) -> f64 {
        self.lr
    }

    fn tokens_per_sec(&self) -> f64 {
        self.tokens_per_sec
    }

    fn scalars(&self) -> Vec<(&str, f64)> {
        StepMetrics::scalars(self).collect()
    }

    fn line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// Floating-point operations that training on one token takes, forward and backward: 6 for each weight of a
/// matrix product, the head included, and causal attention over the whole sequence (Chowdhery and others, PaLM,
/// appendix B, there without halving for the mask). Recomputation, norms and document masks do not count.
#[must_use]
pub fn flops_per_token(config: &ModelConfig, sequence_length: u64) -> f64 {
    let [hidden, inner, q, kv, vocab, layers] = [
        config.hidden_size,
        config.intermediate_size,
        config.q_width(),
        config.kv_width(),
        config.vocab_size,
        config.num_hidden_layers,
    ]
    .map(f64::from);
    let weights = layers * hidden * (2.0 * q + 2.0 * kv + 3.0 * inner) + vocab * hidden;
    // Scores and mixing take 2 · sequence_length · q each, half of it masked away; the backward pass twice that.
    let attention = layers * 6.0 * sequence_length as f64 * q;
    6.0 * weights + attention
}

/// Model FLOPs utilisation: the share of a device's dense bf16 peak (in FLOP/s) that goes into
/// [`flops_per_token`].
#[must_use]
pub fn mfu(flops_per_token: f64, tokens_per_sec_per_gpu: f64, peak_flops: f64) -> f64 {
    flops_per_token * tokens_per_sec_per_gpu / peak_flops
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn full() -> StepMetrics {
        let map = |name: &str, value| BTreeMap::from([(name.to_owned(), value)]);
        StepMetrics {
            step: 3,
            total_steps: 10,
            consumed_tokens: 12_288,
            lm_loss: 2.5,
            lr: 1e-3,
            grad_norm: 0.75,
            tokens_per_sec: 1000.0,
            tokens_per_sec_per_gpu: Some(500.0),
            mfu: Some(0.5),
            sources: map("lm_loss/web", 2.25),
            validation: map("val_loss/held-out", 2.75),
        }
    }

    #[test]
    fn the_scalars_are_the_line_without_its_step() {
        for metrics in [full(), StepMetrics { lm_loss: 1.0, ..StepMetrics::default() }] {
            let mut line = serde_json::to_value(&metrics).unwrap();
            line.as_object_mut().unwrap().remove("step").unwrap();
            line["consumed_tokens"] = json!(metrics.consumed_tokens as f64);
            let scalars: BTreeMap<&str, f64> = metrics.scalars().collect();
            assert_eq!(json!(scalars), line);
        }
    }

    #[test]
    fn what_is_not_given_is_left_out() {
        let line = serde_json::to_string(&StepMetrics::default()).unwrap();
        assert!(!line.contains("mfu") && !line.contains("per_gpu") && !line.contains("total"), "{line}");
    }

    #[test]
    fn without_its_time_fields_a_line_knows_no_clock() {
        let timeless = |metrics: &StepMetrics| {
            let mut line = serde_json::to_value(metrics).unwrap();
            let line: &mut serde_json::Map<String, Value> = line.as_object_mut().unwrap();
            line.retain(|name, _| !TIME_FIELDS.contains(&name.as_str()));
            line.clone()
        };
        let slower =
            StepMetrics { tokens_per_sec: 9.0, tokens_per_sec_per_gpu: Some(9.0), mfu: None, ..full() };
        assert_eq!(timeless(&full()), timeless(&slower));
        assert_eq!(timeless(&full()).len(), 7);
    }

    #[test]
    fn flops_of_a_small_model_counted_by_hand() {
        let config = json!({
            "model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
            "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 10,
            "max_position_embeddings": 32,
        });
        let config = ModelConfig::from_value(config, "test").unwrap();
        let weights = 3 * (16 * 16 + 16 * 8 + 16 * 8 + 16 * 16 + 3 * 16 * 24) + 10 * 16;
        // Position t attends to t + 1 keys: (1 + … + 32) / 32 on average, nearly 32 / 2; twice 2 · 16 a key.
        let attention = 3 * 3 * (2 * 2 * 16) * 32 / 2;
        let flops = flops_per_token(&config, 32);
        assert_eq!(flops, f64::from(6 * weights + attention));
        assert_eq!(mfu(flops, 100.0, 200.0 * flops), 0.5);
    }
}
