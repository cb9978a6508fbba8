//! The keys of a task file, each with its place, so that every mistake is told where it stands and all at once.

use octo_recipe::tree::{Spot, Value, parse};
use octo_recipe::{Place, Problem, RecipeError, RecipeErrors, nearest};
use std::collections::BTreeMap;

/// A value and where it stands.
#[derive(Clone)]
struct Field {
    place: Place,
    value: Value,
}

/// The keys of a file, and of those it extends, and what is wrong with them so far.
pub(crate) struct Reader {
    /// The file, as it is shown.
    pub name: String,
    fields: BTreeMap<&'static str, Field>,
    problems: Vec<Problem>,
}

impl Reader {
    /// Reads a text whose keys are these.
    pub fn new(name: &str, text: &str, known: &[&'static str]) -> Result<Reader, Box<RecipeErrors>> {
        let mut reader = Reader { name: name.to_owned(), fields: BTreeMap::new(), problems: Vec::new() };
        let at = |spot: Spot| Place::within(name, text, spot.start, spot.end);
        match parse(text, 0) {
            Err(found) => {
                reader.problems =
                    found.into_iter().map(|(spot, error)| Problem { place: at(spot), error }).collect();
                return Err(reader.errors());
            }
            Ok(entries) => {
                for (key, (spot, node)) in entries {
                    match known.iter().find(|known| **known == key) {
                        Some(known) => {
                            reader.fields.insert(known, Field { place: at(node.spot), value: node.value });
                        }
                        None => {
                            let error = RecipeError::UnknownKey {
                                nearest: nearest(&key, known).map(str::to_owned),
                                key,
                                table: String::new(),
                                elsewhere: None,
                                known: known.to_vec(),
                            };
                            reader.problems.push(Problem { place: at(spot), error });
                        }
                    }
                }
            }
        }
        Ok(reader)
    }

    /// Takes over what `base` says and this file does not.
    pub fn extend(&mut self, base: Reader) {
        self.problems.extend(base.problems);
        for (key, field) in base.fields {
            self.fields.entry(key).or_insert(field);
        }
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        match self.fields.get(key)?.value.clone() {
            Value::Text(text) => Some(text),
            other => self.wrong_type(key, "a text", &other),
        }
    }

    /// A text, which is then gone.
    pub fn take_text(&mut self, key: &'static str) -> Option<String> {
        let text = self.text(key);
        self.fields.remove(key);
        text
    }

    /// A text, or a list of texts.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        match self.fields.get(key)?.value.clone() {
            Value::Text(text) => Some(vec![text]),
            Value::List(nodes) => {
                let mut texts = Vec::new();
                for node in nodes {
                    match node.value {
                        Value::Text(text) => texts.push(text),
                        other => return self.wrong_type(key, "a list of texts", &other),
                    }
                }
                Some(texts)
            }
            other => self.wrong_type(key, "a text or a list of texts", &other),
        }
    }

    /// A whole number of at least `least`.
    pub fn count(&mut self, key: &'static str, least: usize) -> Option<usize> {
        match self.fields.get(key)?.value.clone() {
            Value::Integer(number) => match usize::try_from(number).ok().filter(|n| *n >= least) {
                Some(count) => Some(count),
                None => self.object(key, format!("is {number}"), format!("give {least} or more")),
            },
            other => self.wrong_type(key, "a whole number", &other),
        }
    }

    /// A number.
    pub fn number(&mut self, key: &'static str) -> Option<f64> {
        match self.fields.get(key)?.value.clone() {
            Value::Integer(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            other => self.wrong_type(key, "a number", &other),
        }
    }

    /// True or false.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        match self.fields.get(key)?.value.clone() {
            Value::Flag(flag) => Some(flag),
            other => self.wrong_type(key, "true or false", &other),
        }
    }

    /// A text that `make` turns into something, or says why not.
    pub fn made<T>(
        &mut self,
        key: &'static str,
        make: impl FnOnce(&str) -> Result<T, (String, String)>,
    ) -> Option<T> {
        let text = self.text(key)?;
        match make(&text) {
            Ok(made) => Some(made),
            Err((reason, advice)) => self.object(key, reason, advice),
        }
    }

    /// Reports a key that has to be there.
    pub fn missing<T>(&mut self, key: &'static str, expected: &str, doc: &'static str) -> Option<T> {
        let place = Place { file: self.name.clone(), position: None, excerpt: None };
        let error = RecipeError::Missing { key: key.to_owned(), expected: expected.to_owned(), doc };
        self.problems.push(Problem { place, error });
        None
    }

    /// Reports a value that makes no sense; `reason` is read after the key.
    pub fn object<T>(
        &mut self,
        key: &'static str,
        reason: impl Into<String>,
        advice: impl Into<String>,
    ) -> Option<T> {
        let (reason, advice) = (reason.into(), advice.into());
        self.report(key, RecipeError::BadValue { key: key.to_owned(), reason, advice })
    }

    fn wrong_type<T>(&mut self, key: &'static str, expected: &str, found: &Value) -> Option<T> {
        let (expected, found) = (expected.to_owned(), found.describe());
        self.report(key, RecipeError::WrongType { key: key.to_owned(), expected, found, advice: None })
    }

    fn report<T>(&mut self, key: &str, error: RecipeError) -> Option<T> {
        let place = match self.fields.get(key) {
            Some(field) => field.place.clone(),
            None => Place { file: self.name.clone(), position: None, excerpt: None },
        };
        self.problems.push(Problem { place, error });
        None
    }

    /// Whether nothing was wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// What was wrong.
    pub fn errors(self) -> Box<RecipeErrors> {
        Box::new(RecipeErrors { recipe: self.name, problems: self.problems, more: 0 })
    }
}
