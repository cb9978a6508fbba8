//! From `[[rl.rewards]]` to rewards: each kind with its own keys.

use std::collections::BTreeSet;

use super::{Program, Reward, RewardKind};
use crate::build::check_name;
use crate::error::RecipeError;
use crate::section::{At, Section};

/// The keys that mean something for a kind alone.
const OWN: [(&str, &[&str]); 6] = [
    ("verify", &["boxed_only"]),
    ("format", &["pattern"]),
    ("overlong", &["buffer"]),
    ("cosine", &["right", "wrong"]),
    ("repetition", &["ngram"]),
    ("program", &["command", "environment", "timeout_seconds", "cpu_seconds", "memory_bytes", "workers"]),
];

/// Reads all of them; at least one.
pub(super) fn rewards(table: &Section) -> Option<Vec<Reward>> {
    let tables = table.tables("rewards");
    if tables.is_empty() {
        let error = RecipeError::Missing {
            key: table.shown("rewards"),
            expected: "at least one `[[rl.rewards]]` table".to_owned(),
            doc: "What a response is rewarded for.",
        };
        table.reading.report(table.spot, error);
    }
    let mut names = BTreeSet::new();
    let rewards: Vec<Option<Reward>> = tables.iter().map(|table| reward(table, &mut names)).collect();
    rewards.into_iter().collect::<Option<Vec<_>>>().filter(|rewards| !rewards.is_empty())
}

fn reward(table: &Section, names: &mut BTreeSet<String>) -> Option<Reward> {
    let kind = table.choice("kind", |name| RewardKind::NAMES.iter().find(|known| **known == name).copied());
    let weight = table.number("weight");
    let sources = table.texts("data_sources");
    if let Some(kind) = kind {
        for (other, keys) in OWN {
            for key in keys.iter().filter(|key| other != kind.value && table.has(key)) {
                let reason = format!("means nothing for kind \"{}\"", kind.value);
                let advice = format!("it belongs to kind \"{other}\"");
                table.reading.object(table.spot_of(key), &table.shown(key), reason, advice);
            }
        }
    }
    let kind = kind?;
    let name = match table.text("name") {
        Some(name) => {
            check_name(table, name.spot, &table.shown("name"), &name.value);
            name.value
        }
        None => kind.value.to_owned(),
    };
    if !names.insert(name.clone()) {
        let reason = format!("is `{name}`, as another reward is called");
        table.reading.object(table.spot_of("name"), &table.shown("name"), reason, "give each its own name");
    }
    Some(Reward {
        name,
        weight: weight?.value,
        data_sources: sources.map_or_else(Vec::new, |sources| sources.value),
        kind: of_kind(table, kind.value)?,
    })
}

fn of_kind(table: &Section, kind: &str) -> Option<RewardKind> {
    Some(match kind {
        "verify" => RewardKind::Verify { boxed_only: table.flag("boxed_only")?.value },
        "format" => RewardKind::Format { pattern: table.text("pattern")?.value },
        "overlong" => {
            let Some(At { value: buffer, .. }) = table.count("buffer") else {
                return missing(
                    table,
                    "buffer",
                    "a count of at least 1",
                    "Tokens over which the reward falls to −1.",
                );
            };
            RewardKind::Overlong { buffer }
        }
        "cosine" => {
            RewardKind::Cosine { right: table.pair("right")?.value, wrong: table.pair("wrong")?.value }
        }
        "repetition" => RewardKind::Repetition { ngram: table.count("ngram")?.value },
        _ => RewardKind::Program(program(table)?),
    })
}

fn missing<T>(table: &Section, key: &str, expected: &str, doc: &'static str) -> Option<T> {
    if !table.has(key) {
        let error = RecipeError::Missing { key: table.shown(key), expected: expected.to_owned(), doc };
        table.reading.report(table.spot, error);
    }
    None
}

fn program(table: &Section) -> Option<Program> {
    let command = table.texts("command");
    let environment = table.texts("environment");
    let timeout = table.number("timeout_seconds");
    let cpu = table.count("cpu_seconds");
    let memory = table.count("memory_bytes");
    let workers = table.count("workers");
    let Some(command) = command else {
        return missing(table, "command", "a list of texts", "The program and its arguments.");
    };
    if command.value.first().is_some_and(String::is_empty) {
        let advice = "begin with the program's name or path";
        table.reading.object(command.spot, &table.shown("command"), "names no program", advice);
    }
    Some(Program {
        command: command.value,
        environment: environment.map_or_else(Vec::new, |names| names.value),
        timeout_seconds: timeout?.value,
        cpu_seconds: cpu?.value,
        memory_bytes: memory?.value,
        workers: workers?.value,
    })
}
