//! Shared-memory bank conflicts.
//!
//! Shared memory has 32 banks of 4-byte words: word w lies in bank w mod 32. A warp's request of up to 4 bytes a
//! lane is served in as many wavefronts as its busiest bank has distinct words; lanes that want the same word
//! share it. Requests of 8 bytes are served in two halves of the warp, of 16 bytes in four quarters, each part
//! on its own. `ldmatrix` and `stmatrix` are requests of 16 bytes by the lanes that name rows: eight rows a
//! quarter; so is the writing side of `cp.async`. A part without conflict takes one wavefront.

/// Wavefronts of a request, and how many it would take without conflicts.
#[inline]
pub fn wavefronts(mask: u32, addresses: &[u32; 32], bytes: u32) -> (u32, u32) {
    let words = bytes.div_ceil(4);
    let part = 32 / words;
    let (mut total, mut ideal) = (0, 0);
    for at in 0..words {
        let lanes = mask >> (at * part) & (u32::MAX >> (32 - part));
        if lanes == 0 {
            continue;
        }
        ideal += 1;
        let addresses = &addresses[(at * part) as usize..((at + 1) * part) as usize];
        total += if conflict_free(lanes, addresses, words) { 1 } else { busiest(lanes, addresses, words) };
    }
    (total, ideal)
}

/// Whether no bank has two words.
#[inline]
fn conflict_free(lanes: u32, addresses: &[u32], words: u32) -> bool {
    // Requests of several words are aligned to their size: as units of so many banks, all or none of a unit meet.
    let (units, size) = (32 / words, words * 4);
    let mut held = [u32::MAX; 32];
    let mut free = true;
    for (lane, &address) in addresses.iter().enumerate() {
        if lanes >> lane & 1 == 0 {
            continue;
        }
        let unit = address / size;
        let holder = &mut held[(unit % units) as usize];
        free &= *holder == u32::MAX || *holder == unit;
        *holder = unit;
    }
    free
}

/// Distinct words of the busiest bank.
fn busiest(lanes: u32, addresses: &[u32], words: u32) -> u32 {
    let (units, size) = (32 / words, words * 4);
    let mut distinct = [0; 32];
    let mut count = 0;
    for (lane, &address) in addresses.iter().enumerate() {
        let unit = address / size;
        if lanes >> lane & 1 != 0 && !distinct[..count].contains(&unit) {
            distinct[count] = unit;
            count += 1;
        }
    }
    let mut load = [0; 32];
    for unit in &distinct[..count] {
        load[(unit % units) as usize] += 1;
    }
    load.into_iter().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(f: impl Fn(u32) -> u32) -> [u32; 32] {
        std::array::from_fn(|lane| f(lane as u32))
    }

    #[test]
    fn strides_in_words_conflict_by_their_common_factor_with_thirty_two() {
        for (stride, conflicts) in
            [(1, 1), (2, 2), (3, 1), (4, 4), (8, 8), (16, 16), (32, 32), (33, 1), (17, 1)]
        {
            let addresses = at(|lane| lane * stride * 4);
            assert_eq!(wavefronts(u32::MAX, &addresses, 4), (conflicts, 1), "stride {stride}");
        }
    }

    #[test]
    fn a_broadcast_is_free_and_so_are_bytes_of_one_word() {
        assert_eq!(wavefronts(u32::MAX, &at(|_| 64), 4), (1, 1));
        assert_eq!(wavefronts(u32::MAX, &at(|lane| lane / 4 * 4), 4), (1, 1));
        assert_eq!(wavefronts(u32::MAX, &at(|lane| lane), 1), (1, 1));
        assert_eq!(wavefronts(u32::MAX, &at(|lane| lane * 2), 2), (1, 1));
        // Two words of one bank, sixteen lanes each.
        assert_eq!(wavefronts(u32::MAX, &at(|lane| lane % 2 * 128), 4), (2, 1));
    }

    #[test]
    fn padding_a_column_removes_its_conflicts() {
        // A column of a 32 × 32 tile of f32, then the same with rows of 33.
        assert_eq!(wavefronts(u32::MAX, &at(|lane| lane * 32 * 4), 4), (32, 1));
        assert_eq!(wavefronts(u32::MAX, &at(|lane| lane * 33 * 4), 4), (1, 1));
    }

    #[test]
    fn wide_requests_are_served_in_halves_and_quarters() {
        assert_eq!(wavefronts(u32::MAX, &at(|lane| lane * 8), 8), (2, 2));
        assert_eq!(wavefronts(u32::MAX, &at(|lane| lane * 16), 16), (4, 4));
        // Every lane 256 bytes on: the sixteen lanes of a half, the eight of a quarter, all on the same banks.
        assert_eq!(wavefronts(u32::MAX, &at(|lane| lane * 256), 8), (32, 2));
        assert_eq!(wavefronts(u32::MAX, &at(|lane| lane * 256), 16), (32, 4));
        // Rows of 48 bytes: 16-byte units 0, 3, 6, 1, 4, 7, 2, 5 of eight: free.
        assert_eq!(wavefronts(u32::MAX, &at(|lane| lane * 48), 16), (4, 4));
    }

    #[test]
    fn ldmatrix_rows_conflict_unless_swizzled() {
        // Eight rows a matrix, rows of 64 bf16 (128 bytes): all on one unit; with the column unit xor row: free.
        let rows = at(|lane| lane % 16 * 128 + lane / 16 * 16);
        assert_eq!(wavefronts(u32::MAX, &rows, 16), (32, 4));
        let swizzled = at(|lane| lane % 16 * 128 + ((lane / 16) ^ (lane % 8)) * 16);
        assert_eq!(wavefronts(u32::MAX, &swizzled, 16), (4, 4));
        // Rows of 32 bf16 (64 bytes): two rows fill the banks, four conflict.
        assert_eq!(wavefronts(u32::MAX, &at(|lane| lane % 8 * 64 + lane / 8 * 16), 16), (16, 4));
        // `.x1` reads one matrix.
        assert_eq!(wavefronts(0xff, &rows, 16), (8, 1));
    }

    #[test]
    fn absent_lanes_and_parts_take_no_time() {
        assert_eq!(wavefronts(0, &at(|_| 0), 4), (0, 0));
        assert_eq!(wavefronts(1, &at(|lane| lane * 128), 4), (1, 1));
        assert_eq!(wavefronts(0xffff_0000, &at(|lane| lane * 8), 8), (1, 1));
    }
}
