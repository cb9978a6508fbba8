//! Rows to text by a template, and which rows to keep.
//!
//! Both are minijinja over the row's fields. Nothing is looked up elsewhere; the number of instructions and
//! the length of the output are bounded, because a template may come with a data set. Strings that it builds on the
//! way are not: a template that doubles one again and again is the recipe's own fault, and no row can do it.

use crate::lines::MAX_DOCUMENT_BYTES;
use crate::{Row, RowsError};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde_json::{Map, Value as Json};
use std::collections::HashSet;
use std::io::Write;

/// Instructions one row may cost.
const FUEL: u64 = 10_000_000;
/// The name under which the one template of an environment stands.
const NAME: &str = "template";

/// A row template, such as `{{ question }}\n{{ answer }}`.
pub struct Template {
    environment: Environment<'static>,
    source: String,
}

impl Template {
    /// What is used when a recipe says nothing.
    pub const DEFAULT: &'static str = "{{ text }}";

    /// Parses a template. Newlines are kept as written, the last one too.
    ///
    /// # Errors
    /// With the place of a syntax error.
    pub fn new(source: &str) -> Result<Template, RowsError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        environment.set_syntax(syntax.map_err(|e| syntax_error("the template", source, &e))?);
        environment.set_fuel(Some(FUEL));
        // Errors then say which part of the template they are about.
        environment.set_debug(true);
        // By itself, null would be written as the word "none".
        environment.set_formatter(|out, state, value| {
            if value.is_none() {
                return Err(Error::new(ErrorKind::BadSerialization, "null"));
            }
            minijinja::escape_formatter(out, state, value)
        });
        environment
            .add_template_owned(NAME, source.to_string())
            .map_err(|e| syntax_error("the template", source, &e))?;
        Ok(Template { environment, source: source.into() })
    }

    /// The template as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a row.
    ///
    /// # Errors
    /// When the template uses a field that the row lacks or that is null, or does what cannot be done.
    pub fn render(&self, row: &Row) -> Result<String, RowsError> {
        let mut out = Bounded { bytes: Vec::new() };
        let rendered = self
            .environment
            .get_template(NAME)
            .and_then(|template| template.render_captured_to(values(&row.fields), &mut out).map(|_| ()));
        match rendered {
            Ok(()) => String::from_utf8(out.bytes)
                .map_err(|e| RowsError::Render { origin: row.origin.clone(), reason: e.to_string() }),
            Err(e) => Err(self.failure(row, &e)),
        }
    }

    /// The error of this crate that a failure on a row is, with the field it is about.
    fn failure(&self, row: &Row, error: &Error) -> RowsError {
        let origin = row.origin.clone();
        let missing = error.kind() == ErrorKind::UndefinedError;
        let null = error.kind() == ErrorKind::BadSerialization && error.detail() == Some("null");
        if !missing && !null {
            let part = self.part(error).map(|part| format!(", in `{part}`")).unwrap_or_default();
            return RowsError::Render { origin, reason: reason(error) + &part };
        }
        let named = self.fields().into_iter().find(|field| match look_up(&row.fields, field) {
            None => missing,
            Some(value) => null && value.is_null(),
        });
        // What lies inside a list has no name of its own: the template's words for it stand in.
        let field = named.unwrap_or_else(|| self.part(error).unwrap_or_default().to_string());
        match missing {
            true => {
                let fields = row.fields.keys().chain(row.unread.iter()).cloned().collect();
                RowsError::MissingField { origin, field, fields }
            }
            false => RowsError::NullField { origin, field },
        }
    }

    /// What stands between the braces around the place of an error.
    fn part(&self, error: &Error) -> Option<&str> {
        let range = error.range()?;
        let (before, behind) = (self.source.get(..range.end)?, self.source.get(range.end..)?);
        let start = before.rfind("{{").max(before.rfind("{%"))? + 2;
        let end = [behind.find("}}"), behind.find("%}")].into_iter().flatten().min()?;
        Some(self.source.get(start..range.end + end)?.trim_matches(|c: char| c == '-' || c.is_whitespace()))
    }

    /// Every word of the template that could be the name of a field.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        words(&self.source)
    }

    /// The fields that the template may use, sorted; a nested one as `a.b`.
    fn fields(&self) -> Vec<String> {
        let names = self.environment.get_template(NAME).map(|template| template.undeclared_variables(true));
        sorted(names.unwrap_or_default())
    }
}

