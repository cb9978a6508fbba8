//! Whole recipes: what is understood, what is refused and with which words.

use std::path::Path;

use insta::assert_snapshot;

use crate::fixtures::{FULL, RL_FULL, RL_SMALLEST, World, load};
use crate::fuzz::SMALLEST;
use crate::keys::Table;
use crate::recipe::{Device, ModelStart, OnNonFinite, OptimizerState, Order, Origin, Weights};
use crate::table::TABLES;
use crate::{Options, Recipe, Shape, ThisMachine};

fn errors(text: &str) -> String {
    load(text).unwrap_err()
}

#[test]
fn a_full_recipe_means_what_it_says() {
    let recipe = load(FULL).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(recipe.run.dir, Path::new("/home/run/runs/full"));
    assert_eq!((recipe.run.seed, recipe.run.device, recipe.run.threads), (7, Device::Cpu, Some(2)));
    assert_eq!(recipe.model.weights, Weights::Bf16);
    let ModelStart::Config(config) = &recipe.model.start else { panic!("{:?}", recipe.model.start) };
    assert_eq!(config["max_position_embeddings"], 1000);
    assert_eq!(config["rope_theta"], 500_000.0);
    assert_eq!(config["rope_scaling"]["factor"], 8.0);
    let source = recipe.source("gsm8k").unwrap();
    assert_eq!(source.origin, Origin::Path("/mnt/data/gsm8k.jsonl".into()));
    assert_eq!(source.text, "{{ question }}\n{{ answer }}");
    assert_eq!(
        (source.filter.as_deref(), source.add_eos, source.add_bos, source.restart),
        (Some("answer"), false, Some(true), true)
    );
    assert_eq!(recipe.data.skip_steps, [7..=7, 100..=103, 1000..=1010]);
    assert_eq!(recipe.data.on_nonfinite, OnNonFinite::Skip { at_most: 5 });
    let shares: Vec<_> =
        recipe.stages[1].mixture.iter().map(|share| (share.source.as_str(), share.share)).collect();
    assert_eq!(shares, [("gsm8k", 0.25), ("made", 0.75)]);
    let checkpoints = &recipe.checkpoints;
    assert_eq!((checkpoints.every_minutes, checkpoints.every_steps), (Some(0.5), Some(60)));
    assert_eq!((checkpoints.every_tokens, checkpoints.keep), (Some(2_000_000), 2));
    assert_eq!((checkpoints.milestones, checkpoints.milestone_state), (Some(500_000), Some(1_000_000)));
    assert_eq!(recipe.log.sinks[0].command, ["python3", "sink.py", ""]);
    assert_eq!(recipe.stages[0].order, Order::Sequential);
    let schedule = recipe.stages[0].schedule;
    assert_eq!(
        (schedule.shape, schedule.steps),
        (Shape::OneMinusSqrt, 184),
        "1.5M tokens by 8192, rounded up"
    );
    assert_eq!((recipe.optimizer.weight_decay, recipe.optimizer.clip), (0.0, None));
    assert_eq!(recipe.validation[0].max_tokens, Some(100_000));
    assert_eq!(recipe.samples.unwrap().prompts.len(), 2);
}

