//! Typed instructions: what NVRTC writes for sm_80, one variant an operation.
//!
//! A field exists only where the simulated GPU acts on it; cache hints (`.L1::…`, `.L2::…`, `.nc`) are
//! recognised and dropped by the parser. Section numbers are those of PTX ISA 8.4.

use crate::{Source, Space, Span};

/// Fundamental types. PTX ISA, section 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Type {
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
}

impl Type {
    /// Bits of a value; 1 for a predicate.
    pub const fn bits(self) -> u32 {
        match self {
            Type::Pred => 1,
            Type::B8 | Type::U8 | Type::S8 => 8,
            Type::B16 | Type::U16 | Type::S16 | Type::F16 | Type::Bf16 => 16,
            Type::B32 | Type::U32 | Type::S32 | Type::F32 | Type::F16x2 | Type::Bf16x2 => 32,
            Type::B64 | Type::U64 | Type::S64 | Type::F64 => 64,
            Type::B128 => 128,
        }
    }

    /// Whether it is a signed integer.
    pub const fn signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64)
    }

    /// Whether it is a floating-point number, or a pair of them.
    pub const fn float(self) -> bool {
        matches!(self, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 | Type::F32 | Type::F64)
    }
}

/// Index of a virtual register of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Register(pub u32);

/// Special registers. PTX ISA, section 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's; u8 is the axis, 0 to 2")]
pub enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    Laneid,
    Warpid,
    Nwarpid,
    Smid,
    Nsmid,
    Gridid,
    LanemaskEq,
    LanemaskLt,
    LanemaskLe,
    LanemaskGt,
    LanemaskGe,
    Clock,
    Clock64,
    Globaltimer,
    DynamicSmemSize,
    TotalSmemSize,
    ClusterCtarank,
    ClusterNctarank,
    ClusterCtaid(u8),
    ClusterNctaid(u8),
    Clusterid(u8),
    Nclusterid(u8),
}

/// What a name in an operand stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symbol {
    /// Index into [`crate::Module::variables`].
    Module(u32),
    /// Index into [`crate::Kernel::variables`].
    Kernel(u32),
    /// Index into [`crate::Kernel::params`].
    Param(u32),
}

/// A source operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A register.
    Register(Register),
    /// Bits of a constant, in the width of the instruction's type (negative integers sign-extended to 64,
    /// `0f…`/`0d…` their pattern; an `0d…` used as f32 is already converted).
    Immediate(u64),
    /// A special register.
    Special(Special),
    /// The address of a variable or parameter within its space, plus an offset.
    Address(Symbol, i64),
}

/// The address of a memory operand: `[base+offset]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Register, symbol or immediate.
    pub base: Operand,
    /// Added to it, in bytes.
    pub offset: i64,
}

/// `@p` or `@!p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    /// The predicate.
    pub register: Register,
    /// Whether it is negated.
    pub negated: bool,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// Lanes for which this is false do nothing.
    pub guard: Option<Guard>,
    /// What it does.
    pub operation: Operation,
    /// Its text, from the guard to the semicolon.
    pub span: Span,
    /// The last `.loc` before it. An inlined function's `.loc` counts; `inlined_at` is dropped.
    pub source: Option<Source>,
}

/// Rounding of a floating-point result. PTX ISA, section 9.7.3 and 9.7.9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// `.rn`: to nearest, ties to even. Also where the text names none (`add.f32` then may be contracted by
    /// the assembler: see [`Operation::Arithmetic`]).
    Nearest,
    /// `.rz`
    Zero,
    /// `.rm`
    Down,
    /// `.rp`
    Up,
    /// `.rna`: to nearest, ties away from zero.
    NearestAway,
}

/// Operations on one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Unary {
    Abs,
    Neg,
    Not,
    Cnot,
    Popc,
    Clz,
    Brev,
    /// `bfind`: position of the highest bit that is not the sign; `shift` as `.shiftamt`.
    Bfind {
        shift: bool,
    },
    /// `rcp`; `approximate` as `.approx`, else correctly rounded.
    Rcp {
        approximate: bool,
    },
    Sqrt {
        approximate: bool,
    },
    /// `.approx` is the only kind of these.
    Rsqrt,
    Ex2,
    Lg2,
    Sin,
    Cos,
    Tanh,
}

/// Operations on two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Binary {
    Add,
    Sub,
    /// Floats: the product. Integers: see `MulLo`, `MulHi`, `MulWide`.
    Mul,
    MulLo,
    MulHi,
    /// The destination is twice as wide as the type.
    MulWide,
    /// Integers; floats with rounding.
    Div,
    /// `div.approx.f32`
    DivApprox,
    /// `div.full.f32`
    DivFull,
    Rem,
    /// `nan`: a NaN operand makes the result NaN.
    Min {
        nan: bool,
    },
    Max {
        nan: bool,
    },
    And,
    Or,
    Xor,
    /// Amounts above the width give 0.
    Shl,
    /// Signed types fill with the sign; amounts above the width are clamped to it.
    Shr,
    /// `copysign`
    CopySign,
}

