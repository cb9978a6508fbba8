//! A kernel: header, scopes, labels and statements. PTX ISA, sections 4.2, 5.4 and 11.

use super::cursor::through;
use super::declare::{Storage, parameters, registers, variables};
use super::error::{Fault, Mistake, Result};
use super::form::{Body, Form};
use super::instruction::operation;
use super::lexer::{Kind, Token};
use super::module::{Parser, pragma};
use super::names::{Name, Names};
use super::operand::operand;
use crate::{Guard, Instruction, Kernel, Operation, Source, Space, Span, Symbol, Type};
use std::collections::HashMap;

/// The rest of an entry behind `.entry`; `first` is where it begins.
pub(super) fn entry<'t>(parser: &mut Parser<'t>, first: Span) -> Result<()> {
    let token = parser.cursor.need_word("the name of the entry")?;
    let name = parser.cursor.word(&token);
    parser.declare(name, token.span, None)?;
    let mut named = HashMap::new();
    let mut params = Vec::new();
    for (at, (name, span, param)) in parameters(&mut parser.cursor)?.into_iter().enumerate() {
        if named.insert(name, Symbol::Param(at as u32)).is_some() {
            return Err(Fault::new(span, Mistake::Redeclared { name: name.to_owned() }));
        }
        params.push(param);
    }
    let mut kernel = Kernel {
        name: name.to_owned(),
        params,
        registers: Vec::new(),
        register_names: Vec::new(),
        variables: Vec::new(),
        body: Vec::new(),
        max_threads: None,
        required_threads: None,
        min_blocks: None,
        max_registers: None,
        span: first,
    };
    let last = directives(parser, &mut kernel, token.span)?;
    kernel.span = through(first, last);
    parser.cursor.need(b'{')?;
    let mut body = Body {
        kernel,
        names: Names::new(std::mem::take(&mut parser.outer), named),
        branches: Vec::new(),
        variables: std::mem::take(&mut parser.module.variables),
        target: parser.module.target.clone(),
        architecture: parser.architecture,
    };
    statements(parser, &mut body)?;
    resolve(&mut body)?;
    parser.module.variables = body.variables;
    parser.outer = body.names.into_outer();
    parser.module.kernels.push(body.kernel);
    Ok(())
}

/// What stands between the parameters and the body; returns the place of the last of it.
fn directives(parser: &mut Parser<'_>, kernel: &mut Kernel, mut last: Span) -> Result<Span> {
    let cursor = &mut parser.cursor;
    while let Some(word) = cursor.peek_dot() {
        last = cursor.peek(0).span;
        match word {
            "maxntid" | "reqntid" => {
                cursor.next();
                let mut threads = [1; 3];
                threads[0] = cursor.need_integer("a number of threads", 1024)? as u32;
                for axis in &mut threads[1..] {
                    if !cursor.take(b',') {
                        break;
                    }
                    *axis = cursor.need_integer("a number of threads", 1024)? as u32;
                }
                let field = match word {
                    "maxntid" => &mut kernel.max_threads,
                    _ => &mut kernel.required_threads,
                };
                set(field, threads, word, last)?;
            }
            "minnctapersm" => {
                cursor.next();
                let blocks = cursor.need_integer("a number of blocks", 64)? as u32;
                set(&mut kernel.min_blocks, blocks, word, last)?;
            }
            "maxnreg" => {
                cursor.next();
                let count = cursor.need_integer("a number of registers", 255)? as u32;
                set(&mut kernel.max_registers, count, word, last)?;
            }
            "pragma" => {
                cursor.next();
                pragma(cursor)?;
            }
            _ => return Err(cursor.expected("`.maxntid`, `.reqntid`, `.minnctapersm`, `.maxnreg` or `{`")),
        }
    }
    Ok(last)
}

/// A directive that may stand once.
fn set<T>(field: &mut Option<T>, value: T, name: &str, span: Span) -> Result<()> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Fault::new(span, Mistake::Redeclared { name: format!(".{name}") })),
    }
}

/// Everything up to the brace that closes the kernel.
fn statements<'t>(parser: &mut Parser<'t>, body: &mut Body<'t>) -> Result<()> {
    let mut source = None;
    let mut modifiers = Vec::new();
    loop {
        let token = parser.cursor.peek(0);
        match token.kind {
            Kind::Mark(b'{') => {
                parser.cursor.next();
                body.names.enter(token.span)?;
            }
            Kind::Mark(b'}') => {
                parser.cursor.next();
                if !body.names.leave()? {
                    return Ok(());
                }
            }
            Kind::Dot => directive(parser, body, &mut source)?,
            Kind::Word if parser.cursor.peek(1).kind == Kind::Mark(b':') => label(parser, body)?,
            Kind::Word | Kind::Mark(b'@') => instruction(parser, body, source, &mut modifiers)?,
            _ => return Err(parser.cursor.expected("an instruction, a label, a directive or `}`")),
        }
    }
}

