//! Tokens in order: documents, windows, batches.
