//! The numbers: what each arithmetic instruction computes, bit for bit, as pure functions.
//!
//! Values travel as bit patterns in the low bits of a `u64` (`u32` a lane for matrices). Everything is integer
//! or IEEE arithmetic of this crate, without a platform's mathematical library, so that the same input gives
//! the same bits on every host. What PTX ISA 8.4 leaves open is decided once, in `format.rs` (NaN) and in the
//! head of each module; what only hardware can settle is marked "model unconfirmed".
//!
//! Read `format.rs` first: every rounding of the crate happens there. Then `arithmetic.rs` (add to compare),
//! `convert.rs` (`cvt`), `approximate.rs` with `elementary.rs` below it (`ex2` to `tanh`), `fragment.rs` (which
//! lane holds what) and `tensor.rs` (`mma`). Integer arithmetic other than conversions is the simulated GPU's.

mod approximate;
mod arithmetic;
mod convert;
mod elementary;
mod format;
mod fragment;
#[cfg(test)]
mod oracle;
mod tensor;

pub use approximate::{Approximation, Deviation, approximation, division};
pub use arithmetic::{arithmetic, canonical_f32, compare, fma, unary};
pub use convert::{Conversion, convert, convert_pair};
pub use fragment::{Element, Fragment, load_matrix, move_matrix, store_matrix};
pub use tensor::{Architecture, mma};
