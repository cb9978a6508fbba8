//! Counts: what a GPU would have to do for the accesses and instructions that were executed.