/// Which rows to keep: an expression such as `answer` or `score and score > 0.5`.
///
/// A row is kept when the value is true in Jinja's sense: not false, 0, empty, null or missing. A missing
/// name counts as false, and so does an expression that cannot be computed without it. A comparison with
/// a missing name does not fail by itself, hence `score and` in front of it.
pub struct Filter {
    environment: Environment<'static>,
    source: String,
}

impl Filter {
    /// Parses an expression.
    ///
    /// # Errors
    /// With the place of a syntax error.
    pub fn new(source: &str) -> Result<Filter, RowsError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_fuel(Some(FUEL));
        let filter = Filter { environment, source: source.into() };
        filter
            .environment
            .compile_expression(&filter.source)
            .map_err(|e| syntax_error("the filter", source, &e))?;
        Ok(filter)
    }

    /// Every word of the expression that could be the name of a field.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        words(&self.source)
    }

    /// Whether to keep a row.
    ///
    /// # Errors
    /// When the expression cannot be computed although the row has all its names.
    pub fn keeps(&self, row: &Row) -> Result<bool, RowsError> {
        let failed = |e: Error| RowsError::Filter { origin: row.origin.clone(), reason: reason(&e) };
        let expression = self.environment.compile_expression(&self.source).map_err(failed)?;
        match expression.eval(values(&row.fields)) {
            Ok(value) => Ok(value.is_true()),
            Err(e) => {
                let names = sorted(expression.undeclared_variables(true));
                let complete = names.iter().all(|name| look_up(&row.fields, name).is_some());
                if complete { Err(failed(e)) } else { Ok(false) }
            }
        }
    }
}

fn syntax_error(what: &'static str, source: &str, error: &Error) -> RowsError {
    RowsError::Syntax { what, source_text: source.into(), reason: reason(error) }
}

/// The row's fields as the engine's values; by hand, because the engine's own conversion reads marks that a
/// data set could forge.
fn values(fields: &Map<String, Json>) -> Value {
    Value::from_pairs(fields.iter().map(|(name, value)| (name.as_str(), value_of(value))))
}

fn value_of(value: &Json) -> Value {
    match value {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Value::from(value),
            (None, Some(value)) => Value::from(value),
            (None, None) => Value::from(number.as_f64()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value_of).collect(),
        Json::Object(fields) => values(fields),
    }
}

/// The words of a source, in which every name it uses is found, since a row's fields are only reached by name.
fn words(source: &str) -> impl Iterator<Item = &str> {
    source.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn sorted(names: HashSet<String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort();
    names
}

/// The value of `a.b.c` in a row.
fn look_up<'a>(fields: &'a Map<String, Json>, path: &str) -> Option<&'a Json> {
    let mut parts = path.split('.');
    let first = fields.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

/// What an error says, without the name that the template has here alone.
fn reason(error: &Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("it takes more than {FUEL} instructions"),
        (ErrorKind::WriteFailure, _) => format!("it writes more than {MAX_DOCUMENT_BYTES} bytes"),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    }
}

/// Takes no more bytes than a document may have.
struct Bounded {
    bytes: Vec<u8>,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;
    use serde_json::json;
    use std::path::Path;

    fn row(fields: Json) -> Row {
        let Json::Object(fields) = fields else { panic!("an object") };
        Row {
            fields,
            origin: Origin { file: Path::new("d.jsonl").into(), line: 7 },
            unread: Default::default(),
        }
    }

    fn render(template: &str, fields: Json) -> Result<String, String> {
        Template::new(template).map_err(|e| e.to_string())?.render(&row(fields)).map_err(|e| e.to_string())
    }

