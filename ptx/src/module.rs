//! A module: kernels with their parameters, variables and instructions, names resolved to indices.

use crate::{Instruction, Type};

/// A place in the PTX text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
    /// Line, from 1.
    pub line: u32,
}

/// A place in the CUDA source, from `.loc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// Index into [`Module::files`].
    pub file: u32,
    /// Line, from 1; 0 where the compiler knows none.
    pub line: u32,
    /// Column, from 1; 0 where the compiler knows none.
    pub column: u32,
}

/// One PTX module. PTX ISA 8.4, section 4.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// `.version`, e.g. (8, 4).
    pub version: (u32, u32),
    /// `.target`, e.g. `sm_80` or `sm_90a`.
    pub target: String,
    /// Paths of `.file`; a [`Source::file`] that was never declared has an empty path.
    pub files: Vec<String>,
    /// Module-level variables, `.global`, `.const` and `.shared` (also `.extern .shared name[]`).
    pub variables: Vec<Variable>,
    /// `.entry` functions, in the order of the text.
    pub kernels: Vec<Kernel>,
    /// The text, so that every message can show the line it speaks of.
    pub text: String,
}

/// A state space. PTX ISA, section 5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// No space in the instruction: global, shared, local or param by the address's window.
    Generic,
    /// Device memory.
    Global,
    /// Memory of a block.
    Shared,
    /// Memory of a thread.
    Local,
    /// Kernel parameters.
    Param,
    /// Constant bank.
    Const,
}

/// A named piece of memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Name in the text.
    pub name: String,
    /// Where it lies.
    pub space: Space,
    /// Alignment in bytes, at least its element's.
    pub align: u32,
    /// Size in bytes; `None` for `.extern .shared name[]`, whose size the launch says.
    pub bytes: Option<u64>,
    /// Initial bytes of `.global` and `.const` variables, shorter than `bytes` if the rest is zero; empty
    /// without an initialiser.
    pub initial: Vec<u8>,
    /// Declaration.
    pub span: Span,
}

/// One parameter of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Name in the text.
    pub name: String,
    /// Byte offset in the parameter block: aligned to `align`, in the order of declaration.
    pub offset: u32,
    /// Size in bytes.
    pub bytes: u32,
    /// Alignment in bytes.
    pub align: u32,
}

/// One `.entry`.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Name.
    pub name: String,
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Type of each virtual register; a [`crate::Register`] is an index. Registers of nested scopes included.
    pub registers: Vec<Type>,
    /// Name of each register, for messages.
    pub register_names: Vec<String>,
    /// Variables declared in the body, `.shared` and `.local`; [`crate::Symbol::Kernel`] is an index.
    pub variables: Vec<Variable>,
    /// Instructions; branch targets are indices into this list, and may equal its length.
    pub body: Vec<Instruction>,
    /// `.maxntid`, threads of a block at most by axis.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`, threads of a block exactly.
    pub required_threads: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub min_blocks: Option<u32>,
    /// `.maxnreg`.
    pub max_registers: Option<u32>,
    /// The entry's header.
    pub span: Span,
}