/// Operations on three values (`Lop3` takes a table, `Shf` a direction).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Ternary {
    /// Floats, one rounding.
    Fma,
    MadLo,
    MadHi,
    /// a·b in twice the width, plus c.
    MadWide,
    Sad,
    /// `bfe d, a, start, length`
    Bfe,
    /// Any function of three bits, by its table.
    Lop3(u8),
    /// `shf.l` (left) or `shf.r`; amounts modulo 32 (`wrap`) or clamped to 32.
    Shf {
        left: bool,
        wrap: bool,
    },
    /// `prmt.b32` in its default mode.
    Prmt,
}

/// Comparison. PTX ISA, section 9.7.6; `u` forms are true when an operand is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's; lo, ls, hi, hs are Lt, Le, Gt, Ge of unsigned types")]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    Num,
    Nan,
}

/// How a comparison is combined with another predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Combine {
    And,
    Or,
    Xor,
}

/// Memory ordering. PTX ISA, section 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Semantics {
    Weak,
    Volatile,
    Relaxed,
    Acquire,
    Release,
    AcquireRelease,
    SequentiallyConsistent,
}

/// Whom an ordering concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Scope {
    Block,
    Cluster,
    Gpu,
    System,
}

/// Read-modify-write of `atom` and `red`. PTX ISA, section 9.7.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Atomic {
    And,
    Or,
    Xor,
    Cas,
    Exch,
    Add,
    Inc,
    Dec,
    Min,
    Max,
}

/// Modes of `shfl.sync`. PTX ISA, section 9.7.8.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Shuffle {
    Up,
    Down,
    Bfly,
    Idx,
}

/// Modes of `vote.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Vote {
    All,
    Any,
    Uni,
    Ballot,
}

/// What a warp-wide `redux.sync` computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Redux {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
}

/// Reduction of `bar.red`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum BarrierReduction {
    And,
    Or,
    Popc,
}

/// How many threads a barrier waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BarrierKind {
    /// `bar.sync`/`barrier.sync`: arrives and waits.
    Sync,
    /// `bar.arrive`: arrives and goes on.
    Arrive,
    /// `bar.red`: as `Sync`, with a reduction of a predicate.
    Reduce(BarrierReduction),
}

/// Element type of a tensor-core operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's")]
pub enum Matrix {
    F16,
    Bf16,
    Tf32,
    F32,
    S8,
    S32,
}

