//! Copies between host and device: page-locked memory on the way, and events that keep it whole.

use super::{CudaBackend, device};
use crate::Addresses;
use crate::driver::{Driver, DriverError, Event, Pinned, Stream};
use octo_ops::{BackendError, Slot, View};

/// Bytes of page-locked memory that a copy takes at a time: long enough to hide the cost of starting one.
const CHUNK: u64 = 4 << 20;

/// Page-locked memory through which uploads and snapshots go, in two halves: while the device copies one, the host
/// works on the other.
#[derive(Default)]
pub(super) struct Staging {
    halves: Vec<Half>,
    next: usize,
}

#[derive(Clone, Copy)]
struct Half {
    pinned: Pinned,
    bytes: u64,
    used: Event,
}

impl Staging {
    /// The half that was used longer ago, at least so large, and free.
    fn half(&mut self, driver: &mut dyn Driver, bytes: u64) -> Result<Half, DriverError> {
        self.next ^= 1;
        while self.halves.len() < 2 {
            let used = driver.create_event()?;
            self.halves.push(Half { pinned: Pinned(0), bytes: 0, used });
        }
        let half = &mut self.halves[self.next];
        if half.bytes < bytes {
            half.bytes = bytes.next_power_of_two();
            half.pinned = driver.allocate_host("staging", half.bytes)?;
        }
        driver.synchronize_event(half.used)?;
        Ok(*half)
    }

    /// Copies to the device, in the stream's order; the host's bytes are free at once.
    pub fn upload(
        &mut self,
        driver: &mut dyn Driver,
        stream: Stream,
        to: u64,
        from: &[u8],
    ) -> Result<(), DriverError> {
        for (index, chunk) in from.chunks(CHUNK as usize).enumerate() {
            let bytes = chunk.len() as u64;
            let half = self.half(driver, bytes)?;
            driver.write_host(half.pinned, 0, chunk)?;
            driver.copy_in(stream, to + index as u64 * CHUNK, half.pinned, 0, bytes)?;
            driver.record(half.used, stream)?;
        }
        Ok(())
    }

    /// Copies to the host, after the stream's work, and waits.
    pub fn download(
        &mut self,
        driver: &mut dyn Driver,
        stream: Stream,
        from: u64,
        into: &mut [u8],
    ) -> Result<(), DriverError> {
        let mut under_way: Option<(Half, &mut [u8])> = None;
        for (index, chunk) in into.chunks_mut(CHUNK as usize).enumerate() {
            let bytes = chunk.len() as u64;
            let half = self.half(driver, bytes)?;
            driver.copy_out(stream, half.pinned, 0, from + index as u64 * CHUNK, bytes)?;
            driver.record(half.used, stream)?;
            if let Some((half, chunk)) = under_way.replace((half, chunk)) {
                driver.synchronize_event(half.used)?;
                driver.read_host(half.pinned, 0, chunk)?;
            }
        }
        match under_way {
            None => Ok(()),
            Some((half, chunk)) => {
                driver.synchronize_event(half.used)?;
                driver.read_host(half.pinned, 0, chunk)
            }
        }
    }
}

/// A copy to the host that was begun.
#[derive(Clone, Copy)]
pub(super) struct Readback {
    from: View,
    pinned: Pinned,
    capacity: u64,
    done: Event,
    /// Whether compute may still overwrite `from` before the copy has read it.
    unguarded: bool,
}

impl Readback {
    pub fn bytes(&self) -> u64 {
        self.from.span_bytes()
    }

    /// Waits for the copy and takes its bytes.
    pub fn finish(&self, driver: &mut dyn Driver, into: &mut [u8]) -> Result<(), DriverError> {
        driver.synchronize_event(self.done)?;
        driver.read_host(self.pinned, 0, into)
    }
}

impl CudaBackend {
    /// Starts the copy of a slot once compute has come this far.
    pub(super) fn start_readback(&mut self, slot: Slot, from: &View) -> Result<(), BackendError> {
        let Some(place) = self.readbacks.get_mut(slot.0 as usize) else {
            return Err(BackendError::Misuse(format!("there is no {slot:?}")));
        };
        let (driver, bytes) = (self.driver.as_mut(), from.span_bytes());
        let mut readback = match *place {
            Some(readback) => {
                if readback.unguarded {
                    // From here on nobody knows of the older copy any more.
                    driver.wait(self.compute, readback.done).map_err(device)?;
                }
                Readback { from: *from, unguarded: true, ..readback }
            }
            None => Readback {
                from: *from,
                pinned: Pinned(0),
                capacity: 0,
                done: driver.create_event().map_err(device)?,
                unguarded: true,
            },
        };
        if readback.capacity < bytes.max(1) {
            readback.capacity = bytes.max(1).next_power_of_two();
            readback.pinned = driver.allocate_host("readback", readback.capacity).map_err(device)?;
        }
        *place = Some(readback);
        let address = self.buffers.address(from);
        driver
            .record(self.ready, self.compute)
            .and_then(|()| driver.wait(self.home, self.ready))
            .and_then(|()| driver.copy_out(self.home, readback.pinned, 0, address, bytes))
            .and_then(|()| driver.record(readback.done, self.home))
            .map_err(device)
    }

    /// Makes compute wait for readbacks of bytes that it is about to write.
    pub(super) fn let_readbacks_pass(
        &mut self,
        written: impl IntoIterator<Item = View>,
    ) -> Result<(), BackendError> {
        for view in written {
            for readback in self.readbacks.iter_mut().flatten() {
                if readback.unguarded && readback.from.overlaps(&view) {
                    self.driver.wait(self.compute, readback.done).map_err(device)?;
                    readback.unguarded = false;
                }
            }
        }
        Ok(())
    }
}
