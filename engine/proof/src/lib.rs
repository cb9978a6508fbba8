//! Conformance of every backend with the f64 references.
