//! From files and overrides to one tree: `extends` first, then the file itself, then each `--set`.

use std::path::{Component, Path, PathBuf};

use crate::error::{Place, Problem, RecipeError, RecipeErrors};
use crate::host::Host;
use crate::keys::{Kind, Presence, Table, table_under};
use crate::tree::{self, Entries, Node, Spot, Value};

/// How many recipes may extend each other.
const CHAIN_LIMIT: usize = 16;

/// How many problems are placed and shown: a file that is no recipe at all has a hundred thousand.
const PROBLEM_LIMIT: usize = 100;

/// One of the texts that make up a recipe.
pub(crate) struct Text {
    /// As shown to people.
    pub name: String,
    pub content: String,
    /// Where its relative paths start: the file's folder, or the working directory of a `--set`.
    pub folder: PathBuf,
    /// A `--set`, which has no lines.
    pub is_override: bool,
}

/// All texts of a recipe, and what is wrong with them so far.
#[derive(Default)]
pub(crate) struct Texts {
    texts: Vec<Text>,
    problems: Vec<(Spot, RecipeError)>,
}

impl Texts {
    pub(crate) fn report(&mut self, spot: Spot, error: RecipeError) {
        self.problems.push((spot, error));
    }

    pub(crate) fn folder(&self, spot: Spot) -> &Path {
        self.texts.get(spot.text).map_or(Path::new(""), |text| &text.folder)
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// What is wrong with `recipe`, in the order of the texts.
    pub(crate) fn into_errors(mut self, recipe: &Path) -> RecipeErrors {
        self.problems.sort_by_key(|(spot, _)| *spot);
        self.problems.dedup();
        let more = self.problems.len().saturating_sub(PROBLEM_LIMIT);
        self.problems.truncate(PROBLEM_LIMIT);
        let placed =
            |(spot, error): &(Spot, RecipeError)| Problem { place: self.place(*spot), error: error.clone() };
        RecipeErrors {
            recipe: recipe.display().to_string(),
            problems: self.problems.iter().map(placed).collect(),
            more,
        }
    }

    fn place(&self, spot: Spot) -> Place {
        match self.texts.get(spot.text) {
            Some(text) if text.is_override => {
                Place { file: text.name.clone(), position: None, excerpt: None }
            }
            Some(text) => Place::within(&text.name, &text.content, spot.start, spot.end),
            None => Place { file: String::new(), position: None, excerpt: None },
        }
    }

    /// Reads everything into one tree. `None` where a file is broken: what it would have said is unknown. A broken
    /// override is reported and left out.
    pub(crate) fn gather(&mut self, host: &dyn Host, recipe: &Path, sets: &[String]) -> Option<Entries> {
        let mut chain = Vec::new();
        let mut merged = self.file(host, recipe, recipe.display().to_string(), &mut chain, None);
        for set in sets {
            let Some(over) = self.parse_override(host, set) else { continue };
            if let Some(base) = &mut merged {
                self.overlay("", base, over);
            }
        }
        merged
    }

    /// Reads one file and all it extends.
    fn file(
        &mut self,
        host: &dyn Host,
        path: &Path,
        name: String,
        chain: &mut Vec<(PathBuf, String)>,
        named_at: Option<Spot>,
    ) -> Option<Entries> {
        let text = self.texts.len();
        let start = Spot { text, start: 0, end: 0 };
        let complain = |texts: &mut Texts, path: &Path, reason: String| {
            let error = RecipeError::Unreadable { path: path.display().to_string(), reason };
            texts.report(named_at.unwrap_or(start), error);
            None
        };
        let absolute = match host.working_directory() {
            Ok(working) => normal(host, &working.join(path)),
            Err(error) => return complain(self, path, format!("there is no working directory ({error})")),
        };
        chain.push((absolute.clone(), name.clone()));
        if let Some(first) = chain[..chain.len() - 1].iter().position(|(other, _)| *other == absolute) {
            let chain = chain[first..].iter().map(|(_, name)| name.clone()).collect();
            self.report(named_at.unwrap_or(start), RecipeError::ExtendsCycle { chain });
            return None;
        }
        if chain.len() > CHAIN_LIMIT {
            return complain(self, path, format!("more than {CHAIN_LIMIT} recipes extend each other"));
        }
        if absolute.to_str().is_none() {
            return complain(self, path, "its folder's name is not UTF-8, which TOML cannot hold".to_owned());
        }
        let bytes = host.read(&absolute);
        let folder = absolute.parent().map(Path::to_owned).unwrap_or_default();
        let (content, error) = match bytes.map(String::from_utf8) {
            Ok(Ok(content)) => (content, None),
            Ok(Err(error)) => {
                let valid = error.utf8_error().valid_up_to();
                let content = String::from_utf8_lossy(error.as_bytes()).into_owned();
                (content, Some((Spot { text, start: valid, end: valid + 1 }, RecipeError::NotText)))
            }
            Err(error) => {
                let (path, reason) = (path.display().to_string(), error.to_string());
                let spot = named_at.unwrap_or(start);
                (String::new(), Some((spot, RecipeError::Unreadable { path, reason })))
            }
        };
        self.texts.push(Text { name, content, folder, is_override: false });
        if let Some((spot, error)) = error {
            self.report(spot, error);
            return None;
        }
        let mut entries = self.parse_text(text)?;
        let Some((_, parent)) = entries.remove("extends") else { return Some(entries) };
        let Value::Text(parent_path) = &parent.value else {
            let (expected, found) = ("a path".to_owned(), parent.value.describe());
            self.report(
                parent.spot,
                RecipeError::WrongType { key: "extends".to_owned(), expected, found, advice: None },
            );
            return None;
        };
        let parent_path = self.resolve(host, "extends", parent.spot, parent_path)?;
        let shown = parent_path.strip_prefix(host.working_directory().ok()?).unwrap_or(&parent_path);
        let shown = shown.display().to_string();
        let mut base = self.file(host, &parent_path, shown, chain, Some(parent.spot))?;
        self.overlay("", &mut base, entries);
        Some(base)
    }

    fn parse_text(&mut self, text: usize) -> Option<Entries> {
        match tree::parse(&self.texts[text].content, text) {
            Ok(entries) => Some(entries),
            Err(found) => {
                found.into_iter().for_each(|(spot, error)| self.report(spot, error));
                None
            }
        }
    }

    /// Reads `KEY=VALUE`. A value that is no TOML is taken as text if it looks like a bare word, so that shells
    /// need no second pair of quotes.
    fn parse_override(&mut self, host: &dyn Host, set: &str) -> Option<Entries> {
        let text = self.texts.len();
        let shown: String = set.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let folder = host.working_directory().unwrap_or_default();
        self.texts.push(Text {
            name: format!("--set {shown}"),
            content: String::new(),
            folder,
            is_override: true,
        });
        let bad = |texts: &mut Texts, reason: &str| {
            let reason = reason.to_owned();
            let advice = "write KEY=VALUE with a TOML value, as in optimizer.eps=1e-6".to_owned();
            texts.report(Spot { text, start: 0, end: 0 }, RecipeError::BadOverride { reason, advice });
            None
        };
        let Some((key, value)) = set.split_once('=') else { return bad(self, "there is no `=`") };
        if key.trim().is_empty() || key.contains(['[', '#', '\n', '"', '\'']) || value.contains('\n') {
            return bad(self, "this is not one key and one value");
        }
        if key.trim() == "extends" {
            return bad(self, "`extends` belongs into the file");
        }
        let value = value.trim();
        let bare = !value.is_empty() && !value.starts_with(['"', '[', '{']) && !value.contains('\'');
        let parsed = tree::parse(set, text).or_else(|found| match bare {
            true => tree::parse(&format!("{key}='{value}'"), text).map_err(|_| found),
            false => Err(found),
        });
        match parsed {
            Ok(entries) => Some(entries),
            Err(found) => {
                let reason = found.first().map(|(_, error)| error.to_string()).unwrap_or_default();
                bad(self, &reason)
            }
        }
    }

    /// Lays `over` onto `base`: tables are merged, everything else is replaced. Of keys that exclude each other
    /// the later text's is kept, so that a recipe can say `tokens` where the one it extends says `steps`.
    fn overlay(&mut self, path: &str, base: &mut Entries, over: Entries) {
        if let Some(table) = Table::at(path) {
            for key in table.keys() {
                if let Presence::OneOf(group) = key.presence
                    && group.iter().any(|name| over.contains_key(*name))
                {
                    base.retain(|name, _| !group.contains(&name.as_str()) || over.contains_key(name));
                }
            }
        }
        for (name, (spot, node)) in over {
            let under = table_under(path, &name);
            match (base.get_mut(&name).map(|(_, old)| &mut old.value), node.value) {
                (Some(Value::Table(old)), Value::Table(new)) if !is_one_value(path, &name) => {
                    self.overlay(under.as_deref().unwrap_or("?"), old, new);
                }
                (Some(Value::List(old)), Value::Table(new)) => {
                    self.overlay_elements(under.as_deref().unwrap_or("?"), &name, old, new);
                }
                (_, value) => {
                    base.insert(name, (spot, Node { spot: node.spot, value }));
                }
            }
        }
    }

    /// `stages.0.steps=5`: elements by their number.
    fn overlay_elements(&mut self, path: &str, name: &str, old: &mut [Node], new: Entries) {
        let count = old.len();
        for (number, (spot, node)) in new {
            let element = number.parse::<usize>().ok().and_then(|number| old.get_mut(number));
            match (element, node.value) {
                (Some(Node { value: Value::Table(old), .. }), Value::Table(new)) => {
                    self.overlay(path, old, new)
                }
                (Some(old), value) => *old = Node { spot: node.spot, value },
                (None, _) => {
                    let reason = format!("`{name}` is a list of {count}, and `{number}` is none of them");
                    let advice = match count {
                        0 => format!("write the whole list, `{name}=[…]`"),
                        _ => format!("number them from 0, as in `{name}.0.…`"),
                    };
                    self.report(spot, RecipeError::BadOverride { reason, advice });
                }
            }
        }
    }

    /// Makes a path of a recipe absolute: `${VAR}` is replaced, and relative paths start from the folder of the
    /// text they stand in.
    pub(crate) fn resolve(
        &mut self,
        host: &dyn Host,
        key: &str,
        spot: Spot,
        written: &str,
    ) -> Option<PathBuf> {
        let key = key.to_owned();
        let expanded = match expand(host, written) {
            Ok(expanded) => expanded,
            Err(Some(name)) => {
                self.report(spot, RecipeError::UnsetVariable { key, name });
                return None;
            }
            Err(None) => {
                let reason = "has a `${` without its `}`".to_owned();
                let advice = "write a variable as ${NAME}".to_owned();
                self.report(spot, RecipeError::BadValue { key, reason, advice });
                return None;
            }
        };
        let path = normal(host, &self.folder(spot).join(&expanded));
        // A resolved recipe is read again: what looks like a variable then would not be the same path.
        let hostile = path.to_str().is_none_or(|path| path.contains(['\0']) || path.contains("${"));
        if expanded.is_empty() || hostile {
            let reason = "is no usable path".to_owned();
            let advice = "give a path that is not empty and, variables replaced, has no `${`".to_owned();
            self.report(spot, RecipeError::BadValue { key, reason, advice });
            return None;
        }
        Some(path)
    }
}

/// Whether what is written as a table is one value: shares of a mixture mean something together alone.
fn is_one_value(path: &str, name: &str) -> bool {
    Table::at(path).and_then(|table| table.key(name)).is_some_and(|key| key.kind == Kind::Shares)
}

/// Replaces each `${VAR}`. `Err(Some(name))`: it is not set. `Err(None)`: one is not closed.
fn expand(host: &dyn Host, written: &str) -> Result<String, Option<String>> {
    let mut expanded = String::new();
    let mut rest = written;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or(None)?;
        expanded.push_str(before);
        expanded.push_str(&host.variable(name).ok_or_else(|| Some(name.to_owned()))?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// A path without `.`, and without `..` where taking it out cannot change what it means: behind a link it can.
fn normal(host: &dyn Host, path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        let below_plain = matches!(normal.components().next_back(), Some(Component::Normal(_)));
        match part {
            Component::CurDir => {}
            Component::ParentDir if below_plain && !host.is_link(&normal) => {
                normal.pop();
            }
            _ => normal.push(part),
        }
    }
    normal
}
