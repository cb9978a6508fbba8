//! Instructions with their modifiers and operands, in the order of PTX ISA 8.4, section 9.7.

use super::{Listing, space_name};
use crate::{
    Address, Atomic, BarrierKind, BarrierReduction, Binary, Combine, Compare, Matrix, Operand, Operation,
    Redux, Register, Rounding, Scope, Semantics, Shuffle, Space, Symbol, Ternary, Type, Unary, Vote,
};

/// The modifier, or nothing.
fn when(condition: bool, modifier: &'static str) -> &'static str {
    if condition { modifier } else { "" }
}

fn rounding_name(rounding: Rounding) -> &'static str {
    match rounding {
        Rounding::Nearest => ".rn",
        Rounding::Zero => ".rz",
        Rounding::Down => ".rm",
        Rounding::Up => ".rp",
        Rounding::NearestAway => ".rna",
    }
}

fn semantics_name(semantics: Semantics) -> &'static str {
    match semantics {
        Semantics::Weak => "",
        Semantics::Volatile => ".volatile",
        Semantics::Relaxed => ".relaxed",
        Semantics::Acquire => ".acquire",
        Semantics::Release => ".release",
        Semantics::AcquireRelease => ".acq_rel",
        Semantics::SequentiallyConsistent => ".sc",
    }
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Block => ".cta",
        Scope::Cluster => ".cluster",
        Scope::Gpu => ".gpu",
        Scope::System => ".sys",
    }
}

/// Semantics, scope and space of a load or store.
fn access(semantics: Semantics, scope: Scope, space: Space) -> String {
    let scope = when(!matches!(semantics, Semantics::Weak | Semantics::Volatile), scope_name(scope));
    format!("{}{scope}{}", semantics_name(semantics), space_name(space).unwrap_or_default())
}

/// `.v2`, `.v4` or nothing.
fn vector_name(length: usize) -> &'static str {
    match length {
        2 => ".v2",
        4 => ".v4",
        _ => "",
    }
}

fn unary_name(op: Unary) -> &'static str {
    match op {
        Unary::Abs => "abs",
        Unary::Neg => "neg",
        Unary::Not => "not",
        Unary::Cnot => "cnot",
        Unary::Popc => "popc",
        Unary::Clz => "clz",
        Unary::Brev => "brev",
        Unary::Bfind { shift: false } => "bfind",
        Unary::Bfind { shift: true } => "bfind.shiftamt",
        Unary::Rcp { approximate: false } => "rcp",
        Unary::Rcp { approximate: true } => "rcp.approx",
        Unary::Sqrt { approximate: false } => "sqrt",
        Unary::Sqrt { approximate: true } => "sqrt.approx",
        Unary::Rsqrt => "rsqrt.approx",
        Unary::Ex2 => "ex2.approx",
        Unary::Lg2 => "lg2.approx",
        Unary::Sin => "sin.approx",
        Unary::Cos => "cos.approx",
        Unary::Tanh => "tanh.approx",
    }
}

fn binary_name(op: Binary) -> &'static str {
    match op {
        Binary::Add => "add",
        Binary::Sub => "sub",
        Binary::Mul => "mul",
        Binary::MulLo => "mul.lo",
        Binary::MulHi => "mul.hi",
        Binary::MulWide => "mul.wide",
        Binary::Div => "div",
        Binary::DivApprox => "div.approx",
        Binary::DivFull => "div.full",
        Binary::Rem => "rem",
        Binary::Min { .. } => "min",
        Binary::Max { .. } => "max",
        Binary::And => "and",
        Binary::Or => "or",
        Binary::Xor => "xor",
        Binary::Shl => "shl",
        Binary::Shr => "shr",
        Binary::CopySign => "copysign",
    }
}

