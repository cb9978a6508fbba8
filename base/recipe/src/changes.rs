//! What is different between the recipe a run was started with and the one it is continued with.

use std::collections::BTreeMap;

use crate::flat::{Block, Line};
use crate::keys::{Class, Kind};
use crate::recipe::Recipe;
use crate::schedule::Shape;

/// One key that is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path: `stages[0].schedule.lr`, `data.sources.NAME.text`, `validation[NAME].path`; for a stage, a source
    /// or a validation set that only one of the recipes has, that of its table.
    pub key: String,
    /// What this change needs. It is the key's class but where [`changes`] says otherwise.
    pub class: Class,
    /// Whether both values are paths of something that is read. What counts is what lies there: a caller that
    /// knows that to be the same leaves the change out, or refuses a free one where it is not.
    pub is_path: bool,
    /// The value at the start, as TOML; `None` where the key was not there.
    pub old: Option<String>,
    /// The value now; `None` where the key is gone.
    pub new: Option<String>,
}

/// What is different between `old`, which the run was started with, and `new`, after `steps_done` steps: in the
/// order of `old`, then what only `new` has.
///
/// A change has the class of its key. These are [`Class::Free`] all the same, because no step already taken would
/// have been another:
/// - stages appended after the last (a stage taken away is [`Class::Accepted`]);
/// - another length of a stage whose schedule is constant, before and now, unless a step already taken lies behind
///   its old or its new end;
/// - sources and validation sets added or taken away (from what is drawn, the mixtures say), and whatever is
///   different in a source from which neither recipe draws.
#[must_use]
pub fn changes(old: &Recipe, new: &Recipe, steps_done: u64) -> Vec<Change> {
    let (before, after) = (old.blocks(), new.blocks());
    let rules = Rules { old, new, steps_done };
    let (lines_before, lines_after) = (by_path(&before), by_path(&after));
    let mut changes = Vec::new();
    for block in &before {
        if is_alone(block, &after) {
            if is_head(block) {
                changes.push(whole(block, Class::Accepted, |value| (Some(value), None)));
            }
            continue;
        }
        for line in &block.lines {
            let now = lines_after.get(&path(block, line)).map(|line| line.value.clone());
            if now.as_ref() != Some(&line.value) {
                changes.push(rules.change(block, line, Some(line.value.clone()), now));
            }
        }
    }
    for block in &after {
        if is_alone(block, &before) {
            if is_head(block) {
                changes.push(whole(block, Class::Free, |value| (None, Some(value))));
            }
            continue;
        }
        for line in block.lines.iter().filter(|line| !lines_before.contains_key(&path(block, line))) {
            changes.push(rules.change(block, line, None, Some(line.value.clone())));
        }
    }
    changes
}

/// A table as it is shown and a key.
type Path<'a> = (&'a str, &'static str);

fn path<'a>(block: &'a Block, line: &Line) -> Path<'a> {
    (&block.shown, line.key.name)
}

fn by_path(blocks: &[Block]) -> BTreeMap<Path<'_>, &Line> {
    blocks.iter().flat_map(|block| block.lines.iter().map(|line| (path(block, line), line))).collect()
}

/// Whether a table belongs to a stage, a source or a validation set that the others do not have.
fn is_alone(block: &Block, others: &[Block]) -> bool {
    block.element.is_some() && others.iter().all(|other| other.element != block.element)
}

/// Whether a table is all of a stage, source or validation set but what stands within it.
fn is_head(block: &Block) -> bool {
    block.element.as_ref() == Some(&block.shown)
}

/// The change of a whole stage, which has the class `stage`, source or validation set.
fn whole(
    block: &Block,
    stage: Class,
    sides: impl FnOnce(String) -> (Option<String>, Option<String>),
) -> Change {
    let lines: Vec<String> =
        block.lines.iter().map(|line| format!("{} = {}", line.key.name, line.value)).collect();
    let (old, new) = sides(format!("{{ {} }}", lines.join(", ")));
    let class = if block.table.path == "stages[]" { stage } else { Class::Free };
    Change { key: block.shown.clone(), class, is_path: false, old, new }
}

/// What makes a change free that its key alone does not.
struct Rules<'a> {
    old: &'a Recipe,
    new: &'a Recipe,
    steps_done: u64,
}

impl Rules<'_> {
    fn change(&self, block: &Block, line: &Line, old: Option<String>, new: Option<String>) -> Change {
        let is_free = self.is_unused(block) || (line.key.name == "steps" && self.is_free_length(block));
        Change {
            key: format!("{}.{}", block.shown, line.key.name),
            class: if is_free { Class::Free } else { line.key.class },
            is_path: matches!(line.key.kind, Kind::Path | Kind::PathOrTable)
                && old.is_some()
                && new.is_some(),
            old,
            new,
        }
    }

    fn is_unused(&self, block: &Block) -> bool {
        let is_unused =
            |recipe: &Recipe| recipe.unused_sources().any(|unused| block.element.as_ref() == Some(&unused));
        is_unused(self.old) && is_unused(self.new)
    }

    fn is_free_length(&self, block: &Block) -> bool {
        if let (Some(old), Some(new)) = (&self.old.rl, &self.new.rl) {
            let constant = [old, new].iter().all(|rl| rl.schedule.shape == Shape::Constant);
            return constant && self.steps_done <= old.steps.min(new.steps);
        }
        let stages = self.old.stages.iter().zip(&self.new.stages);
        let (mut old_end, mut new_end) = (0u64, 0u64);
        for (index, (old, new)) in stages.enumerate() {
            old_end = old_end.saturating_add(old.schedule.steps);
            new_end = new_end.saturating_add(new.schedule.steps);
            if block.shown == format!("stages[{index}]") {
                let constant = [old, new].iter().all(|stage| stage.schedule.shape == Shape::Constant);
                return constant && self.steps_done <= old_end.min(new_end);
            }
        }
        false
    }
}
