//! Which lane holds which element: fragments of `mma`, and 8×8 matrices of `ldmatrix`, `stmatrix`, `movmatrix`.
//!
//! Every shape follows one rule. Lane l has a group g = l / 4 and a place t = l % 4 within it; a register holds
//! r = 32 / (bits of an element) elements, the lower bits first. A is 16 × k by rows: even registers hold row g,
//! odd ones row g + 8, and each pair of registers moves 4r columns on. B is k × 8 by columns: column g, and each
//! register moves 4r rows on. C and D are 16 × 8: row g, then g + 8, columns 2t and 2t + 1. PTX ISA 8.4, sections
//! 9.7.13.4.7 to 9.7.13.4.10 (fragments) and 9.7.13.4.15 (`ldmatrix`), where the same is drawn shape by shape.

/// Where an element lies in its matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    /// Row.
    pub row: usize,
    /// Column.
    pub column: usize,
}

/// How an operand of `mma` lies in the registers of a warp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// A of shape m16n8k`k`, elements of `bits` bits.
    A {
        /// Columns.
        k: usize,
        /// 8, 16 or 32.
        bits: usize,
    },
    /// B of shape m16n8k`k`.
    B {
        /// Rows.
        k: usize,
        /// 8, 16 or 32.
        bits: usize,
    },
    /// C and D of every shape.
    Accumulator {
        /// 16 or 32.
        bits: usize,
    },
}

impl Fragment {
    /// Rows and columns.
    pub const fn shape(self) -> (usize, usize) {
        match self {
            Fragment::A { k, .. } => (16, k),
            Fragment::B { k, .. } => (k, 8),
            Fragment::Accumulator { .. } => (16, 8),
        }
    }

    /// Elements in a register.
    pub const fn packed(self) -> usize {
        match self {
            Fragment::A { bits, .. } | Fragment::B { bits, .. } | Fragment::Accumulator { bits } => 32 / bits,
        }
    }

    /// 32-bit registers a lane.
    pub const fn registers(self) -> usize {
        let (rows, columns) = self.shape();
        rows * columns / (32 * self.packed())
    }

    /// Row and column of one element of a lane's register; `part` counts from the lower bits.
    #[inline]
    pub const fn place(self, lane: usize, register: usize, part: usize) -> Element {
        let (g, t) = (lane / 4, lane % 4);
        let packed = self.packed();
        let along = t * packed + part;
        match self {
            Fragment::A { .. } => {
                Element { row: g + register % 2 * 8, column: register / 2 * 4 * packed + along }
            }
            Fragment::B { .. } => Element { row: register * 4 * packed + along, column: g },
            Fragment::Accumulator { bits: 32 } => {
                Element { row: g + register / 2 * 8, column: 2 * t + register % 2 }
            }
            Fragment::Accumulator { .. } => Element { row: g + register * 8, column: along },
        }
    }
}

/// Where an element lies in a warp's registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    /// Register × 32 + lane; 255 for no element.
    index: u8,
    /// Lowest bit within it.
    shift: u8,
}

impl Fragment {
    /// The inverse of [`Fragment::place`]: the source of every element, by row and column, in a matrix of at least
    /// the fragment's shape. `cut` low bits of each element are left out.
    pub(super) const fn sources<const ROWS: usize, const COLUMNS: usize>(
        self,
        cut: usize,
    ) -> [[Source; COLUMNS]; ROWS] {
        let mut sources = [[Source { index: 255, shift: 0 }; COLUMNS]; ROWS];
        let mut i = 0;
        while i < 32 * self.registers() * self.packed() {
            let (index, part) = (i / self.packed(), i % self.packed());
            let Element { row, column } = self.place(index % 32, index / 32, part);
            sources[row][column] =
                Source { index: index as u8, shift: (part * 32 / self.packed() + cut) as u8 };
            i += 1;
        }
        sources
    }
}

