//! What can be wrong with a recipe, where, and what would mend it.

use std::fmt;

/// One mistake in a recipe. Keys are shown as in `stages[0].schedule.lr`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// A recipe that cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// A recipe that is no text.
    #[error("this is not UTF-8 text")]
    NotText,
    /// Text that is no TOML.
    #[error("not valid TOML: {reason}")]
    Syntax {
        /// What the TOML reader said.
        reason: String,
    },
    /// A key that means nothing.
    #[error("unknown key `{key}`{}", within(table))]
    UnknownKey {
        /// The key as it was written.
        key: String,
        /// The table it stands in; empty outside every table.
        table: String,
        /// What was probably meant.
        nearest: Option<String>,
        /// Where a key of this name would mean something.
        elsewhere: Option<String>,
        /// Every name that could stand there.
        known: Vec<&'static str>,
    },
    /// A key that must be there.
    #[error("`{key}` is missing")]
    Missing {
        /// The key.
        key: String,
        /// What its value must be.
        expected: String,
        /// What it means.
        doc: &'static str,
    },
    /// None of a group of keys of which one must be there.
    #[error("{} needs one of {}", table_name(table), quoted(group, " or "))]
    MissingOneOf {
        /// The table.
        table: String,
        /// The group.
        group: Vec<&'static str>,
    },
    /// Two keys of which only one may be there.
    #[error("`{key}` and `{other}` exclude each other")]
    Conflict {
        /// The second of them.
        key: String,
        /// The first of them.
        other: String,
    },
    /// A value of the wrong type.
    #[error("`{key}` must be {expected}, not {found}")]
    WrongType {
        /// The key.
        key: String,
        /// What its value must be.
        expected: String,
        /// What it is.
        found: String,
        /// How to write it, where that is not plain.
        advice: Option<&'static str>,
    },
    /// A value of the right type that makes no sense.
    #[error("`{key}` {reason}")]
    BadValue {
        /// The key.
        key: String,
        /// What is wrong, to be read after the key.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// A path with a variable that is not set.
    #[error("`{key}` uses ${{{name}}}, which is not set")]
    UnsetVariable {
        /// The key.
        key: String,
        /// The variable.
        name: String,
    },
    /// A path where nothing is.
    #[error("`{key}` names {path}, which does not exist")]
    NoSuchPath {
        /// The key.
        key: String,
        /// The path, made absolute.
        path: String,
    },
    /// Recipes that extend each other.
    #[error("`extends` goes in a circle: {}", chain.join(" → "))]
    ExtendsCycle {
        /// The files, from the first to its second appearance.
        chain: Vec<String>,
    },
    /// An override that cannot be applied.
    #[error("{reason}")]
    BadOverride {
        /// What is wrong.
        reason: String,
        /// What to do.
        advice: String,
    },
}

impl RecipeError {
    /// What would mend it, where that is more than the message says.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        Some(match self {
            RecipeError::Unreadable { .. } => "check the path and its permissions".to_owned(),
            RecipeError::NotText => "save the file as UTF-8".to_owned(),
            RecipeError::UnknownKey { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            RecipeError::UnknownKey { elsewhere: Some(elsewhere), .. } => format!("there is `{elsewhere}`"),
            RecipeError::UnknownKey { known, .. } if known.is_empty() => "remove it".to_owned(),
            RecipeError::UnknownKey { known, .. } => format!("known here: {}", quoted(known, ", ")),
            RecipeError::Missing { expected, doc, .. } => format!("give {expected}: {}", lower(doc)),
            RecipeError::Conflict { .. } => "remove one of them".to_owned(),
            RecipeError::UnsetVariable { name, .. } => format!("set {name} or write the path out"),
            RecipeError::NoSuchPath { .. } => {
                "relative paths start from the folder of the recipe they stand in".to_owned()
            }
            RecipeError::ExtendsCycle { .. } => "remove one of the `extends`".to_owned(),
            RecipeError::BadValue { advice, .. } | RecipeError::BadOverride { advice, .. } => advice.clone(),
            RecipeError::WrongType { advice, .. } => return advice.map(str::to_owned),
            RecipeError::Syntax { .. } | RecipeError::MissingOneOf { .. } => return None,
        })
    }
}

fn within(table: &str) -> String {
    if table.is_empty() { String::new() } else { format!(" in `{table}`") }
}

fn table_name(table: &str) -> String {
    if table.is_empty() { "the recipe".to_owned() } else { format!("`{table}`") }
}

pub(crate) fn quoted<T: fmt::Display>(names: &[T], between: &str) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(between)
}

