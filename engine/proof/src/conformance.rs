//! One case on one queue.

use half::bf16;
use octo_ops::{Access, BufferId, Case, DType, HostMemory, Op, Slot, Tensor, View, master};
use octo_queue::{Queue, QueueError};

/// How a backend failed a case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The queue refused the op or the device failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// An element is further from the truth than the limit.
    #[error(
        "tensor {tensor}, element {element}: got {got:e}, truth {truth:e}; \
         error {error:e} exceeds the limit {limit:e}"
    )]
    Error {
        /// Index of the buffer.
        tensor: usize,
        /// Index of the element.
        element: usize,
        /// Value of the backend.
        got: f64,
        /// Value of the f64 reference.
        truth: f64,
        /// Their distance.
        error: f64,
        /// The largest distance allowed.
        limit: f64,
    },
    /// An operand that is only read has changed.
    #[error("tensor {tensor}, element {element} is an input and was {before:e}, now {after:e}")]
    InputChanged {
        /// Index of the buffer.
        tensor: usize,
        /// Index of the element.
        element: usize,
        /// Before the op.
        before: f64,
        /// After it.
        after: f64,
    },
    /// The captured program gives other bits than the op run by itself.
    #[error("tensor {tensor}: a replayed program gives other bits than the op run eagerly")]
    ReplayDiffers {
        /// Index of the buffer.
        tensor: usize,
    },
}

/// Runs a case eagerly and replayed, and compares with the reference.
///
/// The limit on an element's error: twice the largest error of the plain computation (the reference in f32,
/// rounded to the declared dtypes) plus two units in the last place at the tensor's largest magnitude.
/// Integers must be equal.
pub fn check(case: &Case, open: impl Fn() -> Queue) -> Result<(), Failure> {
    let eager = execute(case, open(), false)?;
    let replayed = execute(case, open(), true)?;
    for (tensor, (a, b)) in eager.iter().zip(&replayed).enumerate() {
        if a != b {
            return Err(Failure::ReplayDiffers { tensor });
        }
    }
    let values = || case.tensors.iter().map(|t| t.values.as_slice());
    let mut truth = HostMemory::<f64>::new(values());
    let mut plain = HostMemory::<f32>::new(values());
    case.op.reference(&mut truth);
    case.op.reference(&mut plain);
    let operands = case.op.operands();
    let masters = masters(&case.op);
    for (index, (tensor, bytes)) in case.tensors.iter().zip(&eager).enumerate() {
        let got = decode(tensor.dtype, bytes);
        let id = BufferId(index as u32);
        if let Some((weight, remainder)) = masters
            && (id == weight || id == remainder)
        {
            // Halves of one number: a difference in the last place of the pair may show in either.
            let rest = decode(DType::I16, &eager[remainder.0 as usize]);
            let got = join(&decode(DType::Bf16, &eager[weight.0 as usize]), &rest);
            let of = |memory: [&[f64]; 2]| join(memory[0], memory[1]);
            let plain =
                [weight, remainder].map(|b| plain.buffer(b).iter().map(|&v| v.into()).collect::<Vec<_>>());
            let truth = of([truth.buffer(weight), truth.buffer(remainder)]);
            compare(index, DType::F32, &got, &truth, &of([&plain[0], &plain[1]]))?;
            continue;
        }
        let written = operands.iter().any(|o| o.view.buffer == id && o.access != Access::Read);
        if written {
            let plain: Vec<f64> = plain.buffer(id).iter().map(|&v| v.into()).collect();
            compare(index, tensor.dtype, &got, truth.buffer(id), &plain)?;
        } else {
            unchanged(index, tensor, &got)?;
        }
    }
    Ok(())
}

/// The buffers of a bf16 weight and its remainder, which are one number together.
fn masters(op: &Op) -> Option<(BufferId, BufferId)> {
    match op {
        Op::AdamW(op) => op.remainder.map(|remainder| (op.weight.buffer, remainder.buffer)),
        _ => None,
    }
}

fn join(weight: &[f64], remainder: &[f64]) -> Vec<f64> {
    let pairs = weight.iter().zip(remainder);
    pairs.map(|(&w, &r)| master::join(bf16::from_f64(w), r as i16).into()).collect()
}