/// The elements of a fragment by row and column, 0 where there is none; `mask` has an element's bits. At most
/// seven registers.
#[inline(always)]
pub(super) fn gather<const ROWS: usize, const COLUMNS: usize>(
    sources: &[[Source; COLUMNS]; ROWS],
    mask: u32,
    registers: &[[u32; 32]],
) -> [[u32; COLUMNS]; ROWS] {
    let mut file = [0; 256];
    for (place, bits) in file.iter_mut().zip(registers.as_flattened()) {
        *place = *bits;
    }
    let mut elements = [[0; COLUMNS]; ROWS];
    for (elements, sources) in elements.iter_mut().zip(sources) {
        for (element, source) in elements.iter_mut().zip(sources) {
            *element = file[usize::from(source.index)] >> source.shift & mask;
        }
    }
    elements
}

/// The inverse of [`gather`].
#[inline(always)]
pub(super) fn scatter<const ROWS: usize, const COLUMNS: usize>(
    sources: &[[Source; COLUMNS]; ROWS],
    elements: &[[u32; COLUMNS]; ROWS],
    registers: &mut [[u32; 32]],
) {
    let mut file = [0; 256];
    for (elements, sources) in elements.iter().zip(sources) {
        for (element, source) in elements.iter().zip(sources) {
            file[usize::from(source.index)] |= element << source.shift;
        }
    }
    for (bits, place) in registers.as_flattened_mut().iter_mut().zip(&file) {
        *bits = *place;
    }
}

/// `ldmatrix` of one 8×8 matrix of 16-bit elements: each lane's register. `rows` are the eight rows that the
/// addressing lanes point at.
pub fn load_matrix(rows: &[[u16; 8]; 8], transpose: bool) -> [u32; 32] {
    let mut registers = [0; 32];
    for (lane, register) in registers.iter_mut().enumerate() {
        let (g, t) = (lane / 4, lane % 4);
        let (low, high) = if transpose {
            (rows[2 * t][g], rows[2 * t + 1][g])
        } else {
            (rows[g][2 * t], rows[g][2 * t + 1])
        };
        *register = u32::from(high) << 16 | u32::from(low);
    }
    registers
}

/// `stmatrix` of one matrix, the inverse of [`load_matrix`].
pub fn store_matrix(registers: &[u32; 32], transpose: bool) -> [[u16; 8]; 8] {
    let mut rows = [[0; 8]; 8];
    for (lane, register) in registers.iter().enumerate() {
        let (g, t) = (lane / 4, lane % 4);
        for (part, value) in [*register as u16, (*register >> 16) as u16].into_iter().enumerate() {
            let (row, column) = if transpose { (2 * t + part, g) } else { (g, 2 * t + part) };
            rows[row][column] = value;
        }
    }
    rows
}

