//! Fuel: a count of work that stands in for time, so that a verdict never depends on a clock.

use std::cell::Cell;

/// Why an answer got no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    /// The text does not follow the grammar.
    #[error("{0}")]
    Unparsed(String),
    /// The work allowed is used up.
    #[error("the budget of work is used up")]
    Budget,
}

/// Work that is left. One unit is about ten nanoseconds.
#[derive(Debug)]
pub(crate) struct Fuel {
    left: Cell<u64>,
}

impl Fuel {
    pub fn new(units: u64) -> Fuel {
        Fuel { left: Cell::new(units) }
    }

    /// Takes units away, or says that none are left.
    pub fn spend(&self, units: u64) -> Result<(), Stop> {
        match self.left.get().checked_sub(units) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => {
                self.left.set(0);
                Err(Stop::Budget)
            }
        }
    }
}
