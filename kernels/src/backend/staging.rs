//! Page-locked memory on the way between host and device: a ring, of which every copy takes the next piece.

use crate::driver::{Driver, DriverError, Event, Pinned, Stream};
use std::collections::VecDeque;

/// Bytes of the ring.
const RING: u64 = 32 << 20;

/// Bytes that a copy takes at a time: long enough to hide the cost of starting one.
const CHUNK: u64 = 4 << 20;

/// Pieces that may be in use at once. Smaller copies than RING / PIECES wait for each other only beyond this number.
const PIECES: usize = 256;

/// Pieces begin at multiples of this: no two copies share a line of the host's cache.
const ALIGN: u64 = 256;

/// Chunks of one download that are under way at once. The ring holds twice as many and more, so that none is taken again
/// before it has been read.
const DOWNLOADS: usize = 3;

/// The ring. It is made when the first copy needs it.
#[derive(Default)]
pub(super) struct Staging {
    ring: Option<Pinned>,
    /// Where the next piece begins.
    next: u64,
    /// Pieces in use, in the order in which they were taken.
    pieces: VecDeque<Piece>,
    /// Events of pieces that are free again.
    events: Vec<Event>,
}

#[derive(Clone, Copy)]
struct Piece {
    start: u64,
    end: u64,
    /// The copy that uses it.
    done: Event,
}

impl Staging {
    /// The next `bytes` of the ring, once the copies that used them are done. Its event is for the caller to record.
    fn take(&mut self, driver: &mut dyn Driver, bytes: u64) -> Result<(Pinned, Piece), DriverError> {
        let ring = match self.ring {
            Some(ring) => ring,
            None => *self.ring.insert(driver.allocate_host("staging", RING)?),
        };
        let start = if self.next + bytes > RING { 0 } else { self.next };
        let end = start + bytes;
        // Pieces lie in the order in which they were taken, so all before the last one that is met are older still.
        let met = self.pieces.iter().rposition(|piece| piece.start < end && start < piece.end);
        let stale = met.map_or(0, |last| last + 1).max((self.pieces.len() + 1).saturating_sub(PIECES));
        for piece in self.pieces.drain(..stale) {
            driver.synchronize_event(piece.done)?;
            self.events.push(piece.done);
        }
        let done = match self.events.pop() {
            Some(event) => event,
            None => driver.create_event()?,
        };
        self.next = end.next_multiple_of(ALIGN);
        let piece = Piece { start, end, done };
        self.pieces.push_back(piece);
        Ok((ring, piece))
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
            let (ring, piece) = self.take(driver, bytes)?;
            driver.write_host(ring, piece.start, chunk)?;
            driver.copy_in(stream, to + index as u64 * CHUNK, ring, piece.start, bytes)?;
            driver.record(piece.done, stream)?;
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
        let arrive = |driver: &mut dyn Driver, ring, piece: Piece, chunk: &mut [u8]| {
            driver.synchronize_event(piece.done)?;
            driver.read_host(ring, piece.start, chunk)
        };
        let mut under_way = VecDeque::new();
        for (index, chunk) in into.chunks_mut(CHUNK as usize).enumerate() {
            let bytes = chunk.len() as u64;
            let (ring, piece) = self.take(driver, bytes)?;
            driver.copy_out(stream, ring, piece.start, from + index as u64 * CHUNK, bytes)?;
            driver.record(piece.done, stream)?;
            under_way.push_back((ring, piece, chunk));
            if under_way.len() > DOWNLOADS
                && let Some((ring, piece, chunk)) = under_way.pop_front()
            {
                arrive(driver, ring, piece, chunk)?;
            }
        }
        under_way.into_iter().try_for_each(|(ring, piece, chunk)| arrive(driver, ring, piece, chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{SimConfig, SimDriver};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

        /// The driver reports a piece that is taken while a copy still uses it; the bytes say the rest.
        #[test]
        fn what_is_copied_in_comes_back_whatever_the_sizes(
            sizes in prop::collection::vec(prop_oneof![4 => 1usize..5000, 1 => 1usize..9 << 20], 1..12),
            seed: u64,
        ) {
            let mut driver = SimDriver::new(SimConfig { seed, ..SimConfig::new(Some(1)) });
            let stream = driver.create_stream("copies").unwrap();
            let mut staging = Staging::default();
            let mut placed = Vec::new();
            for (i, &bytes) in sizes.iter().enumerate() {
                let sent: Vec<u8> = (0..bytes).map(|at| (at / 64 + 31 * i) as u8).collect();
                let at = driver.allocate("target", bytes as u64).unwrap();
                staging.upload(&mut driver, stream, at, &sent).unwrap();
                placed.push((at, sent));
            }
            for (at, sent) in placed {
                let mut back = vec![0; sent.len()];
                staging.download(&mut driver, stream, at, &mut back).unwrap();
                prop_assert!(back == sent);
            }
        }
    }

    #[test]
    fn small_uploads_do_not_wait_for_each_other() {
        let mut driver = SimDriver::new(SimConfig::new(Some(1)));
        let (stream, gate) = (driver.create_stream("copies").unwrap(), driver.create_stream("gate").unwrap());
        let at = driver.allocate("target", 64 * PIECES as u64).unwrap();
        let mut staging = Staging::default();
        for i in 0..PIECES as u64 {
            staging.upload(&mut driver, stream, at + 64 * i, &[i as u8; 64]).unwrap();
        }
        assert_eq!((staging.pieces.len(), staging.events.len()), (PIECES, 0), "no piece was waited for");
        staging.upload(&mut driver, gate, at, &[]).unwrap();
        driver.synchronize().unwrap();
        staging.upload(&mut driver, stream, at, &[7; 64]).unwrap();
        assert_eq!(staging.pieces.len(), PIECES);
    }
}
