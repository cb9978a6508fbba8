use crate::memory::Memory;
use octo_ops::{BackendError, FeedTokens};

pub(super) fn run(op: &FeedTokens, memory: &Memory) -> Result<(), BackendError> {
    let (tokens, source): (&[u32], &[u32]) = (memory.span(&op.tokens), memory.span(&op.source));
    let outside = |&(_, &s): &(usize, &u32)| s != FeedTokens::KEEP && s as usize >= tokens.len();
    if let Some((row, source)) = source.iter().enumerate().find(outside) {
        return Err(BackendError::Data {
            op: FeedTokens::NAME,
            what: format!("source {source} of row {row} is not below the {} tokens drawn", tokens.len()),
        });
    }
    for (id, &source) in memory.span_mut::<u32>(&op.ids).iter_mut().zip(source) {
        if let Some(&token) = tokens.get(source as usize) {
            *id = token;
        }
    }
    Ok(())
}
