//! The module around its kernels. PTX ISA, sections 5.4 and 11.

use super::body;
use super::cursor::{Cursor, short, through};
use super::declare::{Storage, variables};
use super::error::{Fault, Mistake, Result};
use super::lexer::Kind;
use super::names::Outer;
use crate::{Module, Source, Space, Span, Symbol};

/// Most entries of `.file`; each index up to the largest takes a little memory.
const MOST_FILES: u64 = 4096;

/// Oldest and newest version: the newest is what drivers from R550 on read.
const VERSIONS: ((u32, u32), (u32, u32)) = ((7, 0), (8, 4));

/// The architecture from which on everything here is defined.
const OLDEST: u32 = 80;

/// A module under construction.
pub(super) struct Parser<'t> {
    pub cursor: Cursor<'t>,
    pub module: Module,
    /// Names of the module's variables.
    pub outer: Outer<'t>,
    /// Number of `.target`.
    pub architecture: u32,
}

/// Parses all tokens.
pub(super) fn module(cursor: Cursor<'_>) -> Result<Module> {
    let mut parser = Parser {
        cursor,
        module: Module {
            version: (0, 0),
            target: String::new(),
            files: Vec::new(),
            variables: Vec::new(),
            kernels: Vec::new(),
            text: String::new(),
        },
        outer: Outer::new(),
        architecture: 0,
    };
    parser.header()?;
    while parser.cursor.peek(0).kind != Kind::End {
        parser.directive()?;
    }
    parser.module.text = parser.cursor.text.to_owned();
    Ok(parser.module)
}

impl<'t> Parser<'t> {
    /// `.version`, `.target` and `.address_size`.
    fn header(&mut self) -> Result<()> {
        let cursor = &mut self.cursor;
        if !cursor.take_dot("version") {
            return Err(cursor.expected("`.version` at the beginning of a module"));
        }
        let token = cursor.next();
        let version = cursor
            .word(&token)
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
        let Some(version) = version.filter(|_| token.kind == Kind::Number) else {
            let found = format!("`{}`", cursor.word(&token));
            let expected = "a version like 8.4".to_owned();
            return Err(Fault::new(token.span, Mistake::Expected { expected, found }));
        };
        if version < VERSIONS.0 || version > VERSIONS.1 {
            let what = format!("PTX {}.{}", version.0, version.1);
            let advice = "7.0 to 8.4 is read; compile with NVRTC 12.4";
            return Err(Fault::new(token.span, Mistake::Unsupported { what, advice }));
        }
        self.module.version = version;
        if !cursor.take_dot("target") {
            return Err(cursor.expected("`.target`"));
        }
        let token = cursor.need_word("a target like sm_80")?;
        let name = cursor.word(&token);
        let number = name.strip_prefix("sm_").map(|rest| rest.strip_suffix('a').unwrap_or(rest));
        match number.and_then(|number| number.parse().ok()) {
            Some(architecture) if architecture >= OLDEST => self.architecture = architecture,
            _ => {
                let (what, advice) = (format!(".target {name}"), "sm_80 and newer are read");
                return Err(Fault::new(token.span, Mistake::Unsupported { what, advice }));
            }
        }
        self.module.target = name.to_owned();
        if !cursor.take_dot("address_size") {
            return Err(cursor.expected("`.address_size` (and no options of the target)"));
        }
        let token = cursor.peek(0);
        match cursor.need_integer("an address size", 64)? {
            64 => Ok(()),
            bits => {
                let (what, advice) = (format!(".address_size {bits}"), "addresses are 64 bits wide");
                Err(Fault::new(token.span, Mistake::Unsupported { what, advice }))
            }
        }
    }

    /// One directive of the module.
    fn directive(&mut self) -> Result<()> {
        let first = self.cursor.peek(0).span;
        let (mut external, mut linkage) = (false, false);
        while let Some(word) = self.cursor.peek_dot() {
            match word {
                "visible" | "weak" => linkage = true,
                "extern" => external = true,
                _ => break,
            }
            self.cursor.next();
        }
        let Some(word) = self.cursor.peek_dot() else { return Err(self.cursor.expected("a directive")) };
        let token = self.cursor.next();
        match word {
            "entry" if !external => body::entry(self, first),
            "global" | "const" | "shared" => {
                let space = match word {
                    "global" => Space::Global,
                    "const" => Space::Const,
                    _ => Space::Shared,
                };
                self.variables(space, external, through(first, token.span))
            }
            "file" if !external && !linkage => self.file(),
            "section" if !external && !linkage => self.section(),
            "pragma" if !external && !linkage => pragma(&mut self.cursor),
            "func" => Err(Fault::new(
                through(first, token.span),
                Mistake::Unsupported {
                    what: "a device function (.func)".to_owned(),
                    advice: "every function must be inlined; NVRTC keeps them for __noinline__, recursion, printf \
                             and assert",
                },
            )),
            _ => {
                let expected =
                    "`.entry`, `.global`, `.const`, `.shared`, `.file`, `.section` or `.pragma`".to_owned();
                let found = format!("`.{}`", short(word));
                Err(Fault::new(token.span, Mistake::Expected { expected, found }))
            }
        }
    }

