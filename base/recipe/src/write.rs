//! A recipe as TOML, and the hash of what it makes a run compute.

use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_128;

use crate::flat::{Block, Line};
use crate::keys::{Class, Kind};
use crate::recipe::Recipe;

impl Recipe {
    /// The resolved recipe: every default written out and every path absolute. Loaded again, from whichever
    /// folder, it gives an equal recipe.
    #[must_use]
    pub fn to_toml(&self) -> String {
        print(&self.blocks(), |line| Some(&line.value))
    }

    /// A hash of what the recipe makes a run compute, as 32 hexadecimal digits. It leaves out `run.dir`, sources
    /// that no stage draws from, what only measures, and what a resumed run is free to change; and it takes the
    /// last part of each path in place of the whole: the same recipe in another folder or on another machine has
    /// the same hash.
    #[must_use]
    pub fn content_hash(&self) -> String {
        let mut blocks = self.blocks();
        blocks.retain(|block| {
            let is_unused = |element: &String| self.unused_sources().any(|unused| unused == *element);
            !block.table.path.starts_with("validation") && !block.element.as_ref().is_some_and(is_unused)
        });
        let computed = print(&blocks, |line| {
            let counts = line.key.class != Class::Free || line.key.kind == Kind::Path;
            counts.then_some(&line.elsewhere)
        });
        format!("{:032x}", xxh3_128(computed.as_bytes()))
    }

    /// Sources that no stage draws from, as they are shown.
    pub(crate) fn unused_sources(&self) -> impl Iterator<Item = String> {
        let is_used = |name: &str| {
            self.stages.iter().flat_map(|stage| &stage.mixture).any(|share| share.source == name)
        };
        let unused = self.sources.iter().filter(move |source| !is_used(&source.name));
        unused.map(|source| format!("data.sources.{}", source.name))
    }
}

/// Tables without a line that `value` gives are left out.
fn print(blocks: &[Block], value: impl Fn(&Line) -> Option<&String>) -> String {
    let mut out = String::new();
    for block in blocks {
        let mut lines = block.lines.iter().filter_map(|line| Some((line.key.name, value(line)?))).peekable();
        if lines.peek().is_none() {
            continue;
        }
        let gap = if out.is_empty() { "" } else { "\n" };
        let _ = writeln!(out, "{gap}{}", block.header); // writing to a String cannot fail
        for (name, value) in lines {
            let _ = writeln!(out, "{name} = {value}");
        }
    }
    out
}
