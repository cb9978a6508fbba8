//! How a fault is planted: instructions are found by what they do, never by a register's number, so that a kernel that is
//! compiled anew still has them.

use crate::device::Device;
use octo_kernels::Launch;
use octo_ops::View;
use octo_ptx::sim::Fault;
use octo_ptx::{Binary, Compare, Guard, Instruction, Kernel, Operand, Operation, Register, Type};

/// A fault and what is reported of it.
pub struct Planted {
    pub name: &'static str,
    /// Puts operands on the device: the launch and its main result.
    pub on: fn(&mut Device) -> (Launch, View),
    pub plant: fn(&mut Kernel),
    /// How the instruction begins that the report is about.
    pub at: &'static str,
    /// Whether this is what it is.
    pub is: fn(&Fault) -> bool,
    /// What it may look like in other orders of the warps: reading before anyone has written is reading nothing.
    pub or: fn(&Fault) -> bool,
}

pub const NOTHING_ELSE: fn(&Fault) -> bool = |_| false;
pub const READ_TOO_EARLY: fn(&Fault) -> bool =
    |fault| matches!(fault, Fault::Uninitialized { space: "shared", .. });

/// Orders of warps and blocks tried for each fault.
const SEEDS: u64 = 6;

/// Every fault shows under every seed, as itself under one at least; without it there is none.
pub fn all_are_reported(faults: &[Planted]) {
    for fault in faults {
        let mut as_itself = 0;
        for seed in 0..SEEDS {
            let mut clean = Device::new(seed);
            let (launch, _) = (fault.on)(&mut clean);
            clean.launch(&launch).unwrap_or_else(|found| panic!("{}, unplanted: {found}", fault.name));
            let mut device = Device::with(seed, fault.plant);
            let (launch, _) = (fault.on)(&mut device);
            let Err(found) = device.launch(&launch) else { panic!("{}: seed {seed}: no fault", fault.name) };
            let text = found.to_string();
            assert!((fault.is)(&found) || (fault.or)(&found), "{}: seed {seed}: {text}", fault.name);
            if (fault.is)(&found) {
                as_itself += 1;
                assert!(text.contains(&format!("`{}", fault.at)), "{}: seed {seed}: {text}", fault.name);
                assert!(text.contains(&launch.entry), "{}: {text}", fault.name);
            }
        }
        assert!(as_itself > 0, "{}: under no seed as itself", fault.name);
    }
}

/// Index of the n-th instruction from `from` on that is so.
pub fn find(kernel: &Kernel, from: usize, n: usize, so: impl Fn(&Operation) -> bool) -> usize {
    let mut found = kernel.body.iter().enumerate().skip(from).filter(|(_, line)| so(&line.operation));
    found.nth(n).unwrap_or_else(|| panic!("{} has no such instruction", kernel.name)).0
}

/// Takes out the n-th instruction that is so; branches keep their targets.
pub fn remove(kernel: &mut Kernel, n: usize, so: impl Fn(&Operation) -> bool) {
    let at = find(kernel, 0, n, so);
    kernel.body[at].operation = Operation::Nothing;
}

/// Changes the n-th comparison of that kind, which includes its bound from now on: ≥ becomes >, < becomes ≤.
pub fn one_more(kernel: &mut Kernel, from: usize, n: usize, of: Compare) {
    let at = find(
        kernel,
        from,
        n,
        |line| matches!(line, Operation::SetPredicate { compare, .. } if *compare == of),
    );
    let Operation::SetPredicate { compare, .. } = &mut kernel.body[at].operation else { unreachable!() };
    *compare = match of {
        Compare::Ge => Compare::Gt,
        Compare::Lt => Compare::Le,
        _ => panic!("{of:?} has no bound to include"),
    };
}

/// Changes the second operand of the n-th operation of a kind with that constant.
pub fn constant(kernel: &mut Kernel, n: usize, of: Binary, from: u64, to: u64) {
    let at = find(
        kernel,
        0,
        n,
        |line| matches!(line, Operation::Arithmetic { op, b: Operand::Immediate(bits), .. } if *op == of && *bits == from),
    );
    let Operation::Arithmetic { b, .. } = &mut kernel.body[at].operation else { unreachable!() };
    *b = Operand::Immediate(to);
}

/// Guards an instruction.
pub fn guard(kernel: &mut Kernel, at: usize, register: Register, negated: bool) {
    kernel.body[at].guard = Some(Guard { register, negated });
}

/// The 64-bit product at `at` made from the lower halves of its factors, in 32 bits.
pub fn wrap_product(kernel: &mut Kernel, at: usize) {
    let Operation::Arithmetic { d, a, b, .. } = kernel.body[at].operation else { panic!("no product") };
    let halves: [Register; 3] = std::array::from_fn(|_| {
        kernel.registers.push(Type::B32);
        kernel.register_names.push(String::from("%half"));
        Register(kernel.registers.len() as u32 - 1)
    });
    let convert = |to, from, d, a| Operation::Convert {
        to,
        from,
        rounding: None,
        integer: None,
        flush: false,
        saturate: false,
        relu: false,
        d,
        a,
    };
    let product = Operation::Arithmetic {
        op: Binary::MulLo,
        ty: Type::U32,
        rounding: octo_ptx::Rounding::Nearest,
        flush: false,
        saturate: false,
        contractible: false,
        d: halves[2],
        a: Operand::Register(halves[0]),
        b: Operand::Register(halves[1]),
    };
    let line = kernel.body[at].clone();
    let lines = [
        convert(Type::U32, Type::U64, halves[0], a),
        convert(Type::U32, Type::U64, halves[1], b),
        product,
        convert(Type::U64, Type::U32, d, Operand::Register(halves[2])),
    ];
    let more = lines.len() as u32 - 1;
    kernel.body.splice(at..=at, lines.map(|operation| Instruction { operation, ..line.clone() }));
    for line in &mut kernel.body {
        match &mut line.operation {
            Operation::Branch { target, .. } if *target > at as u32 => *target += more,
            Operation::BranchIndexed { .. } => panic!("tables of branches are not moved"),
            _ => {}
        }
    }
}

pub fn is_barrier(operation: &Operation) -> bool {
    matches!(operation, Operation::Barrier { .. })
}

pub fn is_wait(operation: &Operation) -> bool {
    matches!(operation, Operation::CopyWait { .. })
}

pub fn is_copy(operation: &Operation) -> bool {
    matches!(operation, Operation::CopyAsync { .. })
}

pub fn is_store(operation: &Operation) -> bool {
    matches!(operation, Operation::Store { .. })
}

pub fn is_load_matrix(operation: &Operation) -> bool {
    matches!(operation, Operation::LoadMatrix { .. })
}

/// A 64-bit product of two registers: an index times a stride.
pub fn is_row_offset(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Arithmetic {
            op: Binary::MulLo,
            ty: Type::S64 | Type::U64,
            a: Operand::Register(_),
            b: Operand::Register(_),
            ..
        }
    )
}
