//! The numbers: what each arithmetic instruction computes, bit for bit, as pure functions.
