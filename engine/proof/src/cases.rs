//! Ops at the shapes that training and decoding have, with operands on the device: what benches time.

use octo_ops::*;
use octo_queue::{Queue, QueueError, record};

type Result<T> = std::result::Result<T, QueueError>;

/// The sizes of a model's layer.
#[derive(Clone, Copy, Debug)]
pub struct BenchModel {
    /// As users name it.
    pub name: &'static str,
    hidden: u32,
    /// Rows of the matrix of q, k and v.
    qkv: u32,
    /// Query heads, key-value heads, and elements of each.
    heads: [u32; 3],
    ffn: u32,
    /// Rows of a training micro-batch.
    tokens: u32,
    /// Rows of decoding steps.
    decoding: [u32; 3],
}

/// Llama 3.2 1B and 3B, Llama 3.1 8B, and one small enough for a simulated GPU.
pub const MODELS: [BenchModel; 4] = [
    BenchModel {
        name: "tiny",
        hidden: 64,
        qkv: 128,
        heads: [4, 2, 16],
        ffn: 192,
        tokens: 64,
        decoding: [1, 4, 16],
    },
    BenchModel {
        name: "1b",
        hidden: 2048,
        qkv: 3072,
        heads: [32, 8, 64],
        ffn: 8192,
        tokens: 8192,
        decoding: [1, 32, 256],
    },
    BenchModel {
        name: "3b",
        hidden: 3072,
        qkv: 5120,
        heads: [24, 8, 128],
        ffn: 8192,
        tokens: 8192,
        decoding: [1, 32, 256],
    },
    BenchModel {
        name: "8b",
        hidden: 4096,
        qkv: 6144,
        heads: [32, 8, 128],
        ffn: 14336,
        tokens: 8192,
        decoding: [1, 32, 256],
    },
];

/// Bytes that one round over the copies of a case's operands should touch: more than any cache keeps.
const ROUND_BYTES: u64 = 512 << 20;
const MOST_COPIES: u64 = 16;
/// Tokens in the cache of a row that decodes, its own included.
const CONTEXT: u32 = 1024;

/// Makes the op and its operands.
type Make = dyn Fn(&mut Operands<'_>) -> Result<Op>;

/// Something to be timed.
pub struct BenchCase {
    /// `op/model/shape`.
    pub name: String,
    make: Box<Make>,
}

impl BenchCase {
    fn new(name: String, make: impl Fn(&mut Operands<'_>) -> Result<Op> + 'static) -> BenchCase {
        BenchCase { name, make: Box::new(make) }
    }

    /// The op over as many sets of operands as keep caches from helping, and what fills the sets.
    ///
    /// # Errors
    /// Where the device has too little memory.
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

    /// The op on the types that a GPU computes in, without memory behind it.
    ///
    /// # Errors
    /// As the queue's; none for the cases here.
    pub fn op(&self) -> Result<Op> {
        let (mut queue, _) = record(Precision::CUDA);
        let activation = queue.describe().precision.activations;
        (self.make)(&mut Operands {
            queue: &mut queue,
            activation,
            number: 0,
            fills: Vec::new(),
            words: Vec::new(),
        })
    }
}

/// A case's ops, and what their operands must hold before.
pub struct Prepared {
    /// One an operand set; all cost the same.
    pub ops: Vec<Op>,
    /// Normal numbers.
    pub fills: Vec<RandomFill>,
    /// Blocks of numbers and indices, as they lie in memory.
    pub words: Vec<(View, Vec<u8>)>,
}

/// Makes operands.
struct Operands<'a> {
    queue: &'a mut Queue,
    activation: DType,
    number: u64,
    fills: Vec<RandomFill>,
    words: Vec<(View, Vec<u8>)>,
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
        self.queue.tensor(&format!("operand {}", self.number), dtype, shape)
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
        self.words.push((view, words.into_iter().flat_map(f32::to_le_bytes).collect()));
        Ok(view)
    }

    fn indices(&mut self, shape: &[u32], value: impl Fn(u32) -> u32) -> Result<View> {
        let view = self.empty(DType::U32, shape)?;
        let bytes = (0..view.elements() as u32).flat_map(|i| value(i).to_le_bytes()).collect();
        self.words.push((view, bytes));
        Ok(view)
    }
}

