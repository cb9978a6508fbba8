//! One instruction as it stands in the text: its modifiers, to be taken in order, and its operands, to be
//! checked against types.

use super::cursor::short;
use super::error::{Fault, Mistake, Result};
use super::lexer::Token;
use super::names::{Name, Names};
use super::operand::{Raw, Shape};
use super::special::special;
use super::types::{fits, fits_wider, holds, integer};
use crate::{Address, Kernel, Operand, Register, Space, Span, Symbol, Type, Variable};

/// A kernel under construction, and what is known around it.
pub(super) struct Body<'t> {
    pub kernel: Kernel,
    pub names: Names<'t>,
    /// Branches whose labels may come later: instruction, place among its targets, scope, label.
    pub branches: Vec<(usize, usize, u32, &'t str, Span)>,
    /// The module's.
    pub variables: Vec<Variable>,
    /// The module's, and the number in it.
    pub target: String,
    pub architecture: u32,
}

/// An instruction being parsed.
pub(super) struct Form<'a, 't> {
    pub body: &'a mut Body<'t>,
    pub text: &'t str,
    /// The word before the modifiers.
    pub name: &'t str,
    /// From the word to the last modifier.
    pub head: Span,
    pub modifiers: &'a [Token],
    pub operands: Vec<Raw<'t>>,
}

impl<'a, 't> Form<'a, 't> {
    /// The instruction with its modifiers, for messages.
    pub fn instruction(&self) -> String {
        short(&self.text[self.head.start as usize..self.head.end as usize]).to_owned()
    }

