//! From typed instructions to a [`Program`]: registers to slots, constants to lanes, symbols to addresses.
//!
//! What the simulated GPU cannot execute is refused here, with the instruction's text, and not when it runs. Read
//! `operation.rs` for the instructions, `flow.rs` for branches.

mod arithmetic;
mod flow;
mod operand;
mod operation;

use super::fault::Fault;
use super::memory::{LOCAL_RESERVED, SHARED_RESERVED};
use super::program::{Line, Op, Predicate, Program};
use crate::{Instruction, Kernel, Module, Operation, Semantics, Space, Span, Symbol, Variable};
use flow::Next;
use operand::Files;

/// Where a module's variables lie.
pub(super) struct Symbols {
    /// Address of each module variable within its space; shared ones are laid out for each kernel and stand as 0.
    pub module: Vec<u64>,
}

/// Lowers one kernel.
pub(super) fn lower(module: &Module, kernel: &Kernel, symbols: &Symbols) -> Result<Program, Fault> {
    Lowering::new(module, kernel, symbols)?.run()
}

/// The text of a span on one line.
pub(super) fn text_of(module: &Module, span: Span) -> String {
    let text = module.text.get(span.start as usize..span.end as usize).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The number in `sm_80` or `sm_90a`; 0 where there is none.
pub(super) fn target_number(target: &str) -> u32 {
    let digits = target.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0)
}

struct Lowering<'a> {
    module: &'a Module,
    kernel: &'a Kernel,
    symbols: &'a Symbols,
    files: Files<'a>,
    /// Address of each kernel variable within its space.
    variables: Vec<u64>,
    /// Offset of each shared module variable, by index.
    shared_module: Vec<u64>,
    program: Program,
}

impl<'a> Lowering<'a> {
    fn new(module: &'a Module, kernel: &'a Kernel, symbols: &'a Symbols) -> Result<Self, Fault> {
        let program = Program {
            name: kernel.name.clone(),
            param_bytes: kernel.params.iter().map(|p| p.offset + p.bytes).max().unwrap_or(0),
            max_threads: kernel.max_threads,
            required_threads: kernel.required_threads,
            ..Program::default()
        };
        let files = Files::new(kernel);
        let mut this = Self {
            module,
            kernel,
            symbols,
            files,
            variables: Vec::new(),
            shared_module: Vec::new(),
            program,
        };
        this.lay_out()?;
        Ok(this)
    }

    /// Places shared and local variables: static shared ones first, then where the dynamic ones begin.
    fn lay_out(&mut self) -> Result<(), Fault> {
        let mut shared = u64::from(SHARED_RESERVED);
        let mut local = u64::from(LOCAL_RESERVED);
        let mut dynamic_align = 16;
        let mut names = Vec::new();
        let mut place = |variable: &Variable| -> Result<u64, String> {
            let next = match variable.space {
                Space::Shared => &mut shared,
                Space::Local => &mut local,
                Space::Global | Space::Const => {
                    return Err(String::from("a global variable inside a function"));
                }
                Space::Generic | Space::Param => return Err(String::from("a variable needs a memory space")),
            };
            let align = u64::from(variable.align.max(1));
            let Some(bytes) = variable.bytes else {
                dynamic_align = dynamic_align.max(align);
                return Ok(0);
            };
            *next = next.next_multiple_of(align);
            let at = *next;
            *next = next.saturating_add(bytes);
            if *next > 1 << 24 {
                return Err(format!("{bytes} bytes of {} memory", super::memory::space_name(variable.space)));
            }
            Ok(at)
        };
        let mut failed = None;
        let mut add = |variable: &Variable| match place(variable) {
            Ok(at) => at,
            Err(why) => {
                failed.get_or_insert((variable.span, why));
                0
            }
        };
        self.shared_module =
            self.module.variables.iter().map(|v| if v.space == Space::Shared { add(v) } else { 0 }).collect();
        self.variables = self.kernel.variables.iter().map(&mut add).collect();
        if let Some((span, why)) = failed {
            return Err(self.unsupported(span, why));
        }
        let dynamic = shared.next_multiple_of(dynamic_align);
        let all = self.module.variables.iter().zip(&mut self.shared_module);
        for (variable, at) in all.chain(self.kernel.variables.iter().zip(&mut self.variables)) {
            if variable.space == Space::Shared {
                if variable.bytes.is_none() {
                    *at = dynamic;
                }
                names.push((variable.name.clone(), *at as u32, variable.bytes.map(|bytes| bytes as u32)));
            }
        }
        self.program.shared_static = shared as u32;
        self.program.shared_dynamic = dynamic as u32;
        self.program.shared_variables = names;
        self.program.local_bytes = local as u32;
        Ok(())
    }