/// Every case of a model.
pub fn bench_cases(model: &BenchModel) -> Vec<BenchCase> {
    let BenchModel { name, hidden, qkv, heads, ffn, tokens, decoding } = *model;
    let [query_heads, kv_heads, head_dim] = heads;
    let mut cases = Vec::new();
    let scale = 1.0 / (head_dim as f32).sqrt();
    for rows in decoding {
        cases.push(BenchCase::new(format!("attention/{name}/decode/{rows}x{CONTEXT}"), move |o| {
            let pages = CONTEXT / PAGE_TOKENS;
            let cache = o.filled(o.activation, &[rows * pages, 2, kv_heads * PAGE_TOKENS * head_dim], 1.0)?;
            let half = kv_heads * PAGE_TOKENS * head_dim;
            let part = |which: u32| {
                let offset = u64::from(which * half) * cache.dtype.bytes();
                View::new(cache.buffer, offset, cache.dtype, &[rows * pages, kv_heads, PAGE_TOKENS, head_dim])
                    .with_row_stride(2 * half)
            };
            let op = Attention {
                q: o.input(&[rows, query_heads * head_dim])?,
                k: part(0),
                v: part(1),
                cu_seqlens: o.indices(&[rows + 1], |i| i)?,
                positions: Some(o.indices(&[rows], |_| CONTEXT - 1)?),
                page_table: Some(o.indices(&[rows, pages], |i| i)?),
                out: o.output(&[rows, query_heads * head_dim])?,
                lse: o.empty(DType::F32, &[rows, query_heads])?,
                head_dim,
                scale,
            };
            Ok(op.into())
        }));
    }
    cases.push(BenchCase::new(format!("attention/{name}/{tokens}x{query_heads}x{head_dim}"), move |o| {
        let op = Attention {
            q: o.input(&[tokens, query_heads * head_dim])?,
            k: o.input(&[tokens, kv_heads * head_dim])?,
            v: o.input(&[tokens, kv_heads * head_dim])?,
            cu_seqlens: o.indices(&[2], move |i| i * tokens)?,
            positions: None,
            page_table: None,
            out: o.output(&[tokens, query_heads * head_dim])?,
            lse: o.empty(DType::F32, &[tokens, query_heads])?,
            head_dim,
            scale,
        };
        Ok(op.into())
    }));
    cases.push(BenchCase::new(
        format!("attention_backward/{name}/{tokens}x{query_heads}x{head_dim}"),
        move |o| {
            let (q, kv) = ([tokens, query_heads * head_dim], [tokens, kv_heads * head_dim]);
            let op = AttentionBackward {
                q: o.input(&q)?,
                k: o.input(&kv)?,
                v: o.input(&kv)?,
                out: o.input(&q)?,
                // About what the log of so many scores of this size comes to.
                lse: o.filled(DType::F32, &[tokens, query_heads], 1.0)?,
                dout: o.input(&q)?,
                cu_seqlens: o.indices(&[2], move |i| i * tokens)?,
                dq: o.output(&q)?,
                dk: o.output(&kv)?,
                dv: o.output(&kv)?,
                head_dim,
                scale,
            };
            Ok(op.into())
        },
    ));
    for rows in decoding.into_iter().chain([tokens]) {
        for (part, n, k) in [("o", hidden, hidden), ("down", hidden, ffn)] {
            cases.push(BenchCase::new(format!("linear_residual/{name}/{part}/{rows}x{n}x{k}"), move |o| {
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
        cases.push(BenchCase::new(format!("gate_up_swiglu/{name}/{rows}x{n}x{hidden}"), move |o| {
            let op = GateUpSwiglu {
                x: o.input(&[rows, hidden])?,
                weight: o.weight(&[n, hidden])?,
                product: o.output(&[rows, ffn])?,
                gate_up: None,
            };
            Ok(op.into())
        }));
        cases.push(BenchCase::new(format!("rms_norm/{name}/{rows}x{hidden}"), move |o| {
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
        cases.push(BenchCase::new(
            format!("linear_backward_input/{name}/{part}/{tokens}x{k}x{n}"),
            move |o| {
                let op = LinearBackwardInput {
                    dy: o.input(&[tokens, n])?,
                    weight: o.weight(&[n, k])?,
                    dx: o.output(&[tokens, k])?,
                };
                Ok(op.into())
            },
        ));
        cases.push(BenchCase::new(
            format!("linear_backward_weight/{name}/{part}/{n}x{k}x{tokens}"),
            move |o| {
                let op = LinearBackwardWeight {
                    dy: o.input(&[tokens, n])?,
                    x: o.input(&[tokens, k])?,
                    dweight: o.empty(DType::F32, &[n, k])?,
                    accumulate: true,
                };
                Ok(op.into())
            },
        ));
    }
    cases.push(BenchCase::new(format!("swiglu/{name}/{tokens}x{ffn}"), move |o| {
        let op = Swiglu { gate_up: o.input(&[tokens, 2 * ffn])?, product: o.output(&[tokens, ffn])? };
        Ok(op.into())
    }));
    cases.push(BenchCase::new(format!("swiglu_backward/{name}/{tokens}x{ffn}"), move |o| {
        let op = SwigluBackward { dproduct: o.input(&[tokens, ffn])?, gate_up: o.input(&[tokens, 2 * ffn])? };
        Ok(op.into())
    }));
    let elements = hidden * ffn;
    for moments in [DType::F32, DType::Bf16] {
        let held = if moments == DType::Bf16 { "/moments_bf16" } else { "" };
        cases.push(BenchCase::new(format!("adamw/{name}/{elements}{held}"), move |o| {
            let bf16 = o.activation == DType::Bf16;
            let block = StepBlock {
                lr: 1e-4,
                bias_correction1: 0.1,
                bias_correction2: 0.05,
                clip: 1.0,
                inv_targets: 1.0,
                update: 1,
            };
            let op = AdamW {
                weight: o.weight(&[elements])?,
                remainder: if bf16 { Some(o.empty(DType::I16, &[elements])?) } else { None },
                grad: o.filled(DType::F32, &[elements], 0.01)?,
                m: o.empty(moments, &[elements])?,
                v: o.empty(moments, &[elements])?,
                step_block: o.block(vec![
                    block.lr,
                    block.bias_correction1,
                    block.bias_correction2,
                    block.clip,
                    block.inv_targets,
                    f32::from_bits(block.update),
                ])?,
                // Nothing is clipped, nothing is halted.
                result: o.block(vec![0.0, 1.0, 1.0, 0.0])?,
                beta1: 0.9,
                beta2: 0.95,
                eps: 1e-8,
                weight_decay: 0.1,
                rounding: (moments == DType::Bf16).then_some(Rounding { seed: 1, first: 0 }),
            };
            Ok(op.into())
        }));
    }
    cases.push(BenchCase::new(format!("random_fill/{name}/{elements}"), move |o| {
        Ok(RandomFill { out: o.output(&[elements])?, seed: 1, stream: 1, scale: 1.0 }.into())
    }));
    cases
}