/// The bytes of every buffer after the op.
fn execute(case: &Case, mut queue: Queue, captured: bool) -> Result<Vec<Vec<u8>>, QueueError> {
    let mut views = Vec::new();
    for (i, tensor) in case.tensors.iter().enumerate() {
        let shape = [tensor.values.len() as u32];
        views.push(queue.tensor(&format!("tensor {i}"), tensor.dtype, &shape)?);
    }
    queue.seal();
    for (view, tensor) in views.iter().zip(&case.tensors) {
        queue.upload(*view, &encode(tensor))?;
    }
    if captured {
        let program = queue.capture(|queue| queue.run(case.op))?;
        queue.replay(program)?;
    } else {
        queue.run(case.op)?;
    }
    views.iter().map(|view| read(&mut queue, *view)).collect()
}

fn read(queue: &mut Queue, view: View) -> Result<Vec<u8>, QueueError> {
    let mut bytes = vec![0; view.span_bytes() as usize];
    queue.begin_readback(Slot(0), view)?;
    queue.finish_readback(Slot(0), &mut bytes)?;
    Ok(bytes)
}

fn compare(tensor: usize, dtype: DType, got: &[f64], truth: &[f64], plain: &[f64]) -> Result<(), Failure> {
    let finite = |v: &&f64| v.is_finite();
    let largest = truth.iter().filter(finite).fold(0.0f64, |m, v| m.max(v.abs()));
    let plain_error =
        truth.iter().zip(plain).map(|(t, p)| (t - p).abs()).filter(|e| e.is_finite()).fold(0.0f64, f64::max);
    let limit = if dtype.is_float() { 2.0 * plain_error + 2.0 * ulp(dtype, largest) } else { 0.0 };
    for (element, (&got, &truth)) in got.iter().zip(truth).enumerate() {
        let error = (got - truth).abs();
        let same_non_finite = got.is_nan() && truth.is_nan() || got == truth;
        if !(same_non_finite || error <= limit) {
            return Err(Failure::Error { tensor, element, got, truth, error, limit });
        }
    }
    Ok(())
}

fn unchanged(index: usize, tensor: &Tensor, got: &[f64]) -> Result<(), Failure> {
    for (element, (&before, &after)) in tensor.values.iter().zip(got).enumerate() {
        if before != after && !(before.is_nan() && after.is_nan()) {
            return Err(Failure::InputChanged { tensor: index, element, before, after });
        }
    }
    Ok(())
}

/// The distance of neighbouring values at a magnitude.
fn ulp(dtype: DType, magnitude: f64) -> f64 {
    let (mantissa, smallest) = match dtype {
        DType::Bf16 => (7, -133),
        _ => (23, -149),
    };
    let exponent = if magnitude > 0.0 { magnitude.log2().floor() as i32 - mantissa } else { smallest };
    2.0f64.powi(exponent.max(smallest))
}

fn encode(tensor: &Tensor) -> Vec<u8> {
    let each = |f: &dyn Fn(f64) -> Vec<u8>| tensor.values.iter().flat_map(|&v| f(v)).collect();
    match tensor.dtype {
        DType::F32 => each(&|v| (v as f32).to_le_bytes().into()),
        DType::Bf16 => each(&|v| bf16::from_f64(v).to_le_bytes().into()),
        DType::I16 => each(&|v| (v as i16).to_le_bytes().into()),
        DType::I32 => each(&|v| (v as i32).to_le_bytes().into()),
        DType::U32 => each(&|v| (v as u32).to_le_bytes().into()),
        DType::U64 => each(&|v| (v as u64).to_le_bytes().into()),
    }
}

fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|&chunk| f(chunk)).collect()
    }
    match dtype {
        DType::F32 => each(bytes, |b| f32::from_le_bytes(b).into()),
        DType::Bf16 => each(bytes, |b| bf16::from_le_bytes(b).into()),
        DType::I16 => each(bytes, |b| i16::from_le_bytes(b).into()),
        DType::I32 => each(bytes, |b| i32::from_le_bytes(b).into()),
        DType::U32 => each(bytes, |b| u32::from_le_bytes(b).into()),
        DType::U64 => each(bytes, |b| u64::from_le_bytes(b) as f64),
    }
}
