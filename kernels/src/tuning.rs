//! The only place where a tile shape stands.
