//! Three streams beside each other: compute, uploads, readbacks. Who waits for whom?
//!
//! - An upload waits for compute only where compute was asked, since uploads last waited for it, for work that touches
//!   these bytes.
//! - Compute waits for uploads only before work that touches bytes that were uploaded since it last waited for them.
//! - A readback waits for compute. Who is about to write what it reads waits for that copy alone.
//!
//! Each wait is one event; `tests.rs` takes each away and sees the simulated driver report the race.

use super::touched::Touched;
use super::{CudaBackend, device};
use crate::Addresses;
use crate::driver::{Driver, DriverError, Event, Pinned};
use octo_ops::{BackendError, Slot, View};

/// A copy to the host that was begun.
#[derive(Clone, Copy)]
pub(super) struct Readback {
    from: View,
    pinned: Pinned,
    capacity: u64,
    done: Event,
    /// Whether compute may still overwrite `from` before the copy has read it.
    compute_may_write: bool,
    /// The same of uploads.
    upload_may_write: bool,
}

impl Readback {
    pub fn bytes(&self) -> u64 {
        self.from.span_bytes()
    }

    /// Waits for the copy and takes its bytes.
    pub fn finish(&mut self, driver: &mut dyn Driver, into: &mut [u8]) -> Result<(), DriverError> {
        driver.synchronize_event(self.done)?;
        // It is done: whatever is asked for from here on comes after it.
        (self.compute_may_write, self.upload_may_write) = (false, false);
        driver.read_host(self.pinned, 0, into)
    }
}

impl CudaBackend {
    /// Makes compute wait for what it is about to touch or write, and remembers that it does.
    pub(super) fn order_compute(&mut self, touched: &Touched, written: &[View]) -> Result<(), BackendError> {
        self.let_uploads_arrive(touched)?;
        for readback in self.readbacks.iter_mut().flatten() {
            if readback.compute_may_write && written.iter().any(|view| readback.from.overlaps(view)) {
                self.driver.wait(self.compute, readback.done).map_err(device)?;
                readback.compute_may_write = false;
            }
        }
        self.in_use.extend(touched);
        Ok(())
    }

    fn let_uploads_arrive(&mut self, touched: &Touched) -> Result<(), BackendError> {
        if self.arriving.meets_any(touched) {
            let driver = self.driver.as_mut();
            driver.record(self.arrived, self.inbound).map_err(device)?;
            driver.wait(self.compute, self.arrived).map_err(device)?;
            self.arriving.clear();
        }
        Ok(())
    }

    /// Copies host bytes to a view, on the stream of uploads.
    pub(super) fn start_upload(&mut self, to: &View, from: &[u8]) -> Result<(), BackendError> {
        let driver = self.driver.as_mut();
        for readback in self.readbacks.iter_mut().flatten() {
            if readback.upload_may_write && readback.from.overlaps(to) {
                driver.wait(self.inbound, readback.done).map_err(device)?;
                readback.upload_may_write = false;
            }
        }
        if self.in_use.meets(to) {
            driver.record(self.ready, self.compute).map_err(device)?;
            driver.wait(self.inbound, self.ready).map_err(device)?;
            self.in_use.clear();
        }
        let address = self.buffers.address(to);
        self.staging.upload(driver, self.inbound, address, from).map_err(device)?;
        self.arriving.insert(to);
        Ok(())
    }

    /// Starts the copy of a slot once compute has come this far.
    pub(super) fn start_readback(&mut self, slot: Slot, from: &View) -> Result<(), BackendError> {
        self.let_uploads_arrive(&Touched::from_iter([*from]))?;
        let Some(place) = self.readbacks.get_mut(slot.0 as usize) else {
            return Err(BackendError::Misuse(format!("there is no {slot:?}")));
        };
        let (driver, bytes) = (self.driver.as_mut(), from.span_bytes());
        let mut readback = match *place {
            Some(readback) => {
                // From here on nobody knows of the older copy any more.
                if readback.compute_may_write {
                    driver.wait(self.compute, readback.done).map_err(device)?;
                }
                if readback.upload_may_write {
                    driver.wait(self.inbound, readback.done).map_err(device)?;
                }
                readback
            }
            None => Readback {
                from: *from,
                pinned: Pinned(0),
                capacity: 0,
                done: driver.create_event().map_err(device)?,
                compute_may_write: true,
                upload_may_write: true,
            },
        };
        (readback.from, readback.compute_may_write, readback.upload_may_write) = (*from, true, true);
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

    /// Copies a view to the host after all of compute so far, and waits for it.
    pub(super) fn download(&mut self, from: &View, into: &mut [u8]) -> Result<(), BackendError> {
        self.let_uploads_arrive(&Touched::from_iter([*from]))?;
        let address = self.buffers.address(from);
        self.staging.download(self.driver.as_mut(), self.compute, address, into).map_err(device)?;
        // The last bytes were the stream's last work.
        self.in_use.clear();
        Ok(())
    }

    /// Waits for everything: nothing is under way any more.
    pub(super) fn finish_all(&mut self) -> Result<(), BackendError> {
        self.driver.synchronize().map_err(device)?;
        self.in_use.clear();
        self.arriving.clear();
        for readback in self.readbacks.iter_mut().flatten() {
            (readback.compute_may_write, readback.upload_may_write) = (false, false);
        }
        Ok(())
    }
}