fn ternary_name(op: Ternary) -> &'static str {
    match op {
        Ternary::Fma => "fma",
        Ternary::MadLo => "mad.lo",
        Ternary::MadHi => "mad.hi",
        Ternary::MadWide => "mad.wide",
        Ternary::Sad => "sad",
        Ternary::Bfe => "bfe",
        Ternary::Lop3(_) => "lop3",
        Ternary::Shf { left: true, wrap: true } => "shf.l.wrap",
        Ternary::Shf { left: true, wrap: false } => "shf.l.clamp",
        Ternary::Shf { left: false, wrap: true } => "shf.r.wrap",
        Ternary::Shf { left: false, wrap: false } => "shf.r.clamp",
        Ternary::Prmt => "prmt",
    }
}

fn compare_name(compare: Compare) -> &'static str {
    match compare {
        Compare::Eq => "eq",
        Compare::Ne => "ne",
        Compare::Lt => "lt",
        Compare::Le => "le",
        Compare::Gt => "gt",
        Compare::Ge => "ge",
        Compare::Equ => "equ",
        Compare::Neu => "neu",
        Compare::Ltu => "ltu",
        Compare::Leu => "leu",
        Compare::Gtu => "gtu",
        Compare::Geu => "geu",
        Compare::Num => "num",
        Compare::Nan => "nan",
    }
}

fn atomic_name(op: Atomic) -> &'static str {
    match op {
        Atomic::And => "and",
        Atomic::Or => "or",
        Atomic::Xor => "xor",
        Atomic::Cas => "cas",
        Atomic::Exch => "exch",
        Atomic::Add => "add",
        Atomic::Inc => "inc",
        Atomic::Dec => "dec",
        Atomic::Min => "min",
        Atomic::Max => "max",
    }
}

fn matrix_name(element: Matrix) -> &'static str {
    match element {
        Matrix::F16 => ".f16",
        Matrix::Bf16 => ".bf16",
        Matrix::Tf32 => ".tf32",
        Matrix::F32 => ".f32",
        Matrix::S8 => ".s8",
        Matrix::S32 => ".s32",
    }
}

