//! The queue itself.

use octo_ops::{
    Access, Backend, BackendError, BufferId, DType, DeviceInfo, Forward, KernelUse, Op, OpError, Operand,
    Program, Slot, View,
};

/// Why the queue refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The device failed, ran out of memory, or found bad data.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A rule of the queue was broken; a bug of the program, please report it.
    #[error("{what} (a bug in octo-engine: please report it)")]
    Misuse {
        /// Which rule.
        what: String,
    },
}

impl From<OpError> for QueueError {
    fn from(error: OpError) -> QueueError {
        QueueError::Misuse { what: error.to_string() }
    }
}

/// A program that is kept as what it was recorded from.
enum Step {
    Run(Box<Op>, Forward),
    Begin(String),
    End,
}

/// Memory that the phases of a run use in turns: what one has left there the next writes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    buffer: BufferId,
    bytes: u64,
    /// Among the queue's regions.
    index: usize,
}

/// A phase's tensors, being laid out in a region up to byte `used`.
#[derive(Clone, Copy)]
struct Layout {
    region: Region,
    used: u64,
}

/// Where tensors begin, as buffers do.
const ALIGNMENT: u64 = 256;

/// Memory and ops of one device, in order.
pub struct Queue {
    backend: Box<dyn Backend>,
    buffers: Vec<(String, u64)>,
    /// The same of tensors in regions.
    within: Vec<(String, u64)>,
    /// Bytes of each region that its tensors reach to.
    extents: Vec<u64>,
    layout: Option<Layout>,
    sealed: bool,
    capturing: bool,
    forward: Forward,
    /// Where programs are not the device's: what each was recorded from.
    eager: Option<Vec<Vec<Step>>>,
}

impl Queue {
    /// A queue over a backend that was opened elsewhere in this crate.
    pub(crate) fn new(backend: Box<dyn Backend>) -> Queue {
        Queue {
            backend,
            buffers: Vec::new(),
            within: Vec::new(),
            extents: Vec::new(),
            layout: None,
            sealed: false,
            capturing: false,
            forward: Forward::Invariant,
            eager: None,
        }
    }

    /// The same queue, whose programs are run op by op when they are replayed: the same bits, and a profile that names
    /// every layer and op.
    pub fn eager(mut self) -> Queue {
        self.eager = Some(Vec::new());
        self
    }

    /// What the device says of itself.
    pub fn describe(&self) -> DeviceInfo {
        self.backend.describe()
    }

    /// Whether the device computes this op on operands of these types and shapes.
    pub fn supports(&self, op: &Op) -> bool {
        self.backend.supports(op)
    }

    /// A zeroed buffer for one contiguous tensor, or its place in a region ([`Queue::within`]). Only before
    /// [`Queue::seal`]: afterwards buffers would move under captured programs.
    pub fn tensor(&mut self, name: &str, dtype: DType, shape: &[u32]) -> Result<View, QueueError> {
        let bytes = shape.iter().fold(dtype.bytes(), |bytes, &axis| bytes.saturating_mul(axis.into()));
        if let Some(Layout { region, used }) = &mut self.layout {
            let (Region { buffer, bytes: size, index }, offset) = (*region, used.next_multiple_of(ALIGNMENT));
            let end = offset.saturating_add(bytes);
            *used = end;
            self.refuse(end > size, || format!("`{name}` ends at byte {end} of a region of {size}"))?;
            self.within.push((name.to_owned(), bytes));
            self.extents[index] = self.extents[index].max(end);
            return Ok(View::new(buffer, offset, dtype, shape));
        }
        Ok(View::new(self.buffer(name, bytes)?, 0, dtype, shape))
    }

    fn buffer(&mut self, name: &str, bytes: u64) -> Result<BufferId, QueueError> {
        self.refuse(self.sealed, || format!("buffer `{name}` asked for after start-up"))?;
        let id = self.backend.allocate(name, bytes)?;
        self.refuse(id.0 as usize != self.buffers.len(), || format!("buffer `{name}` is out of order"))?;
        self.buffers.push((name.to_owned(), bytes));
        Ok(id)
    }

    /// Memory for [`Queue::within`].
    pub fn region(&mut self, name: &str, bytes: u64) -> Result<Region, QueueError> {
        let buffer = self.buffer(name, bytes)?;
        self.extents.push(0);
        Ok(Region { buffer, bytes, index: self.extents.len() - 1 })
    }

