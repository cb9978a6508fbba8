//! A matrix product as data, as the library of products takes it.

use octo_ops::DType;

/// A matrix column by column, which is how the library counts: a matrix of ours, row by row, is its transpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// bf16 or f32.
    pub dtype: DType,
    /// Elements that lie side by side.
    pub rows: u64,
    /// Groups of them.
    pub columns: u64,
    /// Elements from group to group.
    pub stride: u64,
    /// The product takes its transpose.
    pub transposed: bool,
    /// The address is a multiple of so many bytes; 256 at most.
    pub alignment: u32,
}

impl Layout {
    /// Bytes from the first element to the end of the last.
    pub fn span_bytes(&self) -> u64 {
        ((self.columns.max(1) - 1) * self.stride + self.rows) * self.dtype.bytes()
    }
}

/// d = a·b, or a·b + c, summed up in f32 and rounded once. What an algorithm is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProductShape {
    /// Left factor.
    pub a: Layout,
    /// Right factor.
    pub b: Layout,
    /// What is added; it lies as `d` does, and may be `d` itself.
    pub c: Layout,
    /// The result.
    pub d: Layout,
    /// Whether `c` is added.
    pub adds: bool,
}

impl std::fmt::Display for ProductShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let letter = |layout: &Layout| if layout.transposed { 't' } else { 'n' };
        let terms = if self.a.transposed { self.a.rows } else { self.a.columns };
        let (a, b, d) = (letter(&self.a), letter(&self.b), &self.d);
        let added = if self.adds { ", added" } else { "" };
        write!(f, "{a}{b} {}x{}x{terms} to {}{added}", d.rows, d.columns, d.dtype)
    }
}

/// A product on operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its shape.
    pub shape: ProductShape,
    /// Device addresses of a, b, c and d.
    pub at: [u64; 4],
}

/// An algorithm that the library chose for a shape, kept as long as the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductPlan(pub u32);

/// Device memory that products of one stream may use while they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scratch {
    /// Its address, a multiple of 256.
    pub at: u64,
    /// Its size.
    pub bytes: u64,
}
