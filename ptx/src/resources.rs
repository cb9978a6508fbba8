//! What ptxas says that each shipped kernel takes: registers, spills, shared memory.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What an entry takes on a multiprocessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Registers of a thread on sm_80.
    pub registers: u32,
    /// Registers of a thread on sm_90.
    pub registers_sm_90: u32,
    /// Static shared memory of a block in bytes.
    pub static_shared: u32,
    /// Bytes of a thread that are stored and loaded back for lack of registers.
    pub spilled: u32,
    /// Bytes of a thread's stack, those among them.
    pub stack: u32,
}

/// Written by `cargo xtask ptx` beside the PTX.
const TABLE: &str = include_str!("../sm_80/resources.tsv");

/// What a shipped entry takes, by its name.
pub fn resources(entry: &str) -> Option<Resources> {
    static PARSED: LazyLock<BTreeMap<&str, Resources>> =
        LazyLock::new(|| TABLE.lines().filter_map(parse).collect());
    PARSED.get(entry).copied()
}

/// A line: entry, registers, spill_stores, spill_loads, stack, static_shared, registers_sm_90.
fn parse(line: &'static str) -> Option<(&'static str, Resources)> {
    let mut columns = line.split('\t');
    let entry = columns.next()?;
    let numbers: Vec<u32> = columns.map_while(|column| column.parse().ok()).collect();
    let [registers, stores, loads, stack, static_shared, registers_sm_90] = numbers[..] else { return None };
    let spilled = stores.max(loads);
    Some((entry, Resources { registers, registers_sm_90, static_shared, spilled, stack }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse, shipped::SM_80};

    #[test]
    fn every_shipped_entry_has_its_line_and_every_line_its_entry() {
        let shipped: Vec<String> = SM_80
            .iter()
            .flat_map(|module| parse(module.text).unwrap().kernels)
            .map(|kernel| kernel.name)
            .collect();
        for entry in &shipped {
            let taken = resources(entry).unwrap_or_else(|| panic!("{entry} has no line"));
            assert!((1..=255).contains(&taken.registers) && (1..=255).contains(&taken.registers_sm_90));
        }
        assert_eq!(shipped.len(), TABLE.lines().count() - 1);
        assert_eq!(resources("entry"), None);
    }
}
