//! A kernel ready to run: every operand a slot, every constant spread over 32 lanes, every symbol an address.
//!
//! A warp has three files: narrow slots (32 lanes of 32 bits; 8- and 16-bit values zero-extended), wide slots (32 lanes
//! of 64 bits) and predicates (one bit a lane). A slot with its top bit set is a constant of the program. [`Alu`] are
//! operations on these files alone; they cannot fail and need nothing else. Everything else is in [`Op`].

use super::memory::bank::Lanes;
use crate::numerics::Conversion;
use crate::{
    Atomic, BarrierKind, Binary, Combine, Compare, Matrix, Redux, Rounding, Scope, Semantics, Shuffle,
    Source, Space, Span, Special, Type, Unary, Vote,
};

/// Index of a value in the narrow or wide file, or with [`CONSTANT`] among the program's constants.
pub(super) type Slot = u32;
/// Marks constants.
pub(super) const CONSTANT: u32 = 1 << 31;
/// No slot: a destination `_`, an operand that is not there.
pub(super) const NONE: Slot = u32::MAX;

/// A predicate, perhaps negated: lanes `predicates[slot] ^ flip`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Predicate {
    pub slot: Slot,
    pub flip: u32,
}

/// Width of an integer operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    W16,
    W32,
    W64,
}

/// Integer operations on two values of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Integer {
    Add,
    Sub,
    /// Signed, clamped to the range of s32.
    AddSaturating,
    SubSaturating,
    MulLow,
    MulHighSigned,
    MulHighUnsigned,
    DivSigned,
    DivUnsigned,
    RemSigned,
    RemUnsigned,
    MinSigned,
    MinUnsigned,
    MaxSigned,
    MaxUnsigned,
    And,
    Or,
    Xor,
}

/// Integer operations on one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IntegerUnary {
    Abs,
    Neg,
    Not,
    Cnot,
    Reverse,
}

/// Bit positions and counts: the result is 32 bits wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Ones,
    LeadingZeros,
    Find { signed: bool, shift: bool },
}

/// Shifts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    Left,
    Right,
    RightSigned,
}

/// Float operations on two f32 to nearest, without flush or saturation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quick {
    Add,
    Sub,
    Mul,
    Min,
    Max,
}

/// The two compared values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Compared {
    Integer { compare: Compare, signed: bool, width: Width },
    F32 { compare: Compare },
    Float { compare: Compare, ty: Type, flush: bool },
}

/// What becomes of a comparison.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// `setp`: with the other predicate, into `p` and, its complement combined alike, `q`.
    Predicates { p: Slot, q: Slot, combine: Option<(Combine, Predicate)> },
    /// `set`: this value where true, else 0.
    Value { d: Slot, ones: u32 },
}

