//! TOML as a tree in which every key and value knows where it stands.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::RecipeError;

/// Tables and lists within each other: recipes need five levels.
const DEPTH_LIMIT: usize = 16;

/// The TOML reader recurses, and drops what it read by recursion, as deep as a hostile file nests (some
/// thousand levels): this much stack holds that with room to spare. Untouched pages cost nothing.
const PARSER_STACK: usize = 64 << 20;

/// Bytes of one of the texts that make up a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Which text, in the order in which they were read.
    pub text: usize,
    /// The first of them.
    pub start: usize,
    /// Behind the last.
    pub end: usize,
}

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it stands.
    pub spot: Spot,
    /// What it is.
    pub value: Value,
}

/// A value of TOML.
#[derive(Debug, Clone)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a point or an exponent.
    Float(f64),
    /// True or false.
    Flag(bool),
    /// A date or time, which no file of ours has a use for.
    Date,
    /// An array.
    List(Vec<Node>),
    /// A table, inline or not.
    Table(Entries),
}

/// A table's keys, each with its own place.
pub type Entries = BTreeMap<String, (Spot, Node)>;

impl Value {
    /// What it is, to be read after "not".
    pub fn describe(&self) -> String {
        match self {
            Value::Text(text) if text.is_empty() => "an empty text".to_owned(),
            Value::Text(text) if text.chars().count() <= 30 => format!("the text {text:?}"),
            Value::Text(_) => "a text".to_owned(),
            Value::Integer(number) => format!("the number {number}"),
            Value::Float(number) => format!("the number {number:?}"),
            Value::Flag(flag) => format!("{flag}"),
            Value::Date => "a date".to_owned(),
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }
}

/// A mistake and the bytes it stands in, within the text being read.
pub type Found = (Spot, RecipeError);

/// Reads TOML, which becomes text number `text`. Hostile nesting is an error, never an overflow of the stack.
///
/// # Errors
/// Every mistake of syntax, not only the first.
pub fn parse(source: &str, text: usize) -> Result<Entries, Vec<Found>> {
    let read = std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, || Lowering { text, found: Vec::new() }.document(source));
        // A panic of the TOML reader is the file's fault, not the program's.
        worker.ok().and_then(|worker| worker.join().ok())
    });
    read.unwrap_or_else(|| {
        let reason = "the TOML reader gave up on this file: simplify it".to_owned();
        Err(vec![(Spot { text, start: 0, end: 0 }, RecipeError::Syntax { reason })])
    })
}

/// Reads one value of a default, which is ours and needs no care.
pub(crate) fn default_value(source: &str) -> Option<Value> {
    let document = format!("value = {source}");
    let mut entries = Lowering { text: 0, found: Vec::new() }.document(&document).ok()?;
    entries.remove("value").map(|(_, node)| node.value)
}

struct Lowering {
    text: usize,
    found: Vec<Found>,
}

impl Lowering {
    fn document(mut self, source: &str) -> Result<Entries, Vec<Found>> {
        let (table, errors) = DeTable::parse_recoverable(source);
        for error in errors {
            let span = error.span().unwrap_or_default();
            // What is missing has no length: one character is shown all the same.
            self.report(span.start..span.end.max(span.start + 1), error.message().to_owned());
        }
        let entries = self.table(table.into_inner(), 1);
        if self.found.is_empty() { Ok(entries) } else { Err(self.found) }
    }

    fn report(&mut self, span: std::ops::Range<usize>, reason: String) {
        self.found.push((self.spot(span), RecipeError::Syntax { reason }));
    }

    fn spot(&self, span: std::ops::Range<usize>) -> Spot {
        Spot { text: self.text, start: span.start, end: span.end }
    }

    fn table(&mut self, table: DeTable, depth: usize) -> Entries {
        let mut entries = Entries::new();
        for (key, value) in table {
            let spot = self.spot(key.span());
            if let Some(node) = self.node(value, depth + 1) {
                entries.insert(key.into_inner().into_owned(), (spot, node));
            }
        }
        entries
    }

    fn node(&mut self, value: Spanned<DeValue>, depth: usize) -> Option<Node> {
        let span = value.span();
        if depth > DEPTH_LIMIT {
            self.report(span, format!("more than {DEPTH_LIMIT} levels of tables and lists"));
            return None;
        }
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => {
                    self.report(span, format!("{digits} does not fit into 64 bits"));
                    return None;
                }
            },
            DeValue::Float(digits) => match digits.as_str().parse::<f64>() {
                Ok(number) => Value::Float(number),
                Err(_) => {
                    self.report(span, format!("{digits} is not a number"));
                    return None;
                }
            },
            DeValue::Boolean(flag) => Value::Flag(flag),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(items) => {
                Value::List(items.into_iter().filter_map(|item| self.node(item, depth + 1)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, depth)),
        };
        Some(Node { spot: self.spot(span), value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_syntax_error_is_found_at_once() {
        let found = parse("a = \nb = 1\nc = [1\nd = = 2\n", 0).unwrap_err();
        assert!(found.len() >= 2, "{found:?}");
    }

    #[test]
    fn hostile_nesting_is_an_error_and_no_overflow() {
        let keys = ["a"; 79].join(".");
        let mut tables = "1".to_owned();
        for _ in 0..79 {
            tables = format!("{{{keys} = {tables}}}");
        }
        for text in [
            format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
            format!("x = {}", "{a=".repeat(100_000)),
            format!("{}a = 1", "a.".repeat(100_000)),
            format!("[{}a]", "a.".repeat(100_000)),
            format!("x = {tables}"),
            format!("x = {tables}\nx = {tables}"),
        ] {
            assert!(parse(&text, 0).is_err(), "{}", &text[..40]);
        }
    }

    #[test]
    fn an_integer_beyond_64_bits_is_named() {
        let found = parse("a = 99999999999999999999", 0).unwrap_err();
        assert!(found[0].1.to_string().contains("99999999999999999999 does not fit"), "{found:?}");
    }
}
