//! Which pages of the cache belong to whom, and under which weights they were written.

use octo_ops::PAGE_TOKENS;

/// The pages of a cache: how many requests hold each, and which version of the weights its keys come from.
#[derive(Debug)]
pub(crate) struct PagePool {
    free: Vec<u32>,
    pages: Vec<Page>,
    version: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Page {
    holders: u32,
    version: u64,
}

impl PagePool {
    /// A pool with all pages free; the lowest are given out first.
    pub fn new(pages: u32) -> PagePool {
        PagePool {
            free: (0..pages).rev().collect(),
            pages: vec![Page::default(); pages as usize],
            version: 0,
        }
    }

    /// A page for one holder, to be written under the weights of now.
    pub fn take(&mut self) -> Option<u32> {
        let page = self.free.pop()?;
        self.pages[page as usize] = Page { holders: 1, version: self.version };
        Some(page)
    }

    /// One more holder of a page that somebody holds and that was written under the weights of now; refused
    /// otherwise.
    pub fn share(&mut self, page: u32) -> bool {
        let of = &mut self.pages[page as usize];
        let fresh = of.holders > 0 && of.version == self.version;
        of.holders += u32::from(fresh);
        fresh
    }

    /// One holder less; a page without holders is free.
    pub fn give_back(&mut self, page: u32) {
        let of = &mut self.pages[page as usize];
        debug_assert!(of.holders > 0, "page {page} is given back by somebody who does not hold it");
        of.holders = of.holders.saturating_sub(1);
        if of.holders == 0 {
            self.free.push(page);
        }
    }

    /// How many hold a page.
    pub fn holders(&self, page: u32) -> u32 {
        self.pages[page as usize].holders
    }

    /// Pages nobody holds.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// All pages.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// The weights change: what was written before is shared with nobody any more.
    pub fn advance_version(&mut self) {
        self.version += 1;
    }

    /// How often the weights have changed.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Under which weights a page was taken.
    #[cfg(test)]
    pub fn written_under(&self, page: u32) -> u64 {
        self.pages[page as usize].version
    }
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
        fn no_page_is_lost_or_handed_out_twice(moves in prop::collection::vec((0..3, any::<usize>()), 1..200)) {
            let mut pool = PagePool::new(12);
            let mut held: Vec<u32> = Vec::new();
            for (what, n) in moves {
                match what {
                    0 => {
                        let page = pool.take();
                        prop_assert_eq!(page.is_none(), held.iter().collect::<HashSet<_>>().len() == 12);
                        prop_assert!(page.is_none_or(|page| !held.contains(&page)));
                        held.extend(page);
                    }
                    1 if !held.is_empty() => {
                        let page = held[n % held.len()];
                        prop_assert!(pool.share(page));
                        held.push(page);
                    }
                    _ if !held.is_empty() => pool.give_back(held.swap_remove(n % held.len())),
                    _ => {}
                }
                let distinct: HashSet<u32> = held.iter().copied().collect();
                prop_assert_eq!(distinct.len() + pool.free(), pool.len());
                for &page in &distinct {
                    let holders = held.iter().filter(|&&h| h == page).count();
                    prop_assert_eq!(pool.holders(page) as usize, holders);
                }
            }
        }
    }

    #[test]
    fn a_page_of_older_weights_is_not_shared() {
        let mut pool = PagePool::new(2);
        let old = pool.take().unwrap();
        assert!(pool.share(old));
        pool.advance_version();
        assert!(!pool.share(old));
        let new = pool.take().unwrap();
        assert!(pool.share(new));
        assert_eq!((pool.holders(old), pool.holders(new)), (2, 2));
        assert!(!PagePool::new(1).share(0), "a page that nobody holds");
    }

    #[test]
    fn positions_of_a_request_have_slots_of_their_own() {
        let slots: HashSet<u32> = (0..130).map(|p| slot(&[7, 0, 3], p)).collect();
        assert_eq!(slots.len(), 130);
        assert_eq!([0, 63, 64, 129].map(|p| slot(&[7, 0, 3], p)), [448, 511, 0, 193]);
    }
}