/// Pure operations on a warp's files.
#[derive(Clone, Debug)]
pub(super) enum Alu {
    Move32 {
        d: Slot,
        a: Slot,
    },
    Move64 {
        d: Slot,
        a: Slot,
    },
    MovePredicate {
        d: Slot,
        a: Predicate,
    },
    Split64 {
        low: Slot,
        high: Slot,
        a: Slot,
    },
    Join64 {
        d: Slot,
        low: Slot,
        high: Slot,
    },
    /// 2 × 16 bits of 32, or 4 × 16 of 64 (then `a` is wide), or 4 × 8 of 32.
    Split {
        parts: Box<[Slot]>,
        bits: u32,
        a: Slot,
        wide: bool,
    },
    Join {
        d: Slot,
        parts: Box<[Slot]>,
        bits: u32,
        wide: bool,
    },
    Integer {
        op: Integer,
        width: Width,
        d: Slot,
        a: Slot,
        b: Slot,
    },
    IntegerUnary {
        op: IntegerUnary,
        width: Width,
        d: Slot,
        a: Slot,
    },
    Count {
        op: Count,
        width: Width,
        d: Slot,
        a: Slot,
    },
    Shift {
        op: Shift,
        width: Width,
        d: Slot,
        a: Slot,
        amount: Slot,
    },
    /// The product in twice the width, plus `c` if there is one.
    MulWide {
        signed: bool,
        width: Width,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    /// The product's low or high half, plus `c`; `saturate` clamps the sum to s32.
    Mad {
        op: Integer,
        saturate: bool,
        width: Width,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    Sad {
        signed: bool,
        width: Width,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    Extract {
        signed: bool,
        width: Width,
        d: Slot,
        a: Slot,
        start: Slot,
        length: Slot,
    },
    Insert {
        width: Width,
        d: Slot,
        a: Slot,
        b: Slot,
        start: Slot,
        length: Slot,
    },
    Lop3 {
        table: u8,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    Funnel {
        left: bool,
        wrap: bool,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    Permute {
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    Carry {
        subtract: bool,
        carry_in: bool,
        carry_out: bool,
        width: Width,
        d: Slot,
        a: Slot,
        b: Slot,
    },
    Compare {
        what: Compared,
        a: Slot,
        b: Slot,
        outcome: Outcome,
    },
    Select {
        wide: bool,
        d: Slot,
        a: Slot,
        b: Slot,
        p: Predicate,
    },
    /// `and`, `or`, `xor` of predicates.
    Logic {
        op: Combine,
        d: Slot,
        a: Predicate,
        b: Predicate,
    },
    /// An integer of `from` bits to one of `to` bits, then to the register's `into` bits.
    Resize {
        from: u32,
        signed: bool,
        to: u32,
        to_signed: bool,
        into: u32,
        d: Slot,
        a: Slot,
        from_wide: bool,
    },
    Convert {
        conversion: Box<Conversion>,
        into: u32,
        d: Slot,
        a: Slot,
        from_wide: bool,
        to_wide: bool,
    },
    ConvertPair {
        to: Type,
        rounding: Rounding,
        relu: bool,
        d: Slot,
        high: Slot,
        low: Slot,
    },
    Quick {
        op: Quick,
        d: Slot,
        a: Slot,
        b: Slot,
    },
    QuickFma {
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    FloatUnary {
        op: Unary,
        ty: Type,
        rounding: Rounding,
        flush: bool,
        d: Slot,
        a: Slot,
    },
    FloatBinary {
        op: Binary,
        ty: Type,
        rounding: Rounding,
        flush: bool,
        saturate: bool,
        d: Slot,
        a: Slot,
        b: Slot,
    },
    FloatFma {
        ty: Type,
        rounding: Rounding,
        flush: bool,
        saturate: bool,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    /// Adds the space's window to an address: `cvta`.
    ToGeneric {
        window: u64,
        d: Slot,
        a: Slot,
    },
    ActiveMask {
        d: Slot,
    },
}

/// `[base + offset]`; the base is wide or narrow (shared and local addresses often are 32 bits).
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub base: Slot,
    pub wide: bool,
    pub offset: i64,
}

/// Registers that a memory instruction fills or empties.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vector {
    /// [`NONE`] for elements that are dropped.
    pub slots: [Slot; 4],
    pub count: u8,
    /// Bytes of an element: 1, 2, 4 or 8.
    pub size: u8,
    /// Whether the registers are of 64 bits.
    pub wide: bool,
    /// Loads: bits of the registers that sign extension fills; 0 extends with zeros.
    pub extend: u8,
}

impl Vector {
    /// Bytes a lane.
    pub(super) fn bytes(&self) -> u32 {
        u32::from(self.count) * u32::from(self.size)
    }
}

/// `mma.sync`, operands as narrow slots.
#[derive(Clone, Debug)]
pub(super) struct Mma {
    pub shape: [u32; 3],
    pub types: [Matrix; 4],
    pub d: Box<[Slot]>,
    pub a: Box<[Slot]>,
    pub b: Box<[Slot]>,
    pub c: Box<[Slot]>,
}

/// `bar`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Barrier {
    pub kind: BarrierKind,
    pub aligned: bool,
    pub barrier: Slot,
    pub threads: Slot,
    pub d: Slot,
    pub p: Predicate,
}

/// Read-modify-write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rmw {
    pub op: Atomic,
    pub space: Space,
    pub semantics: Semantics,
    pub scope: Scope,
    pub ty: Type,
    pub wide: bool,
    pub d: Slot,
    pub address: Address,
    pub b: Slot,
    pub c: Slot,
}

/// What an instruction does.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Alu(Alu),
    Load {
        space: Space,
        semantics: Semantics,
        scope: Scope,
        address: Address,
        vector: Vector,
    },
    Store {
        space: Space,
        semantics: Semantics,
        scope: Scope,
        address: Address,
        vector: Vector,
    },
    Atomic(Box<Rmw>),
    Prefetch,
    Fence {
        scope: Scope,
    },
    /// `cvta.to`: checks that the address lies in the window.
    FromGeneric {
        space: Space,
        d: Slot,
        a: Slot,
    },
    Branch {
        uniform: bool,
        target: u32,
    },
    BranchIndexed {
        uniform: bool,
        index: Slot,
        targets: Box<[u32]>,
    },
    Exit,
    Trap,
    Nothing,
    Barrier(Box<Barrier>),
    WarpBarrier {
        mask: Slot,
    },
    Shuffle {
        mode: Shuffle,
        d: Slot,
        p: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
        mask: Slot,
    },
    Vote {
        mode: Vote,
        d: Slot,
        p: Predicate,
        mask: Slot,
    },
    Match {
        all: bool,
        wide: bool,
        d: Slot,
        p: Slot,
        a: Slot,
        mask: Slot,
    },
    Redux {
        op: Redux,
        signed: bool,
        d: Slot,
        a: Slot,
        mask: Slot,
    },
    Elect {
        d: Slot,
        p: Slot,
        mask: Slot,
    },
    CopyAsync {
        bytes: u32,
        to: Address,
        from: Address,
        source_bytes: Slot,
        ignore: Option<Predicate>,
    },
    CopyCommit,
    CopyWait {
        pending: Option<u32>,
    },
    LoadMatrix {
        transpose: bool,
        count: u8,
        d: [Slot; 4],
        address: Address,
    },
    StoreMatrix {
        transpose: bool,
        count: u8,
        a: [Slot; 4],
        address: Address,
    },
    MoveMatrix {
        d: Slot,
        a: Slot,
    },
    Mma(Box<Mma>),
    /// `mov` from `%clock`, `%clock64` or `%globaltimer`: instructions the block has executed.
    Clock {
        d: Slot,
        wide: bool,
    },
}

/// One instruction.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub op: Op,
    pub guard: Predicate,
    /// Whether a branch leads here, or one stands before: lanes may meet.
    pub leader: bool,
    /// Place in an order of all instructions in which a loop's body precedes what follows the loop: diverged lanes run
    /// lowest first, and so meet again where their paths join.
    pub rank: u32,
}

/// One kernel.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub name: String,
    pub lines: Vec<Line>,
    /// Where each line stands in the text and the CUDA source.
    pub places: Vec<(Span, Option<Source>)>,
    pub narrow_constants: Vec<Lanes<u32>>,
    pub wide_constants: Vec<Lanes<u64>>,
    pub narrow_slots: usize,
    pub wide_slots: usize,
    /// The last one is always true.
    pub predicate_slots: usize,
    /// Special registers that are constant for a thread, and their narrow slots.
    pub specials: Vec<(Special, Slot)>,
    /// End of the static variables in shared memory, the reserved bytes included.
    pub shared_static: u32,
    /// Where `.extern .shared` variables begin.
    pub shared_dynamic: u32,
    /// Names of shared variables, for messages: (name, offset, bytes; `None` up to the end).
    pub shared_variables: Vec<(String, u32, Option<u32>)>,
    /// End of a thread's local variables.
    pub local_bytes: u32,
    pub param_bytes: u32,
    /// Whether blocks can see what others write while they run: atomics, `volatile` and ordered accesses to global
    /// memory, and fences of more than a block.
    pub communicates: bool,
    pub max_threads: Option<[u32; 3]>,
    pub required_threads: Option<[u32; 3]>,
}

impl Program {
    /// End of a block's shared memory with so many dynamic bytes.
    pub(super) fn shared_end(&self, dynamic: u32) -> u32 {
        if dynamic == 0 { self.shared_static } else { self.shared_dynamic.saturating_add(dynamic) }
    }

    /// Whether threads have local variables.
    pub(super) fn uses_local(&self) -> bool {
        self.local_bytes > super::memory::LOCAL_RESERVED
    }
}

impl Op {
    /// The member mask of a `.sync` instruction that has one.
    pub(super) fn member_mask(&self) -> Option<Slot> {
        match self {
            Op::WarpBarrier { mask }
            | Op::Shuffle { mask, .. }
            | Op::Vote { mask, .. }
            | Op::Match { mask, .. }
            | Op::Redux { mask, .. }
            | Op::Elect { mask, .. } => Some(*mask),
            _ => None,
        }
    }
}