    fn unsupported(&self, span: Span, why: String) -> Fault {
        Fault::Unsupported {
            kernel: self.kernel.name.clone(),
            line: span.line,
            text: text_of(self.module, span),
            why,
        }
    }

    /// The address of a symbol within its space.
    fn symbol(&self, symbol: Symbol) -> Result<(u64, Space), String> {
        let missing = || String::from("the operand names a symbol that the module does not have");
        match symbol {
            Symbol::Module(index) => {
                let variable = self.module.variables.get(index as usize).ok_or_else(missing)?;
                let table =
                    if variable.space == Space::Shared { &self.shared_module } else { &self.symbols.module };
                Ok((*table.get(index as usize).ok_or_else(missing)?, variable.space))
            }
            Symbol::Kernel(index) => {
                let variable = self.kernel.variables.get(index as usize).ok_or_else(missing)?;
                Ok((*self.variables.get(index as usize).ok_or_else(missing)?, variable.space))
            }
            Symbol::Param(index) => {
                let param = self.kernel.params.get(index as usize).ok_or_else(missing)?;
                Ok((u64::from(param.offset), Space::Param))
            }
        }
    }

    fn run(mut self) -> Result<Program, Fault> {
        let body = &self.kernel.body;
        let mut next = Vec::with_capacity(body.len() + 1);
        for instruction in body {
            let op = self
                .operation(&instruction.operation)
                .map_err(|why| self.unsupported(instruction.span, why))?;
            let guard = match instruction.guard {
                None => self.files.always(),
                Some(guard) => {
                    let slot = self.files.predicate(guard.register);
                    let slot = slot.map_err(|why| self.unsupported(instruction.span, why))?;
                    Predicate { slot, flip: if guard.negated { !0 } else { 0 } }
                }
            };
            next.push(self.next(instruction, body.len())?);
            self.program.communicates |= communicates(&instruction.operation);
            self.program.places.push((instruction.span, instruction.source));
            self.program.lines.push(Line { op, guard, leader: false, rank: 0 });
        }
        // Running past the last instruction returns.
        next.push(Next { falls: false, targets: Vec::new() });
        self.program.places.push((self.kernel.span, None));
        self.program.lines.push(Line { op: Op::Exit, guard: self.files.always(), leader: false, rank: 0 });
        let flow = flow::analyse(&next);
        for (line, (leader, rank)) in
            self.program.lines.iter_mut().zip(flow.leaders.into_iter().zip(flow.ranks))
        {
            line.leader = leader;
            line.rank = rank;
        }
        self.files.finish(&mut self.program);
        Ok(self.program)
    }

    fn next(&self, instruction: &Instruction, len: usize) -> Result<Next, Fault> {
        let check = |target: u32| {
            if target as usize <= len {
                Ok(target as usize)
            } else {
                Err(self.unsupported(instruction.span, String::from("the branch leads outside the kernel")))
            }
        };
        let guarded = instruction.guard.is_some();
        Ok(match &instruction.operation {
            Operation::Branch { target, .. } => Next { falls: guarded, targets: vec![check(*target)?] },
            Operation::BranchIndexed { targets, .. } => {
                let targets = targets.iter().map(|&target| check(target)).collect::<Result<_, _>>()?;
                Next { falls: guarded, targets }
            }
            Operation::Exit | Operation::Trap => Next { falls: guarded, targets: Vec::new() },
            _ => Next { falls: true, targets: Vec::new() },
        })
    }
}

/// Whether blocks may see through it what others do while they run.
fn communicates(operation: &Operation) -> bool {
    let outside = |space: &Space| matches!(space, Space::Global | Space::Generic);
    match operation {
        Operation::Atomic { space, .. } => outside(space),
        Operation::Load { space, semantics, .. } | Operation::Store { space, semantics, .. } => {
            outside(space) && *semantics != Semantics::Weak
        }
        _ => false,
    }
}