    /// Lays the tensors that `f` asks for out from the region's beginning, one after the other. They hold whatever is there:
    /// who reads one has to have written it in the same phase.
    pub fn within<T, E: From<QueueError>>(
        &mut self,
        region: Region,
        f: impl FnOnce(&mut Queue) -> Result<T, E>,
    ) -> Result<T, E> {
        self.refuse(self.layout.is_some(), || "a region inside a region".into())?;
        self.layout = Some(Layout { region, used: 0 });
        let outcome = f(self);
        self.layout = None;
        outcome
    }

    /// Bytes of a region that its tensors reach to: what the largest phase takes.
    pub fn extent(&self, region: Region) -> u64 {
        self.extents.get(region.index).copied().unwrap_or(0)
    }

    /// Start-up is over: no buffer is made after this.
    pub fn seal(&mut self) {
        self.sealed = true;
    }

    /// Names and bytes of all buffers, in the order they were made.
    pub fn memory(&self) -> &[(String, u64)] {
        &self.buffers
    }

    /// The same of the tensors that lie in regions, which are among the buffers.
    pub fn in_regions(&self) -> &[(String, u64)] {
        &self.within
    }

    /// Runs an op after everything asked for before; while capturing, records it instead.
    pub fn run(&mut self, op: impl Into<Op>) -> Result<(), QueueError> {
        let op = op.into();
        op.check()?;
        let operands = op.operands();
        for operand in &operands {
            self.check_bounds(op.name(), operand.name, &operand.view)?;
        }
        check_overlap(op.name(), &operands)?;
        let forward = self.forward;
        match self.recorded() {
            Some(steps) => {
                steps.push(Step::Run(Box::new(op), forward));
                Ok(())
            }
            None => Ok(self.backend.run(&op)?),
        }
    }

    /// Copies host bytes into a contiguous view.
    pub fn upload(&mut self, to: View, from: &[u8]) -> Result<(), QueueError> {
        self.refuse(self.capturing, || "upload inside a capture".into())?;
        self.check_copy("upload", &to, from.len())?;
        Ok(self.backend.upload(&to, from)?)
    }

    /// Starts copying a contiguous view to the host.
    pub fn begin_readback(&mut self, slot: Slot, from: View) -> Result<(), QueueError> {
        self.refuse(self.capturing, || "readback inside a capture".into())?;
        self.check_copy("readback", &from, from.span_bytes() as usize)?;
        Ok(self.backend.begin_readback(slot, &from)?)
    }

    /// Waits for a copy begun earlier.
    pub fn finish_readback(&mut self, slot: Slot, into: &mut [u8]) -> Result<(), QueueError> {
        self.refuse(self.capturing, || "readback inside a capture".into())?;
        Ok(self.backend.finish_readback(slot, into)?)
    }

    /// Copies a contiguous view to the host and waits for it: what a checkpoint is written from.
    pub fn snapshot(&mut self, from: View, into: &mut [u8]) -> Result<(), QueueError> {
        self.refuse(self.capturing, || "snapshot inside a capture".into())?;
        self.check_copy("snapshot", &from, into.len())?;
        Ok(self.backend.snapshot(&from, into)?)
    }

    /// Records the ops that `f` runs as a program.
    pub fn capture(
        &mut self,
        f: impl FnOnce(&mut Queue) -> Result<(), QueueError>,
    ) -> Result<Program, QueueError> {
        self.refuse(self.capturing, || "capture inside a capture".into())?;
        match &mut self.eager {
            Some(programs) => programs.push(Vec::new()),
            None => self.backend.begin_capture()?,
        }
        self.capturing = true;
        let outcome = f(self);
        self.capturing = false;
        let program = match &self.eager {
            Some(programs) => Program(programs.len() as u32 - 1),
            None => self.backend.end_capture()?,
        };
        outcome.map(|()| program)
    }

    /// Runs a recorded program.
    pub fn replay(&mut self, program: Program) -> Result<(), QueueError> {
        self.refuse(self.capturing, || "replay inside a capture".into())?;
        let Some(programs) = &self.eager else { return Ok(self.backend.replay(program)?) };
        let steps = programs.get(program.0 as usize);
        self.refuse(steps.is_none(), || format!("there is no {program:?}"))?;
        let mut open = 0;
        let mut outcome = Ok(());
        for step in steps.into_iter().flatten() {
            match step {
                Step::Run(op, forward) => {
                    self.backend.set_forward(*forward);
                    outcome = self.backend.run(op);
                }
                Step::Begin(name) => {
                    open += 1;
                    self.backend.begin_range(name);
                }
                Step::End => {
                    open -= 1;
                    self.backend.end_range();
                }
            }
            if outcome.is_err() {
                break;
            }
        }
        (0..open).for_each(|_| self.backend.end_range());
        self.backend.set_forward(self.forward);
        Ok(outcome?)
    }

