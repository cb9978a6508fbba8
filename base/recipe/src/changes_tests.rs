//! Tests of `changes.rs` and `accept.rs`: what a resumed run may change, key by key.

use std::collections::BTreeSet;

use insta::assert_snapshot;
use proptest::prelude::*;

use crate::fixtures::{FULL, RL_FULL, RL_SMALLEST, load, load_with};
use crate::fuzz::SMALLEST;
use crate::keys::{Bounds, Class, Key, Kind};
use crate::table::TABLES;
use crate::{Change, Recipe, accept, changes};

/// Another value of the same kind, as TOML; `None` where there is none.
fn another(key: &Key, value: &str) -> Option<String> {
    Some(match key.kind {
        Kind::Count(_) => (value.parse::<u64>().unwrap() + 1).to_string(),
        Kind::Number(Bounds::UpToOne) => "0.5".to_owned(),
        Kind::Number(_) => format!("{:?}", value.parse::<f64>().unwrap() * 0.5 + 0.0625),
        Kind::Pair(_) => "[0.5, 0.6]".to_owned(),
        Kind::Flag => (value != "true").to_string(),
        Kind::Text => "'another'".to_owned(),
        Kind::Texts => "['another']".to_owned(),
        Kind::Choice(names) => {
            format!("'{}'", names.iter().find(|name| format!("\"{name}\"") != value)?)
        }
        Kind::Path | Kind::NewPath | Kind::PathOrTable => "'another/path'".to_owned(),
        Kind::Shares => "{ gsm8k = 0.5, made = 0.5 }".to_owned(),
        Kind::Ranges => "['9']".to_owned(),
        Kind::CountsFromSteps => "[[0, 96]]".to_owned(),
    })
}

/// Values for keys that something else in the recipe holds to some of them; "" for none at all.
const BY_HAND: [&[(&str, &str)]; 4] = [
    &[
        ("model.config.num_attention_heads", "8"),
        ("model.config.num_key_value_heads", "4"),
        ("model.optimizer_state", ""),
        ("data.on_nonfinite", ""),
        ("data.sources.made.generated.seed", "9"),
        ("stages.0.sequence_length", "512"),
        ("stages.0.batch_tokens", "16_384"),
        ("stages.0.micro_batch_tokens", "4_096"),
        ("stages.1.sequence_length", "256"),
        ("stages.1.batch_tokens", "2_048"),
        ("stages.1.micro_batch_tokens", "512"),
        ("stages.0.schedule.shape", "cosine"),
        ("stages.1.schedule.shape", "cosine"),
    ],
    &[
        ("model.optimizer_state", ""),
        ("data.on_nonfinite", "'skip'\nmax_skips = 1"),
        ("stages.0.sequence_length", "4"),
        ("stages.0.batch_tokens", "32"),
        ("stages.0.micro_batch_tokens", "8"),
        ("stages.0.mixture", ""),
        ("stages.0.schedule.shape", ""),
    ],
    &[
        ("model.optimizer_state", ""),
        ("rl.template", ""),
        ("rl.keep_best", "made"),
        ("rl.kl.coefficient", ""),
        ("rl.loss.dual_clip", "3.0"),
        ("rl.schedule.shape", "linear"),
        ("rl.rewards.0.kind", ""),
        ("rl.rewards.1.kind", ""),
        ("rl.rewards.2.kind", ""),
        ("rl.rewards.3.kind", ""),
        ("rl.rewards.4.kind", ""),
        ("rl.rewards.5.kind", ""),
        ("rl.validation.0.name", ""),
    ],
    &[
        ("model.optimizer_state", ""),
        ("rl.template", "simple"),
        ("rl.max_prompt_tokens", "7"),
        ("rl.max_response_tokens", "9"),
        ("rl.mini_batch_prompts", "3"),
        ("rl.schedule.shape", ""),
        ("rl.kl.coefficient", "0.5"),
        ("rl.rewards.0.kind", ""),
        ("rl.loss.dual_clip", "2.5"),
        ("rl.sampling.temperature", "0.5"),
        ("rl.alarms.repetition_ratio", "0.75"),
    ],
];