/// A table's prose as the end of a sentence: its first letter is small, unless it begins a name.
fn lower(doc: &str) -> String {
    let mut letters = doc.chars();
    let small = letters.next().map(|first| first.to_lowercase().chain(letters).collect::<String>());
    let small = small.unwrap_or_default();
    small.strip_suffix('.').unwrap_or(&small).to_owned()
}

/// Where in a recipe a mistake stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named; or `--set KEY=VALUE`.
    pub file: String,
    /// Line and column of the first character, from 1, columns in characters; `None` in a `--set`.
    pub position: Option<(usize, usize)>,
    /// That line (or the part of a long one around the mistake) with the column, from 0, and the length of the
    /// mistake in it.
    pub excerpt: Option<(String, usize, usize)>,
}

impl Place {
    /// The place of the bytes `start..end` of `text`. An empty range has a position and no excerpt.
    #[must_use]
    pub fn within(file: &str, text: &str, start: usize, end: usize) -> Place {
        let start = floor_char_boundary(text, start);
        let end = floor_char_boundary(text, end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let number = text[..line_start].matches('\n').count() + 1;
        let column = text[line_start..start].chars().count();
        let length = text[start..end.min(line_end)].trim_end().chars().count();
        let excerpt = (end > start).then(|| window(line, column, length.max(1)));
        Place { file: file.to_owned(), position: Some((number, column + 1)), excerpt }
    }
}

/// At most a hundred characters of a line around `column`; what a terminal would act on is blanked.
fn window(line: &str, column: usize, length: usize) -> (String, usize, usize) {
    const WIDTH: usize = 100;
    let from = if column + length.min(WIDTH / 2) < WIDTH { 0 } else { column - column.min(WIDTH / 4) };
    let shown: String =
        line.chars().skip(from).take(WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect();
    (shown, column - from, length.min(WIDTH - (column - from)))
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{}:{line}:{column}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// One mistake and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub error: RecipeError,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, shown(&self.error.to_string()))?;
        if let (Some((line, column, length)), Some((number, _))) = (&self.place.excerpt, self.place.position)
        {
            let margin = " ".repeat(number.to_string().len());
            write!(f, "\n  {number} | {line}")?;
            write!(f, "\n  {margin} | {}{}", " ".repeat(*column), "^".repeat(*length))?;
        }
        match self.error.advice() {
            Some(advice) => write!(f, "\n  help: {}", shown(&advice)),
            None => Ok(()),
        }
    }
}

/// A message with what a recipe put into it made harmless: no control characters, no endless names.
fn shown(message: &str) -> String {
    const LIMIT: usize = 600;
    let mut shown: String =
        message.chars().take(LIMIT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if message.chars().nth(LIMIT).is_some() {
        shown.push('…');
    }
    shown
}

/// Everything that is wrong with a recipe, in the order of the files.
#[derive(Debug, Clone, PartialEq)]
pub struct RecipeErrors {
    /// The recipe that was asked for.
    pub recipe: String,
    /// At least one, and at most a hundred.
    pub problems: Vec<Problem>,
    /// How many there are beyond those.
    pub more: usize,
}

impl std::error::Error for RecipeErrors {}

impl fmt::Display for RecipeErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        if self.more > 0 {
            writeln!(f, "and {} more", self.more)?;
        }
        let found = self.problems.len() + self.more;
        write!(f, "{}: {found} {}", self.recipe, if found == 1 { "mistake" } else { "mistakes" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_characters_and_survives_any_range() {
        let text = "a = 1\nπ = \"αβγ\"\r\nlast";
        let at = text.find("αβγ").unwrap();
        let place = Place::within("r.toml", text, at, at + 6);
        assert_eq!(place.to_string(), "r.toml:2:6");
        assert_eq!(place.excerpt, Some(("π = \"αβγ\"".to_owned(), 5, 3)));
        for start in 0..text.len() + 3 {
            for end in 0..text.len() + 3 {
                let _ = Place::within("r.toml", text, start, end);
            }
        }
    }

    #[test]
    fn a_long_line_is_shown_around_the_mistake() {
        let text = format!("x = \"{}\" y = 1", "z".repeat(10_000));
        let at = text.find('y').unwrap();
        let (line, column, length) = Place::within("r.toml", &text, at, at + 1).excerpt.unwrap();
        assert!(line.chars().count() <= 100 && length == 1);
        assert_eq!(line.chars().nth(column), Some('y'));
        let (_, column, length) = Place::within("r.toml", &text, 4, 10_000).excerpt.unwrap();
        assert!(column + length <= 100);
    }
}