impl Listing<'_> {
    pub(super) fn register(&self, register: Register) -> &str {
        self.kernel.register_names.get(register.0 as usize).map_or("_", String::as_str)
    }

    fn sink(&self, register: Option<Register>) -> &str {
        register.map_or("_", |register| self.register(register))
    }

    /// `d` or `d|p`.
    fn pair(&self, d: Option<Register>, p: Option<Register>) -> String {
        match p {
            Some(p) => format!("{}|{}", self.sink(d), self.register(p)),
            None => self.sink(d).to_owned(),
        }
    }

    fn symbol(&self, symbol: Symbol) -> &str {
        match symbol {
            Symbol::Module(at) => &self.module.variables[at as usize].name,
            Symbol::Kernel(at) => &self.kernel.variables[at as usize].name,
            Symbol::Param(at) => &self.kernel.params[at as usize].name,
        }
    }

    /// An operand of the type: floats as their bits, integers signed.
    fn operand(&self, operand: Operand, ty: Type) -> String {
        match operand {
            Operand::Register(register) => self.register(register).to_owned(),
            Operand::Immediate(bits) => match ty {
                Type::F32 => format!("0f{:08X}", bits as u32),
                Type::F64 => format!("0d{bits:016X}"),
                _ => (bits as i64).to_string(),
            },
            Operand::Special(special) => special.to_string(),
            Operand::Address(symbol, 0) => self.symbol(symbol).to_owned(),
            Operand::Address(symbol, offset) => format!("{}+{offset}", self.symbol(symbol)),
        }
    }

    fn predicate(&self, operand: Operand, negated: bool) -> String {
        format!("{}{}", when(negated, "!"), self.operand(operand, Type::Pred))
    }

    fn address(&self, address: Address) -> String {
        let base = self.operand(address.base, Type::U64);
        match address.offset {
            0 => format!("[{base}]"),
            offset => format!("[{base}+{offset}]"),
        }
    }

    /// In braces, unless there is one alone and braces may be left out.
    fn written(&self, registers: &[Option<Register>]) -> String {
        match registers {
            [one] => self.sink(*one).to_owned(),
            _ => format!("{{{}}}", registers.iter().map(|d| self.sink(*d)).collect::<Vec<_>>().join(", ")),
        }
    }

    fn read(&self, operands: &[Operand], ty: Type) -> String {
        match operands {
            [one] => self.operand(*one, ty),
            _ => self.braced(operands, ty),
        }
    }

    fn braced(&self, operands: &[Operand], ty: Type) -> String {
        let operands: Vec<_> = operands.iter().map(|operand| self.operand(*operand, ty)).collect();
        format!("{{{}}}", operands.join(", "))
    }

    fn braced_registers(&self, registers: &[Register]) -> String {
        let names: Vec<_> = registers.iter().map(|register| self.register(*register)).collect();
        format!("{{{}}}", names.join(", "))
    }

    /// The operation without guard and semicolon; `table` is the name of an indexed branch's targets.
    pub(super) fn operation(&self, operation: &Operation, table: &str) -> String {
        match operation {
            Operation::Move { .. }
            | Operation::Unary { .. }
            | Operation::Arithmetic { .. }
            | Operation::Ternary { .. }
            | Operation::Bfi { .. }
            | Operation::Carry { .. }
            | Operation::SetPredicate { .. }
            | Operation::Set { .. }
            | Operation::Select { .. }
            | Operation::Convert { .. }
            | Operation::ConvertPair { .. }
            | Operation::ConvertAddress { .. } => self.computation(operation),
            Operation::Load { .. }
            | Operation::Store { .. }
            | Operation::Atomic { .. }
            | Operation::Prefetch { .. }
            | Operation::Fence { .. }
            | Operation::CopyAsync { .. }
            | Operation::CopyCommit
            | Operation::CopyWait { .. } => self.memory(operation),
            Operation::LoadMatrix { .. }
            | Operation::StoreMatrix { .. }
            | Operation::MoveMatrix { .. }
            | Operation::Mma { .. } => self.tensor(operation),
            Operation::Branch { .. }
            | Operation::BranchIndexed { .. }
            | Operation::Exit
            | Operation::Trap
            | Operation::Nothing
            | Operation::Barrier { .. }
            | Operation::WarpBarrier { .. }
            | Operation::Shuffle { .. }
            | Operation::Vote { .. }
            | Operation::Match { .. }
            | Operation::Redux { .. }
            | Operation::ActiveMask { .. }
            | Operation::Elect { .. } => self.control(operation, table),
        }
    }

    /// What works on registers alone.
    fn computation(&self, operation: &Operation) -> String {
        let of = |operand: &Operand, ty| self.operand(*operand, ty);
        match operation {
            Operation::Move { ty, d, a } => {
                // The parts of a value are printed as bits; only a single operand may be a float's.
                let part = if a.len() > 1 { Type::B64 } else { *ty };
                format!("mov.{} {}, {}", ty.name(), self.written(d), self.read(a, part))
            }
            Operation::Unary { op, ty, rounding, flush, d, a } => {
                let exact =
                    matches!(op, Unary::Rcp { approximate: false } | Unary::Sqrt { approximate: false });
                let (name, rounding, flush) =
                    (unary_name(*op), when(exact, rounding_name(*rounding)), when(*flush, ".ftz"));
                format!("{name}{rounding}{flush}.{} {}, {}", ty.name(), self.register(*d), of(a, *ty))
            }
            Operation::Arithmetic { op, ty, rounding, flush, saturate, contractible, d, a, b } => {
                let rounds = ty.float()
                    && !contractible
                    && matches!(op, Binary::Add | Binary::Sub | Binary::Mul | Binary::Div);
                let nan = matches!(op, Binary::Min { nan: true } | Binary::Max { nan: true });
                let second = if matches!(op, Binary::Shl | Binary::Shr) { Type::U32 } else { *ty };
                format!(
                    "{}{}{}{}{}.{} {}, {}, {}",
                    binary_name(*op),
                    when(rounds, rounding_name(*rounding)),
                    when(*flush, ".ftz"),
                    when(nan, ".NaN"),
                    when(*saturate, ".sat"),
                    ty.name(),
                    self.register(*d),
                    of(a, *ty),
                    of(b, second)
                )
            }
            Operation::Ternary { op, ty, rounding, flush, saturate, d, a, b, c } => {
                let table = match op {
                    Ternary::Lop3(table) => format!(", {table}"),
                    _ => String::new(),
                };
                format!(
                    "{}{}{}{}.{} {}, {}, {}, {}{table}",
                    ternary_name(*op),
                    when(*op == Ternary::Fma, rounding_name(*rounding)),
                    when(*flush, ".ftz"),
                    when(*saturate, ".sat"),
                    ty.name(),
                    self.register(*d),
                    of(a, *ty),
                    of(b, *ty),
                    of(c, *ty)
                )
            }
            Operation::Bfi { ty, d, a, b, start, length } => {
                let (a, b) = (of(a, *ty), of(b, *ty));
                let (start, length) = (of(start, Type::U32), of(length, Type::U32));
                format!("bfi.{} {}, {a}, {b}, {start}, {length}", ty.name(), self.register(*d))
            }
            Operation::Carry { subtract, ty, carry_in, carry_out, d, a, b } => {
                let name = if *subtract { "sub" } else { "add" };
                let (carry, out) = (when(*carry_in, "c"), when(*carry_out, ".cc"));
                format!(
                    "{name}{carry}{out}.{} {}, {}, {}",
                    ty.name(),
                    self.register(*d),
                    of(a, *ty),
                    of(b, *ty)
                )
            }
            Operation::SetPredicate { compare, ty, flush, combine, p, q, a, b } => {
                let (mut name, mut last) = (String::new(), String::new());
                if let Some((combine, c, negated)) = combine {
                    name = match combine {
                        Combine::And => ".and",
                        Combine::Or => ".or",
                        Combine::Xor => ".xor",
                    }
                    .to_owned();
                    last = format!(", {}", self.predicate(*c, *negated));
                }
                let (compare, flush, ty_name) = (compare_name(*compare), when(*flush, ".ftz"), ty.name());
                let d = self.pair(Some(*p), *q);
                format!("setp.{compare}{name}{flush}.{ty_name} {d}, {}, {}{last}", of(a, *ty), of(b, *ty))
            }
            Operation::Set { compare, to, ty, flush, d, a, b } => {
                let (compare, flush) = (compare_name(*compare), when(*flush, ".ftz"));
                let d = self.register(*d);
                format!(
                    "set.{compare}{flush}.{}.{} {d}, {}, {}",
                    to.name(),
                    ty.name(),
                    of(a, *ty),
                    of(b, *ty)
                )
            }
            Operation::Select { ty, d, a, b, p } => {
                let (d, p) = (self.register(*d), of(p, Type::Pred));
                format!("selp.{} {d}, {}, {}, {p}", ty.name(), of(a, *ty), of(b, *ty))
            }
            Operation::Convert { to, from, rounding, integer, flush, saturate, relu, d, a } => {
                let rounding = match (integer, rounding) {
                    (Some(integer), _) => format!("{}i", rounding_name(*integer)),
                    (None, Some(rounding)) => rounding_name(*rounding).to_owned(),
                    (None, None) => String::new(),
                };
                let (relu, flush, saturate) =
                    (when(*relu, ".relu"), when(*flush, ".ftz"), when(*saturate, ".sat"));
                let (d, a) = (self.register(*d), of(a, *from));
                format!("cvt{rounding}{relu}{flush}{saturate}.{}.{} {d}, {a}", to.name(), from.name())
            }
            Operation::ConvertPair { to, rounding, relu, d, high, low } => {
                let (rounding, relu, d) = (rounding_name(*rounding), when(*relu, ".relu"), self.register(*d));
                let (high, low) = (of(high, Type::F32), of(low, Type::F32));
                format!("cvt{rounding}{relu}.{}.f32 {d}, {high}, {low}", to.name())
            }
            Operation::ConvertAddress { to_generic, space, ty, d, a } => {
                let (to, space) = (when(!to_generic, ".to"), space_name(*space).unwrap_or_default());
                format!("cvta{to}{space}.{} {}, {}", ty.name(), self.register(*d), of(a, *ty))
            }
            _ => String::new(),
        }
    }

    /// What touches memory.
    fn memory(&self, operation: &Operation) -> String {
        match operation {
            Operation::Load { space, semantics, scope, ty, d, address } => {
                let (access, vector) = (access(*semantics, *scope, *space), vector_name(d.len()));
                format!("ld{access}{vector}.{} {}, {}", ty.name(), self.written(d), self.address(*address))
            }
            Operation::Store { space, semantics, scope, ty, address, a } => {
                let (access, vector) = (access(*semantics, *scope, *space), vector_name(a.len()));
                format!("st{access}{vector}.{} {}, {}", ty.name(), self.address(*address), self.read(a, *ty))
            }
            Operation::Atomic { op, space, semantics, scope, ty, d, address, b, c } => {
                let reduces = d.is_none()
                    && !matches!(op, Atomic::Cas | Atomic::Exch)
                    && matches!(semantics, Semantics::Relaxed | Semantics::Release);
                let (name, d) =
                    if reduces { ("red", String::new()) } else { ("atom", format!("{}, ", self.sink(*d))) };
                let half = *op == Atomic::Add && ty.float() && !matches!(ty, Type::F32 | Type::F64);
                let c = c.map(|c| format!(", {}", self.operand(c, *ty))).unwrap_or_default();
                format!(
                    "{name}{}{}{}.{}{}.{} {d}{}, {}{c}",
                    semantics_name(*semantics),
                    scope_name(*scope),
                    space_name(*space).unwrap_or_default(),
                    atomic_name(*op),
                    when(half, ".noftz"),
                    ty.name(),
                    self.address(*address),
                    self.operand(*b, *ty)
                )
            }
            Operation::Prefetch { space, address } => {
                format!("prefetch{}.L2 {}", space_name(*space).unwrap_or_default(), self.address(*address))
            }
            Operation::Fence { semantics, scope } => {
                format!("fence{}{}", semantics_name(*semantics), scope_name(*scope))
            }
            Operation::CopyAsync { bytes, to, from, source_bytes, ignore } => {
                let kind = if *bytes == 16 { "cg" } else { "ca" };
                let source = source_bytes.map(|bytes| format!(", {}", self.operand(bytes, Type::U32)));
                let ignore = ignore.map(|ignore| format!(", {}", self.operand(ignore, Type::Pred)));
                let last = source.or(ignore).unwrap_or_default();
                let (to, from) = (self.address(*to), self.address(*from));
                format!("cp.async.{kind}.shared.global {to}, {from}, {bytes}{last}")
            }
            Operation::CopyCommit => "cp.async.commit_group".to_owned(),
            Operation::CopyWait { pending: Some(pending) } => format!("cp.async.wait_group {pending}"),
            Operation::CopyWait { pending: None } => "cp.async.wait_all".to_owned(),
            _ => String::new(),
        }
    }

    /// Matrices held by a warp.
    fn tensor(&self, operation: &Operation) -> String {
        match operation {
            Operation::LoadMatrix { transpose, d, address } => {
                let (count, transpose) = (d.len(), when(*transpose, ".trans"));
                let (d, address) = (self.braced_registers(d), self.address(*address));
                format!("ldmatrix.sync.aligned.m8n8.x{count}{transpose}.shared.b16 {d}, {address}")
            }
            Operation::StoreMatrix { transpose, address, a } => {
                let (count, transpose) = (a.len(), when(*transpose, ".trans"));
                let (address, a) = (self.address(*address), self.braced(a, Type::B32));
                format!("stmatrix.sync.aligned.m8n8.x{count}{transpose}.shared.b16 {address}, {a}")
            }
            Operation::MoveMatrix { d, a } => {
                let (d, a) = (self.register(*d), self.operand(*a, Type::B32));
                format!("movmatrix.sync.aligned.m8n8.trans.b16 {d}, {a}")
            }
            Operation::Mma { shape: [m, n, k], types, d, a, b, c } => {
                let types: String = types.iter().map(|element| matrix_name(*element)).collect();
                let last = if types.ends_with("f32") { Type::F32 } else { Type::B32 };
                format!(
                    "mma.sync.aligned.m{m}n{n}k{k}.row.col{types} {}, {}, {}, {}",
                    self.braced_registers(d),
                    self.braced(a, Type::B32),
                    self.braced(b, Type::B32),
                    self.braced(c, last)
                )
            }
            _ => String::new(),
        }
    }

    /// Branches, barriers, and what the lanes of a warp do together.
    fn control(&self, operation: &Operation, table: &str) -> String {
        let mask = |mask: &Operand| self.operand(*mask, Type::B32);
        match operation {
            Operation::Branch { uniform, target } => {
                format!("bra{} {}", when(*uniform, ".uni"), self.label(*target))
            }
            Operation::BranchIndexed { uniform, index, .. } => {
                format!("brx.idx{} {}, {table}", when(*uniform, ".uni"), self.operand(*index, Type::U32))
            }
            Operation::Exit => "ret".to_owned(),
            Operation::Trap => "trap".to_owned(),
            Operation::Nothing => "nanosleep.u32 0".to_owned(),
            Operation::Barrier { kind, aligned, barrier, threads, d, p } => {
                let name = if *aligned { "bar" } else { "barrier" };
                let kind = match kind {
                    BarrierKind::Sync => "sync",
                    BarrierKind::Arrive => "arrive",
                    BarrierKind::Reduce(BarrierReduction::Popc) => "red.popc.u32",
                    BarrierKind::Reduce(BarrierReduction::And) => "red.and.pred",
                    BarrierKind::Reduce(BarrierReduction::Or) => "red.or.pred",
                };
                let d = d.map(|d| format!("{}, ", self.register(d))).unwrap_or_default();
                let threads = threads.map(|threads| format!(", {}", mask(&threads))).unwrap_or_default();
                let p = p.map(|(p, negated)| format!(", {}", self.predicate(p, negated))).unwrap_or_default();
                format!("{name}.{kind} {d}{}{threads}{p}", mask(barrier))
            }
            Operation::WarpBarrier { mask: lanes } => format!("bar.warp.sync {}", mask(lanes)),
            Operation::Shuffle { mode, d, p, a, b, c, mask: lanes } => {
                let mode = match mode {
                    Shuffle::Up => "up",
                    Shuffle::Down => "down",
                    Shuffle::Bfly => "bfly",
                    Shuffle::Idx => "idx",
                };
                let d = self.pair(Some(*d), *p);
                format!("shfl.sync.{mode}.b32 {d}, {}, {}, {}, {}", mask(a), mask(b), mask(c), mask(lanes))
            }
            Operation::Vote { mode, d, p, negated, mask: lanes } => {
                let mode = match mode {
                    Vote::All => "all.pred",
                    Vote::Any => "any.pred",
                    Vote::Uni => "uni.pred",
                    Vote::Ballot => "ballot.b32",
                };
                let (d, p) = (self.register(*d), self.predicate(*p, *negated));
                format!("vote.sync.{mode} {d}, {p}, {}", mask(lanes))
            }
            Operation::Match { all, ty, d, p, a, mask: lanes } => {
                let (mode, d) = (if *all { "all" } else { "any" }, self.pair(Some(*d), *p));
                format!("match.{mode}.sync.{} {d}, {}, {}", ty.name(), self.operand(*a, *ty), mask(lanes))
            }
            Operation::Redux { op, ty, d, a, mask: lanes } => {
                let op = match op {
                    Redux::Add => "add",
                    Redux::Min => "min",
                    Redux::Max => "max",
                    Redux::And => "and",
                    Redux::Or => "or",
                    Redux::Xor => "xor",
                };
                format!("redux.sync.{op}.{} {}, {}, {}", ty.name(), self.register(*d), mask(a), mask(lanes))
            }
            Operation::ActiveMask { d } => format!("activemask.b32 {}", self.register(*d)),
            Operation::Elect { d, p, mask: lanes } => {
                format!("elect.sync {}, {}", self.pair(*d, Some(*p)), mask(lanes))
            }
            _ => String::new(),
        }
    }
}
