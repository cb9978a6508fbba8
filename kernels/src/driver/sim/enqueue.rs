//! How work comes into the queue and out of it: checks of its arguments, its place in the order, its execution.

use super::queue::Pending;
use super::races::{Conflict, Who};
use super::*;
use octo_ptx::sim::{Fault, Grid};
use std::ops::Range;

/// Work that is kept back at most; a real driver's queue is about as long.
const LONGEST_QUEUE: usize = 1024;

impl SimDriver {
    /// The range of page-locked memory that a copy names.
    pub(super) fn host_range(
        &mut self,
        call: &'static str,
        memory: Pinned,
        offset: u64,
        bytes: u64,
    ) -> Result<Range<u64>, DriverError> {
        self.usable()?;
        let memory = handle(call, "page-locked memory", &mut self.pinned, memory.0)?;
        memory.range(offset, bytes).ok_or_else(|| DriverError::InvalidValue {
            call,
            what: format!(
                "bytes {offset}..{} of page-locked memory `{}`, which has {}",
                offset.saturating_add(bytes),
                memory.name,
                memory.bytes.len()
            ),
        })
    }

    /// Fails unless a copy or fill lies inside one allocation, as the driver library checks when it is called.
    pub(super) fn device_range(
        &self,
        call: &'static str,
        address: u64,
        bytes: u64,
    ) -> Result<(), DriverError> {
        let inside = self.allocations.range(..=address).next_back().is_some_and(|(&start, allocation)| {
            address.checked_add(bytes).is_some_and(|end| end <= start + allocation.bytes)
        });
        let what = || format!("{bytes} bytes at {address:#x} do not lie inside one allocation");
        if inside { Ok(()) } else { Err(DriverError::InvalidValue { call, what: what() }) }
    }

    /// A launch as work, if the kernel and the device take it.
    pub(super) fn checked_launch(&self, function: Function, launch: &Launch) -> Result<Work, DriverError> {
        let Some(loaded) = self.functions.get(function.0 as usize) else {
            let handle = format!("function {}", function.0);
            return Err(DriverError::InvalidHandle { call: "launch", handle });
        };
        if launch.shared_bytes > loaded.allowed_shared {
            return Err(DriverError::InvalidValue {
                call: "launch",
                what: format!(
                    "{}: {} bytes of dynamic shared memory, and {} are allowed; ask with allow_shared first",
                    loaded.entry, launch.shared_bytes, loaded.allowed_shared
                ),
            });
        }
        let grid = Grid {
            grid: launch.grid,
            block: launch.block,
            shared_bytes: launch.shared_bytes,
            cooperative: launch.cooperative,
        };
        self.gpu
            .accepts(loaded.kernel, &grid, launch.arguments.len())
            .map_err(|fault| DriverError::InvalidValue { call: "launch", what: fault.to_string() })?;
        let arguments = launch.arguments.as_slice().into();
        Ok(Work::Launch { kernel: loaded.kernel, entry: loaded.entry.clone(), grid, arguments })
    }

    /// Puts work on a stream, or into the stream's capture.
    pub(super) fn enqueue(
        &mut self,
        call: &'static str,
        stream: Stream,
        work: Work,
    ) -> Result<(), DriverError> {
        self.usable()?;
        let state = handle(call, "stream", &mut self.streams, stream.0)?;
        let label: Arc<str> = format!("{} on stream `{}`", work.describe(), state.name).into();
        if let Some(capture) = state.capture.and_then(|id| self.captures.get_mut(&id)) {
            return capture.add(stream, work, label).map_err(|error| DriverError::Capture { call, error });
        }
        let epoch = self.chains.tick(state.chain);
        state.clock.join(&self.host);
        state.clock.advance(epoch);
        let id = self.queue.push(work, label, epoch, state.clock.clone(), &state.last);
        state.last = vec![id];
        self.progress()
    }

