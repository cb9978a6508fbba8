//! Instruction classes: which unit of the multiprocessor an instruction keeps busy.

use crate::{Binary, Operation, Space, Ternary, Type, Unary};

/// What kind of unit executes an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// f32 arithmetic and comparison.
    Fp32,
    /// f16 and bf16 arithmetic and comparison.
    Fp16,
    /// f64 arithmetic and comparison.
    Fp64,
    /// The special function unit: rcp, sqrt, rsqrt, ex2, lg2, sin, cos, tanh, and divisions, which are made of them.
    Special,
    /// Integer and logic.
    Integer,
    /// `cvt`.
    Conversion,
    /// `mov`, `selp`, `cvta`: the assembler removes many of these.
    Move,
    /// Memory: global, and generic where not known better.
    Global,
    /// Memory: shared.
    Shared,
    /// Memory: local. A kernel without spills and indexed arrays has none.
    Local,
    /// Parameters and constants.
    Constant,
    /// Branches and exits.
    Control,
    /// Barriers, fences, and the waiting of asynchronous copies.
    Barrier,
    /// Exchange within a warp: shfl, vote, match, redux, movmatrix.
    Shuffle,
    /// Tensor cores.
    Tensor,
}

impl Class {
    /// How many there are; `class as usize` is below it.
    pub const COUNT: usize = 15;

    /// All, in order.
    pub const ALL: [Class; Self::COUNT] = [
        Class::Fp32,
        Class::Fp16,
        Class::Fp64,
        Class::Special,
        Class::Integer,
        Class::Conversion,
        Class::Move,
        Class::Global,
        Class::Shared,
        Class::Local,
        Class::Constant,
        Class::Control,
        Class::Barrier,
        Class::Shuffle,
        Class::Tensor,
    ];

    /// Name for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Fp32 => "fp32",
            Class::Fp16 => "fp16",
            Class::Fp64 => "fp64",
            Class::Special => "special",
            Class::Integer => "integer",
            Class::Conversion => "conversion",
            Class::Move => "move",
            Class::Global => "global",
            Class::Shared => "shared",
            Class::Local => "local",
            Class::Constant => "constant",
            Class::Control => "control",
            Class::Barrier => "barrier",
            Class::Shuffle => "shuffle",
            Class::Tensor => "tensor",
        }
    }

    /// Class of an operation. A generic access counts as global: take [`Class::of_space`] of the space it
    /// resolves to where that is known.
    pub fn of(operation: &Operation) -> Class {
        match operation {
            Operation::Move { .. }
            | Operation::Select { .. }
            | Operation::ConvertAddress { .. }
            | Operation::ActiveMask { .. } => Class::Move,
            Operation::Unary { op, ty, .. } => of_unary(*op, *ty),
            Operation::Arithmetic { op, ty, .. } => of_binary(*op, *ty),
            Operation::Ternary { op, ty, .. } => match op {
                Ternary::Fma => of_type(*ty),
                _ => Class::Integer,
            },
            Operation::Bfi { .. } | Operation::Carry { .. } => Class::Integer,
            Operation::SetPredicate { ty, .. } | Operation::Set { ty, .. } => of_type(*ty),
            Operation::Convert { .. } | Operation::ConvertPair { .. } => Class::Conversion,
            Operation::Load { space, .. }
            | Operation::Store { space, .. }
            | Operation::Atomic { space, .. }
            | Operation::Prefetch { space, .. } => Class::of_space(*space),
            // One instruction, two memories: it is issued as a global read.
            Operation::CopyAsync { .. } => Class::Global,
            Operation::LoadMatrix { .. } | Operation::StoreMatrix { .. } => Class::Shared,
            Operation::Branch { .. }
            | Operation::BranchIndexed { .. }
            | Operation::Exit
            | Operation::Trap
            | Operation::Nothing => Class::Control,
            Operation::Fence { .. }
            | Operation::Barrier { .. }
            | Operation::WarpBarrier { .. }
            | Operation::CopyCommit
            | Operation::CopyWait { .. } => Class::Barrier,
            Operation::Shuffle { .. }
            | Operation::Vote { .. }
            | Operation::Match { .. }
            | Operation::Redux { .. }
            | Operation::Elect { .. }
            | Operation::MoveMatrix { .. } => Class::Shuffle,
            Operation::Mma { .. } => Class::Tensor,
        }
    }

    /// Class of a memory access.
    pub const fn of_space(space: Space) -> Class {
        match space {
            Space::Generic | Space::Global => Class::Global,
            Space::Shared => Class::Shared,
            Space::Local => Class::Local,
            Space::Param | Space::Const => Class::Constant,
        }
    }
}

const fn of_type(ty: Type) -> Class {
    match ty {
        Type::F32 => Class::Fp32,
        Type::F64 => Class::Fp64,
        Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => Class::Fp16,
        _ => Class::Integer,
    }
}

const fn of_unary(op: Unary, ty: Type) -> Class {
    match op {
        Unary::Rcp { .. }
        | Unary::Sqrt { .. }
        | Unary::Rsqrt
        | Unary::Ex2
        | Unary::Lg2
        | Unary::Sin
        | Unary::Cos
        | Unary::Tanh => Class::Special,
        _ => of_type(ty),
    }
}

const fn of_binary(op: Binary, ty: Type) -> Class {
    match op {
        Binary::DivApprox | Binary::DivFull => Class::Special,
        Binary::Div if ty.float() => Class::Special,
        _ => of_type(ty),
    }
}
