//! Launcher of `cuda/feed_tokens.cu`.

use crate::{Addresses, Launch, LaunchError, Operands, arguments};
use octo_ops::{DType, FeedTokens};

/// Threads of a block.
const THREADS: u32 = 256;

arguments! {
    /// `FeedTokensArguments` of `cuda/feed_tokens.cu`. Addresses are the device's.
    pub struct FeedTokensArguments {
        /// Tokens drawn.
        pub tokens: u64,
        /// Which of them a row takes.
        pub source: u64,
        /// Token ids of the rows.
        pub ids: u64,
        /// Tokens drawn.
        pub draws: u32,
        /// Rows.
        pub rows: u32,
    }
}

/// ids\[t\] = tokens\[source\[t\]\] where there is a source.
///
/// # Errors
/// [`LaunchError`].
pub fn feed_tokens(op: &FeedTokens, at: &dyn Addresses) -> Result<Vec<Launch>, LaunchError> {
    let operands = Operands { op: FeedTokens::NAME, at };
    let arguments = FeedTokensArguments {
        tokens: operands.dense("tokens", &op.tokens, &[DType::U32])?,
        source: operands.dense("source", &op.source, &[DType::U32])?,
        ids: operands.dense("ids", &op.ids, &[DType::U32])?,
        draws: op.tokens.rows() as u32,
        rows: op.ids.rows() as u32,
    };
    operands.launch("feed_tokens", u64::from(arguments.rows).div_ceil(THREADS.into()), THREADS, &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::testing::{Flat, only};

    #[test]
    fn a_row_is_a_thread() {
        let view = |buffer, rows| Flat::view(buffer, DType::U32, &[rows]);
        let op = |rows| FeedTokens { tokens: view(1, 40), source: view(2, rows), ids: view(3, rows) };
        let (launch, a) = only::<FeedTokensArguments>(feed_tokens(&op(257), &Flat));
        assert_eq!((launch.entry.as_str(), launch.grid), ("feed_tokens", [2, 1, 1]));
        assert_eq!([a.tokens, a.source, a.ids], [1 << 40, 2 << 40, 3 << 40]);
        assert_eq!([a.draws, a.rows], [40, 257]);
        assert_eq!(feed_tokens(&op(0), &Flat), Ok(Vec::new()));
    }
}