    #[test]
    fn fields_are_written_as_they_are() {
        let fields = json!({"question": "1 < 2 & 3?", "answer": "yes\n", "n": 3, "x": 0.5, "ok": true,
            "turns": [{"role": "user", "text": "a"}, {"role": "bot", "text": "b"}]});
        for (template, expected) in [
            ("{{ question }}\n{{ answer }}", "1 < 2 & 3?\nyes\n"),
            ("{{ question }}\n", "1 < 2 & 3?\n"),
            ("{{ n }} {{ x }} {{ ok }}", "3 0.5 True"),
            ("{% for t in turns %}{{ t.role }}: {{ t.text }}\n{% endfor %}", "user: a\nbot: b\n"),
            ("{{ turns[1].text }}", "b"),
            ("{% if hint is defined %}{{ hint }}{% endif %}.", "."),
            ("{{ hint | default('none given') }}", "none given"),
        ] {
            assert_eq!(render(template, fields.clone()).as_deref(), Ok(expected), "{template}");
        }
        assert_eq!(
            Template::new(Template::DEFAULT).unwrap().render(&row(json!({"text": "t"}))).unwrap(),
            "t"
        );
    }

    #[test]
    fn a_missing_field_is_named_with_those_there_are() {
        let error = render("{{ question }}{{ answer }}", json!({"question": "q", "reply": "r"})).unwrap_err();
        assert_eq!(error, "d.jsonl:7: no field `answer` for the template; the row has `question`, `reply`");
        let error = render("{{ a.b }}", json!({"a": {"c": 1}})).unwrap_err();
        assert_eq!(error, "d.jsonl:7: no field `a.b` for the template; the row has `a`");
        let error = render("{% for t in turns %}{{ t.b }}{% endfor %}", json!({"turns": [{}]})).unwrap_err();
        assert_eq!(error, "d.jsonl:7: no field `t.b` for the template; the row has `turns`");
        let error = render("{{ a }}", json!({})).unwrap_err();
        assert!(error.ends_with("the row has no fields"), "{error}");
    }

    #[test]
    fn null_is_not_written_as_a_word() {
        let error = render("{{ q }}{{ a }}", json!({"q": "", "a": null})).unwrap_err();
        assert!(error.starts_with("d.jsonl:7: the template writes `a`, which is null"), "{error}");
        assert_eq!(render("{{ a or '' }}", json!({"a": null})).as_deref(), Ok(""));
    }

    #[test]
    fn a_template_that_goes_on_and_on_is_stopped() {
        let forever = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}";
        let error = render(forever, json!({})).unwrap_err();
        assert!(error.contains("more than 10000000 instructions"), "{error}");
        let long = "{% for a in range(99999) %}{{ t }}{% endfor %}";
        let error = render(long, json!({"t": "x".repeat(1 << 16)})).unwrap_err();
        assert!(error.contains("writes more than 268435456 bytes"), "{error}");
    }

    #[test]
    fn a_syntax_error_shows_the_source() {
        let error = render("{{ a ", json!({})).unwrap_err();
        assert!(error.starts_with("the template `{{ a ` is not valid: syntax error"), "{error}");
        let error = Filter::new("a >").err().unwrap().to_string();
        assert!(error.starts_with("the filter `a >` is not valid"), "{error}");
    }

    #[test]
    fn a_filter_keeps_what_is_true() {
        let fields =
            json!({"answer": "x", "empty": "", "zero": 0, "null": null, "score": 0.7, "tags": ["a"]});
        for (filter, expected) in [
            ("answer", true),
            ("empty or zero or null", false),
            ("score > 0.5 and 'a' in tags", true),
            ("answer | length > 3", false),
            ("missing", false),
            ("not missing", true),
            ("missing.deeper", false),
            ("missing | length > 3", false),
            ("missing and missing < 3", false),
        ] {
            assert_eq!(
                Filter::new(filter).unwrap().keeps(&row(fields.clone())).unwrap(),
                expected,
                "{filter}"
            );
        }
        let error = Filter::new("answer + 1").unwrap().keeps(&row(fields)).unwrap_err().to_string();
        assert!(error.starts_with("d.jsonl:7: the filter failed"), "{error}");
    }
}