/// The resolved recipe with one key changed; `None` where it has no other value.
fn with_another(resolved: &str, path: &str, value: &str) -> Option<Recipe> {
    let loaded = match value.split_once('\n') {
        None => load_with(resolved, &[&format!("{path}={value}")]),
        Some((value, more)) => {
            let (_, name) = path.rsplit_once('.').unwrap();
            let line = resolved.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
            load(&resolved.replacen(line, &format!("{name} = {value}\n{more}"), 1))
        }
    };
    (!value.is_empty()).then(|| loaded.unwrap_or_else(|errors| panic!("{path}: {errors}")))
}

#[test]
fn every_key_of_the_table_is_reported_with_its_class() {
    let from_file = SMALLEST.replace("from = \"model\"", "config = \"c.json\"\ntokenizer = \"t.json\"");
    let mut seen = BTreeSet::new();
    let recipes = [
        (FULL, BY_HAND[0]),
        (&from_file, BY_HAND[1]),
        (SMALLEST, &BY_HAND[1][1..]),
        (RL_FULL, BY_HAND[2]),
        (RL_SMALLEST, BY_HAND[3]),
    ];
    for (text, by_hand) in recipes {
        let recipe = load(text).unwrap();
        let resolved = recipe.to_toml();
        for block in recipe.blocks() {
            for line in &block.lines {
                let shown = format!("{}.{}", block.shown, line.key.name);
                let numbered = shown.replace("[held-out]", "[0]").replace("[fresh]", "[1]");
                let path = numbered.replace('[', ".").replace(']', "");
                let value = match by_hand.iter().find(|(key, _)| *key == path) {
                    Some((_, value)) => Some((*value).to_owned()),
                    None => another(line.key, &line.value),
                };
                let Some(value) = value else {
                    seen.insert((block.table.path, line.key.name)); // a word without an alternative
                    continue;
                };
                if value.is_empty() && shown.starts_with("rl.rewards") {
                    seen.insert((block.table.path, line.key.name)); // each kind has other keys
                    continue;
                }
                let Some(other) = with_another(&resolved, &path, &value) else { continue };
                let found = changes(&recipe, &other, 10);
                seen.insert((block.table.path, line.key.name));
                if shown.starts_with("validation") && line.key.name == "name" {
                    let free = |change: &Change| change.class == Class::Free;
                    assert!(found.len() == 2 && found.iter().all(free), "another name is another set");
                    continue;
                }
                let change = found.iter().find(|change| change.key == shown).unwrap();
                let constant =
                    text != FULL && path == "stages.0.steps" || text == RL_SMALLEST && path == "rl.steps";
                assert_eq!(change.class, if constant { Class::Free } else { line.key.class }, "{shown}");
                assert!(change.old.is_some() && change.new.is_some() && change.old != change.new);
                let is_path = matches!(line.key.kind, Kind::Path | Kind::PathOrTable);
                assert_eq!(change.is_path, is_path, "{shown}");
                assert_eq!(found.len(), if value.contains('\n') { 2 } else { 1 }, "{found:#?}");
            }
        }
    }
    for table in TABLES {
        for key in table.keys() {
            let resolved_away = ["extends", "tokens"].contains(&key.name);
            assert!(resolved_away != seen.contains(&(table.path, key.name)), "{} {}", table.path, key.name);
        }
    }
}

#[test]
fn a_recipe_has_not_changed_from_itself() {
    for text in [FULL, SMALLEST, RL_FULL, RL_SMALLEST] {
        assert_eq!(changes(&load(text).unwrap(), &load(text).unwrap(), 7), []);
    }
}

