use super::check_indices;
use crate::memory::Memory;
use octo_ops::{BackendError, CopyPages};
use rayon::prelude::*;

pub(super) fn run(op: &CopyPages, memory: &Memory) -> Result<(), BackendError> {
    let (from, to): (&[u32], &[u32]) = (memory.span(&op.from), memory.span(&op.to));
    let [_, pages, elements] = op.shape();
    check_indices(CopyPages::NAME, "page", from, pages)?;
    check_indices(CopyPages::NAME, "page", to, pages)?;
    check_order(from, to)?;
    if pages * elements > 0 {
        memory.span_mut::<f32>(&op.pages).par_chunks_mut(pages * elements).for_each(|layer| {
            for (&from, &to) in from.iter().zip(to) {
                let from = from as usize * elements;
                layer.copy_within(from..from + elements, to as usize * elements);
            }
        });
    }
    Ok(())
}

/// The copies must give the same whatever their order.
fn check_order(from: &[u32], to: &[u32]) -> Result<(), BackendError> {
    let mut sorted = to.to_vec();
    sorted.sort_unstable();
    let twice = sorted.windows(2).find(|w| w[0] == w[1]).map(|w| w[0]);
    let read = from.iter().copied().find(|page| sorted.binary_search(page).is_ok());
    match twice.or(read) {
        None => Ok(()),
        Some(page) => Err(BackendError::Data {
            op: CopyPages::NAME,
            what: format!("page {page} is copied to, and copied to or from another time"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_whose_order_matters_are_refused() {
        assert!(check_order(&[1, 1, 2], &[3, 4, 5]).is_ok());
        assert!(check_order(&[1, 2], &[3, 3]).is_err());
        assert!(check_order(&[1, 3], &[3, 4]).is_err());
        assert!(check_order(&[1], &[1]).is_err());
    }
}
