//! Text to [`crate::Module`].
