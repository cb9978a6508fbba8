//! One table of a recipe, read key by key against its declaration.
//!
//! Every reader returns `None` after reporting what is wrong, so that one pass finds every mistake; and `None`
//! without a report for an optional key that is absent.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::count::parse_count;
use crate::error::RecipeError;
use crate::host::Host;
use crate::keys::{Bounds, Key, Kind, Presence, Table, names_in, table_under};
use crate::layers::Texts;
use crate::table::TABLES;
use crate::tree::{self, Entries, Node, Spot, Value};

/// What reading needs and collects.
pub(crate) struct Reading<'a> {
    pub host: &'a dyn Host,
    pub check_paths: bool,
    pub texts: RefCell<Texts>,
}

impl Reading<'_> {
    pub(crate) fn report(&self, spot: Spot, error: RecipeError) {
        self.texts.borrow_mut().report(spot, error);
    }

    /// Reports a value of the right type that makes no sense. `reason` is read after the key.
    pub(crate) fn object(&self, spot: Spot, key: &str, reason: impl Into<String>, advice: impl Into<String>) {
        let (key, reason, advice) = (key.to_owned(), reason.into(), advice.into());
        self.report(spot, RecipeError::BadValue { key, reason, advice });
    }
}

/// A value and where it stands (its table, where it is a default).
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<T> {
    pub value: T,
    pub spot: Spot,
}

/// The share of each source, by name.
pub(crate) type Shares = Vec<(String, At<f64>)>;

/// A table of the recipe beside its declaration.
pub(crate) struct Section<'a> {
    pub reading: &'a Reading<'a>,
    /// Its path in [`TABLES`].
    path: String,
    /// Its path as people see it.
    shown: String,
    /// Where it begins.
    pub spot: Spot,
    entries: &'a Entries,
}

/// What an absent table holds.
static NOTHING: Entries = Entries::new();

impl<'a> Section<'a> {
    /// The whole recipe.
    pub(crate) fn root(reading: &'a Reading<'a>, entries: &'a Entries, spot: Spot) -> Section<'a> {
        let root = Section { reading, path: String::new(), shown: String::new(), spot, entries };
        root.report_unknown();
        root
    }

    fn report_unknown(&self) {
        if table_under(&self.path, "any name").is_some() {
            return;
        }
        let known = names_in(&self.path);
        for (name, (spot, _)) in self.entries.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            self.reading.report(
                *spot,
                RecipeError::UnknownKey {
                    key: name.clone(),
                    table: self.shown.clone(),
                    nearest: nearest(name, &known).map(str::to_owned),
                    elsewhere: elsewhere(name),
                    known: known.clone(),
                },
            );
        }
    }

    /// The path of a key of this table, as people see it.
    pub(crate) fn shown(&self, name: &str) -> String {
        if self.shown.is_empty() { name.to_owned() } else { format!("{}.{name}", self.shown) }
    }

    fn below(&self, name: &str, index: Option<usize>, spot: Spot, entries: &'a Entries) -> Section<'a> {
        let path = table_under(&self.path, name).unwrap_or_default();
        let shown = match index {
            Some(index) => format!("{}[{index}]", self.shown(name)),
            None => self.shown(name),
        };
        let section = Section { reading: self.reading, path, shown, spot, entries };
        section.report_unknown();
        section
    }

    /// The table `name`, if it is there.
    pub(crate) fn table_if_present(&self, name: &str) -> Option<Section<'a>> {
        let (key_spot, node) = self.entries.get(name)?;
        match &node.value {
            Value::Table(entries) => Some(self.below(name, None, *key_spot, entries)),
            other => {
                self.wrong(&self.shown(name), node.spot, "a table", other);
                None
            }
        }
    }

