//! Ops at the shapes that training and decoding have, with operands on the device.

use anyhow::Result;
use octo_ops::*;
use octo_queue::Queue;

/// The sizes of a model's layer.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// As users name it.
    pub name: &'static str,
    hidden: u32,
    /// Rows of the matrix of q, k and v.
    qkv: u32,
    ffn: u32,
    /// Rows of a training micro-batch.
    tokens: u32,
    /// Rows of decoding steps.
    decoding: [u32; 3],
}

/// Llama 3.2 1B, Llama 3.1 8B, and one small enough for a simulated GPU.
pub const MODELS: [Model; 3] = [
    Model { name: "tiny", hidden: 64, qkv: 128, ffn: 192, tokens: 64, decoding: [1, 4, 16] },
    Model { name: "1b", hidden: 2048, qkv: 3072, ffn: 8192, tokens: 8192, decoding: [1, 32, 256] },
    Model { name: "8b", hidden: 4096, qkv: 6144, ffn: 14336, tokens: 8192, decoding: [1, 32, 256] },
];

/// Bytes that one round over the copies of a case's operands should touch: more than any cache keeps.
const ROUND_BYTES: u64 = 512 << 20;
const MOST_COPIES: u64 = 16;

/// Makes the op and its operands.
type Make = dyn Fn(&mut Operands<'_>) -> Result<Op>;

/// Something to be timed.
pub struct Case {
    /// `op/model/shape`.
    pub name: String,
    make: Box<Make>,
}

impl Case {
    fn new(name: String, make: impl Fn(&mut Operands<'_>) -> Result<Op> + 'static) -> Case {
        Case { name, make: Box::new(make) }
    }

    /// The op over as many sets of operands as keep caches from helping, and what fills the sets.
    pub fn prepare(&self, queue: &mut Queue, activation: DType) -> Result<Prepared> {
        let mut operands = Operands { queue, activation, number: 0, fills: Vec::new(), words: Vec::new() };
        let mut ops = vec![(self.make)(&mut operands)?];
        let bytes = ops[0].cost().bytes.max(1);
        let small = bytes < 1 << 20;
        let copies = if small { 1 } else { ROUND_BYTES.div_ceil(bytes).clamp(1, MOST_COPIES) };
        for _ in 1..copies {
            ops.push((self.make)(&mut operands)?);
        }
        Ok(Prepared { ops, fills: operands.fills, words: operands.words })
    }
}

/// A case's ops, and what their operands must hold before.
pub struct Prepared {
    /// One an operand set; all cost the same.
    pub ops: Vec<Op>,
    /// Normal numbers.
    pub fills: Vec<RandomFill>,
    /// Blocks of f32.
    pub words: Vec<(View, Vec<f32>)>,
}

/// Makes operands.
struct Operands<'a> {
    queue: &'a mut Queue,
    activation: DType,
    number: u64,
    fills: Vec<RandomFill>,
    words: Vec<(View, Vec<f32>)>,
}

impl Operands<'_> {
    /// A tensor of normal numbers. Weights have the activations' type.
    fn filled(&mut self, dtype: DType, shape: &[u32], scale: f32) -> Result<View> {
        let out = self.empty(dtype, shape)?;
        let flat = View::new(out.buffer, 0, dtype, &[shape.iter().product()]);
        self.fills.push(RandomFill { out: flat, seed: 1, stream: self.number, scale });
        Ok(out)
    }

    fn empty(&mut self, dtype: DType, shape: &[u32]) -> Result<View> {
        self.number += 1;
        Ok(self.queue.tensor(&format!("operand {}", self.number), dtype, shape)?)
    }

    fn input(&mut self, shape: &[u32]) -> Result<View> {
        self.filled(self.activation, shape, 1.0)
    }

    fn weight(&mut self, shape: &[u32]) -> Result<View> {
        self.filled(self.activation, shape, 0.02)
    }

    fn output(&mut self, shape: &[u32]) -> Result<View> {
        self.empty(self.activation, shape)
    }

    fn block(&mut self, words: Vec<f32>) -> Result<View> {
        let view = self.empty(DType::F32, &[words.len() as u32])?;
        self.words.push((view, words));
        Ok(view)
    }
}

