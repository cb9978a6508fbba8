//! How column sums are cut into parts, and the launch that sums the parts: `cuda/include/columns.cuh`, shared by the ops
//! whose gradients are sums over rows.

use crate::{Launch, LaunchError, Operands, arguments};

/// Threads of a block of the second stage.
const THREADS: u32 = 256;
/// Columns of a block of the second stage.
const COLUMNS: u64 = 32;
/// Bytes that the sums of all parts take at most, unless one part takes more: it decides how many parts there are.
const ROOM: u64 = 8 << 20;

arguments! {
    /// `ColumnSumsArguments` of `cuda/include/columns.cuh`. Addresses are the device's.
    pub struct ColumnSumsArguments {
        /// A row of sums a part, f32 \[count, columns\].
        pub parts: u64,
        /// Their sums, f32 \[columns\].
        pub out: u64,
        /// Parts.
        pub count: u32,
        /// Columns.
        pub columns: u32,
        /// 1 if `out` is added to, 0 if it is overwritten.
        pub accumulate: u32,
        /// Fills the struct.
        pub unused: u32,
    }
}

/// Rows in parts of equal length, but for the last: a function of the shape alone, since it decides the order of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Where the first stage leaves its sums.
    pub address: u64,
    /// Parts.
    pub count: u32,
    /// Rows of a part.
    pub rows: u32,
    columns: u32,
}

impl Parts {
    /// At most `most` parts, of at least `least` rows, as many as have room for their sums.
    pub fn new(
        operands: &Operands,
        [rows, columns]: [u64; 2],
        least: u64,
        most: u64,
    ) -> Result<Parts, LaunchError> {
        let address = operands.workspace(4 * columns)?;
        let room = (ROOM / (4 * columns).max(1)).max(1);
        let part = rows.div_ceil(most.min(room)).max(least);
        let (count, rows) = (rows.div_ceil(part) as u32, part as u32);
        Ok(Parts { address, count, rows, columns: columns as u32 })
    }

    /// The second stage.
    pub fn finish(
        &self,
        operands: &Operands,
        entry: &str,
        out: u64,
        accumulate: bool,
    ) -> Result<Vec<Launch>, LaunchError> {
        let arguments = ColumnSumsArguments {
            parts: self.address,
            out,
            count: self.count,
            columns: self.columns,
            accumulate: accumulate.into(),
            unused: 0,
        };
        operands.launch(entry, u64::from(self.columns).div_ceil(COLUMNS), THREADS, &arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WORKSPACE_BYTES;
    use crate::launch::testing::{Flat, WORKSPACE};

    #[test]
    fn parts_cover_the_rows_and_fit_the_workspace() {
        let operands = Operands { op: "test", at: &Flat };
        let parts = |rows, columns, least, most| {
            let parts = Parts::new(&operands, [rows, columns], least, most).unwrap();
            assert_eq!(parts.address, WORKSPACE);
            assert!(u64::from(parts.count) * columns * 4 <= WORKSPACE_BYTES);
            (parts.count, parts.rows)
        };
        assert_eq!(parts(0, 8, 64, 64), (0, 64));
        assert_eq!(parts(1, 8, 64, 64), (1, 64));
        assert_eq!(parts(65, 8, 64, 64), (2, 64));
        assert_eq!(parts(8192, 8, 64, 64), (64, 128));
        assert_eq!(parts(8192, 1 << 16, 1, 64), (32, 256));
        assert_eq!(parts(7, 1 << 21, 1, 64), (1, 7));
        let wide = Parts::new(&operands, [7, WORKSPACE_BYTES / 4 + 1], 1, 64);
        assert!(matches!(wide, Err(LaunchError::Workspace { .. })), "{wide:?}");
    }
}
