//! What the benches and `examples/peer.rs` share: the two models of the figures, and inputs that are never
//! zeros.
#![allow(dead_code, reason = "every bench takes the part it needs")]

use half::bf16;
use octo_model::{AdamWConfig, MicroBatch, ModelConfig, Net, Shape};
use octo_ops::philox::{self, Purpose};
use octo_ops::{DType, LinearBackwardInput, LinearBackwardWeight, LinearResidual, Op, View};
use octo_queue::{Queue, QueueError};
use serde_json::{Value, json};

/// What a bench gives back: whatever went wrong, in words.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// How large the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// The shapes of the figures.
    Full,
    /// So small that a run only shows that everything fits together.
    Tiny,
}

/// The model whose training step is timed, about 30M parameters.
pub fn trained_config(scale: Scale) -> Value {
    let (hidden, layers, ffn, vocab) = match scale {
        Scale::Full => (512, 8, 1536, 4096),
        Scale::Tiny => (64, 2, 96, 512),
    };
    json!({
        "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": ffn,
        "vocab_size": vocab, "tie_word_embeddings": false, "max_position_embeddings": 512,
    })
}

/// The model that is decoded: Llama 3.2 1B.
pub fn decoded_config(scale: Scale) -> Value {
    let (hidden, layers, heads, kv_heads, ffn, vocab) = match scale {
        Scale::Full => (2048, 16, 32, 8, 8192, 128_256),
        Scale::Tiny => (256, 2, 4, 1, 512, 1024),
    };
    json!({
        "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": 64,
        "intermediate_size": ffn, "vocab_size": vocab, "tie_word_embeddings": true,
        "max_position_embeddings": 4096,
    })
}

/// A configuration as the engine reads it.
pub fn parse(config: &Value) -> Outcome<ModelConfig> {
    Ok(ModelConfig::from_value(config.clone(), "bench")?)
}

/// \[M, N, K\] of the products of the training step: q with k and v, o, gate with up, down, head.
pub fn product_shapes(scale: Scale) -> [[u32; 3]; 5] {
    let full = [[4096, 1024, 512], [4096, 512, 512], [4096, 3072, 512], [4096, 512, 1536], [4096, 4096, 512]];
    match scale {
        Scale::Full => full,
        Scale::Tiny => full.map(|shape| shape.map(|n| n / 32)),
    }
}

/// The optimizer of the figures; the learning rate is small enough for many steps on one batch.
pub const OPTIMIZER: AdamWConfig =
    AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 1.0 };
/// Its learning rate.
pub const LEARNING_RATE: f64 = 1e-4;

/// Rows of random tokens, each a document of its own.
pub struct Batch {
    /// Documents.
    pub documents: u32,
    /// Tokens of each.
    pub length: u32,
    /// \[documents · length\].
    pub ids: Vec<u32>,
    labels: Vec<i32>,
    positions: Vec<u32>,
    cu_seqlens: Vec<u32>,
}

impl Batch {
    /// The batch of the figures: 8 × 512 tokens.
    pub fn new(scale: Scale, vocab: u32) -> Batch {
        let (documents, length) = match scale {
            Scale::Full => (8, 512),
            Scale::Tiny => (8, 32),
        };
        let ids: Vec<u32> =
            (0..documents * length).map(|i| philox::draw(1, Purpose::Sample, 0, i)[0] % vocab).collect();
        let last = |i: u32| i % length == length - 1;
        Batch {
            documents,
            length,
            labels: (0..documents * length)
                .map(|i| if last(i) { -1 } else { ids[i as usize + 1] as i32 })
                .collect(),
            positions: (0..documents * length).map(|i| i % length).collect(),
            cu_seqlens: (0..=documents).map(|d| d * length).collect(),
            ids,
        }
    }

    /// As the trainer takes it.
    pub fn micro_batch(&self) -> MicroBatch<'_> {
        MicroBatch {
            ids: &self.ids,
            labels: &self.labels,
            positions: &self.positions,
            cu_seqlens: &self.cu_seqlens,
            sources: &[0],
        }
    }

    /// Its size.
    pub fn shape(&self) -> Shape {
        Shape { tokens: self.tokens(), documents: self.documents, sequences: 1, sources: 1 }
    }

    /// All tokens.
    pub fn tokens(&self) -> u32 {
        self.documents * self.length
    }
}

