//! Test cases of ops: operands with values, read by `cargo test`, `selftest` and `bench` alike.

use crate::{Access, BufferId, Cut, DType, HostMemory, Op, Real, StepBlock, View};
use half::bf16;
use std::fmt;

/// One op on concrete operands.
#[derive(Clone, Debug)]
pub struct Case {
    /// What distinguishes the case among those of its op, e.g. `7x129-outliers`.
    pub name: String,
    /// The op; buffer `i` of its views is `tensors[i]`.
    pub op: Op,
    /// The buffers, one tensor each.
    pub tensors: Vec<Tensor>,
}

/// The arithmetic of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// The truth.
    F64,
    /// What the plain computation gives.
    F32,
    /// In f32 as tensor cores add ([`Cut`]).
    Cut,
    /// In f32, rounded to the declared dtypes wherever the op rounds.
    Rounded,
}

impl Case {
    /// Every buffer that the op writes as its reference leaves it; the others are empty.
    pub fn evaluate(&self, arithmetic: Arithmetic) -> Vec<Vec<f64>> {
        match arithmetic {
            Arithmetic::F64 => self.written(HostMemory::<f64>::new(&self.tensors)),
            Arithmetic::F32 => self.written(HostMemory::<f32>::new(&self.tensors)),
            Arithmetic::Cut => self.written(HostMemory::<Cut>::new(&self.tensors)),
            Arithmetic::Rounded => self.written(HostMemory::<f32>::new(&self.tensors).rounding()),
        }
    }

    fn written<R: Real>(&self, mut memory: HostMemory<R>) -> Vec<Vec<f64>> {
        self.op.reference(&mut memory);
        let mut buffers = vec![Vec::new(); self.tensors.len()];
        for operand in self.op.operands().iter().filter(|operand| operand.access != Access::Read) {
            let id = operand.view.buffer;
            let buffer = &mut buffers[id.0 as usize];
            if buffer.is_empty() {
                *buffer = memory.buffer(id).iter().map(|v| v.to_f64()).collect();
            }
        }
        buffers
    }
}

/// One buffer of a case.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Element type.
    pub dtype: DType,
    /// Values, already rounded to the dtype; NaN where nothing has been written yet.
    pub values: Vec<f64>,
}

impl Tensor {
    /// The values as a device holds them: elements of the type one after the other, little endian.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        let each = |f: &dyn Fn(f64) -> Vec<u8>| self.values.iter().flat_map(|&v| f(v)).collect();
        match self.dtype {
            DType::F32 => each(&|v| (v as f32).to_le_bytes().into()),
            DType::Bf16 => each(&|v| bf16::from_f64(v).to_le_bytes().into()),
            DType::I16 => each(&|v| (v as i16).to_le_bytes().into()),
            DType::I32 => each(&|v| (v as i32).to_le_bytes().into()),
            DType::U32 => each(&|v| (v as u32).to_le_bytes().into()),
            DType::U64 => each(&|v| (v as u64).to_le_bytes().into()),
        }
    }
}

/// Hands out operands and remembers their values. Values are a function of the order of calls alone.
#[derive(Clone, Default)]
pub struct CaseBuilder {
    tensors: Vec<Tensor>,
    state: u64,
    /// Whether tensors stay empty.
    shapes_only: bool,
}

impl CaseBuilder {
    /// An empty case.
    pub fn new() -> CaseBuilder {
        CaseBuilder { tensors: Vec::new(), state: 0x0c70_7411_4e4e_2026, shapes_only: false }
    }

    /// A builder that makes views and no values: which op a case is, before it takes memory.
    pub(crate) fn of_shapes() -> CaseBuilder {
        CaseBuilder { shapes_only: true, ..CaseBuilder::new() }
    }

    /// A tensor of the given values.
    pub fn values(&mut self, dtype: DType, shape: &[u32], values: impl IntoIterator<Item = f64>) -> View {
        let view = View::new(BufferId(self.tensors.len() as u32), 0, dtype, shape);
        if self.shapes_only {
            self.tensors.push(Tensor { dtype, values: Vec::new() });
            return view;
        }
        let values: Vec<f64> = values
            .into_iter()
            .map(|v| match dtype {
                DType::Bf16 => bf16::from_f64(v).to_f64(),
                DType::F32 => f64::from(v as f32),
                _ => v,
            })
            .collect();
        debug_assert_eq!(values.len(), view.elements());
        self.tensors.push(Tensor { dtype, values });
        view
    }

