//! Continuations of a list of prompts, from first to last.

use crate::{Completion, Event, FinishReason, InferError, Request, Rollout, Session};
use octo_model::Net;
use octo_queue::Queue;
use std::ops::ControlFlow;

/// Continues all requests. `on_token` sees every drawn token as (request, token) and may end its request.
///
/// Completions come in the order of the requests; each depends on its own request alone, not on the others,
/// their number, or the session's limits. Neighbours with equal prompts share the prompt's pages.
///
/// # Errors
/// [`InferError`], of all requests before anything runs.
pub fn generate(
    queue: &mut Queue,
    net: &Net,
    session: &mut Session,
    requests: &[Request],
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Completion>, InferError> {
    for (i, request) in requests.iter().enumerate() {
        request.check(i, session)?;
    }
    let mut done: Vec<Option<Completion>> = requests.iter().map(|_| None).collect();
    let mut told_to_stop = vec![false; requests.len()];
    let mut rollout = Rollout::new(session);
    let mut left = requests.iter();
    loop {
        // No more of them wait than can begin, so that a long list is not held twice. Ids count from 0, as indices do.
        while rollout.load().waiting < rollout.limits().requests as usize
            && let Some(request) = left.next()
        {
            rollout.submit(request.clone())?;
        }
        if rollout.is_idle() {
            break;
        }
        for event in rollout.step(queue, net)? {
            match event {
                Event::Token { id, token } => {
                    let index = id.0 as usize;
                    if on_token(index, token.id).is_break() {
                        told_to_stop[index] = true;
                        done[index] = rollout.cancel(id);
                    }
                }
                Event::Finished { id, mut completion } => {
                    let index = id.0 as usize;
                    if told_to_stop[index] {
                        completion.finish = FinishReason::Stop;
                    }
                    done[index] = Some(completion);
                }
            }
        }
    }
    Ok(done.into_iter().flatten().collect())
}