/// Elements after which random inputs repeat.
const PERIOD: usize = 1 << 20;

/// Normal numbers that inputs are cut from: drawing each of a billion would take longer than a bench.
pub struct Noise(Vec<f32>);

impl Noise {
    /// A block of numbers with mean 0 and standard deviation 1.
    pub fn new() -> Noise {
        let blocks = (0..PERIOD as u32 / 4).map(|i| philox::normal(philox::draw(1, Purpose::Init, 0, i)));
        Noise(blocks.flatten().map(|v| v as f32).collect())
    }

    /// Fills a contiguous f32 or bf16 view with numbers of this standard deviation. `first` says where in the
    /// block to begin, so that operands differ.
    pub fn fill(&self, queue: &mut Queue, view: View, deviation: f32, first: usize) -> Outcome {
        let mut done = 0;
        while done < view.elements() {
            let values: Vec<f32> = (done..view.elements().min(done + PERIOD))
                .map(|i| self.0[(first + i) % PERIOD] * deviation)
                .collect();
            let offset = view.offset + done as u64 * view.dtype.bytes();
            let part = View::new(view.buffer, offset, view.dtype, &[values.len() as u32]);
            if view.dtype == DType::Bf16 {
                let halves: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
                queue.upload(part, bytemuck::cast_slice(&halves))?;
            } else {
                queue.upload(part, bytemuck::cast_slice(&values))?;
            }
            done += values.len();
        }
        Ok(())
    }

    /// Fills all weights as a random start would: matrices around zero, norms of one.
    pub fn fill_weights(&self, queue: &mut Queue, net: &Net) -> Outcome {
        for (i, param) in net.params.params().enumerate() {
            let view = net.params.view(net.weights, param);
            if view.shape().len() == 2 {
                self.fill(queue, view, net.config.initializer_range as f32, 7919 * i)?;
            } else if view.dtype == DType::Bf16 {
                queue.upload(view, bytemuck::cast_slice(&vec![bf16::ONE; view.elements()]))?;
            } else {
                queue.upload(view, bytemuck::cast_slice(&vec![1.0f32; view.elements()]))?;
            }
        }
        Ok(())
    }
}

/// The operands of one linear layer and its two gradients.
pub struct Linear {
    x: View,
    dy: View,
    weight: View,
    residual: View,
    out: View,
    dx: View,
    dweight: View,
}

impl Linear {
    /// The three products by name.
    pub const PRODUCTS: [&'static str; 3] = ["forward", "input", "weight"];

    /// Allocates an f32 layer of \[m, n, k\].
    pub fn allocate(queue: &mut Queue, [m, n, k]: [u32; 3]) -> Result<Linear, QueueError> {
        let mut tensor = |name: &str, shape: [u32; 2]| queue.tensor(name, DType::F32, &shape);
        Ok(Linear {
            x: tensor("x", [m, k])?,
            dy: tensor("dy", [m, n])?,
            weight: tensor("weight", [n, k])?,
            residual: tensor("residual", [m, n])?,
            out: tensor("out", [m, n])?,
            dx: tensor("dx", [m, k])?,
            dweight: tensor("dweight", [n, k])?,
        })
    }

    /// Random inputs; the queue may be sealed.
    pub fn fill(&self, queue: &mut Queue, noise: &Noise) -> Outcome {
        for (i, view) in [self.x, self.dy, self.weight, self.residual].into_iter().enumerate() {
            noise.fill(queue, view, 1.0, 7919 * i)?;
        }
        Ok(())
    }

    /// One of [`Linear::PRODUCTS`].
    pub fn op(&self, product: &str) -> Option<Op> {
        match product {
            "forward" => Some(
                LinearResidual { x: self.x, weight: self.weight, residual: self.residual, out: self.out }
                    .into(),
            ),
            "input" => Some(LinearBackwardInput { dy: self.dy, weight: self.weight, dx: self.dx }.into()),
            "weight" => Some(
                LinearBackwardWeight { dy: self.dy, x: self.x, dweight: self.dweight, accumulate: false }
                    .into(),
            ),
            _ => None,
        }
    }
}
