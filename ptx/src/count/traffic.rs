//! Global memory traffic: 32-byte sectors.
//!
//! The model is that of NVIDIA's L1: a warp's request is served whole if its lanes take at most 4 bytes each, in
//! two halves for 8 and in four quarters for 16 bytes, and each part fetches every 32-byte sector it touches
//! once. What caches then save is not counted, since it depends on what else runs.

/// Requests of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Warp instructions.
    pub requests: u64,
    /// 32-byte sectors these ask for.
    pub sectors: u64,
    /// Distinct bytes within each request, added up over requests.
    pub useful_bytes: u64,
    /// Accesses of lanes by width: 1, 2, 4, 8, 16 bytes.
    pub lanes_by_width: [u64; 5],
}

impl Traffic {
    /// One warp's request: `bytes` (1, 2, 4, 8 or 16) a lane at aligned addresses.
    #[inline]
    pub fn add(&mut self, mask: u32, addresses: &[u64; 32], bytes: u32) {
        if mask == 0 {
            return;
        }
        let (sectors, distinct) = sectors(mask, addresses, bytes);
        self.requests += 1;
        self.sectors += u64::from(sectors);
        self.useful_bytes += u64::from(distinct * bytes);
        self.lanes_by_width[bytes.trailing_zeros().min(4) as usize] += u64::from(mask.count_ones());
    }

    /// Useful share of the bytes of all sectors; 1 where nothing was asked for.
    pub fn efficiency(&self) -> f64 {
        if self.sectors == 0 { 1.0 } else { self.useful_bytes as f64 / (32 * self.sectors) as f64 }
    }

    /// Share of lane accesses that take 16 bytes; 1 where there was none.
    pub fn wide_share(&self) -> f64 {
        let all: u64 = self.lanes_by_width.iter().sum();
        if all == 0 { 1.0 } else { self.lanes_by_width[4] as f64 / all as f64 }
    }
}

impl std::ops::AddAssign<&Traffic> for Traffic {
    fn add_assign(&mut self, other: &Traffic) {
        self.requests += other.requests;
        self.sectors += other.sectors;
        self.useful_bytes += other.useful_bytes;
        for (mine, theirs) in self.lanes_by_width.iter_mut().zip(other.lanes_by_width) {
            *mine += theirs;
        }
    }
}

/// Sectors that a request fetches, part by part, and distinct addresses in it.
pub fn sectors(mask: u32, addresses: &[u64; 32], bytes: u32) -> (u32, u32) {
    let part = (128 / bytes.max(4)) as usize;
    // Most requests ascend: then what differs from its predecessor is new.
    let (mut sectors, mut distinct, mut ascends) = (0, 0, true);
    let mut last = None;
    for (at, lanes) in addresses.chunks(part).enumerate() {
        let mut last_sector = None;
        for (lane, &address) in lanes.iter().enumerate() {
            if mask >> (at * part + lane) & 1 == 0 {
                continue;
            }
            ascends &= last <= Some(address);
            distinct += u32::from(last != Some(address));
            sectors += u32::from(last_sector != Some(address / 32));
            (last, last_sector) = (Some(address), Some(address / 32));
        }
    }
    if ascends { (sectors, distinct) } else { unordered(mask, addresses, part) }
}

fn unordered(mask: u32, addresses: &[u64; 32], part: usize) -> (u32, u32) {
    let distinct = |from: usize, to: usize, unit: u64| {
        let mut seen = [0; 32];
        let mut count = 0;
        for lane in (from..to).filter(|lane| mask >> lane & 1 != 0) {
            seen[count] = addresses[lane] / unit;
            count += 1;
        }
        let seen = &mut seen[..count];
        seen.sort_unstable();
        seen.chunk_by(|a, b| a == b).count() as u32
    };
    let sectors = (0..32 / part).map(|at| distinct(at * part, (at + 1) * part, 32)).sum();
    (sectors, distinct(0, 32, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stride: u64, offset: u64) -> [u64; 32] {
        std::array::from_fn(|lane| 0x1000 + offset + lane as u64 * stride)
    }

    #[test]
    fn adjacent_lanes_fetch_just_what_they_use() {
        assert_eq!(sectors(u32::MAX, &at(4, 0), 4), (4, 32));
        assert_eq!(sectors(u32::MAX, &at(8, 0), 8), (8, 32));
        assert_eq!(sectors(u32::MAX, &at(16, 0), 16), (16, 32));
        assert_eq!(sectors(u32::MAX, &at(2, 0), 2), (2, 32));
        assert_eq!(sectors(u32::MAX, &at(1, 0), 1), (1, 32));
    }

    #[test]
    fn a_shifted_row_fetches_one_sector_more() {
        assert_eq!(sectors(u32::MAX, &at(4, 4), 4).0, 5);
        // 512 bytes from 16 on: each quarter of 128 bytes straddles one sector more.
        assert_eq!(sectors(u32::MAX, &at(16, 16), 16).0, 20);
    }

    #[test]
    fn a_stride_of_two_fetches_twice_and_of_thirty_two_bytes_everything() {
        assert_eq!(sectors(u32::MAX, &at(8, 0), 4).0, 8);
        assert_eq!(sectors(u32::MAX, &at(32, 0), 4).0, 32);
        assert_eq!(sectors(u32::MAX, &at(4096, 0), 4).0, 32);
    }

    #[test]
    fn a_broadcast_fetches_one_sector_a_part() {
        assert_eq!(sectors(u32::MAX, &at(0, 0), 4), (1, 1));
        assert_eq!(sectors(u32::MAX, &at(0, 0), 8), (2, 1));
        assert_eq!(sectors(u32::MAX, &at(0, 0), 16), (4, 1));
    }

    #[test]
    fn the_order_of_lanes_does_not_matter_within_a_part() {
        let mut reversed = at(4, 0);
        reversed.reverse();
        assert_eq!(sectors(u32::MAX, &reversed, 4), (4, 32));
        let mut shuffled = at(4, 0);
        shuffled.swap(0, 31);
        shuffled.swap(3, 17);
        assert_eq!(sectors(u32::MAX, &shuffled, 4), (4, 32));
        // Lanes 0 and 16 swapped: each half of an 8-byte request (four sectors) now reaches into the other's.
        let mut halves = at(8, 0);
        halves.swap(0, 16);
        assert_eq!(sectors(u32::MAX, &halves, 8), (10, 32));
    }

    #[test]
    fn absent_lanes_fetch_nothing() {
        assert_eq!(sectors(1, &at(4, 0), 4), (1, 1));
        assert_eq!(sectors(0xff, &at(4, 0), 4), (1, 8));
        assert_eq!(sectors(0x8000_0001, &at(4, 0), 4), (2, 2));
        let mut traffic = Traffic::default();
        traffic.add(0, &at(4, 0), 4);
        assert_eq!(traffic, Traffic::default());
    }

    #[test]
    fn shares_are_those_of_what_was_asked_for() {
        let mut traffic = Traffic::default();
        assert_eq!((traffic.efficiency(), traffic.wide_share()), (1.0, 1.0));
        traffic.add(u32::MAX, &at(16, 0), 16);
        assert_eq!((traffic.efficiency(), traffic.wide_share()), (1.0, 1.0));
        traffic.add(u32::MAX, &at(32, 0), 4);
        // 512 + 128 bytes of 16 + 32 sectors; 32 of 64 lanes wide.
        assert_eq!((traffic.efficiency(), traffic.wide_share()), (640.0 / 1536.0, 0.5));
    }
}
