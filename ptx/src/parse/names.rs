//! Names to registers, variables and labels: the nested scopes of a kernel's body.
//!
//! A range (`.reg .b32 %r<100>`) costs nothing until one of its registers is named, so that no declaration
//! can take more memory than the text that uses it.

use super::error::{Fault, Mistake, Result};
use crate::{Kernel, Register, Span, Symbol, Type};
use std::collections::{HashMap, HashSet};

/// Most scopes inside each other.
const MOST_NESTED: usize = 64;

/// Most registers of one range.
pub(super) const MOST_REGISTERS: u64 = 1 << 24;

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    Register(Register),
    Symbol(Symbol),
}

/// The names of a module; a kernel's stands for nothing that an instruction could read.
pub(super) type Outer<'t> = HashMap<&'t str, Option<Symbol>>;

#[derive(Default)]
struct Scope<'t> {
    id: u32,
    names: HashMap<&'t str, Name>,
    /// Registers declared one by one, to be compared with the ranges when the scope ends.
    single: Vec<(&'t str, Span)>,
    /// Prefix to type and count.
    ranges: HashMap<&'t str, (Type, u64)>,
}

/// The scopes around the place that is being parsed, and the labels of all.
pub(super) struct Names<'t> {
    outer: Outer<'t>,
    params: HashMap<&'t str, Symbol>,
    open: Vec<Scope<'t>>,
    /// The scope around each scope.
    parents: Vec<u32>,
    labels: HashMap<(u32, &'t str), u32>,
    tables: HashMap<(u32, &'t str), Vec<(&'t str, Span)>>,
    /// Names given to registers and variables of the kernel so far: each is given once.
    given: HashSet<String>,
    again: HashMap<&'t str, u32>,
}

impl<'t> Names<'t> {
    /// With the kernel's own scope open.
    pub fn new(outer: Outer<'t>, params: HashMap<&'t str, Symbol>) -> Self {
        Names {
            outer,
            params,
            open: vec![Scope::default()],
            parents: vec![0],
            labels: HashMap::new(),
            tables: HashMap::new(),
            given: HashSet::new(),
            again: HashMap::new(),
        }
    }

    /// The module's names, as they were given to [`Names::new`].
    pub fn into_outer(self) -> Outer<'t> {
        self.outer
    }

    /// Opens a scope.
    pub fn enter(&mut self, span: Span) -> Result<()> {
        if self.open.len() == MOST_NESTED {
            let (value, most) = (MOST_NESTED as u64 + 1, MOST_NESTED as u64);
            return Err(Fault::new(span, Mistake::Limit { what: "the depth of scopes", value, most }));
        }
        let id = self.parents.len() as u32;
        self.parents.push(self.scope());
        self.open.push(Scope { id, ..Scope::default() });
        Ok(())
    }

    /// Closes the innermost scope; false if it was the kernel's.
    pub fn leave(&mut self) -> Result<bool> {
        if let Some(scope) = self.open.pop() {
            for &(name, span) in &scope.single {
                if scope.ranged(name, span)?.is_some() {
                    return Err(redeclared(name, span));
                }
            }
        }
        Ok(!self.open.is_empty())
    }

    /// The innermost scope.
    pub fn scope(&self) -> u32 {
        self.open.last().map_or(0, |scope| scope.id)
    }

    /// A name that nothing else of the kernel has: the name itself, or with `$1`, `$2`, … behind it.
    fn give(&mut self, name: &'t str) -> String {
        let mut given = name.to_owned();
        let taken = |given: &str| self.outer.contains_key(given) || self.params.contains_key(given);
        while taken(&given) || !self.given.insert(given.clone()) {
            let again = self.again.entry(name).or_default();
            *again += 1;
            given = format!("{name}${again}");
        }
        given
    }

    fn register(&mut self, name: &'t str, ty: Type, kernel: &mut Kernel) -> Register {
        let register = Register(kernel.registers.len() as u32);
        kernel.registers.push(ty);
        let given = self.give(name);
        kernel.register_names.push(given);
        register
    }

    fn declare(&mut self, name: &'t str, span: Span, as_what: Name) -> Result<()> {
        match self.open.last_mut().map(|scope| scope.names.insert(name, as_what)) {
            Some(None) => Ok(()),
            _ => Err(redeclared(name, span)),
        }
    }

    /// Declares one register.
    pub fn declare_register(
        &mut self,
        name: &'t str,
        span: Span,
        ty: Type,
        kernel: &mut Kernel,
    ) -> Result<()> {
        let register = self.register(name, ty, kernel);
        self.declare(name, span, Name::Register(register))?;
        if let Some(scope) = self.open.last_mut() {
            scope.single.push((name, span));
        }
        Ok(())
    }

    /// Declares the registers `prefix0` to `prefix{count - 1}`.
    pub fn declare_range(&mut self, prefix: &'t str, span: Span, ty: Type, count: u64) -> Result<()> {
        match self.open.last_mut().map(|scope| scope.ranges.insert(prefix, (ty, count))) {
            Some(None) => Ok(()),
            _ => Err(redeclared(prefix, span)),
        }
    }

    /// Declares a variable; returns the name it has in the module.
    pub fn declare_variable(&mut self, name: &'t str, span: Span, symbol: Symbol) -> Result<String> {
        self.declare(name, span, Name::Symbol(symbol))?;
        Ok(self.give(name))
    }

    /// What the name stands for in the innermost scope that has it.
    pub fn find(&mut self, name: &'t str, span: Span, kernel: &mut Kernel) -> Result<Option<Name>> {
        for depth in (0..self.open.len()).rev() {
            if let Some(&found) = self.open[depth].names.get(name) {
                return Ok(Some(found));
            }
            if let Some(ty) = self.open[depth].ranged(name, span)? {
                let register = Name::Register(self.register(name, ty, kernel));
                self.open[depth].names.insert(name, register);
                return Ok(Some(register));
            }
        }
        let outer = || self.outer.get(name).copied().flatten();
        Ok(self.params.get(name).copied().or_else(outer).map(Name::Symbol))
    }

    /// Puts a label of the innermost scope at an instruction.
    pub fn declare_label(&mut self, name: &'t str, span: Span, at: u32) -> Result<()> {
        match self.labels.insert((self.scope(), name), at) {
            None => Ok(()),
            Some(_) => Err(redeclared(name, span)),
        }
    }

    /// Where a branch of the scope to the label goes.
    pub fn label(&self, scope: u32, name: &'t str) -> Option<u32> {
        self.outwards(scope).find_map(|scope| self.labels.get(&(scope, name)).copied())
    }

    /// Makes a label the name of a list of labels.
    pub fn declare_table(&mut self, name: &'t str, targets: Vec<(&'t str, Span)>) {
        self.tables.insert((self.scope(), name), targets);
    }

    /// The list of labels of that name.
    pub fn table(&self, name: &'t str) -> Option<&[(&'t str, Span)]> {
        self.outwards(self.scope()).find_map(|scope| self.tables.get(&(scope, name)).map(Vec::as_slice))
    }

    /// The scope and those around it.
    fn outwards(&self, scope: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(scope), |&scope| (scope != 0).then(|| self.parents[scope as usize]))
    }
}

