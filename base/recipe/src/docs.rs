//! docs/recipe.md: the table of keys in prose, and the test that holds the two together.

use std::fmt::Write;
use std::path::Path;

use crate::keys::{Class, Key, Kind, Presence, Table};
use crate::table::TABLES;

const OPENING: &str = "\
# Recipes

<!-- Made from base/recipe/src/table.rs. To make it again: UPDATE_DOCS=1 cargo test -p octo-recipe docs -->

A recipe is one TOML file that says everything about a training run: `octo-engine train RECIPE`. It is read whole
before anything starts, and every mistake in it is reported at once, with its line and column.

- A *count* is a whole number (`4_194_304`) or text with a suffix (`\"64k\"`, `\"1.5M\"`, `\"200B\"`): k, M, B or G,
  and T are powers of a thousand.
- A *path* that is relative starts from the folder of the recipe it stands in. `${VAR}` is replaced by the
  environment variable.
- `extends = \"other.toml\"` takes another recipe as the base: tables are merged key by key, lists (`[[stages]]`,
  `[[validation]]`, prompts) are replaced whole. Of keys that exclude each other, such as `steps` and `tokens`, the
  extending recipe's holds.
- `--set KEY=VALUE` overrides one key, the last one winning: `--set optimizer.eps=1e-6`,
  `--set stages.0.schedule.lr=1e-4` (elements of lists by number, from 0), `--set run.device=cpu`. A relative path
  given so starts from the working directory.

The run writes the resolved recipe, with every default filled in and every path absolute, to `recipe.toml` in its
folder. *Resuming* says what may be different when a run is continued: *free* keys may change, *accepted* ones when
asked for by name (the change is put on record), *fixed* ones may not. A path may change as long as the content behind
it is the same.
";

const CURVES: &str = "
`constant` stays at `lr`. The other shapes go to `final_lr` with the progress p = (s − W) / (N − 1 − W) after W of N
steps, by the share `lr · f + final_lr · (1 − f)`: `linear` f = 1 − p; `cosine` f = (1 + cos πp) / 2; `one_minus_sqrt`
f = 1 − √p, the cooldown of Hägele et al. 2024 (\"Scaling Laws and Compute-Optimal Training Beyond Fixed Training
Durations\").
";

fn render() -> String {
    let mut out = OPENING.to_owned();
    for table in TABLES {
        let _ = write!(out, "\n## {}\n\n{}\n\n", heading(table.path), table.doc);
        out.push_str("| key | value | default | resuming | |\n|---|---|---|---|---|\n");
        for key in table.keys() {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} | {} |",
                key.name,
                value(key),
                default(key),
                resuming(key),
                key.doc
            );
        }
        if table.path.ends_with("schedule") {
            out.push_str(CURVES);
        }
    }
    out
}

fn heading(path: &str) -> String {
    if path.is_empty() {
        return "At the top".to_owned();
    }
    let is_list = path.ends_with("[]");
    let path = path.replace("[]", "").replace('*', "NAME");
    if is_list { format!("`[[{path}]]`") } else { format!("`[{path}]`") }
}

fn value(key: &Key) -> String {
    match key.kind {
        Kind::Choice(names) => {
            names.iter().map(|name| format!("`\"{name}\"`")).collect::<Vec<_>>().join(", ")
        }
        kind => {
            let described = kind.describe();
            described.strip_prefix("a ").unwrap_or(&described).to_owned()
        }
    }
}

fn default(key: &Key) -> String {
    match key.presence {
        Presence::Required => "**required**".to_owned(),
        Presence::OneOf(group) => {
            let names: Vec<String> = group.iter().map(|name| format!("`{name}`")).collect();
            format!("**one of** {}", names.join(", "))
        }
        Presence::Default(text) => format!("`{text}`"),
        Presence::Optional(what) => what.to_owned(),
    }
}

fn resuming(key: &Key) -> &'static str {
    match key.class {
        Class::Free => "free",
        Class::Accepted => "accepted",
        Class::Never => "fixed",
    }
}

#[test]
fn docs_say_what_the_table_of_keys_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipe.md");
    let wanted = render();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        octo_durable::write_bytes(&octo_durable::Disk, &path, wanted.as_bytes()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/recipe.md is not what base/recipe/src/table.rs says; make it again with\n\
         UPDATE_DOCS=1 cargo test -p octo-recipe docs"
    );
}

#[test]
fn a_default_in_the_table_is_written_as_it_would_be_in_a_recipe() {
    for key in TABLES.iter().flat_map(Table::keys) {
        if let Presence::Default(text) = key.presence {
            assert!(crate::tree::default_value(text).is_some(), "{}: {text}", key.name);
        }
    }
}
