//! One queue over all backends.