/// A recipe of stages of these shapes and lengths, each at its own rate.
fn staged(stages: &[(&str, u64)]) -> Recipe {
    let (head, _) = SMALLEST.split_once("[[stages]]").unwrap();
    let stage = |(index, (shape, steps)): (usize, &(&str, u64))| {
        format!(
            "[[stages]]\nname = \"s{index}\"\nsteps = {steps}\nsequence_length = 8\nbatch_tokens = 16\n\
             schedule = {{ shape = \"{shape}\", lr = {} }}\n",
            1.0 / (index as f64 + 1.0)
        )
    };
    let stages: String = stages.iter().enumerate().map(stage).collect();
    load(&format!("{head}{stages}")).unwrap()
}

/// The one change.
fn only(old: &Recipe, new: &Recipe, steps_done: u64) -> (String, Class) {
    let found = changes(old, new, steps_done);
    assert_eq!(found.len(), 1, "{found:#?}");
    (found[0].key.clone(), found[0].class)
}

#[test]
fn a_stage_may_be_appended_and_not_taken_away_unasked() {
    let (one, two) = (staged(&[("constant", 100)]), staged(&[("constant", 100), ("cosine", 10)]));
    for done in [0, 50, 100] {
        assert_eq!(only(&one, &two, done), ("stages[1]".to_owned(), Class::Free));
        assert_eq!(only(&two, &one, done), ("stages[1]".to_owned(), Class::Accepted));
    }
}

#[test]
fn the_length_of_a_constant_stage_is_free_where_no_step_taken_lies_behind_its_ends() {
    let with = |steps| staged(&[("constant", 10), ("constant", steps), ("constant", 100)]);
    for (old, new, done, class) in [
        (20, 25, 0, Class::Free),
        (20, 25, 30, Class::Free),
        (20, 25, 31, Class::Accepted),
        (20, 15, 25, Class::Free),
        (20, 15, 26, Class::Accepted),
        (20, 15, 100, Class::Accepted),
    ] {
        let found = only(&with(old), &with(new), done);
        assert_eq!(found, ("stages[1].steps".to_owned(), class), "{old} to {new} after {done}");
    }
}

#[test]
fn the_length_of_a_decaying_stage_needs_to_be_accepted() {
    for shape in ["linear", "cosine", "one_minus_sqrt"] {
        let (old, new) = (staged(&[(shape, 10)]), staged(&[(shape, 11)]));
        assert_eq!(only(&old, &new, 0), ("stages[0].steps".to_owned(), Class::Accepted));
    }
    let (old, new) = (staged(&[("constant", 10)]), staged(&[("cosine", 11)]));
    let found = changes(&old, &new, 5);
    let steps = found.iter().find(|change| change.key == "stages[0].steps").unwrap();
    assert_eq!(steps.class, Class::Accepted, "constant before and decaying now: {found:#?}");
}

#[test]
fn a_source_that_nothing_draws_from_may_be_anything() {
    let with = |sources: &str| {
        load(&SMALLEST.replace("[[stages]]", &format!("{sources}[[stages]]\nmixture = {{ text = 1.0 }}")))
            .unwrap()
    };
    let (none, one) = (with(""), with("[data.sources.idle]\npath = \"a\"\n"));
    let other =
        with("[data.sources.idle]\ngenerated = { kind = \"word-problems\", rows = 3 }\ntext = \"b\"\n");
    for (old, new) in [(&none, &one), (&one, &none), (&one, &other)] {
        let found = changes(old, new, 5);
        assert!(!found.is_empty() && found.iter().all(|change| change.class == Class::Free), "{found:#?}");
    }
    let drawn = |mixture: &str, text: &str| {
        let sources = format!("[data.sources.idle]\npath = \"a\"\ntext = \"{text}\"\n[[stages]]");
        let mixed = format!("steps = 10\nmixture = {{ {mixture} = 1.0 }}");
        load(&SMALLEST.replace("[[stages]]", &sources).replace("steps = 10", &mixed)).unwrap()
    };
    for (old, new) in [("idle", "text"), ("text", "idle"), ("idle", "idle")] {
        let found = changes(&drawn(old, "a"), &drawn(new, "b"), 5);
        let text = found.iter().find(|change| change.key == "data.sources.idle.text").unwrap();
        assert_eq!(text.class, Class::Accepted, "drawn from before or now");
    }
}