    /// A [`StepBlock`] of these numbers, of the update of this number.
    pub fn step_block(&mut self, numbers: [f64; StepBlock::UPDATE], update: u32) -> View {
        let update = f64::from(f32::from_bits(update));
        self.values(DType::F32, &[StepBlock::WORDS], numbers.into_iter().chain([update]))
    }

    /// Normally distributed values.
    pub fn normal(&mut self, dtype: DType, shape: &[u32], scale: f64) -> View {
        let values: Vec<f64> = (0..self.count(shape)).map(|_| self.gaussian() * scale).collect();
        self.values(dtype, shape, values)
    }

    /// Values that are hard on sums: most are of order one, some are a thousand times larger and followed
    /// by their near opposite, some are denormal in f32.
    pub fn hard(&mut self, dtype: DType, shape: &[u32]) -> View {
        let mut last = 0.0;
        let values: Vec<f64> = (0..self.count(shape))
            .map(|i| {
                let g = self.gaussian();
                last = match i % 16 {
                    3 => 1000.0 * g,
                    4 => -last * (1.0 + 1e-3 * g),
                    9 => 1e-39 * g,
                    _ => g,
                };
                last
            })
            .collect();
        self.values(dtype, shape, values)
    }

    /// Integers from 0 up to, not including, `below`.
    pub fn below(&mut self, dtype: DType, shape: &[u32], below: u64) -> View {
        let values: Vec<f64> = (0..self.count(shape)).map(|_| (self.next() % below) as f64).collect();
        self.values(dtype, shape, values)
    }

    /// An output: NaN until written (0 for integers).
    pub fn output(&mut self, dtype: DType, shape: &[u32]) -> View {
        let nothing = if dtype.is_float() { f64::NAN } else { 0.0 };
        self.values(dtype, shape, std::iter::repeat_n(nothing, self.count(shape)))
    }

    /// Runs an op's reference on the tensors so far, in f64 rounded to each dtype: what it writes becomes
    /// the input of the op under test.
    pub(crate) fn run(&mut self, op: &Op) {
        if self.shapes_only {
            return;
        }
        let mut memory = HostMemory::<f64>::new(&self.tensors);
        op.reference(&mut memory);
        for (i, tensor) in self.tensors.iter_mut().enumerate() {
            tensor.values = memory
                .buffer(BufferId(i as u32))
                .iter()
                .map(|&v| match tensor.dtype {
                    DType::Bf16 => bf16::from_f64(v).to_f64(),
                    DType::F32 => f64::from(v as f32),
                    _ => v,
                })
                .collect();
        }
    }

    /// The case.
    pub fn finish(self, name: impl Into<String>, op: impl Into<Op>) -> Case {
        Case { name: name.into(), op: op.into(), tensors: self.tensors }
    }

    /// Values of a tensor of this shape.
    fn count(&self, shape: &[u32]) -> usize {
        if self.shapes_only { 0 } else { shape.iter().map(|&n| n as usize).product() }
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Box-Muller.
    fn gaussian(&mut self) -> f64 {
        let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let (u, v) = (unit(self.next()), unit(self.next()));
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// Which element types meet in a case.
#[derive(Clone, Copy)]
pub(crate) struct Mix {
    pub activation: DType,
    pub weight: DType,
}

impl Mix {
    /// What the CPU computes: f32 activations, weights of either type.
    pub const F32: [Mix; 2] = [Mix::of(DType::F32, DType::F32), Mix::of(DType::F32, DType::Bf16)];
    /// What a GPU computes.
    pub const BF16: Mix = Mix::of(DType::Bf16, DType::Bf16);

    /// Each mix with the shapes of a product: on a GPU rows are whole groups of 16 bytes.
    pub fn of_products<T>([f32, bf16]: [&[T]; 2]) -> [(Mix, &[T]); 3] {
        [(Mix::F32[0], f32), (Mix::F32[1], f32), (Mix::BF16, bf16)]
    }

    pub const fn of(activation: DType, weight: DType) -> Mix {
        Mix { activation, weight }
    }
}

/// The head of a case's name: the activations' type, and the weights' where it is another.
impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.activation.fmt(f)?;
        if self.weight != self.activation { write!(f, "-{}", self.weight) } else { Ok(()) }
    }
}

/// The numbers of tokens every op is tried with: one row, odd, and enough to fill tiles.
pub(crate) const TOKENS: [u32; 3] = [1, 7, 70];