/// What an instruction does. Vectors have 1, 2 or 4 elements (`mov` and `ld.param`/`st` too); a `None`
/// destination is PTX's `_`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each variant says what its fields are")]
pub enum Operation {
    /// `mov`; with several sources it packs the lower first, with several destinations it unpacks.
    Move { ty: Type, d: Vec<Option<Register>>, a: Vec<Operand> },
    /// One operand. `saturate` clamps floats to \[0, 1\]; `flush` is `.ftz`.
    Unary { op: Unary, ty: Type, rounding: Rounding, flush: bool, d: Register, a: Operand },
    /// Two operands. `contractible` is true for a float add, sub or mul without a rounding modifier, which
    /// the assembler may fuse: shipped kernels have none.
    Arithmetic {
        op: Binary,
        ty: Type,
        rounding: Rounding,
        flush: bool,
        saturate: bool,
        contractible: bool,
        d: Register,
        a: Operand,
        b: Operand,
    },
    /// Three operands; `saturate` clamps floats to \[0, 1\].
    Ternary {
        op: Ternary,
        ty: Type,
        rounding: Rounding,
        flush: bool,
        saturate: bool,
        d: Register,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// `bfi d, a, b, start, length`: a inserted into b.
    Bfi { ty: Type, d: Register, a: Operand, b: Operand, start: Operand, length: Operand },
    /// `add.cc`, `addc`, `sub.cc`, `subc`, `mad…cc`: carry chains. `carry_in`/`carry_out` use the thread's CC bit.
    Carry { subtract: bool, ty: Type, carry_in: bool, carry_out: bool, d: Register, a: Operand, b: Operand },
    /// `setp`: p = (a cmp b) combined with c; q, if there, = (not (a cmp b)) combined with c.
    SetPredicate {
        compare: Compare,
        ty: Type,
        flush: bool,
        combine: Option<(Combine, Operand, bool)>,
        p: Register,
        q: Option<Register>,
        a: Operand,
        b: Operand,
    },
    /// `set`: the comparison as a number: all ones or 1.0 of type `to`.
    Set { compare: Compare, to: Type, ty: Type, flush: bool, d: Register, a: Operand, b: Operand },
    /// `selp`: p ? a : b.
    Select { ty: Type, d: Register, a: Operand, b: Operand, p: Operand },
    /// `cvt` of one value. `integer` is the rounding to an integer (`.rni` as
    /// Nearest, `.rzi`, `.rmi`, `.rpi`), used when the destination is an integer, or float to the same float.
    Convert {
        to: Type,
        from: Type,
        rounding: Option<Rounding>,
        integer: Option<Rounding>,
        flush: bool,
        saturate: bool,
        relu: bool,
        d: Register,
        a: Operand,
    },
    /// `cvt.rn.bf16x2.f32 d, a, b` (also f16x2): a to the upper half, b to the lower.
    ConvertPair { to: Type, rounding: Rounding, relu: bool, d: Register, high: Operand, low: Operand },
    /// `cvta` (`to_generic`) and `cvta.to` between a space and generic addresses.
    ConvertAddress { to_generic: bool, space: Space, ty: Type, d: Register, a: Operand },
    /// `ld`: `d.len()` elements of `ty`. Narrow types are extended into wider registers.
    Load {
        space: Space,
        semantics: Semantics,
        scope: Scope,
        ty: Type,
        d: Vec<Option<Register>>,
        address: Address,
    },
    /// `st`
    Store { space: Space, semantics: Semantics, scope: Scope, ty: Type, address: Address, a: Vec<Operand> },
    /// `atom` (with `d`) and `red` (without). `b` is the compared value and `c` the new one for `Cas`;
    /// otherwise `b` is the operand.
    Atomic {
        op: Atomic,
        space: Space,
        semantics: Semantics,
        scope: Scope,
        ty: Type,
        d: Option<Register>,
        address: Address,
        b: Operand,
        c: Option<Operand>,
    },
    /// `prefetch`, `prefetchu`, `applypriority`, `discard` without effect on values: address only.
    Prefetch { space: Space, address: Address },
    /// `membar` and `fence`: `AcquireRelease` or `SequentiallyConsistent`.
    Fence { semantics: Semantics, scope: Scope },
    /// `bra` (`uniform` as `.uni`); the target is an index into the body.
    Branch { uniform: bool, target: u32 },
    /// `brx.idx` over a `.branchtargets` list.
    BranchIndexed { uniform: bool, index: Operand, targets: Vec<u32> },
    /// `ret` of an entry and `exit`.
    Exit,
    /// `trap`
    Trap,
    /// `brkpt`, `nanosleep`, `pmevent`, `griddepcontrol`: nothing to do.
    Nothing,
    /// `bar`/`barrier`.
    Barrier {
        kind: BarrierKind,
        aligned: bool,
        barrier: Operand,
        threads: Option<Operand>,
        /// Destination of a reduction: a predicate, or u32 for `Popc`.
        d: Option<Register>,
        /// The predicate reduced, and whether it is negated.
        p: Option<(Operand, bool)>,
    },
    /// `bar.warp.sync`
    WarpBarrier { mask: Operand },
    /// `shfl.sync d|p, a, b, c, mask`
    Shuffle {
        mode: Shuffle,
        d: Register,
        p: Option<Register>,
        a: Operand,
        b: Operand,
        c: Operand,
        mask: Operand,
    },
    /// `vote.sync`; `d` is a predicate, or b32 for `Ballot`.
    Vote { mode: Vote, d: Register, p: Operand, negated: bool, mask: Operand },
    /// `match.any.sync` (`all` false) and `match.all.sync d|p`.
    Match { all: bool, ty: Type, d: Register, p: Option<Register>, a: Operand, mask: Operand },
    /// `redux.sync`
    Redux { op: Redux, ty: Type, d: Register, a: Operand, mask: Operand },
    /// `activemask`
    ActiveMask { d: Register },
    /// `elect.sync d|p, mask`
    Elect { d: Option<Register>, p: Register, mask: Operand },
    /// `cp.async.{ca,cg}.shared.global [d], [s], bytes, source_bytes`; the rest of `bytes` becomes 0.
    CopyAsync {
        bytes: u32,
        to: Address,
        from: Address,
        source_bytes: Option<Operand>,
        ignore: Option<Operand>,
    },
    /// `cp.async.commit_group`
    CopyCommit,
    /// `cp.async.wait_group n`; `wait_all` is `pending: None`.
    CopyWait { pending: Option<u32> },
    /// `ldmatrix.sync.aligned.m8n8.x1|x2|x4[.trans].shared.b16`
    LoadMatrix { transpose: bool, d: Vec<Register>, address: Address },
    /// `stmatrix`
    StoreMatrix { transpose: bool, address: Address, a: Vec<Operand> },
    /// `movmatrix.sync.aligned.m8n8.trans.b16`
    MoveMatrix { d: Register, a: Operand },
    /// `mma.sync.aligned.m{m}n{n}k{k}.row.col.{d}.{a}.{b}.{c}`
    Mma {
        shape: [u32; 3],
        types: [Matrix; 4],
        d: Vec<Register>,
        a: Vec<Operand>,
        b: Vec<Operand>,
        c: Vec<Operand>,
    },
}