    /// The table `name`; an empty one where it is absent.
    pub(crate) fn table(&self, name: &str) -> Section<'a> {
        match self.entries.contains_key(name) {
            true => self.table_if_present(name),
            false => None,
        }
        .unwrap_or_else(|| self.below(name, None, self.spot, &NOTHING))
    }

    /// Every table in this one, with its name.
    pub(crate) fn named_tables(&self) -> Vec<(String, Section<'a>)> {
        let names = self.entries.keys();
        names.filter_map(|name| Some((name.clone(), self.table_if_present(name)?))).collect()
    }

    /// Every table of the list `name`.
    pub(crate) fn tables(&self, name: &str) -> Vec<Section<'a>> {
        let Some((_, node)) = self.entries.get(name) else { return Vec::new() };
        let Value::List(items) = &node.value else {
            let expected = format!("a list of tables (`[[{}]]`)", self.shown(name));
            self.wrong(&self.shown(name), node.spot, &expected, &node.value);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match &item.value {
                Value::Table(entries) => tables.push(self.below(name, Some(index), item.spot, entries)),
                other => self.wrong(&format!("{}[{index}]", self.shown(name)), item.spot, "a table", other),
            }
        }
        tables
    }

    /// Whether a key is written in the recipe.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether a key is written as a table.
    pub(crate) fn has_table(&self, name: &str) -> bool {
        matches!(self.entries.get(name), Some((_, Node { value: Value::Table(_), .. })))
    }

    /// Whether a key is written as a list without elements.
    pub(crate) fn is_empty_list(&self, name: &str) -> bool {
        matches!(self.entries.get(name), Some((_, Node { value: Value::List(items), .. })) if items.is_empty())
    }

    /// Where the value of a key stands; this table, where it is absent.
    pub(crate) fn spot_of(&self, name: &str) -> Spot {
        self.entries.get(name).map_or(self.spot, |(_, node)| node.spot)
    }

    fn wrong(&self, key: &str, spot: Spot, expected: &str, found: &Value) {
        let (key, expected, found) = (key.to_owned(), expected.to_owned(), found.describe());
        self.reading.report(spot, RecipeError::WrongType { key, expected, found, advice: None });
    }

    /// Whether an unknown key of this table is nearest to `name`.
    fn has_typo_of(&self, name: &str) -> bool {
        let known = names_in(&self.path);
        let mut unknown = self.entries.keys().filter(|key| !known.contains(&key.as_str()));
        unknown.any(|key| nearest(key, &known) == Some(name))
    }

    /// The value of a key or its default. Reports a required key that is absent.
    fn find(&self, name: &str) -> Option<(&'static Key, Node)> {
        let Some(key) = Table::at(&self.path).and_then(|table| table.key(name)) else {
            // A reader asks for a key that `table.rs` does not declare: every recipe fails, so that tests see it.
            self.reading.object(self.spot, &self.shown(name), "is not declared", "report this as a bug");
            return None;
        };
        if let Some((_, node)) = self.entries.get(name) {
            return Some((key, node.clone()));
        }
        match key.presence {
            // A key that was meant to be this one is reported, with this name, already.
            Presence::Required if self.has_typo_of(name) => None,
            Presence::Required => {
                let (expected, doc) = (key.kind.describe(), key.doc);
                self.reading.report(self.spot, RecipeError::Missing { key: self.shown(name), expected, doc });
                None
            }
            Presence::Default(text) => {
                tree::default_value(text).map(|value| (key, Node { spot: self.spot, value }))
            }
            Presence::OneOf(_) | Presence::Optional(_) => None,
        }
    }

    /// Reads a key by `convert`, which returns `None` for a value of another type.
    fn read<T>(&self, name: &str, convert: impl FnOnce(&Key, Value) -> Option<T>) -> Option<At<T>> {
        let (key, node) = self.find(name)?;
        let described = node.value.clone();
        match convert(key, node.value) {
            Some(value) => Some(At { value, spot: node.spot }),
            None => {
                let (key, expected, advice) = (self.shown(name), key.kind.describe(), key.kind.advice());
                let found = described.describe();
                self.reading.report(node.spot, RecipeError::WrongType { key, expected, found, advice });
                None
            }
        }
    }

    pub(crate) fn count(&self, name: &str) -> Option<At<u64>> {
        self.read(name, |key, value| {
            whole(&value).filter(|count| matches!(key.kind, Kind::Count(least) if *count >= least))
        })
    }

    pub(crate) fn number(&self, name: &str) -> Option<At<f64>> {
        self.read(name, |key, value| match key.kind {
            Kind::Number(bounds) => number(&value, bounds),
            _ => None,
        })
    }

    pub(crate) fn pair(&self, name: &str) -> Option<At<[f64; 2]>> {
        self.read(name, |key, value| match (key.kind, value) {
            (Kind::Pair(bounds), Value::List(items)) => {
                let numbers: Option<Vec<f64>> =
                    items.iter().map(|item| number(&item.value, bounds)).collect();
                numbers?.try_into().ok()
            }
            _ => None,
        })
    }

    pub(crate) fn flag(&self, name: &str) -> Option<At<bool>> {
        self.read(name, |_, value| match value {
            Value::Flag(flag) => Some(flag),
            _ => None,
        })
    }

    pub(crate) fn text(&self, name: &str) -> Option<At<String>> {
        self.read(name, |_, value| match value {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        })
    }

    pub(crate) fn texts(&self, name: &str) -> Option<At<Vec<String>>> {
        self.read(name, |_, value| match value {
            Value::List(items) if !items.is_empty() => items
                .into_iter()
                .map(|item| match item.value {
                    Value::Text(text) => Some(text),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// One of the words of the key, by `from_name`.
    pub(crate) fn choice<T>(&self, name: &str, from_name: impl Fn(&str) -> Option<T>) -> Option<At<T>> {
        self.read(name, |_, value| match value {
            Value::Text(text) => from_name(&text),
            _ => None,
        })
    }

    /// Reports each share that is none; such a table has no value.
    pub(crate) fn shares(&self, name: &str) -> Option<At<Shares>> {
        let At { value: entries, spot } = self.read(name, |_, value| match value {
            Value::Table(entries) => Some(entries),
            _ => None,
        })?;
        let mut shares = Shares::new();
        let written = entries.len();
        for (source, (spot, node)) in entries {
            match number(&node.value, Bounds::Positive) {
                Some(value) => shares.push((source, At { value, spot })),
                None => {
                    let key = format!("{}.{source}", self.shown(name));
                    let expected = format!("a number, {}", Bounds::Positive.describe());
                    self.wrong(&key, node.spot, &expected, &node.value);
                }
            }
        }
        (shares.len() == written).then_some(At { value: shares, spot })
    }

    /// Counts, each from a step on: from step 0, steps rising.
    pub(crate) fn counts_from_steps(&self, name: &str) -> Option<At<Vec<(u64, u64)>>> {
        self.read(name, |_, value| match value {
            Value::List(items) => {
                let pairs = items.iter().map(|item| match &item.value {
                    Value::List(pair) => match &pair[..] {
                        [step, count] => Some((whole(&step.value)?, whole(&count.value).filter(|n| *n > 0)?)),
                        _ => None,
                    },
                    _ => None,
                });
                let pairs = pairs.collect::<Option<Vec<_>>>()?;
                let rises = pairs.windows(2).all(|two| two[0].0 < two[1].0);
                (rises && pairs.first().is_some_and(|first| first.0 == 0)).then_some(pairs)
            }
            other => whole(&other).filter(|n| *n > 0).map(|count| vec![(0, count)]),
        })
    }

    /// Ranges of steps, sorted, those that meet made one. Reports each element that is none.
    pub(crate) fn ranges(&self, name: &str) -> Option<At<Vec<RangeInclusive<u64>>>> {
        let advice = self.find(name)?.0.kind.advice();
        let At { value: items, spot } = self.read(name, |_, value| match value {
            Value::List(items) => Some(items),
            _ => None,
        })?;
        let mut ranges = Vec::new();
        let written = items.len();
        for (index, item) in items.into_iter().enumerate() {
            match range(&item.value) {
                Some(range) => ranges.push(range),
                None => {
                    let key = format!("{}[{index}]", self.shown(name));
                    let expected = "a step or a range of steps".to_owned();
                    let found = item.value.describe();
                    self.reading.report(item.spot, RecipeError::WrongType { key, expected, found, advice });
                }
            }
        }
        (ranges.len() == written).then(|| At { value: merged(ranges), spot })
    }

    /// A path, made absolute; for [`Kind::Path`], of something that exists.
    pub(crate) fn path(&self, name: &str) -> Option<At<PathBuf>> {
        self.path_if(name, true)
    }

    /// The same; what nothing uses need not exist.
    pub(crate) fn path_if(&self, name: &str, is_used: bool) -> Option<At<PathBuf>> {
        let mut kind = Kind::Path;
        let At { value: written, spot } = self.read(name, |key, value| {
            kind = key.kind;
            match value {
                Value::Text(text) => Some(text),
                _ => None,
            }
        })?;
        let shown = self.shown(name);
        let path = self.reading.texts.borrow_mut().resolve(self.reading.host, &shown, spot, &written)?;
        let is_pattern = written.contains(['*', '?', '[']);
        let must_exist = is_used && self.reading.check_paths && kind != Kind::NewPath && !is_pattern;
        if must_exist && !self.reading.host.exists(&path) {
            let path = path.display().to_string();
            self.reading.report(spot, RecipeError::NoSuchPath { key: shown, path });
            return None;
        }
        Some(At { value: path, spot })
    }

    /// Which key of the group of `name` is written. Reports none of them, and more than one.
    pub(crate) fn one_of(&self, name: &str) -> Option<&'static str> {
        let key = Table::at(&self.path)?.key(name)?;
        let Presence::OneOf(group) = key.presence else { return None };
        let mut written: Vec<(Spot, &'static str)> =
            group.iter().filter_map(|name| Some((self.entries.get(*name)?.0, *name))).collect();
        written.sort_unstable();
        match written[..] {
            [] => {
                let (table, group) = (self.shown.clone(), group.to_vec());
                self.reading.report(self.spot, RecipeError::MissingOneOf { table, group });
                None
            }
            [(_, only)] => Some(only),
            [(_, first), (spot, second), ..] => {
                let (key, other) = (self.shown(second), self.shown(first));
                self.reading.report(spot, RecipeError::Conflict { key, other });
                None
            }
        }
    }

    /// Every key of a table of plain numbers, flags and words, as JSON. Absent optional keys are left out.
    pub(crate) fn as_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let keys = Table::at(&self.path).into_iter().flat_map(Table::keys);
        keys.filter_map(|key| {
            let value = match key.kind {
                Kind::Count(_) => self.count(key.name)?.value.into(),
                Kind::Number(_) => self.number(key.name)?.value.into(),
                Kind::Flag => self.flag(key.name)?.value.into(),
                Kind::Choice(names) => {
                    let from_name = |name: &str| names.iter().find(|known| **known == name).copied();
                    self.choice(key.name, from_name)?.value.into()
                }
                _ => return None,
            };
            Some((key.name.to_owned(), value))
        })
        .collect()
    }
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Text(text) => parse_count(text),
        _ => None,
    }
}

fn number(value: &Value, bounds: Bounds) -> Option<f64> {
    let number = match value {
        Value::Integer(number) => *number as f64,
        Value::Float(number) => *number,
        _ => return None,
    };
    bounds.admits(number).then_some(number)
}

/// A step, as `500` or `"500"`, or a range of steps with both ends, as `"41200-41203"`. Steps count from 1.
fn range(value: &Value) -> Option<RangeInclusive<u64>> {
    let range = match value {
        Value::Integer(step) => u64::try_from(*step).ok().map(|step| step..=step),
        Value::Text(text) => match text.split_once('-') {
            Some((first, last)) => Some(parse_count(first.trim())?..=parse_count(last.trim())?),
            None => parse_count(text).map(|step| step..=step),
        },
        _ => None,
    }?;
    (*range.start() >= 1 && range.start() <= range.end()).then_some(range)
}

fn merged(mut ranges: Vec<RangeInclusive<u64>>) -> Vec<RangeInclusive<u64>> {
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// The name that was probably meant: at most a third of it mistyped, or one the beginning of the other.
#[must_use]
pub fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    if name.len() > 64 {
        return None;
    }
    let wanted = name.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&wanted, known), *known))
        .filter(|(distance, known)| {
            let longer = wanted.chars().count().max(known.chars().count());
            let begins = wanted.len() >= 3
                && known.len() >= 3
                && (known.starts_with(&wanted) || wanted.starts_with(known));
            *distance * 3 <= longer || begins
        })
        .min()
        .map(|(_, known)| known)
}

/// Where a key of exactly this name would mean something.
fn elsewhere(name: &str) -> Option<String> {
    let found = TABLES.iter().filter(|table| table.key(name).is_some() && !table.path.is_empty());
    // Few recipes are of RL runs: a name that stands elsewhere once is taken for that.
    let (rl, mut found): (Vec<_>, Vec<_>) = found.partition(|table| table.path.starts_with("rl"));
    if found.is_empty() {
        found = rl;
    }
    match found[..] {
        [only] => Some(format!("{}.{name}", only.path)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name_and_a_strange_word_finds_none() {
        let known = ["betas", "clip", "eps", "weight_decay"];
        for (typed, meant) in [
            ("weight_decy", Some("weight_decay")),
            ("weight-decay", Some("weight_decay")),
            ("Clip", Some("clip")),
            ("clip_norm", Some("clip")),
            ("beta", Some("betas")),
            ("momentum", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, &known), meant, "{typed}");
        }
        assert_eq!(nearest(&"x".repeat(1_000_000), &known), None);
    }
}
