//! docs/recipe.md: the table of keys in prose, and the test that holds the two together.

use std::fmt::Write;
use std::path::Path;

use crate::fixtures::{World, load};
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
  `[[validation]]`, prompts) and mixtures are replaced whole. `[stages.0]` in place of `[[stages]]` changes keys of the
  first stage and leaves the rest. Of keys that exclude each other, such as `steps` and `tokens`, the extending
  recipe's holds.
- `--set KEY=VALUE` overrides one key, the last one winning: `--set optimizer.eps=1e-6`,
  `--set stages.0.schedule.lr=1e-4` (elements of lists by number, from 0), `--set run.device=cpu`. A relative path
  given so starts from the working directory.

The run writes the resolved recipe, with every default filled in and every path absolute, to `recipe.toml` in its
folder. *Resuming* says what may be different when a run is continued: *free* keys may change, *accepted* ones when
asked for by name (`--accept-change lr,micro_batch_tokens`; the change is put on record), *fixed* ones may not. A path
may change as long as the content behind it is the same. Stages may be appended after the last, and sources and
validation sets added.
";

/// Whole recipes; the second and the third extend the first.
const EXAMPLES: &str = "
## Examples

Two stages: a constant rate, then a decay on another mixture. Each source goes on in the second stage where the first
stopped.

```toml
[run]
dir = \"runs/math\"

[model]
from = \"models/Llama-3.2-1B\"

[data.sources.web]
path = \"data/web/*.parquet\"

[data.sources.problems]
path = \"data/problems.jsonl.zst\"
text = \"{{ question }}\\n{{ answer }}\"
where = \"answer\"

[[stages]]
name = \"stable\"
tokens = \"2B\"
sequence_length = 4_096
batch_tokens = 524_288
micro_batch_tokens = 16_384
mixture = { web = 0.9, problems = 0.1 }
schedule = { shape = \"constant\", lr = 2e-5, warmup_steps = 100 }

[[stages]]
name = \"decay\"
tokens = \"200M\"
sequence_length = 4_096
batch_tokens = 524_288
micro_batch_tokens = 16_384
mixture = { web = 0.6, problems = 0.4 }
schedule = { shape = \"cosine\", lr = 2e-5, final_lr = 2e-6 }

[[validation]]
name = \"held-out\"
path = \"data/held_out.jsonl\"
text = \"{{ question }}\\n{{ answer }}\"

[checkpoints]
milestones = \"500M\"
milestone_state = \"1B\"
```

A branch: another decay, from a checkpoint of the run above (saved as `math.toml`), with its optimizer state. Sources
go on where that checkpoint stood; `restart` begins one again.

```toml
extends = \"math.toml\"

[run]
dir = \"runs/math-problems\"

[model]
from = \"runs/math/checkpoints/step-00001908\"
optimizer_state = \"load\"

[data.sources.problems]
restart = true

[[stages]]
name = \"decay-problems\"
tokens = \"200M\"
sequence_length = 4_096
batch_tokens = 524_288
micro_batch_tokens = 16_384
mixture = { problems = 1.0 }
schedule = { shape = \"one_minus_sqrt\", lr = 2e-5, final_lr = 0 }
```

A guard stopped the run at step 4120 and named its documents. This leaves out that step and the next two, and from then
on any step that is not finite, ten at most; the run goes on with `--accept-change skip_steps,on_nonfinite,max_skips`.

```toml
extends = \"math.toml\"

[data]
skip_steps = [\"4120-4122\"]
on_nonfinite = \"skip\"
max_skips = 10
```
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
    out + EXAMPLES
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
fn the_examples_are_sound() {
    let examples: Vec<&str> =
        EXAMPLES.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 3);
    for example in &examples {
        let world = World::with(&[("math.toml", examples[0]), ("r.toml", example)]);
        let recipe = world.load(&[]).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(load(&recipe.to_toml()).unwrap(), recipe);
    }
}

#[test]
fn a_default_in_the_table_is_written_as_it_would_be_in_a_recipe() {
    for key in TABLES.iter().flat_map(Table::keys) {
        if let Presence::Default(text) = key.presence {
            assert!(crate::tree::default_value(text).is_some(), "{}: {text}", key.name);
        }
    }
}
