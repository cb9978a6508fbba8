//! What a source's head says that its entries take, held against the assembler.
//!
//! The first comment of a source has lines
//!
//! ```text
//! //   rms_norm_*_warp: 47 registers, 0 bytes of shared memory
//! ```
//!
//! (`, 8 bytes spilled` where that is so). `*` stands for any characters. Each entry belongs to the first line that it
//! matches, and a line states the most that any of its entries takes: registers on the first target, static shared memory.

use crate::ptx::ptxas::Resources;
use anyhow::bail;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    pattern: String,
    most: Most,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Most {
    registers: u32,
    shared: u32,
    spilled: u32,
}

impl Line {
    /// A comment line, if it is one of these.
    fn parse(comment: &str) -> Option<Line> {
        let (pattern, figures) = comment.trim().split_once(": ")?;
        let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '*';
        let mut figures = figures.split(", ");
        let registers = figures.next()?.strip_suffix(" registers")?.parse().ok()?;
        let shared = figures.next()?.strip_suffix(" bytes of shared memory")?.parse().ok()?;
        let spilled = match figures.next() {
            None => 0,
            Some(figure) => figure.strip_suffix(" bytes spilled")?.parse().ok()?,
        };
        let valid = pattern.chars().all(named) && figures.next().is_none();
        valid.then(|| Line { pattern: pattern.into(), most: Most { registers, shared, spilled } })
    }

    fn text(&self) -> String {
        let Most { registers, shared, spilled } = self.most;
        let spilled = if spilled > 0 { format!(", {spilled} bytes spilled") } else { String::new() };
        format!("//   {}: {registers} registers, {shared} bytes of shared memory{spilled}", self.pattern)
    }
}

/// Holds the lines of a source's head to what its entries take.
pub fn hold(source: &str, taken: &BTreeMap<&str, Resources>) -> anyhow::Result<()> {
    let head = source.lines().map_while(|line| line.strip_prefix("//"));
    let stated: Vec<Line> = head.filter_map(Line::parse).collect();
    let mut measured: Vec<Line> =
        stated.iter().map(|line| Line { most: Most::default(), ..line.clone() }).collect();
    for (entry, resources) in taken {
        let place = match stated.iter().position(|line| matches(&line.pattern, entry)) {
            Some(place) => place,
            None => {
                measured.push(Line { pattern: (*entry).into(), most: Most::default() });
                measured.len() - 1
            }
        };
        let most = &mut measured[place].most;
        most.registers = most.registers.max(resources.registers);
        most.shared = most.shared.max(resources.shared);
        most.spilled = most.spilled.max(resources.spill_stores.max(resources.spill_loads));
    }
    measured.retain(|line| line.most.registers > 0);
    if measured != stated {
        let lines: Vec<String> = measured.iter().map(Line::text).collect();
        bail!("the head of the source must state what its entries take:\n{}", lines.join("\n"));
    }
    Ok(())
}

/// Whether a name fits a pattern in which `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|name| {
            (0..=name.len()).any(|at| name.is_char_boundary(at) && matches(rest, &name[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken() -> BTreeMap<&'static str, Resources> {
        let of = |registers, shared| Resources { registers, shared, ..Resources::default() };
        BTreeMap::from([("k_a_warp", of(40, 0)), ("k_b_warp", of(48, 0)), ("k_block", of(32, 64))])
    }

    const HEAD: &str = "// What it does: 3 registers of some kind.\n//   k_*_warp: 48 registers, 0 bytes of shared memory\n\
                        //   k_block: 32 registers, 64 bytes of shared memory\n#include \"x.cuh\"\n";

    #[test]
    fn a_head_that_states_the_most_of_each_group_holds() {
        hold(HEAD, &taken()).unwrap();
    }

    #[test]
    fn any_other_figure_is_refused_and_the_right_lines_are_given() {
        for (is, was) in [("48", "49"), ("0 bytes", "8 bytes"), ("64", "63"), ("k_*_warp", "k_a_warp")] {
            let error = hold(&HEAD.replace(is, was), &taken()).unwrap_err().to_string();
            assert!(error.contains(was) || error.contains(is), "{error}");
        }
        let error = hold("int x;\n", &taken()).unwrap_err().to_string();
        assert!(error.contains("//   k_block: 32 registers, 64 bytes of shared memory"), "{error}");
    }

    #[test]
    fn a_line_without_an_entry_is_refused() {
        let head = HEAD.replace("#include", "//   gone: 8 registers, 0 bytes of shared memory\n#include");
        assert!(hold(&head, &taken()).is_err());
    }

    #[test]
    fn spills_have_to_be_stated() {
        let mut taken = taken();
        taken.insert("k_block", Resources { registers: 32, shared: 64, spill_loads: 8, ..Resources::default() });
        assert!(hold(HEAD, &taken).is_err());
        hold(&HEAD.replace("64 bytes of shared memory", "64 bytes of shared memory, 8 bytes spilled"), &taken).unwrap();
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        assert!(matches("a*c*e", "abcde") && matches("*", "") && matches("a*", "a"));
        assert!(!matches("a*c", "abcd") && !matches("a", "ab") && !matches("", "a"));
    }
}
