//! PTX text to a [`Module`]: what NVRTC writes, and what is written by hand in its manner. PTX ISA 8.4.
//!
//! Strict: a mnemonic, modifier, order of modifiers, type, operand count, register width or name that the
//! tables here do not have is an error at its place. Nothing is dropped but hints to caches and to the
//! assembler (`.nc`, `.L1::…`, `.L2::…`, cache operators and policies, `.pragma "nounroll"`), linkage
//! (`.visible`, `.weak`), debugging sections and where a function was inlined. Not here: what an instruction
//! does ([`crate::sim`]), and everything of `.func`, textures, clusters and the asynchronous units of sm_90.
//!
//! `lexer` makes tokens, `cursor` walks over them, `module`, `declare` and `body` read the statements,
//! `operand` an operand's look; `form` checks it against types, and `instruction` knows the mnemonics.
//! Memory is proportional to the text, depth is limited, and no text makes the parser panic.

mod body;
mod cursor;
mod declare;
mod error;
mod form;
mod instruction;
mod lexer;
mod module;
mod names;
mod operand;
mod special;
mod types;

use crate::{Module, Span};
pub use error::{Mistake, ParseError};

/// Longest text: offsets are 32 bits wide, and no module comes near it.
const MOST_BYTES: usize = 1 << 28;

/// Parses a module.
///
/// # Errors
/// The first mistake, with its place, its line and what would be right.
pub fn parse(text: &str) -> Result<Module, ParseError> {
    if text.len() > MOST_BYTES {
        let mistake = Mistake::TooLong { bytes: text.len(), most: MOST_BYTES };
        return Err(error::Fault::new(Span { line: 1, ..Span::default() }, mistake).on(text));
    }
    let tokens = lexer::lex(text).map_err(|fault| fault.on(text))?;
    module::module(cursor::Cursor::new(text, &tokens)).map_err(|fault| fault.on(text))
}

/// What a fuzzer calls: any bytes as a module, and what it reads printed and read again.
pub fn fuzz_parse(bytes: &[u8]) {
    match parse(&String::from_utf8_lossy(bytes)) {
        Ok(_) => {}
        Err(error) => drop(error.to_string()),
    }
}
