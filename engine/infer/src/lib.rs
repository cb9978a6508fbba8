//! Generation: KV pages, batches, sampling, scoring.