/// Every case of a model.
pub fn cases(model: &Model) -> Vec<Case> {
    let Model { name, hidden, qkv, ffn, tokens, decoding } = *model;
    let mut cases = Vec::new();
    for rows in decoding.into_iter().chain([tokens]) {
        for (part, n, k) in [("o", hidden, hidden), ("down", hidden, ffn)] {
            cases.push(Case::new(format!("linear_residual/{name}/{part}/{rows}x{n}x{k}"), move |o| {
                let op = LinearResidual {
                    x: o.input(&[rows, k])?,
                    weight: o.weight(&[n, k])?,
                    residual: o.input(&[rows, n])?,
                    out: o.output(&[rows, n])?,
                };
                Ok(op.into())
            }));
        }
        let n = 2 * ffn;
        cases.push(Case::new(format!("gate_up_swiglu/{name}/{rows}x{n}x{hidden}"), move |o| {
            let op = GateUpSwiglu {
                x: o.input(&[rows, hidden])?,
                weight: o.weight(&[n, hidden])?,
                product: o.output(&[rows, ffn])?,
                gate_up: None,
            };
            Ok(op.into())
        }));
        cases.push(Case::new(format!("rms_norm/{name}/{rows}x{hidden}"), move |o| {
            let op = RmsNorm {
                x: o.input(&[rows, hidden])?,
                residual: None,
                weight: o.weight(&[hidden])?,
                y: o.output(&[rows, hidden])?,
                sum: None,
                rstd: o.empty(DType::F32, &[rows])?,
                eps: 1e-5,
            };
            Ok(op.into())
        }));
    }
    for (part, n, k) in
        [("qkv", qkv, hidden), ("o", hidden, hidden), ("gate_up", 2 * ffn, hidden), ("down", hidden, ffn)]
    {
        cases.push(Case::new(format!("linear_backward_input/{name}/{part}/{tokens}x{k}x{n}"), move |o| {
            let op = LinearBackwardInput {
                dy: o.input(&[tokens, n])?,
                weight: o.weight(&[n, k])?,
                dx: o.output(&[tokens, k])?,
            };
            Ok(op.into())
        }));
        cases.push(Case::new(format!("linear_backward_weight/{name}/{part}/{n}x{k}x{tokens}"), move |o| {
            let op = LinearBackwardWeight {
                dy: o.input(&[tokens, n])?,
                x: o.input(&[tokens, k])?,
                dweight: o.empty(DType::F32, &[n, k])?,
                accumulate: true,
            };
            Ok(op.into())
        }));
    }
    cases.push(Case::new(format!("swiglu/{name}/{tokens}x{ffn}"), move |o| {
        let op = Swiglu { gate_up: o.input(&[tokens, 2 * ffn])?, product: o.output(&[tokens, ffn])? };
        Ok(op.into())
    }));
    cases.push(Case::new(format!("swiglu_backward/{name}/{tokens}x{ffn}"), move |o| {
        let op = SwigluBackward { dproduct: o.input(&[tokens, ffn])?, gate_up: o.input(&[tokens, 2 * ffn])? };
        Ok(op.into())
    }));
    let elements = hidden * ffn;
    cases.push(Case::new(format!("adamw/{name}/{elements}"), move |o| {
        let bf16 = o.activation == DType::Bf16;
        let block = StepBlock {
            lr: 1e-4,
            bias_correction1: 0.1,
            bias_correction2: 0.05,
            clip: 1.0,
            inv_targets: 1.0,
        };
        let op = AdamW {
            weight: o.weight(&[elements])?,
            remainder: if bf16 { Some(o.empty(DType::I16, &[elements])?) } else { None },
            grad: o.filled(DType::F32, &[elements], 0.01)?,
            m: o.empty(DType::F32, &[elements])?,
            v: o.empty(DType::F32, &[elements])?,
            step_block: o.block(vec![
                block.lr,
                block.bias_correction1,
                block.bias_correction2,
                block.clip,
                block.inv_targets,
            ])?,
            // Nothing is clipped, nothing is halted.
            result: o.block(vec![0.0, 1.0, 1.0, 0.0])?,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
        };
        Ok(op.into())
    }));
    cases.push(Case::new(format!("random_fill/{name}/{elements}"), move |o| {
        Ok(RandomFill { out: o.output(&[elements])?, seed: 1, stream: 1, scale: 1.0 }.into())
    }));
    cases
}
