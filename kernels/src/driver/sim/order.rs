//! Which work is known to be done before other work: vector clocks (Mattern, 1989), one component a chain of
//! work that is ordered by itself: the host, each stream, each chain of an instantiated graph.

/// How far each chain is known to have come; chains beyond the end are at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock(Vec<u32>);

/// One piece of work: its chain and its number there, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch {
    pub chain: u32,
    pub tick: u32,
}

impl Clock {
    /// Everything known to `other` is now known here.
    pub fn join(&mut self, other: &Clock) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).max(*theirs);
        }
    }

    /// Whether that work is done before whatever has this clock.
    pub fn knows(&self, epoch: Epoch) -> bool {
        self.0.get(epoch.chain as usize).copied().unwrap_or(0) >= epoch.tick
    }

    /// The next piece of work of a chain, which knows what this clock knows.
    pub fn advance(&mut self, epoch: Epoch) {
        let chain = epoch.chain as usize;
        if self.0.len() <= chain {
            self.0.resize(chain + 1, 0);
        }
        self.0[chain] = epoch.tick;
    }
}

/// Hands out chains and the numbers in them.
#[derive(Default)]
pub(super) struct Chains(Vec<u32>);

impl Chains {
    /// A new chain.
    pub fn open(&mut self) -> u32 {
        self.0.push(0);
        self.0.len() as u32 - 1
    }

    /// The next piece of work of a chain.
    pub fn tick(&mut self, chain: u32) -> Epoch {
        let tick = &mut self.0[chain as usize];
        *tick += 1;
        Epoch { chain, tick: *tick }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_known_where_its_clock_was_joined_and_nowhere_else() {
        let mut chains = Chains::default();
        let (a, b) = (chains.open(), chains.open());
        let (mut on_a, mut on_b) = (Clock::default(), Clock::default());
        let first = chains.tick(a);
        on_a.advance(first);
        let event = on_a.clone();
        let second = chains.tick(a);
        on_a.advance(second);
        assert!(!on_b.knows(first));
        on_b.join(&event);
        on_b.advance(chains.tick(b));
        assert!(on_b.knows(first) && !on_b.knows(second) && on_a.knows(second));
    }
}
