//! Tests of the recipes in `recipes/`.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Host, ModelStart, OptimizerState, Options, Recipe, Shape, ThisMachine, plan};

/// This machine with a folder of data that it does not have.
struct WithData;

impl Host for WithData {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        ThisMachine.read(path)
    }

    fn exists(&self, path: &Path) -> bool {
        ThisMachine.exists(path)
    }

    fn is_link(&self, path: &Path) -> bool {
        ThisMachine.is_link(path)
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "DATA").then(|| "/data".to_owned())
    }

    fn working_directory(&self) -> io::Result<PathBuf> {
        ThisMachine.working_directory()
    }
}

fn shipped(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes").join(below)
}

fn load(path: &Path) -> Recipe {
    let options = Options { sets: Vec::new(), no_paths: true };
    Recipe::load(&WithData, path, &options).unwrap_or_else(|errors| panic!("{errors}"))
}

fn recipes_in(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => recipes_in(&path, found),
            false if path.extension().is_some_and(|extension| extension == "toml") => found.push(path),
            false => {}
        }
    }
}

#[test]
fn the_recipes_of_this_repository_are_sound() {
    let mut found = Vec::new();
    recipes_in(&shipped(""), &mut found);
    assert!(found.len() >= 13, "{found:?}");
    let folders: BTreeSet<PathBuf> = found.iter().map(|path| load(path).run.dir).collect();
    assert_eq!(folders.len(), found.len(), "each writes to a folder of its own");
}

#[test]
fn the_octothinker_recipes_are_what_the_paper_says() {
    for (size, lr) in [("1b", 5e-5), ("3b", 2e-5), ("8b", 1e-5)] {
        let stable = load(&shipped(&format!("octothinker/{size}-stable.toml")));
        let schedule = stable.stages[0].schedule;
        assert_eq!((schedule.shape, schedule.lr, schedule.warmup_steps), (Shape::Constant, lr, 0), "{size}");
        let plan = plan(&stable, |_| None);
        assert_eq!((plan.steps, plan.tokens, plan.sources.len()), (50_000, 209_715_200_000, 6), "{size}");
        for (branch, sources) in [("long", 5), ("short", 6), ("hybrid", 6)] {
            let decay = load(&shipped(&format!("octothinker/{size}-decay-{branch}.toml")));
            let stage = &decay.stages[0];
            assert_eq!(stage.name, format!("decay-{branch}"));
            assert_eq!((stage.schedule.shape, stage.schedule.lr), (Shape::Cosine, lr));
            assert!((stage.schedule.final_lr / lr - 0.1).abs() < 1e-9, "{size} {branch}");
            assert_eq!((decay.total_steps(), stage.mixture.len()), (5_000, sources), "{size} {branch}");
            let web = stage.mixture.iter().find(|share| share.source == "megamath-web-pro").unwrap();
            assert_eq!(web.share, 0.55);
            assert_eq!(decay.model.start, ModelStart::From(stable.run.dir.join("checkpoints/latest")));
            assert_eq!(decay.model.optimizer_state, OptimizerState::Load);
            assert_eq!((&decay.optimizer, &decay.checkpoints), (&stable.optimizer, &stable.checkpoints));
            let micro = (stage.micro_batch_tokens, stage.batch_tokens, stage.sequence_length);
            assert_eq!(micro, (stable.stages[0].micro_batch_tokens, 4_194_304, 8_192));
        }
    }
}

const TAGS: [&str; 3] = ["# paper", "# derived", "# our choice: unconfirmed"];

/// Lines that give a value without saying where it is from. A text over several lines has its tag behind its end.
fn untagged(recipe: &str) -> Vec<&str> {
    let mut untagged = Vec::new();
    let mut in_text = false;
    for line in recipe.lines() {
        let marks = line.matches("\"\"\"").count();
        let ends = in_text && marks > 0;
        let is_value = !in_text && !line.trim_start().starts_with('#') && line.contains('=') && marks != 1;
        in_text = if marks == 1 { !in_text } else { in_text };
        let has_tag = TAGS.iter().any(|tag| line.strip_suffix(tag).is_some_and(|rest| rest.ends_with(' ')));
        if (is_value || ends) && !has_tag {
            untagged.push(line);
        }
    }
    untagged
}

#[test]
fn every_value_of_the_octothinker_recipes_says_where_it_is_from() {
    let mut found = Vec::new();
    recipes_in(&shipped("octothinker"), &mut found);
    assert_eq!(found.len(), 13);
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(untagged(&text), [""; 0], "{}", path.display());
    }
}

#[test]
fn a_value_without_a_tag_is_found() {
    let text = "# a = 1\na = 1 # paper\nb = 1\nc = 1 # papers\nd = \"\"\"\nx = 1\n\"\"\" # derived\ne = \"\"\"\n\"\"\"\n";
    assert_eq!(untagged(text), ["b = 1", "c = 1 # papers", "\"\"\""]);
    assert_eq!(untagged("a = \"x # paper\""), ["a = \"x # paper\""]);
}