    /// Puts a graph's nodes on a stream, ordered among themselves as they were captured.
    pub(super) fn enqueue_graph(&mut self, exec: GraphExec, stream: Stream) -> Result<(), DriverError> {
        let call = "launch_graph";
        self.usable()?;
        let exec = handle(call, "executable graph", &mut self.execs, exec.0)?;
        let state = handle(call, "stream", &mut self.streams, stream.0)?;
        if let Some(capture) = state.capture {
            self.captures.get_mut(&capture).into_iter().for_each(|capture| capture.lose(call));
            return Err(DriverError::Capture { call, error: CaptureError::Unsupported });
        }
        let mut start = state.clock.clone();
        start.join(&self.host);
        start.join(&exec.clock);
        let before: Vec<WorkId> = state.last.iter().chain(&exec.last).copied().collect();
        let mut clocks: Vec<Clock> = Vec::new();
        let mut ids: Vec<WorkId> = Vec::new();
        let mut end = start.clone();
        for node in &exec.nodes.nodes {
            let mut clock = start.clone();
            node.after.iter().for_each(|&earlier| clock.join(&clocks[earlier]));
            let epoch = self.chains.tick(exec.chains[node.chain]);
            clock.advance(epoch);
            end.join(&clock);
            let after: Vec<WorkId> = match node.after.as_slice() {
                [] => before.clone(),
                after => after.iter().map(|&earlier| ids[earlier]).collect(),
            };
            let label = format!("{} (replayed on `{}`)", node.label, state.name).into();
            ids.push(self.queue.push(node.work.clone(), label, epoch, clock.clone(), &after));
            clocks.push(clock);
        }
        state.clock = end;
        if !ids.is_empty() {
            state.last = ids;
            exec.last = state.last.clone();
        }
        exec.clock = state.clock.clone();
        self.progress()
    }

    /// The device goes on by itself, sometimes a little, sometimes not at all.
    fn progress(&mut self) -> Result<(), DriverError> {
        let mut steps = self.queue.random(3);
        while steps > 0 || self.queue.len() > LONGEST_QUEUE {
            steps = steps.saturating_sub(1);
            match self.queue.take_any() {
                Some(work) => self.execute(work)?,
                None => break,
            }
        }
        Ok(())
    }

    /// Runs this work, what it needs, and now and then something else that may run.
    pub(super) fn finish(&mut self, last: &[WorkId], clock: &Clock) -> Result<(), DriverError> {
        let mut needed = self.queue.needed(last);
        while !needed.is_empty() {
            let any = self.queue.random(4) == 0;
            let work = if any { self.queue.take_any() } else { self.queue.take_of(&mut needed) };
            if let Some(work) = work {
                self.execute(work)?;
            }
            needed.retain(|&id| !self.queue.is_done(id));
        }
        self.host.join(clock);
        Ok(())
    }

    /// An event as the host may ask for it; `None` when it was never recorded.
    pub(super) fn host_event(
        &mut self,
        call: &'static str,
        event: Event,
    ) -> Result<Option<(Vec<WorkId>, Clock)>, DriverError> {
        self.usable()?;
        match handle(call, "event", &mut self.events, event.0)? {
            EventState::Never => Ok(None),
            EventState::Recorded { last, clock } => Ok(Some((last.clone(), clock.clone()))),
            EventState::Captured { capture, .. } => {
                self.captures.get_mut(capture).into_iter().for_each(|capture| capture.lose(call));
                Err(DriverError::Capture { call, error: CaptureError::CapturedEvent })
            }
        }
    }

    /// The host touches page-locked memory now.
    pub(super) fn host_access(
        &mut self,
        call: &'static str,
        memory: Pinned,
        offset: u64,
        bytes: u64,
        write: bool,
    ) -> Result<Range<u64>, DriverError> {
        let range = self.host_range(call, memory, offset, bytes)?;
        let who = self.host_who(call, bytes);
        let name = self.pinned[memory.0 as usize].name.clone();
        // Work that has not run cannot be in the history yet; the host has not waited for it either.
        let pending = self.queue.iter().filter(|_| self.checks).find(|pending| {
            pending.work.host().is_some_and(|(other, touched, writes)| {
                let overlap = touched.start < range.end && range.start < touched.end;
                other == memory && overlap && (write || writes)
            })
        });
        if let Some(pending) = pending {
            let conflict = Conflict { first: pending.label.clone(), range: range.clone() };
            return Err(self.race(conflict, &who, |at| format!("byte {at} of page-locked memory `{name}`")));
        }
        let memory = &mut self.pinned[memory.0 as usize];
        let outcome = memory.history.access(range.clone(), write, &who, &self.host);
        let missing = memory.written.first_missing(range.clone()).filter(|_| !write);
        if let Err(conflict) = outcome {
            return Err(self.race(conflict, &who, |at| format!("byte {at} of page-locked memory `{name}`")));
        }
        match missing {
            Some(offset) => {
                Err(self.failed(DriverError::UnwrittenHost { operation: call.into(), name, offset }))
            }
            None => Ok(range),
        }
    }

    /// The host touches device memory now, by a synchronous copy.
    pub(super) fn host_on_device(
        &mut self,
        call: &'static str,
        range: Range<u64>,
        write: bool,
    ) -> Result<(), DriverError> {
        let who = self.host_who(call, range.end - range.start);
        let outcome = self.device.access(range, write, &who, &self.host);
        outcome.map_err(|conflict| self.device_race(conflict, &who))
    }

