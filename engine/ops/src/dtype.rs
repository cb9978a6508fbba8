//! Element types.

use std::fmt;

/// The type of one element of a [`crate::View`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// The upper half of an f32.
    Bf16,
    /// Signed 16 bits: the remainder of a master weight.
    I16,
    /// Signed 32 bits: labels, where −1 means "no target".
    I32,
    /// Unsigned 32 bits: token ids, positions, lengths, page numbers.
    U32,
    /// Unsigned 64 bits: seeds.
    U64,
}

impl DType {
    /// Bytes of one element.
    pub const fn bytes(self) -> u64 {
        match self {
            DType::Bf16 | DType::I16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::U64 => 8,
        }
    }

    /// Whether the elements are real numbers.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::Bf16)
    }

    /// Lower-case name, as in op listings and test names.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::I16 => "i16",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::U64 => "u64",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