/// A directive inside a body.
fn directive<'t>(parser: &mut Parser<'t>, body: &mut Body<'t>, source: &mut Option<Source>) -> Result<()> {
    let token = parser.cursor.next();
    let cursor = &mut parser.cursor;
    match cursor.word(&token) {
        ".reg" => registers(cursor, &mut body.names, &mut body.kernel),
        ".shared" | ".local" => {
            let space = if cursor.word(&token) == ".local" { Space::Local } else { Space::Shared };
            for (name, mut variable) in variables(cursor, Storage { space, external: false }, token.span)? {
                let symbol = Symbol::Kernel(body.kernel.variables.len() as u32);
                variable.name = body.names.declare_variable(name, variable.span, symbol)?;
                body.kernel.variables.push(variable);
            }
            Ok(())
        }
        ".loc" => {
            *source = Some(parser.location()?);
            Ok(())
        }
        ".pragma" => pragma(cursor),
        ".param" => {
            let (what, advice) = ("a parameter of a call".to_owned(), "every function must be inlined");
            Err(Fault::new(token.span, Mistake::Unsupported { what, advice }))
        }
        _ => {
            let expected = "`.reg`, `.shared`, `.local`, `.loc` or `.pragma`".to_owned();
            let found = format!("`{}`", cursor.word(&token));
            Err(Fault::new(token.span, Mistake::Expected { expected, found }))
        }
    }
}

/// `name:`, perhaps of a list of targets.
fn label<'t>(parser: &mut Parser<'t>, body: &mut Body<'t>) -> Result<()> {
    let cursor = &mut parser.cursor;
    let token = cursor.next();
    let name = cursor.word(&token);
    cursor.next();
    body.names.declare_label(name, token.span, body.kernel.body.len() as u32)?;
    if !cursor.take_dot("branchtargets") {
        return Ok(());
    }
    let mut targets = Vec::new();
    loop {
        let target = cursor.need_word("a label")?;
        targets.push((cursor.word(&target), target.span));
        if !cursor.take(b',') {
            cursor.need(b';')?;
            body.names.declare_table(name, targets);
            return Ok(());
        }
    }
}

/// An instruction with its guard.
fn instruction<'t>(
    parser: &mut Parser<'t>,
    body: &mut Body<'t>,
    source: Option<Source>,
    modifiers: &mut Vec<Token>,
) -> Result<()> {
    let cursor = &mut parser.cursor;
    let first = cursor.peek(0).span;
    let mut guard = None;
    if cursor.take(b'@') {
        let negated = cursor.take(b'!');
        let token = cursor.need_word("a predicate")?;
        let name = cursor.word(&token);
        let register = match body.names.find(name, token.span, &mut body.kernel)? {
            Some(Name::Register(register)) if body.kernel.registers[register.0 as usize] == Type::Pred => {
                register
            }
            Some(_) => {
                let (what, expected) = ("something else", "a predicate");
                return Err(Fault::new(token.span, Mistake::Wrong { name: name.to_owned(), what, expected }));
            }
            None => return Err(Fault::new(token.span, Mistake::Undeclared { name: name.to_owned() })),
        };
        guard = Some(Guard { register, negated });
    }
    let word = cursor.need_word("an instruction")?;
    let mut head = word.span;
    modifiers.clear();
    while cursor.peek(0).kind == Kind::Dot {
        let modifier = cursor.next();
        head = through(head, modifier.span);
        modifiers.push(modifier);
    }
    let mut operands = Vec::new();
    if cursor.peek(0).kind != Kind::Mark(b';') {
        operands.push(operand(cursor)?);
        while cursor.take(b',') {
            operands.push(operand(cursor)?);
        }
    }
    let end = cursor.need(b';')?;
    let name = cursor.word(&word);
    let mut form = Form { body, text: cursor.text, name, head, modifiers: modifiers.as_slice(), operands };
    let operation = operation(&mut form)?;
    body.kernel.body.push(Instruction { guard, operation, span: through(first, end.span), source });
    Ok(())
}

/// Gives every branch its targets.
fn resolve(body: &mut Body<'_>) -> Result<()> {
    for &(at, place, scope, label, span) in &body.branches {
        let Some(found) = body.names.label(scope, label) else {
            return Err(Fault::new(span, Mistake::Label(label.to_owned())));
        };
        match &mut body.kernel.body[at].operation {
            Operation::Branch { target, .. } => *target = found,
            Operation::BranchIndexed { targets, .. } => targets[place] = found,
            _ => {}
        }
    }
    Ok(())
}