    fn host_who(&mut self, call: &str, bytes: u64) -> Who {
        let epoch = self.chains.tick(self.host_chain);
        self.host.advance(epoch);
        Who { epoch, label: format!("{call} of {bytes} bytes by the host").into() }
    }

    /// Runs one piece of work and holds what it touched against what others touched.
    pub(super) fn execute(&mut self, pending: Pending) -> Result<(), DriverError> {
        let Pending { epoch, clock, label, work, .. } = pending;
        let who = Who { epoch, label };
        let outcome = match &work {
            Work::CopyIn { to, from, range } => {
                let bytes = range.end - range.start;
                self.touch_host(*from, range, false, &who, &clock)?;
                self.touch(*to..to + bytes, true, &who, &clock)?;
                self.gpu.write(*to, self.pinned[from.0 as usize].slice(range))
            }
            Work::CopyOut { to, range, from } => {
                let bytes = range.end - range.start;
                self.touch(*from..from + bytes, false, &who, &clock)?;
                self.touch_host(*to, range, true, &who, &clock)?;
                self.gpu.read(*from, self.pinned[to.0 as usize].slice(range))
            }
            Work::Copy { to, from, bytes } => {
                self.touch(*from..from + bytes, false, &who, &clock)?;
                self.touch(*to..to + bytes, true, &who, &clock)?;
                let mut through = vec![0; *bytes as usize];
                self.gpu.read(*from, &mut through).and_then(|()| self.gpu.write(*to, &through))
            }
            Work::Fill { to, byte, bytes } => {
                self.touch(*to..to + bytes, true, &who, &clock)?;
                self.gpu.fill(*to, *byte, *bytes)
            }
            Work::Launch { kernel, grid, arguments, .. } => match self.gpu.launch(*kernel, grid, arguments) {
                Ok(report) => {
                    for range in &report.footprint.read {
                        self.touch(range.clone(), false, &who, &clock)?;
                    }
                    for range in &report.footprint.written {
                        self.touch(range.clone(), true, &who, &clock)?;
                    }
                    Ok(())
                }
                Err(fault) => return Err(self.fault(&who, fault)),
            },
        };
        outcome.map_err(|fault| self.fault(&who, Box::new(fault)))
    }

    fn touch(&mut self, range: Range<u64>, write: bool, who: &Who, clock: &Clock) -> Result<(), DriverError> {
        let outcome = self.device.access(range, write, who, clock);
        outcome.map_err(|conflict| self.device_race(conflict, who))
    }

    fn touch_host(
        &mut self,
        memory: Pinned,
        range: &Range<u64>,
        write: bool,
        who: &Who,
        clock: &Clock,
    ) -> Result<(), DriverError> {
        let memory = &mut self.pinned[memory.0 as usize];
        let name = memory.name.clone();
        let missing = memory.written.first_missing(range.clone()).filter(|_| !write);
        let outcome = memory.history.access(range.clone(), write, who, clock);
        if write {
            memory.written.insert(range.clone());
        }
        if let Err(conflict) = outcome {
            return Err(self.race(conflict, who, |at| format!("byte {at} of page-locked memory `{name}`")));
        }
        match missing {
            Some(offset) => Err(self.failed(DriverError::UnwrittenHost {
                operation: who.label.to_string(),
                name,
                offset,
            })),
            None => Ok(()),
        }
    }

    fn device_race(&mut self, conflict: Conflict, who: &Who) -> DriverError {
        let at = conflict.range.start;
        let place = match self.allocations.range(..=at).next_back() {
            Some((start, allocation)) => format!("byte {} of `{}`", at - start, allocation.name),
            None => format!("address {at:#x}"),
        };
        self.race(conflict, who, |_| place)
    }

    fn race(&mut self, conflict: Conflict, who: &Who, place: impl FnOnce(u64) -> String) -> DriverError {
        let bytes = conflict.range.end - conflict.range.start;
        self.failed(DriverError::Race {
            first: conflict.first.to_string(),
            second: who.label.to_string(),
            place: place(conflict.range.start),
            bytes,
        })
    }

    fn fault(&mut self, who: &Who, fault: Box<Fault>) -> DriverError {
        self.failed(DriverError::Fault { operation: who.label.to_string(), fault })
    }

    /// A fault in a synchronous call.
    pub(super) fn fail(&mut self, call: &str, fault: Fault) -> DriverError {
        self.failed(DriverError::Fault { operation: call.into(), fault: Box::new(fault) })
    }

    fn failed(&mut self, error: DriverError) -> DriverError {
        self.failure.get_or_insert_with(|| error.to_string());
        error
    }
}