proptest! {
    /// What `changes` calls free is: every step taken has the rate, the stage and the place in it that it had.
    #[test]
    fn free_lengths_leave_every_step_taken_as_it_was(
        old in proptest::collection::vec((proptest::sample::select(&["constant", "cosine"][..]), 1u64..12), 1..4),
        lengths in proptest::collection::vec(1u64..12, 3),
        appended in proptest::collection::vec((proptest::sample::select(&["constant", "linear"][..]), 1u64..12), 0..2),
        done in 0u64..40,
    ) {
        let new: Vec<(&str, u64)> =
            old.iter().zip(&lengths).map(|((shape, _), steps)| (*shape, *steps)).chain(appended).collect();
        let (old, new) = (staged(&old), staged(&new));
        let done = done.min(old.total_steps());
        if changes(&old, &new, done).iter().all(|change| change.class == Class::Free) {
            for step in 0..done {
                prop_assert_eq!(old.lr(step), new.lr(step));
                prop_assert_eq!(old.at(step), new.at(step));
            }
        }
    }
}

fn accepted(changes: &[Change], names: &[&str]) -> Result<(), String> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    accept(changes, &names).map_err(|refused| refused.to_string())
}

fn two_changes() -> Vec<Change> {
    let new = FULL
        .replace("micro_batch_tokens = 2_048", "micro_batch_tokens = 4_096")
        .replace("lr = 2e-3", "lr = 1e-3")
        .replace("every_steps = 50", "every_steps = 5");
    changes(&load(FULL).unwrap(), &load(&new).unwrap(), 10)
}

#[test]
fn a_change_is_accepted_by_its_last_name_or_any_more_of_its_path() {
    let changes = two_changes();
    for names in [
        ["micro_batch_tokens", "lr"],
        ["stages[0].micro_batch_tokens", "stages.0.schedule.lr"],
        ["0.micro_batch_tokens", " schedule.lr "],
    ] {
        assert_eq!(accepted(&changes, &names), Ok(()));
    }
    for names in
        [["tokens", "lr"], ["stages[1].micro_batch_tokens", "lr"], ["micro_batch_tokens", "final_lr"]]
    {
        assert!(accepted(&changes, &names).is_err(), "{names:?}");
    }
    let (one, two) = (staged(&[("cosine", 5)]), staged(&[("cosine", 5), ("cosine", 5)]));
    for name in ["stages", "stages.1", "stages[1]"] {
        assert_eq!(accepted(&crate::changes(&two, &one, 0), &[name]), Ok(()));
    }
}

#[test]
fn a_name_that_no_key_has_is_refused_and_one_that_did_not_change_is_not() {
    for known in [
        "clip",
        "optimizer.clip",
        "data.sources.a.b.text",
        "validation[x].every_steps",
        "numerics_version",
        "stages",
    ] {
        assert_eq!(accepted(&[], &[known]), Ok(()), "{known}");
    }
    for unknown in ["clips", "optimiser.clip", "optimizer.lr", "stages.text", "", "*", "[]"] {
        assert!(accepted(&[], &[unknown]).is_err(), "{unknown}");
    }
}

#[test]
fn what_is_refused_is_shown_as_a_difference_with_what_to_pass() {
    assert_snapshot!(accepted(&two_changes(), &["larning_rate", "weight_decy"]).unwrap_err());
    let long = |word: &str| {
        let text = format!("text = \"{}{word} {}\"", "long ".repeat(50), "again ".repeat(50));
        FULL.replace("text = \"{{ question }}\\n{{ answer }}\"", &text)
    };
    let other = long("new").replace("hidden_size = 128", "hidden_size = 256").replace("head_dim = 32\n", "");
    let changes = changes(&load(&long("old")).unwrap(), &load(&other).unwrap(), 10);
    assert_snapshot!(accepted(&changes, &["model.config.head_dim"]).unwrap_err());
}
