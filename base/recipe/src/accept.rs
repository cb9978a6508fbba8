//! Whether a run may be continued with a changed recipe.

use std::fmt;

use crate::changes::Change;
use crate::error::quoted;
use crate::keys::{Class, Table};
use crate::section::nearest;
use crate::table::TABLES;

/// What a run holds on to that no recipe says. A caller reports a [`Change`] of it under this name.
pub const BESIDE_THE_RECIPE: &[&str] = &["numerics_version"];

/// Longer values are cut where they are shown.
const SHOWN_LIMIT: usize = 160;

/// Whether all `changes` may be made, those that need it by their names in `accepted` (of `--accept-change`): the
/// last part of a key (`micro_batch_tokens`, wherever it stands), more of it (`schedule.lr`) or all of it, list
/// elements as `stages[0]` or `stages.0`. A name of a key that did not change is no mistake.
///
/// # Errors
/// [`Refused`] with what may not change, and names in `accepted` that no key has.
pub fn accept(changes: &[Change], accepted: &[String]) -> Result<(), Refused> {
    let accepted: Vec<String> = accepted.iter().map(|name| dotted(name.trim())).collect();
    let is_accepted = |change: &Change| accepted.iter().any(|name| names(name, &change.key));
    let refused = |change: &&Change| match change.class {
        Class::Free => false,
        Class::Accepted => !is_accepted(change),
        Class::Never => true,
    };
    let is_known = |name: &str| names_a_key(name) || changes.iter().any(|change| names(name, &change.key));
    let unknown = accepted.iter().filter(|name| !is_known(name));
    let refused = Refused {
        changes: changes.iter().filter(refused).cloned().collect(),
        unknown: unknown.map(|name| (name.clone(), nearest_key(name))).collect(),
    };
    if refused.changes.is_empty() && refused.unknown.is_empty() { Ok(()) } else { Err(refused) }
}

/// A recipe with which a run may not be continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What may not change, or not without being accepted by name.
    pub changes: Vec<Change>,
    /// Accepted names that no key has, each with the one that was probably meant.
    pub unknown: Vec<(String, Option<String>)>,
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for (name, nearest) in &self.unknown {
            let help = nearest.as_ref().map(|nearest| format!("; did you mean `{nearest}`?"));
            lines.push(format!("no key is called `{}`{}", shown(name, 0), help.unwrap_or_default()));
        }
        if !self.changes.is_empty() {
            lines.push("this run was started with another recipe:".to_owned());
        }
        for Change { key, old, new, .. } in &self.changes {
            let same = common_start(old.as_deref().unwrap_or(""), new.as_deref().unwrap_or(""));
            lines.extend(old.iter().map(|old| format!("- {key} = {}", shown(old, same))));
            lines.extend(new.iter().map(|new| format!("+ {key} = {}", shown(new, same))));
        }
        let of = |class| self.changes.iter().filter(move |change| change.class == class);
        let never: Vec<&str> = of(Class::Never).map(|change| change.key.as_str()).collect();
        let accepted: Vec<String> = of(Class::Accepted).map(|change| dotted(&change.key)).collect();
        if !never.is_empty() {
            let help = "start a new run: another run.dir, or --fresh";
            lines.push(format!("help: {} cannot change in a run; {help}", quoted(&never, ", ")));
        }
        if !accepted.is_empty() {
            let keys = accepted.join(",");
            let what = match (never.len(), accepted.len()) {
                (0, 1) => "it",
                (0, _) => "them",
                _ => "the rest",
            };
            lines.push(format!("help: to change {what} in this run, on the record: --accept-change {keys}"));
        }
        f.write_str(&lines.join("\n"))
    }
}

/// A path without brackets, as `--set` has it and shells leave it alone: `stages.0.steps`.
fn dotted(key: &str) -> String {
    key.replace('[', ".").replace(']', "")
}

/// Whether `name`, dotted, is the path `key` or the end of it. The number of a list element may be left out at the
/// end.
fn names(name: &str, key: &str) -> bool {
    let ends = |key: &str| {
        let before = key.strip_suffix(name);
        !name.is_empty() && before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    ends(&dotted(key)) || key.rfind('[').is_some_and(|at| key.ends_with(']') && ends(&dotted(&key[..at])))
}

/// Whether `name` is how some key or table may be written, or the end of that.
fn names_a_key(name: &str) -> bool {
    let paths = TABLES.iter().flat_map(|table| {
        // Validation sets are known by name, other elements of lists by number.
        let path = table.path.replace("validation[]", "validation.*").replace("[]", ".#");
        let keys = table.keys().map(|key| format!("{path}.{}", key.name)).collect::<Vec<_>>();
        let several = path.strip_suffix(".#").map(str::to_owned);
        keys.into_iter().chain(several).chain([path.clone()])
    });
    let name: Vec<&str> = name.split('.').collect();
    let fits_path = |path: String| {
        let pattern: Vec<&str> = path.split('.').filter(|part| !part.is_empty()).collect();
        let mut starts = (0..pattern.len()).filter(|from| !["*", "#"].contains(&pattern[*from]));
        starts.any(|from| fits(&pattern[from..], &name))
    };
    paths.into_iter().any(fits_path) || (name.len() == 1 && BESIDE_THE_RECIPE.contains(&name[0]))
}

/// Whether the parts of a name are those of a pattern, in which `#` is a number and `*` one part or more (names may
/// hold dots).
fn fits(pattern: &[&str], name: &[&str]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (["*", rest @ ..], [_, others @ ..]) => fits(rest, others) || fits(pattern, others),
        (["#", rest @ ..], [number, others @ ..]) => number.parse::<u32>().is_ok() && fits(rest, others),
        ([part, rest @ ..], [other, others @ ..]) => part == other && fits(rest, others),
        _ => false,
    }
}

fn nearest_key(name: &str) -> Option<String> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let mut known: Vec<&str> = TABLES.iter().flat_map(Table::keys).map(|key| key.name).collect();
    known.extend(BESIDE_THE_RECIPE);
    known.sort_unstable();
    nearest(last, &known).map(str::to_owned)
}

/// How many characters two texts have in common at their beginning.
fn common_start(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count()
}

/// What came from outside, harmless and of a bearable length: where it is long, around the character `at`.
fn shown(text: &str, at: usize) -> String {
    let length = text.chars().count();
    let from = match length <= SHOWN_LIMIT {
        true => 0,
        false => at.saturating_sub(SHOWN_LIMIT / 4).min(length - SHOWN_LIMIT),
    };
    let part = text.chars().skip(from).take(SHOWN_LIMIT).map(|c| if c.is_control() { ' ' } else { c });
    let (before, after) = (from > 0, from + SHOWN_LIMIT < length);
    let dots = |is_cut: bool| is_cut.then_some('…');
    dots(before).into_iter().chain(part).chain(dots(after)).collect()
}
