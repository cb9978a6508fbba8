//! A [`Module`] as PTX again, in one canonical form: what the parser reads from it is the same module, but
//! for places in the text.
//!
//! `instruction.rs` has the instructions; messages and tests show a single one through [`Listing`].

mod instruction;

use crate::{Instruction, Kernel, Module, Operation, Space, Variable};
use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

/// Most registers of one `.reg`, so that lines stay readable.
const REGISTERS_A_LINE: usize = 8;

/// Prints instructions of one kernel.
pub struct Listing<'a> {
    module: &'a Module,
    kernel: &'a Kernel,
    /// Labels are this and the index of their instruction.
    label: String,
    /// Lists of targets are this and the index of their branch.
    table: String,
}

impl<'a> Listing<'a> {
    /// Of a kernel of the module.
    pub fn new(module: &'a Module, kernel: &'a Kernel) -> Self {
        let names = || {
            let registers = kernel.register_names.iter();
            let variables = kernel.variables.iter().chain(&module.variables).map(|variable| &variable.name);
            registers.chain(variables).chain(kernel.params.iter().map(|param| &param.name))
        };
        let mut label = "$L_".to_owned();
        while names().any(|name| name.starts_with(&label)) {
            label.push('_');
        }
        let mut table = "$T_".to_owned();
        while names().any(|name| name.starts_with(&table)) {
            table.push('_');
        }
        Listing { module, kernel, label, table }
    }

    /// The label of the instruction with that index.
    fn label(&self, index: u32) -> String {
        format!("{}{index}", self.label)
    }

    /// The instruction as PTX, from its guard to its semicolon. The list of an indexed branch is named by the
    /// targets themselves.
    pub fn instruction(&self, instruction: &Instruction) -> String {
        let table = match &instruction.operation {
            Operation::BranchIndexed { targets, .. } => {
                format!(
                    "{{{}}}",
                    targets.iter().map(|target| self.label(*target)).collect::<Vec<_>>().join(", ")
                )
            }
            _ => String::new(),
        };
        self.with_table(instruction, &table)
    }

    fn with_table(&self, instruction: &Instruction, table: &str) -> String {
        let guard = match instruction.guard {
            Some(guard) => {
                format!("@{}{} ", if guard.negated { "!" } else { "" }, self.register(guard.register))
            }
            None => String::new(),
        };
        format!("{guard}{};", self.operation(&instruction.operation, table))
    }

    /// The kernel's body with its declarations.
    fn body(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut at = 0;
        while let Some(&ty) = self.kernel.registers.get(at) {
            let run = self.kernel.registers[at..].iter().take_while(|other| **other == ty).count();
            let names = &self.kernel.register_names[at..at + run.min(REGISTERS_A_LINE)];
            writeln!(f, "\t.reg .{} {};", ty.name(), names.join(", "))?;
            at += names.len();
        }
        for variable in &self.kernel.variables {
            write!(f, "\t{variable}")?;
        }
        let mut labels = BTreeSet::new();
        for instruction in &self.kernel.body {
            match &instruction.operation {
                Operation::Branch { target, .. } => drop(labels.insert(*target)),
                Operation::BranchIndexed { targets, .. } => labels.extend(targets),
                _ => {}
            }
        }
        let mut source = None;
        for (at, instruction) in self.kernel.body.iter().enumerate() {
            if labels.contains(&(at as u32)) {
                writeln!(f, "{}:", self.label(at as u32))?;
            }
            if let Some(new) = instruction.source.filter(|new| Some(*new) != source) {
                writeln!(f, "\t.loc {} {} {}", new.file, new.line, new.column)?;
                source = Some(new);
            }
            let mut table = String::new();
            if let Operation::BranchIndexed { targets, .. } = &instruction.operation {
                table = format!("{}{at}", self.table);
                let targets: Vec<_> = targets.iter().map(|target| self.label(*target)).collect();
                writeln!(f, "{table}: .branchtargets {};", targets.join(", "))?;
            }
            writeln!(f, "\t{}", self.with_table(instruction, &table))?;
        }
        let end = self.kernel.body.len() as u32;
        if labels.contains(&end) {
            writeln!(f, "{}:", self.label(end))?;
        }
        Ok(())
    }
}

/// The declaration, as bytes: `.shared .align 16 .b8 name[64];`.
impl Display for Variable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let space = space_name(self.space).unwrap_or(".global");
        let external = if self.bytes.is_none() { ".extern " } else { "" };
        let bytes = self.bytes.map(|bytes| bytes.to_string()).unwrap_or_default();
        write!(f, "{external}{space} .align {} .b8 {}[{bytes}]", self.align, self.name)?;
        if !self.initial.is_empty() {
            let bytes: Vec<_> = self.initial.iter().map(u8::to_string).collect();
            write!(f, " = {{{}}}", bytes.join(", "))?;
        }
        writeln!(f, ";")
    }
}

/// The modifier of a space; generic accesses have none.
fn space_name(space: Space) -> Option<&'static str> {
    match space {
        Space::Generic => None,
        Space::Global => Some(".global"),
        Space::Shared => Some(".shared"),
        Space::Local => Some(".local"),
        Space::Param => Some(".param"),
        Space::Const => Some(".const"),
    }
}

/// The module as PTX.
impl Display for Module {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, ".version {}.{}", self.version.0, self.version.1)?;
        writeln!(f, ".target {}\n.address_size 64\n", self.target)?;
        for (index, path) in self.files.iter().enumerate() {
            // Empty ones were never declared, but the last makes the list as long as it is.
            if !path.is_empty() || index + 1 == self.files.len() {
                writeln!(f, ".file {index} \"{path}\"")?;
            }
        }
        for variable in &self.variables {
            write!(f, "{variable}")?;
        }
        for kernel in &self.kernels {
            let parameter = |param: &crate::Param| {
                format!("\t.param .align {} .b8 {}[{}]", param.align, param.name, param.bytes)
            };
            let params: Vec<_> = kernel.params.iter().map(parameter).collect();
            writeln!(f, "\n.visible .entry {}(\n{}\n)", kernel.name, params.join(",\n"))?;
            for (name, threads) in [("maxntid", kernel.max_threads), ("reqntid", kernel.required_threads)] {
                if let Some([x, y, z]) = threads {
                    writeln!(f, ".{name} {x}, {y}, {z}")?;
                }
            }
            for (name, value) in [("minnctapersm", kernel.min_blocks), ("maxnreg", kernel.max_registers)] {
                if let Some(value) = value {
                    writeln!(f, ".{name} {value}")?;
                }
            }
            writeln!(f, "{{")?;
            Listing::new(self, kernel).body(f)?;
            writeln!(f, "}}")?;
        }
        Ok(())
    }
}
