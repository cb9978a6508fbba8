//! The backend that executes nothing: it writes down what it is asked.
//!
//! It serves two ends. As the planner it holds a step's memory and op listing before anything runs. As the
//! stand-in for a GPU it proves that a step keeps to the capture rules: after start-up nothing but uploads,
//! replays and readbacks reaches a device.

use crate::Queue;
use octo_ops::{
    Backend, BackendError, BufferId, Cost, DeviceInfo, Op, Precision, Program, SLOTS, Slot, View,
};
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// One thing the backend was asked to do.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a short list for tests and listings; ops are Copy")]
pub enum Event {
    /// A buffer was made.
    Allocate(String, u64),
    /// An op ran outside of any capture.
    Run(Op),
    /// Host bytes were copied in.
    Upload(View),
    /// A readback began.
    BeginReadback(View),
    /// The host waited for a readback.
    FinishReadback,
    /// A view was copied to the host for a checkpoint.
    Snapshot(View),
    /// A program was captured.
    Capture(Program),
    /// A program ran.
    Replay(Program),
    /// The host waited for the device.
    Wait,
}

/// What a recording backend has written down so far; stays readable while the queue is in use.
#[derive(Clone, Default)]
pub struct Recording(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    events: Vec<Event>,
    buffers: Vec<String>,
    programs: Vec<Vec<Op>>,
    capturing: Option<Vec<Op>>,
    readbacks: [u64; SLOTS],
}

/// A queue that records what a device would be asked that computes in these types, and the record.
pub fn record(precision: Precision) -> (Queue, Recording) {
    let recording = Recording::default();
    (Queue::new(Box::new(Recorder { recording: recording.clone(), precision })), recording)
}

impl Recording {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything asked for, in order.
    pub fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    /// The ops of a program.
    pub fn program(&self, program: Program) -> Vec<Op> {
        self.state().programs.get(program.0 as usize).cloned().unwrap_or_default()
    }

    /// What a program costs at least.
    pub fn cost(&self, program: Program) -> Cost {
        self.program(program).iter().map(Op::cost).fold(Cost::default(), |sum, cost| Cost {
            bytes: sum.bytes + cost.bytes,
            flops: sum.flops + cost.flops,
        })
    }

    /// A program as text: an op a line, its operands by buffer name.
    pub fn listing(&self, program: Program) -> String {
        let ops = self.program(program);
        let state = self.state();
        let mut text = String::new();
        for op in ops {
            text += op.name();
            for o in op.operands() {
                let BufferId(id) = o.view.buffer;
                let buffer = state.buffers.get(id as usize).map_or("?", String::as_str);
                // Writing to a String cannot fail.
                let _ = write!(text, " {}={buffer}", o.name);
                if o.view.offset > 0 {
                    let _ = write!(text, "+{}", o.view.offset);
                }
                let _ = write!(text, ":{}{:?}", o.view.dtype, o.view.shape());
            }
            text.push('\n');
        }
        text
    }
}

struct Recorder {
    recording: Recording,
    precision: Precision,
}

impl Backend for Recorder {
    fn describe(&self) -> DeviceInfo {
        let description = "plan: records ops, computes nothing".into();
        DeviceInfo {
            kind: "plan",
            description,
            precision: self.precision,
            asynchronous: true,
            libraries: Vec::new(),
            workspace: 0,
            available: None,
        }
    }

    fn supports(&self, _op: &Op) -> bool {
        true
    }

    fn allocate(&mut self, name: &str, bytes: u64) -> Result<BufferId, BackendError> {
        let mut state = self.recording.state();
        state.events.push(Event::Allocate(name.into(), bytes));
        state.buffers.push(name.into());
        Ok(BufferId(state.buffers.len() as u32 - 1))
    }

    fn run(&mut self, op: &Op) -> Result<(), BackendError> {
        let mut state = self.recording.state();
        match &mut state.capturing {
            Some(ops) => ops.push(*op),
            None => state.events.push(Event::Run(*op)),
        }
        Ok(())
    }

    fn upload(&mut self, to: &View, _from: &[u8]) -> Result<(), BackendError> {
        self.recording.state().events.push(Event::Upload(*to));
        Ok(())
    }

    fn begin_readback(&mut self, slot: Slot, from: &View) -> Result<(), BackendError> {
        let mut state = self.recording.state();
        state.events.push(Event::BeginReadback(*from));
        let Some(place) = state.readbacks.get_mut(slot.0 as usize) else {
            return Err(BackendError::Misuse(format!("there is no {slot:?}")));
        };
        *place = from.span_bytes();
        Ok(())
    }

    fn finish_readback(&mut self, slot: Slot, into: &mut [u8]) -> Result<(), BackendError> {
        let mut state = self.recording.state();
        state.events.push(Event::FinishReadback);
        if state.readbacks.get(slot.0 as usize) != Some(&(into.len() as u64)) {
            return Err(BackendError::Misuse(format!("{slot:?} does not hold {} bytes", into.len())));
        }
        into.fill(0);
        Ok(())
    }

    fn snapshot(&mut self, from: &View, _into: &mut [u8]) -> Result<(), BackendError> {
        self.recording.state().events.push(Event::Snapshot(*from));
        Ok(())
    }

    fn begin_capture(&mut self) -> Result<(), BackendError> {
        self.recording.state().capturing = Some(Vec::new());
        Ok(())
    }

    fn end_capture(&mut self) -> Result<Program, BackendError> {
        let mut state = self.recording.state();
        let program = Program(state.programs.len() as u32);
        let ops = state.capturing.take().unwrap_or_default();
        state.programs.push(ops);
        state.events.push(Event::Capture(program));
        Ok(program)
    }

    fn replay(&mut self, program: Program) -> Result<(), BackendError> {
        self.recording.state().events.push(Event::Replay(program));
        Ok(())
    }

    fn wait(&mut self) -> Result<(), BackendError> {
        self.recording.state().events.push(Event::Wait);
        Ok(())
    }
}
