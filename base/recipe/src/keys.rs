//! How a key is declared, and how declarations are found.

use crate::table::TABLES;

/// One table of a recipe.
#[derive(Debug)]
pub struct Table {
    /// Where it stands: `optimizer`, `data.sources.*` (one for each name), `stages[]` (one for each element).
    pub path: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// What it may hold besides tables.
    pub keys: &'static [&'static [Key]],
}

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// Whether it may be left out, and what holds then.
    pub presence: Presence,
    /// What a resumed run may do with it.
    pub class: Class,
    /// What it means.
    pub doc: &'static str,
}

/// What a value must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A whole number of at least this, or text with a suffix (`"64k"`).
    Count(u64),
    /// A number.
    Number(Bounds),
    /// Two numbers.
    Pair(Bounds),
    /// `true` or `false`.
    Flag,
    /// Text that is not empty.
    Text,
    /// A list of texts, not empty.
    Texts,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The path of something that exists.
    Path,
    /// The path of something that the run makes.
    NewPath,
    /// The path of something that exists, or a table.
    PathOrTable,
    /// A whole number of at least 1, or a list of \[step from which, number\].
    CountsFromSteps,
    /// A table of source names, each with its share.
    Shares,
    /// A list of steps and ranges of steps, each as text or a number from 1.
    Ranges,
}

/// Which numbers will do. All are finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// Any.
    Any,
    /// At least 0.
    NotNegative,
    /// More than 0.
    Positive,
    /// At least 0 and less than 1.
    BelowOne,
    /// More than 0 and at most 1.
    UpToOne,
}

/// Whether a key may be left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Presence {
    /// It must be there.
    Required,
    /// Exactly one key of this group in its table must be there.
    OneOf(&'static [&'static str]),
    /// Left out, it has this value, written as in TOML.
    Default(&'static str),
    /// Left out, this holds.
    Optional(&'static str),
}

/// What a resumed run may do with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Change it: no step already taken would have been another. Paths may change, their content may not.
    Free,
    /// Change it when asked by name, on the record.
    Accepted,
    /// Not change it.
    Never,
}

impl Bounds {
    pub(crate) fn admits(self, number: f64) -> bool {
        number.is_finite()
            && match self {
                Bounds::Any => true,
                Bounds::NotNegative => number >= 0.0,
                Bounds::Positive => number > 0.0,
                Bounds::BelowOne => (0.0..1.0).contains(&number),
                Bounds::UpToOne => number > 0.0 && number <= 1.0,
            }
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Bounds::Any => "of either sign",
            Bounds::NotNegative => "at least 0",
            Bounds::Positive => "more than 0",
            Bounds::BelowOne => "at least 0 and less than 1",
            Bounds::UpToOne => "more than 0 and at most 1",
        }
    }
}

impl Kind {
    pub(crate) fn describe(self) -> String {
        match self {
            Kind::Count(0) => "a count".to_owned(),
            Kind::Count(least) => format!("a count of at least {least}"),
            Kind::Number(bounds) => format!("a number, {}", bounds.describe()),
            Kind::Pair(bounds) => format!("two numbers, {}", bounds.describe()),
            Kind::Flag => "true or false".to_owned(),
            Kind::Text => "text".to_owned(),
            Kind::Texts => "a list of texts".to_owned(),
            Kind::Choice(names) => {
                let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
                match quoted.split_last() {
                    Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
                    _ => quoted.concat(),
                }
            }
            Kind::Path | Kind::NewPath => "a path".to_owned(),
            Kind::PathOrTable => "a path or a table".to_owned(),
            Kind::CountsFromSteps => "a count of at least 1, or a list of [step, count]".to_owned(),
            Kind::Shares => "a table of shares".to_owned(),
            Kind::Ranges => "a list of steps".to_owned(),
        }
    }

    /// How to write such a value, where a type alone does not say it.
    pub(crate) fn advice(self) -> Option<&'static str> {
        match self {
            Kind::Count(_) => {
                Some("write a whole number, as in 64_000, or text with a suffix, as in \"64k\"")
            }
            Kind::CountsFromSteps => {
                Some("write a count, or [[0, COUNT], [STEP, COUNT]] with steps that rise from 0")
            }
            Kind::Shares => Some("write a name and its share, as in { NAME = 1.0 }"),
            Kind::Texts => Some("write [\"…\"]"),
            Kind::Ranges => Some("number steps from 1, as in [\"500\", \"41200-41203\"]"),
            _ => None,
        }
    }
}

impl Table {
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().flat_map(|group| group.iter())
    }

    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }

    pub(crate) fn at(path: &str) -> Option<&'static Table> {
        TABLES.iter().find(|table| table.path == path)
    }
}

/// The path, as in [`Table::path`], of what stands under `name` in the table at `path`; `None` where no table may
/// stand there.
pub(crate) fn table_under(path: &str, name: &str) -> Option<String> {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
    [format!("{prefix}{name}"), format!("{prefix}{name}[]"), format!("{prefix}*")].into_iter().find(
        |candidate| {
            TABLES.iter().any(|table| {
                table
                    .path
                    .strip_prefix(candidate.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        },
    )
}

/// The names that may stand in the table at `path`, keys and tables alike.
pub(crate) fn names_in(path: &str) -> Vec<&'static str> {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
    let tables = TABLES.iter().filter_map(|table| {
        let name = table.path.strip_prefix(&prefix)?.split('.').next()?;
        let name = name.strip_suffix("[]").unwrap_or(name);
        (!name.is_empty() && name != "*").then_some(name)
    });
    let mut names: Vec<&str> =
        Table::at(path).into_iter().flat_map(Table::keys).map(|key| key.name).chain(tables).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_or_key_is_declared_twice() {
        for (at, table) in TABLES.iter().enumerate() {
            assert!(TABLES[at + 1..].iter().all(|other| other.path != table.path), "{}", table.path);
            let mut names: Vec<&str> = table.keys().map(|key| key.name).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{}: {names:?}", table.path);
        }
    }

    #[test]
    fn groups_of_alternatives_name_each_other() {
        for table in TABLES {
            for key in table.keys() {
                if let Presence::OneOf(group) = key.presence {
                    assert!(group.contains(&key.name));
                    assert!(group.iter().all(|name| names_in(table.path).contains(name)));
                }
            }
        }
    }

    #[test]
    fn tables_are_found_under_names_lists_and_wildcards() {
        assert_eq!(table_under("", "run").as_deref(), Some("run"));
        assert_eq!(table_under("", "data").as_deref(), Some("data"));
        assert_eq!(table_under("data.sources", "gsm8k").as_deref(), Some("data.sources.*"));
        assert_eq!(table_under("", "stages").as_deref(), Some("stages[]"));
        assert_eq!(table_under("stages[]", "schedule").as_deref(), Some("stages[].schedule"));
        assert_eq!(table_under("optimizer", "eps"), None);
        assert_eq!(names_in("data"), ["max_skips", "on_nonfinite", "skip_steps", "sources"]);
        assert!(names_in("stages[]").contains(&"schedule"));
    }
}
