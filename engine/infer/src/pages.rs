//! Which pages of the cache belong to whom.

use octo_ops::PAGE_TOKENS;

/// The free pages of a pool.
#[derive(Debug)]
pub(crate) struct PagePool {
    free: Vec<u32>,
}

impl PagePool {
    /// A pool with all pages free; the lowest are given out first.
    pub fn new(pages: u32) -> PagePool {
        PagePool { free: (0..pages).rev().collect() }
    }

    /// Pages for so many tokens, or `None` when there are too few: nothing is taken then.
    pub fn take(&mut self, tokens: usize) -> Option<Vec<u32>> {
        let pages = pages_for(tokens);
        let rest = self.free.len().checked_sub(pages)?;
        Some(self.free.drain(rest..).rev().collect())
    }

    /// Gives pages back.
    pub fn give_back(&mut self, pages: Vec<u32>) {
        self.free.extend(pages.into_iter().rev());
    }

    /// Pages nobody holds.
    #[cfg(test)]
    fn free(&self) -> usize {
        self.free.len()
    }
}

/// Pages that hold so many tokens.
pub(crate) fn pages_for(tokens: usize) -> usize {
    tokens.div_ceil(PAGE_TOKENS as usize)
}

/// Where a token of a request lies: page·64 + offset.
pub(crate) fn slot(pages: &[u32], position: usize) -> u32 {
    let page = PAGE_TOKENS as usize;
    pages[position / page] * PAGE_TOKENS + (position % page) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn no_page_is_lost_or_held_twice(moves in prop::collection::vec((any::<bool>(), 0usize..400), 1..200)) {
            let mut pool = PagePool::new(40);
            let mut held: Vec<Vec<u32>> = Vec::new();
            for (take, n) in moves {
                if take {
                    held.extend(pool.take(n));
                } else if !held.is_empty() {
                    pool.give_back(held.swap_remove(n % held.len()));
                }
                let taken: Vec<u32> = held.iter().flatten().copied().collect();
                let distinct: HashSet<u32> = taken.iter().copied().collect();
                prop_assert_eq!(distinct.len(), taken.len());
                prop_assert_eq!(taken.len() + pool.free(), 40);
            }
        }

        #[test]
        fn positions_of_a_request_have_slots_of_their_own(tokens in 1usize..400) {
            let mut pool = PagePool::new(40);
            let pages = pool.take(tokens).unwrap();
            let slots: HashSet<u32> = (0..tokens).map(|p| slot(&pages, p)).collect();
            prop_assert_eq!(slots.len(), tokens);
        }
    }
}
