//! What loaded kernels take, held against what the pinned assembler gave them.

use crate::driver::{Driver, DriverError, Function};
use octo_ops::KernelUse;
use octo_ptx::resources;

/// Names of a module's entries.
pub(super) fn entries(ptx: &str) -> impl Iterator<Item = &str> {
    let declared = ptx.split(".visible .entry ").skip(1);
    declared.filter_map(|rest| rest.split('(').next()).map(str::trim)
}

/// What a loaded kernel takes.
pub(super) fn of(driver: &dyn Driver, function: Function, entry: &str) -> Result<KernelUse, DriverError> {
    let taken = driver.attributes(function)?;
    let newer = driver.device().capability >= (9, 0);
    let stated = resources(entry).map(|stated| {
        let registers = if newer { stated.registers_sm_90 } else { stated.registers };
        [registers, stated.stack, stated.static_shared].map(u64::from)
    });
    Ok(KernelUse {
        entry: entry.to_owned(),
        registers: taken.registers,
        local_bytes: taken.local_bytes,
        shared_bytes: taken.shared_bytes,
        stated,
    })
}

/// Tells where a loaded kernel takes something else than stated: the driver's assembler is another than the pinned one.
pub(super) fn compare(driver: &dyn Driver, function: Function, entry: &str) -> Result<(), DriverError> {
    let taken = of(driver, function, entry)?;
    if taken.differs() {
        let KernelUse { registers, local_bytes, shared_bytes, stated, .. } = taken;
        let registers = registers.unwrap_or(0);
        match stated {
            Some([most, local, shared]) => tracing::info!(
                "{entry}: {registers} registers, {local_bytes} bytes local, {shared_bytes} shared; stated are {most}, \
                 {local}, {shared}"
            ),
            None => {
                tracing::info!("{entry}: {registers} registers, {local_bytes} bytes local; nothing is stated")
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_ptx::shipped::SM_80;

    #[test]
    fn the_entries_of_a_text_are_those_of_its_module() {
        for shipped in SM_80 {
            let parsed: Vec<String> = octo_ptx::parse(shipped.text)
                .unwrap()
                .kernels
                .into_iter()
                .map(|kernel| kernel.name)
                .collect();
            assert_eq!(entries(shipped.text).collect::<Vec<_>>(), parsed, "{}", shipped.name);
        }
    }
}
