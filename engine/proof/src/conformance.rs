//! One case on one queue.

use half::bf16;
use octo_ops::{Access, Arithmetic, BufferId, Case, DType, Op, Slot, Tensor, View, master};
use octo_queue::{OpenError, Queue, QueueError};

/// How a backend failed a case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The device cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
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
/// The limit on an element's error: twice the largest error of the plain computation (the reference in f32), or
/// once that of sums cut off as tensor cores do where activations are bf16, plus two units in the last place of an f32
/// at the tensor's largest magnitude. A bf16 element may be off by its rounding too: two of its own units in the last
/// place, and twice as many as the plain computation loses anywhere when it rounds to the declared dtypes; an f32 element
/// by twice the most that the plain computation loses where it rounds on its way. Integers must be equal.
pub fn check(case: &Case, open: impl Fn() -> Result<Queue, OpenError>) -> Result<(), Failure> {
    run(case, open)?.judge(case)
}

/// What a device has made of a case.
pub struct Outcome {
    /// Every buffer after the op.
    buffers: Vec<Vec<u8>>,
}

/// Runs a case eagerly and replayed: the device's half of [`check`].
///
/// # Errors
/// What the device says; [`Failure::ReplayDiffers`].
pub fn run(case: &Case, open: impl Fn() -> Result<Queue, OpenError>) -> Result<Outcome, Failure> {
    let eager = execute(case, open()?, false)?;
    let replayed = execute(case, open()?, true)?;
    for (tensor, (a, b)) in eager.iter().zip(&replayed).enumerate() {
        if a != b {
            return Err(Failure::ReplayDiffers { tensor });
        }
    }
    Ok(Outcome { buffers: eager })
}

impl Outcome {
    /// Compares with the reference: the half of [`check`] that needs no device.
    ///
    /// # Errors
    /// The first element that is wrong.
    pub fn judge(&self, case: &Case) -> Result<(), Failure> {
        judge(case, &self.buffers)
    }
}

fn judge(case: &Case, buffers: &[Vec<u8>]) -> Result<(), Failure> {
    let references = References::of(case);
    let operands = case.op.operands();
    let masters = masters(&case.op);
    for (index, (tensor, bytes)) in case.tensors.iter().zip(buffers).enumerate() {
        let got = decode(tensor.dtype, bytes);
        let id = BufferId(index as u32);
        if let Some((weight, remainder)) = masters
            && (id == weight.buffer || id == remainder.buffer)
        {
            // Halves of one number: a difference in the last place of the pair may show in either.
            let half = |view: View| decode(view.dtype, &buffers[view.buffer.0 as usize]);
            let joined = |memory: &[Vec<f64>]| {
                let half = |view: View| elements(&view, &memory[view.buffer.0 as usize]).to_vec();
                vec![join(&half(weight), &half(remainder))]
            };
            let pair = join(elements(&weight, &half(weight)), elements(&remainder, &half(remainder)));
            compare(index, DType::F32, &pair, &references.map(joined), 0)?;
            let own = if id == weight.buffer { weight } else { remainder };
            let mut got = got;
            let first = first_element(&own);
            got[first..first + own.elements()].copy_from_slice(elements(&own, &tensor.values));
            unchanged(index, tensor, &got)?;
            continue;
        }
        let written = operands.iter().any(|o| o.view.buffer == id && o.access != Access::Read);
        if written {
            compare(index, tensor.dtype, &got, &references, index)?;
        } else {
            unchanged(index, tensor, &got)?;
        }
    }
    Ok(())
}

/// A bf16 weight and its remainder, which are one number together.
fn masters(op: &Op) -> Option<(View, View)> {
    match op {
        Op::AdamW(op) => op.remainder.map(|remainder| (op.weight, remainder)),
        _ => None,
    }
}

/// Where a view without gaps begins in its buffer.
fn first_element(view: &View) -> usize {
    (view.offset / view.dtype.bytes()) as usize
}