impl Scope<'_> {
    /// The type of a register of one of the scope's ranges.
    fn ranged(&self, name: &str, span: Span) -> Result<Option<Type>> {
        if self.ranges.is_empty() {
            return Ok(None);
        }
        // Digits may belong to the prefix: `%r1<3>` holds `%r12`, and so may `%r<20>`.
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count().min(name.len() - 1).min(20);
        let mut found = None;
        for split in name.len() - digits..name.len() {
            let (prefix, number) = name.split_at(split);
            let Some(&(ty, count)) = self.ranges.get(prefix) else { continue };
            let plain = number.len() == 1 || !number.starts_with('0');
            if plain
                && number.parse::<u64>().is_ok_and(|number| number < count)
                && found.replace(ty).is_some()
            {
                return Err(redeclared(name, span));
            }
        }
        Ok(found)
    }
}

fn redeclared(name: &str, span: Span) -> Fault {
    Fault::new(span, Mistake::Redeclared { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names<'static> {
        Names::new(Outer::new(), HashMap::new())
    }

    fn kernel() -> Kernel {
        Kernel {
            name: String::new(),
            params: vec![],
            registers: vec![],
            register_names: vec![],
            variables: vec![],
            body: vec![],
            max_threads: None,
            required_threads: None,
            min_blocks: None,
            max_registers: None,
            span: Span::default(),
        }
    }

    #[test]
    fn a_range_costs_a_register_only_where_one_is_named() {
        let (mut names, mut kernel) = (names(), kernel());
        names.declare_range("%r", Span::default(), Type::B32, 1000).unwrap();
        let mut find = |name| names.find(name, Span::default(), &mut kernel).unwrap().is_some();
        assert!(find("%r999"));
        assert!(find("%r999"));
        for absent in ["%r1000", "%r", "%r01", "%x1"] {
            assert!(!find(absent), "{absent}");
        }
        assert_eq!(kernel.register_names, ["%r999"]);
    }

    #[test]
    fn a_register_of_two_declarations_is_refused() {
        let (mut names, mut kernel) = (names(), kernel());
        names.declare_range("%r", Span::default(), Type::B32, 20).unwrap();
        names.declare_range("%r1", Span::default(), Type::F32, 3).unwrap();
        assert!(names.find("%r12", Span::default(), &mut kernel).is_err());
        assert!(names.find("%r13", Span::default(), &mut kernel).unwrap().is_some());
        names.declare_register("%r5", Span::default(), Type::B32, &mut kernel).unwrap();
        assert!(names.leave().is_err());
        names.enter(Span::default()).unwrap();
        names.declare_range("%r", Span::default(), Type::B32, 20).unwrap();
        assert!(names.declare_range("%r", Span::default(), Type::B32, 20).is_err());
    }

    #[test]
    fn a_name_of_two_scopes_is_two_registers_with_two_names() {
        let mut kernel = kernel();
        let mut names = Names::new([("t$1", None)].into(), HashMap::new());
        for _ in 0..2 {
            names.enter(Span::default()).unwrap();
            names.declare_register("t", Span::default(), Type::B32, &mut kernel).unwrap();
            assert!(names.find("t", Span::default(), &mut kernel).unwrap().is_some());
            assert!(names.leave().unwrap());
        }
        assert!(names.find("t", Span::default(), &mut kernel).unwrap().is_none());
        assert_eq!(kernel.register_names, ["t", "t$2"]);
    }

    #[test]
    fn labels_are_seen_from_inside_and_not_from_outside() {
        let mut names = names();
        names.declare_label("L", Span::default(), 1).unwrap();
        names.enter(Span::default()).unwrap();
        let inside = names.scope();
        names.declare_label("M", Span::default(), 2).unwrap();
        names.leave().unwrap();
        assert_eq!((names.label(inside, "L"), names.label(inside, "M")), (Some(1), Some(2)));
        assert_eq!((names.label(0, "L"), names.label(0, "M")), (Some(1), None));
        assert!(names.declare_label("L", Span::default(), 3).is_err());
    }
}
