//! Batches made ahead of the step that needs them.

use crate::{Batch, Batches, ShardsError};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Whole steps that wait to be taken; one more may be in the making.
const AHEAD: usize = 2;

type Made = (u64, Result<Vec<Batch>, ShardsError>);

/// One thread that makes the batches of steps, in their order, a few steps ahead. What it hands out is what
/// [`Batches::step`] gives: an error belongs to the step whose batches could not be made.
#[derive(Debug)]
pub struct Prefetcher {
    /// Gone while dropping, so that the thread finds nobody listening.
    made: Option<Receiver<Made>>,
    thread: Option<JoinHandle<()>>,
}

impl Prefetcher {
    /// Begins to make the batches of these steps.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn new(
        batches: Batches,
        steps: impl IntoIterator<Item = u64, IntoIter: Send + 'static>,
    ) -> Result<Prefetcher, ShardsError> {
        let (to, made) = sync_channel(AHEAD);
        let steps = steps.into_iter();
        let work = move || {
            for step in steps {
                let made = batches.step(step);
                let failed = made.is_err();
                // Nobody listens any more, or there is nothing sound to go on with.
                if to.send((step, made)).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("batches".to_owned()).spawn(work);
        let thread = thread.map_err(|source| ShardsError::Threads { source })?;
        Ok(Prefetcher { made: Some(made), thread: Some(thread) })
    }

    /// The next step with its micro-batches; `None` after the last, and after an error.
    pub fn next_step(&mut self) -> Option<Result<(u64, Vec<Batch>), ShardsError>> {
        match self.made.as_ref()?.recv() {
            Ok((step, made)) => Some(made.map(|batches| (step, batches))),
            // The end, unless the thread was torn away from its work.
            Err(_) => match self.thread.take()?.join() {
                Ok(()) => None,
                Err(_) => Some(Err(ShardsError::Panicked)),
            },
        }
    }
}

impl Drop for Prefetcher {
    fn drop(&mut self) {
        self.made = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported there.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nanoset::Width;
    use crate::nanoset::samples::{put, put_shard};
    use crate::{BatchOptions, MixturePart, Order, ShardSet, TokenSource, TokenizedSource};
    use std::sync::Arc;

    fn batches(source: TokenSource) -> Batches {
        let options = BatchOptions {
            sequence_length: 4,
            batch_tokens: 16,
            micro_batch_tokens: 8,
            order: Order::Shuffled,
            seed: 1,
            document_mask: true,
        };
        let part = MixturePart { name: "a".into(), source: Arc::new(source), share: 1.0, first_position: 0 };
        Batches::new(vec![part], options).unwrap()
    }

    fn documents() -> Vec<Vec<u32>> {
        (0..40u32).map(|i| (i * 7..i * 7 + 7).collect()).collect()
    }

    #[test]
    fn steps_come_in_order_as_they_are_without_it() {
        let batches = batches(TokenSource::Memory(TokenizedSource::of(&documents())));
        let steps = [3, 4, 6, 7, 8, 20];
        let mut made = Prefetcher::new(batches.clone(), steps).unwrap();
        for step in steps {
            assert_eq!(made.next_step().unwrap().unwrap(), (step, batches.step(step).unwrap()));
        }
        assert!(made.next_step().is_none() && made.next_step().is_none());
        // Nobody waits for a step that is never taken.
        drop(Prefetcher::new(batches, 0..).unwrap());
    }

    #[test]
    fn an_error_comes_at_the_step_it_belongs_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ds");
        put_shard(&path, &documents(), Width::Two);
        let batches =
            batches(TokenSource::Shards(ShardSet::open(path.to_str().unwrap(), 280, None).unwrap()));
        let mut wait_for = [0, 1, 2];
        // The file is gone before the third step is begun.
        let steps = std::iter::from_fn(move || {
            let step = wait_for.first().copied();
            wait_for.rotate_left(1);
            if step == Some(2) {
                put(&path, b"other");
            }
            step
        });
        let mut made = Prefetcher::new(batches, steps).unwrap();
        assert_eq!(made.next_step().unwrap().unwrap().0, 0);
        assert_eq!(made.next_step().unwrap().unwrap().0, 1);
        let error = made.next_step().unwrap().unwrap_err().to_string();
        assert!(error.contains("changed while it was being read: it had 560 bytes and has 5"), "{error}");
        assert!(made.next_step().is_none());
    }
}