/// `movmatrix.trans`: the transposed matrix, in registers again.
pub fn move_matrix(registers: &[u32; 32]) -> [u32; 32] {
    load_matrix(&store_matrix(registers, false), true)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const FRAGMENTS: [Fragment; 15] = [
        Fragment::A { k: 4, bits: 32 },
        Fragment::B { k: 4, bits: 32 },
        Fragment::A { k: 8, bits: 32 },
        Fragment::B { k: 8, bits: 32 },
        Fragment::A { k: 8, bits: 16 },
        Fragment::B { k: 8, bits: 16 },
        Fragment::A { k: 16, bits: 16 },
        Fragment::B { k: 16, bits: 16 },
        Fragment::A { k: 16, bits: 8 },
        Fragment::B { k: 16, bits: 8 },
        Fragment::A { k: 32, bits: 8 },
        Fragment::B { k: 32, bits: 8 },
        Fragment::Accumulator { bits: 32 },
        Fragment::Accumulator { bits: 16 },
        Fragment::A { k: 64, bits: 8 },
    ];

    #[test]
    fn every_element_of_every_fragment_has_one_place() {
        for fragment in FRAGMENTS {
            let (rows, columns) = fragment.shape();
            let mut seen = BTreeSet::new();
            for lane in 0..32 {
                for register in 0..fragment.registers() {
                    for part in 0..fragment.packed() {
                        let element = fragment.place(lane, register, part);
                        assert!(element.row < rows && element.column < columns, "{fragment:?} {element:?}");
                        assert!(seen.insert(element), "{fragment:?} {element:?} twice");
                    }
                }
            }
            assert_eq!(seen.len(), rows * columns, "{fragment:?}");
        }
    }

    /// Drawn values of the PTX manual, figure by figure.
    #[test]
    fn places_are_those_of_the_manual() {
        let at = |fragment: Fragment, lane, register, part| {
            let Element { row, column } = fragment.place(lane, register, part);
            (row, column)
        };
        let a = Fragment::A { k: 16, bits: 16 };
        // a0..a7 of lane 5 (g = 1, t = 1): row g for i in {0, 1, 4, 5}, column 2t + (i & 1), + 8 for i ≥ 4.
        let places: Vec<_> = (0..8).map(|i| at(a, 5, i / 2, i % 2)).collect();
        assert_eq!(places, [(1, 2), (1, 3), (9, 2), (9, 3), (1, 10), (1, 11), (9, 10), (9, 11)]);
        let b = Fragment::B { k: 16, bits: 16 };
        let places: Vec<_> = (0..4).map(|i| at(b, 5, i / 2, i % 2)).collect();
        assert_eq!(places, [(2, 1), (3, 1), (10, 1), (11, 1)]);
        let c = Fragment::Accumulator { bits: 32 };
        let places: Vec<_> = (0..4).map(|i| at(c, 5, i, 0)).collect();
        assert_eq!(places, [(1, 2), (1, 3), (9, 2), (9, 3)]);
        let c = Fragment::Accumulator { bits: 16 };
        let places: Vec<_> = (0..4).map(|i| at(c, 5, i / 2, i % 2)).collect();
        assert_eq!(places, [(1, 2), (1, 3), (9, 2), (9, 3)]);
        let a = Fragment::A { k: 8, bits: 32 };
        let places: Vec<_> = (0..4).map(|i| at(a, 6, i, 0)).collect();
        assert_eq!(places, [(1, 2), (9, 2), (1, 6), (9, 6)]);
        let a = Fragment::A { k: 32, bits: 8 };
        assert_eq!(
            [at(a, 6, 0, 3), at(a, 6, 1, 0), at(a, 6, 2, 1), at(a, 6, 3, 2)],
            [(1, 11), (9, 8), (1, 25), (9, 26)]
        );
        let b = Fragment::B { k: 32, bits: 8 };
        assert_eq!([at(b, 6, 0, 3), at(b, 6, 1, 1)], [(11, 1), (25, 1)]);
    }

    #[test]
    fn stored_matrices_are_the_loaded_ones_and_movmatrix_transposes() {
        let mut rows = [[0; 8]; 8];
        for (i, row) in rows.iter_mut().enumerate() {
            for (j, value) in row.iter_mut().enumerate() {
                *value = (i * 8 + j) as u16;
            }
        }
        // Lane 6 holds row 1, columns 4 and 5; transposed, column 1 of rows 4 and 5.
        assert_eq!(load_matrix(&rows, false)[6], 13 << 16 | 12);
        assert_eq!(load_matrix(&rows, true)[6], 41 << 16 | 33);
        for transpose in [false, true] {
            assert_eq!(store_matrix(&load_matrix(&rows, transpose), transpose), rows);
        }
        assert_eq!(move_matrix(&load_matrix(&rows, false)), load_matrix(&rows, true));
    }

    /// `ldmatrix` is how fragments come out of shared memory: four matrices of A, two of B, the latter transposed
    /// where B lies by rows.
    #[test]
    fn loaded_matrices_are_fragments() {
        let value = |row: usize, column: usize| (row * 16 + column) as u16;
        let tile = |row: usize, column: usize| {
            std::array::from_fn(|i| std::array::from_fn(|j| value(row + i, column + j)))
        };
        let check = |fragment: Fragment, register: usize, loaded: [u32; 32]| {
            for (lane, bits) in loaded.into_iter().enumerate() {
                for part in 0..2 {
                    let Element { row, column } = fragment.place(lane, register, part);
                    assert_eq!((bits >> (16 * part)) as u16, value(row, column), "{fragment:?} {register}");
                }
            }
        };
        for register in 0..4 {
            let loaded = load_matrix(&tile(register % 2 * 8, register / 2 * 8), false);
            check(Fragment::A { k: 16, bits: 16 }, register, loaded);
        }
        for register in 0..2 {
            let loaded = load_matrix(&tile(register * 8, 0), true);
            check(Fragment::B { k: 16, bits: 16 }, register, loaded);
        }
    }
}