/// The elements of a view without gaps, of those of its buffer.
fn elements<'a>(view: &View, buffer: &'a [f64]) -> &'a [f64] {
    &buffer[first_element(view)..][..view.elements()]
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
        queue.upload(*view, &tensor.to_le_bytes())?;
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

/// The results of the reference in every arithmetic, by buffer.
struct References {
    truth: Vec<Vec<f64>>,
    /// In f32.
    plain: Vec<Vec<f64>>,
    /// In f32 as tensor cores add, where the op may run on them; else as `plain`.
    cut: Vec<Vec<f64>>,
    /// In f32, rounded to the declared dtypes.
    rounded: Vec<Vec<f64>>,
}

impl References {
    fn of(case: &Case) -> References {
        let plain = case.evaluate(Arithmetic::F32);
        let cut = match case.op.bf16_activation() {
            Some(_) => case.evaluate(Arithmetic::Cut),
            None => plain.clone(),
        };
        let rounded = case.evaluate(Arithmetic::Rounded);
        References { truth: case.evaluate(Arithmetic::F64), plain, cut, rounded }
    }

    fn map(&self, f: impl Fn(&[Vec<f64>]) -> Vec<Vec<f64>>) -> References {
        References {
            truth: f(&self.truth),
            plain: f(&self.plain),
            cut: f(&self.cut),
            rounded: f(&self.rounded),
        }
    }

    /// The largest error allowed in a buffer, as a function of the true value.
    fn limits(&self, dtype: DType, buffer: usize) -> impl Fn(f64) -> f64 {
        let truth = &self.truth[buffer];
        let largest = |values: &mut dyn Iterator<Item = f64>| {
            values.filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()))
        };
        let error = |of: &[f64]| largest(&mut truth.iter().zip(of).map(|(t, v)| t - v));
        let arithmetic = match dtype.is_float() {
            true => {
                let magnitude = largest(&mut truth.iter().copied());
                let error = (2.0 * error(&self.plain[buffer])).max(error(&self.cut[buffer]));
                error + 2.0 * ulp(DType::F32, magnitude)
            }
            false => 0.0,
        };
        let lost = |(t, r): (&f64, &f64)| ((t - r).abs() - arithmetic).max(0.0);
        let pairs = || truth.iter().zip(&self.rounded[buffer]);
        let (absolute, units) = match dtype {
            DType::Bf16 => {
                let in_units = |pair: (&f64, &f64)| lost(pair) / ulp(dtype, pair.0.abs());
                (0.0, 2.0 + 2.0 * largest(&mut pairs().map(in_units)))
            }
            DType::F32 => (2.0 * largest(&mut pairs().map(lost)), 0.0),
            _ => (0.0, 0.0),
        };
        move |truth| arithmetic + absolute + units * ulp(dtype, truth.abs())
    }
}

fn compare(
    tensor: usize,
    dtype: DType,
    got: &[f64],
    references: &References,
    buffer: usize,
) -> Result<(), Failure> {
    let limit = references.limits(dtype, buffer);
    for (element, (&got, &truth)) in got.iter().zip(&references.truth[buffer]).enumerate() {
        let error = (got - truth).abs();
        let same_non_finite = got.is_nan() && truth.is_nan() || got == truth;
        let limit = limit(truth);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_bf16_element_beside_a_large_one_is_held_to_its_own_rounding() {
        let truth = [1000.0, 0.011];
        let plain = truth.map(|v| f64::from(v as f32));
        let rounded = truth.map(|v| bf16::from_f64(v).to_f64());
        let all = |values: [f64; 2]| vec![values.to_vec()];
        let references =
            References { truth: all(truth), plain: all(plain), cut: all(plain), rounded: all(rounded) };
        let limit = references.limits(DType::Bf16, 0);
        assert!(limit(0.011) < 0.011 / 16.0 && limit(1000.0) > 4.0);
        for (truth, rounded) in truth.iter().zip(rounded) {
            assert!((truth - rounded).abs() < limit(*truth));
        }
        assert_eq!(references.limits(DType::U32, 0)(1000.0), 0.0);
    }
}