    /// Waits until everything asked for is done.
    pub fn wait(&mut self) -> Result<(), QueueError> {
        self.refuse(self.capturing, || "wait inside a capture".into())?;
        Ok(self.backend.wait()?)
    }

    /// Runs or records what `f` asks for with these kernels for forward products; outside, the choice is as before, in the
    /// beginning [`Forward::Invariant`].
    pub fn with_forward<T, E>(
        &mut self,
        forward: Forward,
        f: impl FnOnce(&mut Queue) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = std::mem::replace(&mut self.forward, forward);
        self.backend.set_forward(forward);
        let outcome = f(self);
        self.forward = before;
        self.backend.set_forward(before);
        outcome
    }

    /// Runs `f`; a profiler shows what it asks for under this name. What is recorded belongs to no range but in an eager
    /// queue, where it is in its ranges each time it is replayed.
    pub fn range<T, E>(&mut self, name: &str, f: impl FnOnce(&mut Queue) -> Result<T, E>) -> Result<T, E> {
        let capturing = self.capturing;
        match self.recorded() {
            Some(steps) => steps.push(Step::Begin(name.to_owned())),
            None if capturing => {}
            None => self.backend.begin_range(name),
        }
        let outcome = f(self);
        match self.recorded() {
            Some(steps) => steps.push(Step::End),
            None if capturing => {}
            None => self.backend.end_range(),
        }
        outcome
    }

    /// The range of a model's layer, counted from 0.
    pub fn layer<T, E>(&mut self, index: usize, f: impl FnOnce(&mut Queue) -> Result<T, E>) -> Result<T, E> {
        self.range(&format!("layer {index}"), f)
    }

    /// Where what is asked for is written down, in an eager queue's capture.
    fn recorded(&mut self) -> Option<&mut Vec<Step>> {
        let capturing = self.capturing;
        self.eager.as_mut().filter(|_| capturing)?.last_mut()
    }

    /// What all kernels take on this device.
    pub fn kernels(&mut self) -> Result<Vec<KernelUse>, QueueError> {
        self.refuse(self.capturing, || "kernels inside a capture".into())?;
        Ok(self.backend.kernels()?)
    }

    fn check_bounds(&self, op: &'static str, operand: &'static str, view: &View) -> Result<(), OpError> {
        let BufferId(id) = view.buffer;
        let size = self.buffers.get(id as usize).map_or(0, |(_, bytes)| *bytes);
        let inside = view.offset.checked_add(view.span_bytes()).is_some_and(|end| end <= size);
        if inside && view.offset.is_multiple_of(view.dtype.bytes()) {
            Ok(())
        } else {
            Err(OpError::Bounds { op, operand, view: *view, size })
        }
    }

    fn check_copy(&self, what: &'static str, view: &View, bytes: usize) -> Result<(), QueueError> {
        self.check_bounds(what, "view", view)?;
        self.refuse(!view.is_contiguous() || view.span_bytes() != bytes as u64, || {
            format!("{what} of {bytes} bytes for {view:?}, which is not that many bytes without gaps")
        })
    }

    fn refuse(&self, broken: bool, what: impl FnOnce() -> String) -> Result<(), QueueError> {
        if broken { Err(QueueError::Misuse { what: what() }) } else { Ok(()) }
    }
}

