//! The CPU as a backend: ops run at once, a program is a list of ops.

use crate::available_memory;
use crate::memory::Memory;
use crate::ops;
use octo_ops::{
    Access, Backend, BackendError, BufferId, DeviceInfo, Op, Operand, Precision, Program, SLOTS, Slot, View,
};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// CPU cores.
pub struct CpuBackend {
    pool: ThreadPool,
    memory: Memory,
    programs: Vec<Vec<Op>>,
    capturing: Option<Vec<Op>>,
    readbacks: [Vec<u8>; SLOTS],
}

impl CpuBackend {
    /// A backend with so many threads, all of the machine's by default. Results do not depend on them.
    ///
    /// # Errors
    /// What the system says when threads cannot be started.
    pub fn new(threads: Option<usize>) -> Result<CpuBackend, String> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.unwrap_or(0))
            .thread_name(|i| format!("octo-cpu-{i}"))
            .build()
            .map_err(|e| e.to_string())?;
        Ok(CpuBackend {
            pool,
            memory: Memory::default(),
            programs: Vec::new(),
            capturing: None,
            readbacks: Default::default(),
        })
    }

    fn execute(&self, op: &Op) -> Result<(), BackendError> {
        self.pool.install(|| ops::run(op, &self.memory))
    }
}

impl Backend for CpuBackend {
    fn describe(&self) -> DeviceInfo {
        let threads = self.pool.current_num_threads();
        let plural = if threads == 1 { "" } else { "s" };
        let isa = crate::simd::Isa::current();
        let description = format!("cpu: {threads} thread{plural}, {isa:?}");
        DeviceInfo {
            kind: "cpu",
            description,
            precision: Precision::CPU,
            asynchronous: false,
            libraries: Vec::new(),
            workspace: 0,
            available: available_memory(),
        }
    }

    fn supports(&self, op: &Op) -> bool {
        check_operands(op).is_ok()
    }

    fn allocate(&mut self, name: &str, bytes: u64) -> Result<BufferId, BackendError> {
        self.memory.allocate(name, bytes)
    }

    fn run(&mut self, op: &Op) -> Result<(), BackendError> {
        check_operands(op)?;
        match &mut self.capturing {
            Some(ops) => {
                ops.push(*op);
                Ok(())
            }
            None => self.execute(op),
        }
    }

    fn upload(&mut self, to: &View, from: &[u8]) -> Result<(), BackendError> {
        self.memory.bytes_mut(to).copy_from_slice(from);
        Ok(())
    }

    fn begin_readback(&mut self, slot: Slot, from: &View) -> Result<(), BackendError> {
        let Some(place) = self.readbacks.get_mut(slot.0 as usize) else {
            return Err(BackendError::Misuse(format!("there is no {slot:?}")));
        };
        place.clear();
        place.extend_from_slice(self.memory.bytes_mut(from));
        Ok(())
    }

    fn finish_readback(&mut self, slot: Slot, into: &mut [u8]) -> Result<(), BackendError> {
        match self.readbacks.get(slot.0 as usize) {
            Some(place) if place.len() == into.len() => {
                into.copy_from_slice(place);
                Ok(())
            }
            _ => Err(BackendError::Misuse(format!("{slot:?} does not hold {} bytes", into.len()))),
        }
    }

    fn snapshot(&mut self, from: &View, into: &mut [u8]) -> Result<(), BackendError> {
        into.copy_from_slice(self.memory.bytes_mut(from));
        Ok(())
    }

    fn begin_capture(&mut self) -> Result<(), BackendError> {
        self.capturing = Some(Vec::new());
        Ok(())
    }

    fn end_capture(&mut self) -> Result<Program, BackendError> {
        let Some(ops) = self.capturing.take() else {
            return Err(BackendError::Misuse("no capture to end".into()));
        };
        self.programs.push(ops);
        Ok(Program(self.programs.len() as u32 - 1))
    }

    fn replay(&mut self, program: Program) -> Result<(), BackendError> {
        let Some(ops) = self.programs.get(program.0 as usize) else {
            return Err(BackendError::Misuse(format!("there is no {program:?}")));
        };
        ops.iter().try_for_each(|op| self.execute(op))
    }

    fn wait(&mut self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// On the CPU activations are f32; only parameters may be bf16, and data that are made for others. Products and
/// attention walk rows that have gaps between them, and so do the gradients of bias; SwiGLU and its gradient read such
/// rows; others are written for unbroken memory.
fn check_operands(op: &Op) -> Result<(), BackendError> {
    let unsupported = |what| Err(BackendError::Unsupported { op: op.name(), device: "cpu", what });
    if let Some(o) = op.bf16_activation().filter(|_| !matches!(op, Op::RandomFill(_))) {
        return unsupported(format!("`{}` is bf16, and the CPU keeps activations in f32", o.name));
    }
    let flat = matches!(
        op,
        Op::Embed(_)
            | Op::EmbedBackward(_)
            | Op::RmsNorm(_)
            | Op::RmsNormBackward(_)
            | Op::LossSum(_)
            | Op::GradNorm(_)
            | Op::AdamW(_)
            | Op::CopyPages(_)
            | Op::FeedTokens(_)
            | Op::RandomFill(_)
    );
    // Of an op of the head only the rows that enter the product, and the gradient of the weight, may have gaps.
    let head = matches!(
        op,
        Op::HeadLoss(_)
            | Op::HeadLogprob(_)
            | Op::HeadSample(_)
            | Op::HeadPolicy(_)
            | Op::HeadPolicyBackward(_)
    );
    // SwiGLU and its gradient walk the rows that they read.
    let swiglu = matches!(op, Op::Swiglu(_) | Op::SwigluBackward(_));
    let gaps = |o: &&Operand| {
        let is_flat =
            flat || head && !matches!(o.name, "hidden" | "dweight") || swiglu && o.access != Access::Read;
        is_flat && !o.view.is_contiguous()
    };
    match op.operands().iter().find(gaps) {
        None => Ok(()),
        Some(o) => unsupported(format!("`{}` has gaps between its rows", o.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_ops::{BufferId, DType, RmsNorm, Swiglu, View};

    #[test]
    fn rows_with_gaps_are_refused_where_they_would_be_misread() {
        let view = |buffer, shape: &[u32]| View::new(BufferId(buffer), 0, DType::F32, shape);
        let op = RmsNorm {
            x: view(0, &[3, 8]),
            residual: None,
            weight: view(1, &[8]),
            y: view(2, &[3, 8]),
            sum: None,
            rstd: view(3, &[3]),
            eps: 1e-5,
        };
        assert!(check_operands(&op.into()).is_ok());
        let gapped = RmsNorm { x: view(0, &[3, 8]).with_row_stride(12), ..op };
        let error = check_operands(&gapped.into()).unwrap_err();
        assert!(error.to_string().contains("`x` has gaps"), "{error}");
        let swiglu = Swiglu { gate_up: view(0, &[3, 32]).with_row_stride(40), product: view(1, &[3, 16]) };
        assert!(check_operands(&swiglu.into()).is_ok(), "it walks the rows that it reads");
        let gapped = Swiglu { product: swiglu.product.with_row_stride(20), ..swiglu };
        assert!(check_operands(&gapped.into()).unwrap_err().to_string().contains("`product` has gaps"));
    }
}