    fn variables(&mut self, space: Space, external: bool, first: Span) -> Result<()> {
        for (name, variable) in variables(&mut self.cursor, Storage { space, external }, first)? {
            let symbol = Symbol::Module(self.module.variables.len() as u32);
            self.declare(name, variable.span, Some(symbol))?;
            self.module.variables.push(variable);
        }
        Ok(())
    }

    /// A name of the module: of a variable, or of a kernel.
    pub fn declare(&mut self, name: &'t str, span: Span, symbol: Option<Symbol>) -> Result<()> {
        match self.outer.insert(name, symbol) {
            None => Ok(()),
            Some(_) => Err(Fault::new(span, Mistake::Redeclared { name: name.to_owned() })),
        }
    }

    /// `.file 1 "name"`, then perhaps time and size.
    fn file(&mut self) -> Result<()> {
        let index = self.cursor.need_integer("the index of a file", MOST_FILES)? as usize;
        let name = self.cursor.need_quoted("the name of a file")?;
        if self.cursor.take(b',') {
            self.cursor.need_integer("a time", u64::MAX)?;
            self.cursor.need(b',')?;
            self.cursor.need_integer("a size", u64::MAX)?;
        }
        self.has_file(index);
        self.module.files[index] = name.to_owned();
        Ok(())
    }

    fn has_file(&mut self, index: usize) {
        if self.module.files.len() <= index {
            self.module.files.resize(index + 1, String::new());
        }
    }

    /// `.loc file line column`, then perhaps where the function was inlined, which is dropped.
    pub fn location(&mut self) -> Result<Source> {
        let source = self.place()?;
        if self.cursor.take(b',') {
            self.keyword("function_name")?;
            self.cursor.need_word("the label of the function's name")?;
            if self.cursor.take(b'+') {
                self.cursor.need_integer("an offset", u64::MAX)?;
            }
            self.cursor.need(b',')?;
            self.keyword("inlined_at")?;
            self.place()?;
        }
        Ok(source)
    }

    fn keyword(&mut self, keyword: &str) -> Result<()> {
        if self.cursor.word(&self.cursor.peek(0)) != keyword {
            return Err(self.cursor.expected(&format!("`{keyword}`")));
        }
        self.cursor.next();
        Ok(())
    }

    fn place(&mut self) -> Result<Source> {
        let most = u64::from(u32::MAX);
        let file = self.cursor.need_integer("the index of a file", MOST_FILES)? as u32;
        let line = self.cursor.need_integer("a line", most)? as u32;
        let column = self.cursor.need_integer("a column", most)? as u32;
        self.has_file(file as usize);
        Ok(Source { file, line, column })
    }

    /// Debugging information: names of functions, which nothing here asks for.
    fn section(&mut self) -> Result<()> {
        if self.cursor.peek(0).kind != Kind::Dot {
            return Err(self.cursor.expected("the name of a section"));
        }
        self.cursor.next();
        self.cursor.need(b'{')?;
        let mut depth = 1u32;
        while depth > 0 {
            match self.cursor.peek(0).kind {
                Kind::Mark(b'{') => depth += 1,
                Kind::Mark(b'}') => depth -= 1,
                Kind::End => return Err(self.cursor.expected("`}` at the end of the section")),
                _ => {}
            }
            self.cursor.next();
        }
        Ok(())
    }
}

/// `.pragma "nounroll";`: a hint to the assembler.
pub(super) fn pragma(cursor: &mut Cursor<'_>) -> Result<()> {
    let token = cursor.peek(0);
    let name = cursor.need_quoted("a pragma in quotes")?;
    if name != "nounroll" {
        let (what, advice) = (format!("the pragma {name:?}"), "only \"nounroll\" is known to change nothing");
        return Err(Fault::new(token.span, Mistake::Unsupported { what, advice }));
    }
    cursor.need(b';').map(|_| ())
}