fn check_overlap(op: &'static str, operands: &[Operand]) -> Result<(), OpError> {
    for (i, a) in operands.iter().enumerate() {
        for b in &operands[i + 1..] {
            let written = a.access != Access::Read || b.access != Access::Read;
            if written && a.view.overlaps(&b.view) {
                return Err(OpError::Overlap { op, a: a.name, b: b.name });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_ops::{LossSum, Precision, RmsNorm, StepResult};

    fn norm(q: &mut Queue, x: View, y: View) -> Result<(), QueueError> {
        let hidden = x.shape()[1];
        let weight = q.tensor("weight", DType::F32, &[hidden])?;
        let rstd = q.tensor("rstd", DType::F32, &[x.shape()[0]])?;
        q.run(RmsNorm { x, residual: None, weight, y, sum: None, rstd, eps: 1e-5 })
    }

    #[test]
    fn an_operand_outside_its_buffer_is_refused() {
        let (mut q, _) = crate::record(Precision::CPU);
        let x = q.tensor("x", DType::F32, &[4, 8]).unwrap();
        let y = q.tensor("y", DType::F32, &[4, 8]).unwrap();
        let mut beyond = y;
        beyond.offset += 4;
        let error = norm(&mut q, x, beyond).unwrap_err().to_string();
        assert!(error.contains("`y`") && error.contains("128 bytes"), "{error}");
        let nowhere = View::new(BufferId(77), 0, DType::F32, &[4, 8]);
        assert!(norm(&mut q, x, nowhere).is_err());
        assert!(norm(&mut q, x, y).is_ok());
    }

    #[test]
    fn writing_over_another_operand_is_refused() {
        let (mut q, _) = crate::record(Precision::CPU);
        let both = q.tensor("both", DType::F32, &[4, 16]).unwrap();
        let (left, right) = (both.slice_columns(0, 8), both.slice_columns(8, 8));
        assert!(norm(&mut q, left, right).is_ok());
        assert!(norm(&mut q, left, left).unwrap_err().to_string().contains("overlap"));
        assert!(norm(&mut q, left, both.slice_columns(4, 8)).is_err());
    }

    #[test]
    fn buffers_are_made_at_start_up_only() {
        let (mut q, _) = crate::record(Precision::CPU);
        q.seal();
        assert!(q.tensor("late", DType::F32, &[1]).unwrap_err().to_string().contains("late"));
    }

    #[test]
    fn phases_lie_in_the_same_bytes_of_a_region_and_not_past_its_end() {
        let (mut q, _) = crate::record(Precision::CPU);
        q.tensor("before", DType::F32, &[3]).unwrap();
        let region = q.region("phases", 1024).unwrap();
        let phase = |q: &mut Queue, [a, b]: [u32; 2]| {
            q.within(region, |q| {
                Ok::<_, QueueError>([q.tensor("a", DType::F32, &[a])?, q.tensor("b", DType::U32, &[b])?])
            })
        };
        let [a, b] = phase(&mut q, [70, 100]).unwrap();
        assert_eq!([a.buffer, b.buffer], [BufferId(1); 2]);
        assert_eq!([a.offset, b.offset], [0, 512]);
        let [a, b] = phase(&mut q, [5, 64]).unwrap();
        assert_eq!([a.offset, b.offset], [0, 256]);
        assert_eq!(q.extent(region), 912);
        let error = phase(&mut q, [192, 128]).unwrap_err().to_string();
        assert!(error.contains("`b` ends at byte 1280 of a region of 1024"), "{error}");
        // What comes after has a buffer of its own again.
        assert_eq!(q.tensor("after", DType::F32, &[1]).unwrap().buffer, BufferId(2));
        let bytes = |list: &[(String, u64)]| list.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>();
        assert_eq!(bytes(q.memory()), [12, 1024, 4]);
        assert_eq!(bytes(q.in_regions())[..4], [280, 400, 20, 256]);
        assert!(q.within(region, |q| q.within(region, |_| Ok::<_, QueueError>(()))).is_err());
        q.seal();
        assert!(q.region("late", 1).is_err());
    }

    #[test]
    fn a_capture_holds_ops_and_nothing_that_needs_the_host() {
        let (mut q, _) = crate::record(Precision::CPU);
        let loss = q.tensor("loss", DType::F32, &[4]).unwrap();
        let result = q.tensor("result", DType::F32, &[StepResult::WORDS]).unwrap();
        q.seal();
        let program = q.capture(|q| q.run(LossSum { loss, result, accumulate: false })).unwrap();
        assert!(q.replay(program).is_ok());
        assert!(q.capture(|q| q.upload(loss, &[0; 16])).is_err());
        assert!(q.capture(|q| q.begin_readback(Slot(0), loss)).is_err());
        assert!(q.capture(|q| q.wait()).is_err());
        assert!(q.capture(|q| q.snapshot(loss, &mut [0; 16])).is_err());
        assert!(q.capture(|q| q.replay(program)).is_err());
        assert!(q.upload(loss, &[0; 12]).is_err(), "a copy of the wrong size");
    }
}