    /// The next modifier, without its dot.
    pub fn peek(&self) -> Option<&'t str> {
        self.modifiers.first().map(|token| &token.text(self.text)[1..])
    }

    /// Takes the modifier if it is next.
    pub fn take(&mut self, modifier: &str) -> bool {
        let found = self.peek() == Some(modifier);
        if found {
            self.modifiers = &self.modifiers[1..];
        }
        found
    }

    /// Takes the next modifier if the table has it.
    pub fn one_of<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        let next = self.peek()?;
        let &(_, value) = table.iter().find(|(name, _)| *name == next)?;
        self.modifiers = &self.modifiers[1..];
        Some(value)
    }

    /// Takes the next modifier, which the table must have.
    pub fn need<T: Copy>(&mut self, table: &[(&str, T)]) -> Result<T> {
        match self.one_of(table) {
            Some(value) => Ok(value),
            None => {
                let names: Vec<_> = table.iter().map(|(name, _)| format!(".{name}")).collect();
                Err(self.unexpected(&names.join(", ")))
            }
        }
    }

    /// Takes the modifier, which must be next.
    pub fn need_one(&mut self, modifier: &str) -> Result<()> {
        self.need(&[(modifier, ())])
    }

    /// Takes a type, which must be one of these.
    pub fn ty(&mut self, allowed: &[Type]) -> Result<Type> {
        let found = allowed.iter().find(|ty| self.peek() == Some(ty.name()));
        match found {
            Some(&ty) => {
                self.modifiers = &self.modifiers[1..];
                Ok(ty)
            }
            None => {
                let names: Vec<_> = allowed.iter().map(|ty| format!(".{}", ty.name())).collect();
                Err(self.unexpected(&names.join(", ")))
            }
        }
    }

    /// The next modifier cannot stand here.
    pub fn unexpected(&self, expected: &str) -> Fault {
        let (instruction, expected) = (self.instruction(), expected.to_owned());
        match self.modifiers.first() {
            None => Fault::new(self.head, Mistake::Incomplete { instruction, expected }),
            Some(token) => {
                let modifier = short(&token.text(self.text)[1..]).to_owned();
                Fault::new(token.span, Mistake::Modifier { instruction, modifier, expected })
            }
        }
    }

    /// No modifier is left, and there are as many operands as stated.
    pub fn end(&self, least: usize, most: usize) -> Result<()> {
        if !self.modifiers.is_empty() {
            return Err(self.unexpected("no more modifiers"));
        }
        let found = self.operands.len();
        if (least..=most).contains(&found) {
            return Ok(());
        }
        let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
        Err(Fault::new(self.head, Mistake::Operands { instruction: self.instruction(), expected, found }))
    }

    /// A mistake about the instruction as a whole.
    pub fn combination(&self, why: &'static str) -> Fault {
        Fault::new(self.head, Mistake::Combination { instruction: self.instruction(), why })
    }

    /// PTX allows it, but nothing here can execute it.
    pub fn unsupported(&self, what: &str, advice: &'static str) -> Fault {
        Fault::new(self.head, Mistake::Unsupported { what: what.to_owned(), advice })
    }

    /// The module's target must be that new.
    pub fn needs(&self, architecture: u32) -> Result<()> {
        self.body.needs(architecture, &self.instruction(), self.head)
    }

    fn wrong(&self, operand: &Raw<'t>, expected: &str) -> Fault {
        let found = &self.text[operand.span.start as usize..operand.span.end as usize];
        let found = format!("`{}`", short(found));
        Fault::new(operand.span, Mistake::Operand { expected: expected.to_owned(), found })
    }

    fn resolve(&mut self, name: &'t str, span: Span) -> Result<Name> {
        let Body { names, kernel, .. } = &mut *self.body;
        match names.find(name, span, kernel)? {
            Some(found) => Ok(found),
            None => Err(Fault::new(span, Mistake::Undeclared { name: name.to_owned() })),
        }
    }

    fn register_named(
        &mut self,
        name: &'t str,
        span: Span,
        fits: impl Fn(Type) -> bool,
        ty: Type,
    ) -> Result<Register> {
        match self.resolve(name, span)? {
            Name::Register(register) => {
                let found = self.body.kernel.registers[register.0 as usize];
                match fits(found) {
                    true => Ok(register),
                    false => {
                        let name = name.to_owned();
                        let (register, ty) = (found.name(), ty.name());
                        Err(Fault::new(span, Mistake::RegisterType { name, register, ty }))
                    }
                }
            }
            Name::Symbol(_) => {
                let (what, expected) = ("a variable or parameter", "a register");
                Err(Fault::new(span, Mistake::Wrong { name: name.to_owned(), what, expected }))
            }
        }
    }

    /// Operand `at` as a register of the type.
    pub fn register(&mut self, at: usize, ty: Type) -> Result<Register> {
        let raw = self.operands[at].clone();
        self.register_of(&raw, ty, fits)
    }

    /// As [`Form::register`], but the register may be wider.
    pub fn register_wider(&mut self, at: usize, ty: Type) -> Result<Register> {
        let raw = self.operands[at].clone();
        self.register_of(&raw, ty, fits_wider)
    }

    fn register_of(&mut self, raw: &Raw<'t>, ty: Type, fits: fn(Type, Type) -> bool) -> Result<Register> {
        match raw.shape {
            Shape::Name(name, None) => self.register_named(name, raw.span, |found| fits(ty, found), ty),
            _ => Err(self.wrong(raw, &format!("a register of .{}", ty.name()))),
        }
    }

    /// As [`Form::register`]; `_` is `None`.
    pub fn register_or_sink(&mut self, at: usize, ty: Type) -> Result<Option<Register>> {
        match self.operands[at].shape {
            Shape::Sink => Ok(None),
            _ => self.register(at, ty).map(Some),
        }
    }

    /// Operand `at` as `d` or `d|p`; each may be `_`.
    pub fn register_and_predicate(
        &mut self,
        at: usize,
        ty: Type,
    ) -> Result<(Option<Register>, Option<Register>)> {
        let raw = self.operands[at].clone();
        let Shape::Pair(d, p) = raw.shape else { return Ok((self.register_or_sink(at, ty)?, None)) };
        let mut half = |name: &'t str, ty| match name {
            "_" => Ok(None),
            _ => self.register_named(name, raw.span, |found| fits(ty, found), ty).map(Some),
        };
        Ok((half(d, ty)?, half(p, Type::Pred)?))
    }

    /// The register of a pair that PTX lets nobody leave out.
    pub fn present(&self, at: usize, register: Option<Register>) -> Result<Register> {
        register.ok_or_else(|| self.wrong(&self.operands[at], "a register"))
    }

    /// Operand `at` as a value of the type: a register or a constant.
    pub fn value(&mut self, at: usize, ty: Type) -> Result<Operand> {
        let raw = self.operands[at].clone();
        self.value_of(&raw, ty, fits)
    }

    fn value_of(&mut self, raw: &Raw<'t>, ty: Type, fits: fn(Type, Type) -> bool) -> Result<Operand> {
        match raw.shape {
            Shape::Name(..) => Ok(Operand::Register(self.register_of(raw, ty, fits)?)),
            _ => self.constant(raw, ty),
        }
    }

    /// A constant of the type. PTX ISA, section 4.5.
    fn constant(&self, raw: &Raw<'t>, ty: Type) -> Result<Operand> {
        use Type::{B8, B16, B32, B64, F32, F64, Pred};
        let bits = match (&raw.shape, ty) {
            (&Shape::Integer(value, _), Pred) if value <= 1 => value,
            (&Shape::Integer(value, negative), B8 | B16 | B32 | B64) => {
                self.integer(raw, ty, value, negative)?
            }
            (&Shape::Integer(value, negative), ty) if integer(ty) => {
                self.integer(raw, ty, value, negative)?
            }
            (&Shape::Single(bits), F32 | B32) => u64::from(bits),
            (&Shape::Double(bits), F64 | B64) => bits,
            (&Shape::Double(bits), F32) => u64::from((f64::from_bits(bits) as f32).to_bits()),
            (&Shape::Single(bits), F64) => f64::from(f32::from_bits(bits)).to_bits(),
            _ => return Err(self.wrong(raw, &format!("a register or constant of .{}", ty.name()))),
        };
        Ok(Operand::Immediate(bits))
    }

    fn integer(&self, raw: &Raw<'t>, ty: Type, value: u64, negative: bool) -> Result<u64> {
        if holds(ty, value, negative) {
            return Ok(if negative { value.wrapping_neg() } else { value });
        }
        let value = format!("{}{value}", if negative { "-" } else { "" });
        Err(Fault::new(raw.span, Mistake::Constant { value, ty }))
    }

    /// Operand `at` as [`Form::value`], or one of PTX's special registers.
    pub fn value_or_special(&mut self, at: usize, ty: Type, wider: bool) -> Result<Operand> {
        let raw = self.operands[at].clone();
        if let Shape::Name(name, axis) = raw.shape
            && let Some((special, found, needs)) = special(name, axis)
        {
            self.body.needs(needs, name, raw.span)?;
            if ty.bits() != found.bits() || ty.float() {
                let (name, register, ty) = (name.to_owned(), found.name(), ty.name());
                return Err(Fault::new(raw.span, Mistake::RegisterType { name, register, ty }));
            }
            return Ok(Operand::Special(special));
        }
        self.value_of(&raw, ty, if wider { fits_wider } else { fits })
    }

    /// Operand `at` as the address of a variable or parameter, if it is one.
    pub fn symbol(&mut self, at: usize) -> Result<Option<(Symbol, i64)>> {
        let raw = self.operands[at].clone();
        let (name, offset) = match raw.shape {
            Shape::Name(name, None) if special(name, None).is_none() => (name, 0),
            Shape::Sum(name, offset) => (name, offset),
            _ => return Ok(None),
        };
        match self.resolve(name, raw.span)? {
            Name::Symbol(symbol) => Ok(Some((symbol, offset))),
            Name::Register(_) if offset == 0 => Ok(None),
            Name::Register(_) => Err(self.wrong(&raw, "a register, or a name with an offset")),
        }
    }

    /// Operand `at` as a predicate that may be negated.
    pub fn predicate(&mut self, at: usize) -> Result<(Operand, bool)> {
        let raw = self.operands[at].clone();
        if let Shape::Not(name) = raw.shape {
            let register = self.register_named(name, raw.span, |found| found == Type::Pred, Type::Pred)?;
            return Ok((Operand::Register(register), true));
        }
        Ok((self.value_of(&raw, Type::Pred, fits)?, false))
    }

    /// Operand `at` as an integer between two bounds, written out.
    pub fn literal(&self, at: usize, expected: &str, allowed: impl Fn(u64) -> bool) -> Result<u64> {
        match self.operands[at].shape {
            Shape::Integer(value, false) if allowed(value) => Ok(value),
            _ => Err(self.wrong(&self.operands[at], expected)),
        }
    }

    /// Operand `at` as the name of a label.
    pub fn label(&self, at: usize) -> Result<(&'t str, Span)> {
        match self.operands[at].shape {
            Shape::Name(name, None) => Ok((name, self.operands[at].span)),
            _ => Err(self.wrong(&self.operands[at], "a label")),
        }
    }

    /// The elements of operand `at`, which must be a vector of that many; one alone may stand without braces
    /// where `bare` allows it.
    pub fn elements(&self, at: usize, lengths: &[usize], bare: bool) -> Result<Vec<Raw<'t>>> {
        let raw = &self.operands[at];
        match &raw.shape {
            Shape::Vector(elements) if lengths.contains(&elements.len()) => Ok(elements.clone()),
            Shape::Vector(_) => Err(self.wrong(raw, &format!("a vector of {lengths:?} elements"))),
            _ if bare => Ok(vec![raw.clone()]),
            _ => Err(self.wrong(raw, &format!("a vector of {lengths:?} elements in braces"))),
        }
    }

    /// Registers of a vector that is written; `_` where `sinks` allows it, but not everywhere.
    pub fn registers(
        &mut self,
        at: usize,
        lengths: &[usize],
        ty: Type,
        bare: bool,
        wider: bool,
    ) -> Result<Vec<Option<Register>>> {
        let check = if wider { fits_wider } else { fits };
        let mut registers = Vec::new();
        for raw in self.elements(at, lengths, bare)? {
            registers.push(match raw.shape {
                Shape::Sink => None,
                _ => Some(self.register_of(&raw, ty, check)?),
            });
        }
        if registers.iter().all(Option::is_none) {
            return Err(self.wrong(&self.operands[at], "a register in at least one place"));
        }
        Ok(registers)
    }

    /// Registers of a vector that is written, all of them.
    pub fn all_registers(&mut self, at: usize, length: usize, ty: Type) -> Result<Vec<Register>> {
        let elements = self.elements(at, &[length], false)?;
        elements.iter().map(|raw| self.register_of(raw, ty, fits)).collect()
    }

    /// Values of a vector that is read.
    pub fn values(
        &mut self,
        at: usize,
        lengths: &[usize],
        ty: Type,
        bare: bool,
        wider: bool,
    ) -> Result<Vec<Operand>> {
        let check = if wider { fits_wider } else { fits };
        let elements = self.elements(at, lengths, bare)?;
        elements.iter().map(|raw| self.value_of(raw, ty, check)).collect()
    }

    /// Operand `at` as an address in the space. A name of known space in a generic access makes the access
    /// one of that space, which is the same memory.
    pub fn address(&mut self, at: usize, space: Space) -> Result<(Space, Address)> {
        let raw = self.operands[at].clone();
        let (name, offset) = match raw.shape {
            Shape::Memory(name, offset) => (name, offset),
            Shape::Absolute(value) if space == Space::Local && value <= i64::MAX as u64 => {
                return Ok((space, Address { base: Operand::Immediate(value), offset: 0 }));
            }
            _ => return Err(self.wrong(&raw, "an address: `[register+offset]` or `[name+offset]`")),
        };
        let base = match self.resolve(name, raw.span)? {
            Name::Register(register) => {
                let found = self.body.kernel.registers[register.0 as usize];
                let fitting = match found {
                    Type::B64 | Type::U64 | Type::S64 => true,
                    Type::B32 | Type::U32 | Type::S32 => !matches!(space, Space::Generic | Space::Global),
                    _ => false,
                };
                if !fitting {
                    let (name, register, ty) = (name.to_owned(), found.name(), "an address of the space");
                    return Err(Fault::new(raw.span, Mistake::RegisterType { name, register, ty }));
                }
                return Ok((space, Address { base: Operand::Register(register), offset }));
            }
            Name::Symbol(symbol) => symbol,
        };
        let found = self.body.space(base);
        let space = if space == Space::Generic && found != Space::Param { found } else { space };
        if space != found {
            let (what, expected) = (space_name(found), space_name(space));
            return Err(Fault::new(raw.span, Mistake::Wrong { name: name.to_owned(), what, expected }));
        }
        Ok((space, Address { base: Operand::Address(base, 0), offset }))
    }

    /// Whether operand `at` looks like a predicate rather than a number.
    pub fn is_predicate(&mut self, at: usize) -> bool {
        match self.operands[at].shape {
            Shape::Not(_) => true,
            Shape::Name(name, None) => matches!(
                self.resolve(name, self.operands[at].span),
                Ok(Name::Register(register)) if self.body.kernel.registers[register.0 as usize] == Type::Pred
            ),
            _ => false,
        }
    }
}

impl Body<'_> {
    /// The module's target must be that new.
    pub fn needs(&self, architecture: u32, what: &str, span: Span) -> Result<()> {
        if self.architecture >= architecture {
            return Ok(());
        }
        let (what, target) = (what.to_owned(), self.target.clone());
        Err(Fault::new(span, Mistake::Target { what, needs: architecture, target }))
    }

    /// Where a variable or parameter lies.
    pub fn space(&self, symbol: Symbol) -> Space {
        match symbol {
            Symbol::Module(at) => self.variables[at as usize].space,
            Symbol::Kernel(at) => self.kernel.variables[at as usize].space,
            Symbol::Param(_) => Space::Param,
        }
    }
}

/// For messages.
fn space_name(space: Space) -> &'static str {
    match space {
        Space::Generic => "a generic address",
        Space::Global => "a .global variable",
        Space::Shared => "a .shared variable",
        Space::Local => "a .local variable",
        Space::Param => "a parameter",
        Space::Const => "a .const variable",
    }
}