#[test]
fn the_smallest_recipe_has_the_defaults_of_the_table() {
    let recipe = load(SMALLEST).unwrap_or_else(|errors| panic!("{errors}"));
    assert_snapshot!(recipe.to_toml(), @r#"
    [run]
    dir = "/home/run/out"
    seed = 1
    device = "auto"
    forward = "fastest"

    [model]
    from = "/home/run/model"
    weights = "auto"
    optimizer_state = "fresh"

    [data]
    skip_steps = []
    on_nonfinite = "stop"

    [data.sources.text]
    path = "/home/run/text.jsonl"
    text = "{{ text }}"
    add_eos = true
    restart = false

    [[stages]]
    name = "only"
    steps = 10
    sequence_length = 8
    batch_tokens = 16
    micro_batch_tokens = 16
    mixture = { text = 1.0 }
    order = "shuffled"
    document_mask = true

    [stages.schedule]
    shape = "constant"
    lr = 0.001
    warmup_steps = 0

    [optimizer]
    betas = [0.9, 0.95]
    eps = 1e-8
    weight_decay = 0.1
    clip = 1.0
    moments = "auto"

    [memory]
    recompute = "auto"

    [checkpoints]
    every_minutes = 30.0
    keep = 3

    [log]
    every_steps = 10
    tensorboard = true
    "#);
}

#[test]
fn every_declared_key_reaches_the_resolved_recipe() {
    let other =
        FULL.replace("tokens = \"1.5M\"", "steps = 9").replace("warmup_steps = 10", "warmup_steps = 9");
    let from = load(SMALLEST).unwrap().to_toml();
    let resolved = [load(FULL).unwrap().to_toml(), load(&other).unwrap().to_toml(), from].concat();
    let file =
        load(&SMALLEST.replace("from = \"model\"", "config = \"c.json\"\ntokenizer = \"t.json\"")).unwrap();
    let resolved = resolved + &file.to_toml() + &load(RL_FULL).unwrap().to_toml();
    for key in TABLES.iter().flat_map(Table::keys) {
        // `extends` and `tokens` are resolved away; inline tables stand under headers.
        let resolved_away = ["extends", "tokens"].contains(&key.name);
        let written = resolved.contains(&format!("\n{} = ", key.name));
        assert!(written != resolved_away, "{}", key.name);
    }
}

#[test]
fn the_resolved_recipe_is_the_same_recipe_from_any_folder() {
    for text in [FULL, SMALLEST, RL_FULL, RL_SMALLEST] {
        let recipe = load(text).unwrap();
        let resolved = recipe.to_toml();
        let elsewhere =
            World::with(&[("r.toml", "extends = \"deep/down/r.toml\""), ("deep/down/r.toml", &resolved)]);
        let again = elsewhere.load(&[]).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(again, recipe);
        assert_eq!(again.to_toml(), resolved);
        assert_eq!(again.content_hash(), recipe.content_hash());
    }
}

#[test]
fn the_content_hash_sees_what_is_computed_and_not_where() {
    let hash = |text: &str| load(text).unwrap().content_hash();
    for same in [
        FULL.replace("runs/full", "elsewhere"),
        FULL.replace("${DATA}/", "data/of/mine/"),
        FULL.replace("every_steps = 50", "every_steps = 5"),
        FULL.replace("name = \"fresh\"", "name = \"other\""),
        FULL.replace("temperature = 0.7", "temperature = 0.8"),
        FULL.replace("threads = 2", "threads = 4"),
        FULL.split("[[validation]]").next().unwrap().to_owned(),
    ] {
        assert_eq!(hash(&same), hash(FULL));
    }
    for other in [
        FULL.replace("lr = 2e-3", "lr = 3e-3"),
        FULL.replace("seed = 7", "seed = 8"),
        FULL.replace("gsm8k.jsonl", "math.jsonl"),
        FULL.replace("hidden_size = 128", "hidden_size = 256"),
        FULL.replace("factor = 8", "factor = 4"),
        FULL.replace("where = \"answer\"", ""),
    ] {
        assert_ne!(hash(&other), hash(FULL));
    }
    // Runs on record are told apart by this: a change of it is a change of contract.
    assert_snapshot!(hash(SMALLEST));
}

#[test]
fn unknown_keys_show_the_nearest_name_or_where_it_belongs() {
    assert_snapshot!(errors(
        &SMALLEST
            .replace("lr = 1e-3", "lr = 1e-3, final-lr = 0")
            .replace("[run]", "lerning = 1\n[runs]\nx = 1\n[run]\nsede = 1")
            .replace(
                "[model]",
                "[optimizer]\nlr = 1e-3\nwieght_decay = 0.1\nwarmup_steps = 3\nzzz = 1\n[model]"
            )
    ));
}

#[test]
fn a_mistyped_required_key_is_one_mistake() {
    let text = errors(&SMALLEST.replace("batch_tokens", "batch_token"));
    assert!(text.contains("`batch_tokens`") && !text.contains("missing"), "{text}");
    assert!(text.ends_with("r.toml: 1 mistake"), "{text}");
}

#[test]
fn values_of_the_wrong_type_say_what_is_expected() {
    assert_snapshot!(errors(
        r#"
validation = { name = "x" }
[run]
dir = ["a"]
seed = -1
device = "gpu"
threads = 0
[model]
config = 1979-05-27
tokenizer = "t"
weights = true
[[stages]]
name = ""
steps = 1e3
sequence_length = "8 k"
batch_tokens = "1.5"
document_mask = "yes"
mixture = ["text"]
schedule = "constant"
[[stages]]
name = "shares"
mixture = { text = 0, b = "half", c = 0.5 }
[data]
skip_steps = ["5-4", 0, "3--4", 1.5, "12k-13k", -3]
[optimizer]
betas = [0.9, 1.0]
eps = nan
weight_decay = -0.1
clip = "inf"
[samples]
prompts = "Once"
top_p = 1.5
[checkpoints]
keep = 0
every_minutes = -1
every_tokens = "1.5"
[log]
tensorboard = "no"
sinks = ["wandb"]
"#
    ));
}

#[test]
fn what_is_missing_is_named_with_its_meaning() {
    assert_snapshot!(errors("[model]\n[[stages]]\n[[validation]]\n[data.sources.x]\n[samples]\n"));
    assert_snapshot!(errors(""));
}

#[test]
fn contradictions_are_found_all_at_once() {
    assert_snapshot!(errors(
        r#"
[run]
dir = "out"
[model]
from = "m"
[model.config]
model_type = "llama"
vocab_size = 10
hidden_size = 100
intermediate_size = 10
num_hidden_layers = 1
num_attention_heads = 3
max_position_embeddings = 16
[data.sources.made]
generated = { kind = "word-problems", rows = 5, seed = 2 }
[data.sources."a/b"]
path = "missing/x.jsonl"
[[stages]]
name = "a"
steps = 10
tokens = 20
sequence_length = 33
batch_tokens = 100
micro_batch_tokens = 64
mixture = { mad = 1.0, "a/b" = 1.0 }
schedule = { lr = 1e-3, final_lr = 0, warmup_steps = 11 }
[[stages]]
name = "a"
steps = 1
sequence_length = 4
batch_tokens = 4
mixture = { made = 0.7, "a/b" = 0.2 }
schedule = { lr = 1e-3 }
[data]
max_skips = 3
[checkpoints]
every_minutes = 1e9
[[log.sinks]]
command = ["", "x"]
[[validation]]
name = "v"
generated = { kind = "word-problems", rows = 5, seed = 2 }
[[validation]]
name = "v"
path = "${NOWHERE}/x.jsonl"
[[validation]]
name = "w"
path = "${DATA/x.jsonl"
"#
    ));
}

#[test]
fn a_random_start_needs_a_shape_that_fits_and_a_tokenizer() {
    assert_snapshot!(errors(
        &FULL
            .replace("tokenizer = \"tokenizer.json\"", "")
            .replace("head_dim = 32", "")
            .replace("hidden_size = 128", "hidden_size = 130")
            .replace("num_key_value_heads = 2", "num_key_value_heads = 3")
            .replace("max_position_embeddings = \"1k\"", "max_position_embeddings = 128")
            .replace("warmup_steps = 10", "warmup_steps = 185")
    ));
}

#[test]
fn moments_are_loaded_where_there_is_a_checkpoint_and_skips_have_a_limit() {
    let text = SMALLEST.replace("from = \"model\"", "from = \"model\"\noptimizer_state = \"load\"");
    assert_eq!(load(&text).unwrap().model.optimizer_state, OptimizerState::Load);
    let random = FULL.replace("optimizer_state = \"fresh\"", "optimizer_state = \"load\"");
    assert_snapshot!(errors(&random.replace("max_skips = 5\n", "")));
}

#[test]
fn stages_that_take_more_tokens_than_can_be_counted_are_refused() {
    let text = FULL.replace("steps = 40", "steps = 9_000_000_000_000_000");
    let text = errors(&text);
    assert!(text.contains("`stages[1]` takes the run beyond 9223372036854775807 tokens"), "{text}");
    assert!(text.ends_with("r.toml: 1 mistake"), "{text}");
}

#[test]
fn a_source_that_no_stage_draws_from_need_not_exist() {
    let idle = "[data.sources.idle]\npath = \"missing.jsonl\"\n[[stages]]";
    let text =
        SMALLEST.replace("[[stages]]", idle).replace("steps = 10", "steps = 10\nmixture = { text = 1 }");
    let recipe = load(&text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(recipe.content_hash(), load(SMALLEST).unwrap().content_hash());
    assert!(errors(&text.replace("text = 1 }", "text = 0.5, idle = 0.5 }")).contains("missing.jsonl"));
}

#[test]
fn shares_sum_to_one_within_a_millionth() {
    for (shares, sound) in [
        ("gsm8k = 0.333333, made = 0.666667", true),
        ("gsm8k = 0.3333335, made = 0.666667", true),
        ("gsm8k = 0.333333, made = 0.66666", false),
        ("gsm8k = 0.5, made = 0.6", false),
        ("gsm8k = 0.5", false),
        ("", false),
    ] {
        let text = FULL.replace("gsm8k = 0.25, made = 0.75", shares);
        assert_eq!(load(&text).is_ok(), sound, "{shares}");
        assert!(sound || errors(&text).contains("`stages[1].mixture` has shares that sum to"), "{shares}");
    }
}

#[test]
fn a_choice_of_several_sources_must_be_made() {
    assert_snapshot!(errors(&FULL.replace("mixture = { gsm8k = 1.0 }", "")));
}

#[test]
fn syntax_errors_are_listed_with_their_places() {
    assert_snapshot!(errors("[run]\ndir = \nseed = 1 2\nname = \"open\nx = [1,\n\n[run\n"));
}

#[test]
fn a_file_that_is_not_text_or_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.toml");
    let load = || Recipe::load(&ThisMachine, &path, &Options::default()).unwrap_err().to_string();
    assert!(load().contains("cannot read") && load().contains("r.toml"), "{}", load());
    octo_durable::write_bytes(&octo_durable::Disk, &path, b"a = 1\nb = \xff").unwrap();
    assert!(load().contains("r.toml:2:5: this is not UTF-8 text"), "{}", load());
}

#[test]
fn an_override_replaces_merges_and_reaches_into_lists() {
    let world = World::with(&[("r.toml", FULL)]);
    let recipe = world
        .load(&[
            "optimizer.eps=1e-5",
            "optimizer = { clip = 2.0 }",
            "run.device=cuda",
            "run.seed = 1",
            "run.seed = 2",
            "stages.0.steps=\"1k\"",
            "stages.0.schedule.lr=1",
            "stages.1.mixture = { made = 1.0 }",
            "data.skip_steps = [3, 1, 2]",
            "validation.1.name=renamed",
            "run.dir=out/here",
            "samples.prompts=['a', 'b', 'c']",
        ])
        .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((recipe.optimizer.eps, recipe.optimizer.clip), (1e-5, Some(2.0)));
    assert_eq!((recipe.run.device, recipe.run.seed), (Device::Cuda, 2));
    assert_eq!(
        (recipe.stages[0].schedule.steps, recipe.stages[0].schedule.lr),
        (1000, 1.0),
        "`tokens` gave way"
    );
    assert_eq!(recipe.stages[1].mixture.len(), 1, "a mixture is replaced whole");
    assert_eq!(recipe.data.skip_steps, [1..=3]);
    assert_eq!(recipe.validation[1].source.name, "renamed");
    assert_eq!(recipe.run.dir, Path::new("/home/run/out/here"));
    assert_eq!(recipe.samples.unwrap().prompts.len(), 3);
}

#[test]
fn a_bad_override_is_named_by_its_text() {
    let world = World::with(&[("r.toml", FULL)]);
    assert_snapshot!(
        world
            .load(&[
                "optimizer.lr=1e-5",
                "optimizer.eps",
                "=3",
                "optimizer.eps=[1,",
                "stages.3.steps=1",
                "stages.first.steps=1",
                "run.seed=ten",
                "[run]=1",
                "extends=other.toml",
                "run.dir=${NOWHERE}",
                "samples.temperature=1\nrun.seed=1",
            ])
            .unwrap_err()
    );
}

#[test]
fn a_recipe_extends_another_key_by_key_and_lists_whole() {
    let world = World::with(&[
        ("base/stable.toml", FULL),
        (
            "r.toml",
            "extends = \"base/stable.toml\"\n[model]\nfrom = \"mine\"\n[optimizer]\neps = 1e-4\n\
             [data.sources.gsm8k]\ngenerated = { kind = \"word-problems\", rows = 1 }\n[samples]\nprompts = [\"x\"]\n",
        ),
    ]);
    let recipe = world.load(&[]).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(recipe.run.dir, Path::new("/home/run/base/runs/full"), "relative to the file it stands in");
    assert_eq!(recipe.model.start, ModelStart::From("/home/run/mine".into()), "`config` gave way to `from`");
    assert_eq!((recipe.optimizer.eps, recipe.optimizer.betas), (1e-4, [0.9, 0.99]));
    assert!(matches!(recipe.source("gsm8k").unwrap().origin, Origin::Generated { rows: 1, .. }));
    assert_eq!(recipe.samples.unwrap().prompts, ["x"]);
}

#[test]
fn a_mistake_in_an_extended_recipe_is_shown_in_its_own_file() {
    let world = World::with(&[
        ("base/b.toml", SMALLEST),
        ("r.toml", "extends = \"base/b.toml\"\n[run]\nseed = \"x\"\n"),
    ]);
    assert_snapshot!(world.load(&["stages.0.sequence_length=7"]).unwrap_err());
    let world = World::with(&[("r.toml", "extends = \"nowhere.toml\"\n")]);
    assert_snapshot!(world.load(&[]).unwrap_err());
}

#[test]
fn extends_in_a_circle_is_an_error() {
    let world = World::with(&[
        ("r.toml", "extends = \"a.toml\"\n"),
        ("a.toml", "extends = \"./b.toml\"\n"),
        ("b.toml", "extends = \"a.toml\"\n"),
    ]);
    assert_snapshot!(world.load(&[]).unwrap_err());
}

#[test]
fn two_dots_are_taken_out_of_a_path_unless_they_follow_a_link() {
    for (written, resolved) in [
        ("../runs/./a", "/home/runs/a"),
        ("x/../../y", "/home/y"),
        ("link/../a", "/home/run/link/../a"),
        ("/../a", "/../a"),
        ("${DATA}/../a", "/mnt/a"),
    ] {
        let recipe = load(&SMALLEST.replace("\"out\"", &format!("\"{written}\""))).unwrap();
        assert_eq!(recipe.run.dir.to_str().unwrap(), resolved, "{written}");
    }
}

#[test]
fn paths_that_do_not_exist_pass_only_when_asked() {
    let text = SMALLEST.replace("text.jsonl", "missing.jsonl");
    assert_snapshot!(errors(&text));
    let options = Options { sets: Vec::new(), no_paths: true };
    Recipe::load(&World::with(&[("r.toml", &text)]), Path::new("r.toml"), &options).unwrap();
}

#[test]
fn the_readme_of_the_recipes_shows_a_sound_recipe() {
    let readme = include_str!("../../../recipes/README.md");
    let example = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let quickstart = include_str!("../../../recipes/quickstart.toml");
    let world = World::with(&[("quickstart.toml", quickstart), ("r.toml", example)]);
    let recipe = world.load(&["stages.0.steps=100"]).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(recipe.source("word-problems").unwrap().origin, Origin::Path("/home/run/my.jsonl".into()));
}
