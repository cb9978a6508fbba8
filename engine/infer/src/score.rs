//! Log-probabilities of given tokens.

use crate::batch::{Chunk, Ids};
use crate::{InferError, Session, check_tokens};
use octo_model::Net;
use octo_queue::Queue;

/// log p(token | those before it) of every token after the first, for each sequence in turn.
///
/// Sequences are scored one by one in chunks of the session's rows; a log-probability depends on its own
/// sequence's tokens alone. `on_sequence` is handed each result as it is ready.
pub fn score(
    queue: &mut Queue,
    net: &Net,
    session: &mut Session,
    sequences: &[Vec<u32>],
    mut on_sequence: impl FnMut(usize, Vec<f32>),
) -> Result<(), InferError> {
    // A sequence has the cache to itself.
    let pages: Vec<u32> = (0..session.limits().pages_per_request()).collect();
    let (context, rows) = (session.limits().context as usize, session.limits().rows as usize);
    for (request, tokens) in sequences.iter().enumerate() {
        check_tokens(request, tokens, session.vocab())?;
        if tokens.len() > context {
            return Err(InferError::TooLong { request, tokens: tokens.len(), context });
        }
        let mut logprobs = Vec::with_capacity(tokens.len());
        // The last token is only a label.
        let inputs = tokens.len().saturating_sub(1);
        for start in (0..inputs).step_by(rows.max(1)) {
            let end = (start + rows).min(inputs);
            let chunk = Chunk { pages: &pages, start, ids: Ids::Known(&tokens[start..end]) };
            let labels: Vec<i32> = tokens[start + 1..=end].iter().map(|&t| t as i32).collect();
            logprobs.extend(session.logprobs(queue, net, chunk, &labels)?);
        }
        on_sequence(request, logprobs);
    }
    Ok(())
}
