//! What the pinned assembler gave each kernel, as `cargo xtask ptx` recorded it.

/// Resources of a kernel: a line of `ptx/sm_80/resources.tsv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Registers of a thread on compute capability 8.0, and on 9.0.
    pub registers: [u32; 2],
    /// Bytes of a thread's stack, spills included.
    pub stack_bytes: u64,
    /// Static shared memory of a block in bytes.
    pub shared_bytes: u64,
}

static TABLE: &str = include_str!("../sm_80/resources.tsv");

impl Resources {
    /// Those of an entry that ships.
    pub fn of(entry: &str) -> Option<Resources> {
        let mut fields = TABLE.lines().map(|line| line.split('\t')).find_map(|mut fields| {
            let found = fields.next() == Some(entry);
            found.then_some(fields)
        })?;
        let mut next = || fields.next()?.parse::<u32>().ok();
        let (on_8, _stores, _loads, stack, shared, on_9) =
            (next()?, next()?, next()?, next()?, next()?, next()?);
        Some(Resources { registers: [on_8, on_9], stack_bytes: stack.into(), shared_bytes: shared.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipped::SM_80;

    #[test]
    fn every_shipped_entry_has_resources_that_an_architecture_allows() {
        let mut entries = 0;
        for shipped in SM_80 {
            for kernel in crate::parse(shipped.text).unwrap().kernels {
                let found = Resources::of(&kernel.name).unwrap_or_else(|| panic!("{}", kernel.name));
                assert!(found.registers.iter().all(|&registers| (1..=255).contains(&registers)), "{found:?}");
                assert!(found.shared_bytes <= 48 << 10, "{found:?}");
                entries += 1;
            }
        }
        assert_eq!(entries + 1, TABLE.lines().count());
        assert_eq!(Resources::of("entry"), None);
    }
}
