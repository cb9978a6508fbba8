//! What every op says of itself, and what its row of the table (`table.rs`) becomes: a struct, a variant of `enum Op`, the
//! conversions, its name and its list of operands.

use crate::error::NONE;
use crate::{HostMemory, OpError, Real, View};

/// How an op touches an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only read.
    Read,
    /// Every element is overwritten without being read (pages: every addressed element).
    Write,
    /// Read and written.
    Update,
}

/// One operand of an op.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// Field name.
    pub name: &'static str,
    /// How it is touched.
    pub access: Access,
    /// Where it is.
    pub view: View,
}

/// The least work an op must do: the basis of floors, MFU and benches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes that must be read or written once.
    pub bytes: u64,
    /// Floating-point operations of its matrix products (a multiply-add is two).
    pub flops: u64,
}

/// What every op says of itself, in its own file.
pub trait Spec {
    /// Shapes, dtypes and relations between the operands.
    fn check(&self) -> Result<(), OpError>;
    /// The formula, in the precision of the memory.
    fn reference<R: Real>(&self, memory: &mut HostMemory<R>);
    /// Floating-point operations of the matrix products.
    fn flops(&self) -> u64 {
        0
    }
    /// Cases that every backend is held to.
    fn cases() -> Vec<crate::Case>
    where
        Self: Sized;
}

/// The two axes of a matrix view; a view of another rank gives axes that nothing has, so that the shape check that follows
/// names it.
pub(crate) fn matrix(view: &View) -> [u32; 2] {
    match view.shape() {
        [rows, columns] => [*rows, *columns],
        _ => [NONE; 2],
    }
}

/// A count of work: as much as can be said where the shapes are absurd.
pub(crate) fn product(factors: &[usize]) -> u64 {
    factors.iter().fold(1, |product: u64, &factor| product.saturating_mul(factor as u64))
}

/// The type of an operand's field.
macro_rules! operand_type {
    (opt_read) => { Option<View> };
    (opt_write) => { Option<View> };
    (opt_update) => { Option<View> };
    ($access:ident) => { View };
}

/// How an operand is touched.
macro_rules! access {
    (read) => {
        Access::Read
    };
    (opt_read) => {
        Access::Read
    };
    (write) => {
        Access::Write
    };
    (opt_write) => {
        Access::Write
    };
    (update) => {
        Access::Update
    };
    (opt_update) => {
        Access::Update
    };
}

/// The view of an operand that is always there, or of one that may be missing.
macro_rules! views {
    (opt_read, $views:expr) => {
        $views.into_iter()
    };
    (opt_write, $views:expr) => {
        $views.into_iter()
    };
    (opt_update, $views:expr) => {
        $views.into_iter()
    };
    ($access:ident, $view:expr) => {
        std::iter::once($view)
    };
}

macro_rules! ops {
    ($(
        $(#[$doc:meta])*
        $op:ident $name:literal {
            $( $(#[$operand_doc:meta])* $access:ident $operand:ident ),* $(,)?
            $( ; $( $(#[$constant_doc:meta])* $constant:ident : $type:ty ),* $(,)? )?
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq)]
            pub struct $op {
                $( $(#[$operand_doc])* pub $operand: $crate::spec::operand_type!($access), )*
                $( $( $(#[$constant_doc])* pub $constant: $type, )* )?
            }

            impl $op {
                /// Name in listings, logs and tests.
                pub const NAME: &'static str = $name;
            }

            impl From<$op> for Op {
                fn from(op: $op) -> Op {
                    Op::$op(op)
                }
            }
        )*

        /// Any op.
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each variant is the struct of that name")]
        pub enum Op { $( $op($op), )* }

        impl Op {
            /// Name in listings, logs and tests.
            pub fn name(&self) -> &'static str {
                match self { $( Op::$op(_) => $op::NAME, )* }
            }

            /// The operands there are, in the order of the table.
            pub fn operands(&self) -> Vec<Operand> {
                let mut list = Vec::new();
                match self { $(
                    Op::$op(op) => { $(
                        let (name, access) = (stringify!($operand), $crate::spec::access!($access));
                        let views = $crate::spec::views!($access, op.$operand);
                        list.extend(views.map(|view| Operand { name, access, view }));
                    )* }
                )* }
                list
            }

            /// The places of the operands there are, in the order of the table: for what puts an op onto other memory.
            pub fn views_mut(&mut self) -> Vec<&mut View> {
                let mut list: Vec<&mut View> = Vec::new();
                match self { $(
                    Op::$op(op) => { $( list.extend($crate::spec::views!($access, &mut op.$operand)); )* }
                )* }
                list
            }

            /// The first operand that is bf16, no parameter, and none of the optimizer's moments.
            pub fn bf16_activation(&self) -> Option<Operand> {
                let moment = |o: &Operand| matches!(self, Op::AdamW(_)) && matches!(o.name, "m" | "v");
                let parameter = |o: &Operand| matches!(o.name, "weight" | "bias") || moment(o);
                self.operands().into_iter().find(|o| o.view.dtype == DType::Bf16 && !parameter(o))
            }

            /// Shapes, dtypes and relations between the operands.
            pub fn check(&self) -> Result<(), OpError> {
                match self { $( Op::$op(op) => op.check(), )* }
            }

            /// The formula, in the precision of the memory.
            pub fn reference<R: Real>(&self, memory: &mut HostMemory<R>) {
                match self { $( Op::$op(op) => op.reference(memory), )* }
            }

            /// The least work: every operand once, updated ones twice, and the products' operations.
            pub fn cost(&self) -> Cost {
                let bytes = self.operands().iter().fold(0u64, |sum, o| {
                    let times = if o.access == Access::Update { 2 } else { 1 };
                    sum.saturating_add(product(&[times, o.view.elements(), o.view.dtype.bytes() as usize]))
                });
                let flops = match self { $( Op::$op(op) => op.flops(), )* };
                Cost { bytes, flops }
            }

            /// The cases of all ops.
            pub fn all_cases() -> Vec<crate::Case> {
                let mut all = Vec::new();
                $( all.extend($op::cases()); )*
                all
            }
        }
    };
}

pub(crate) use {access, operand_type, ops, views};
