//! Recipes of RL runs: what is understood and what is refused.

use insta::assert_snapshot;

use crate::fixtures::{RL_FULL, RL_SMALLEST, load};
use crate::{Forward, HeldOut, RewardKind, TaskName};

fn errors(text: &str) -> String {
    load(text).unwrap_err()
}

#[test]
fn a_full_rl_recipe_means_what_it_says() {
    let recipe = load(RL_FULL).unwrap_or_else(|errors| panic!("{errors}"));
    let rl = recipe.rl.as_ref().unwrap();
    assert_eq!(recipe.total_steps(), 200);
    assert_eq!((rl.response_cap(0), rl.response_cap(99), rl.response_cap(100)), (128, 128, 250));
    assert_eq!(rl.longest_response(), 250);
    // 8 prompts in threes, twice.
    assert_eq!((rl.updates_per_step(), rl.schedule.steps), (6, 1200));
    let kinds: Vec<&str> = rl.rewards.iter().map(|reward| reward.kind.name()).collect();
    assert_eq!(kinds, RewardKind::NAMES);
    assert_eq!((rl.rewards[0].name.as_str(), rl.rewards[0].weight), ("accuracy", 2.0));
    assert_eq!(rl.loss.dual_clip, None);
}

#[test]
fn the_smallest_rl_recipe_has_verls_defaults() {
    let recipe = load(RL_SMALLEST).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(recipe.run.forward, Forward::Invariant);
    assert_eq!((recipe.optimizer.betas, recipe.optimizer.weight_decay), ([0.9, 0.999], 0.01));
    assert_snapshot!(recipe.to_toml());
}

#[test]
fn contradictions_of_an_rl_recipe_are_found_all_at_once() {
    let text = RL_FULL
        .replace("mini_batch_prompts = 3", "mini_batch_prompts = 9")
        .replace("micro_batch_tokens = 512", "micro_batch_tokens = 300")
        .replace("\ncoefficient = 0\n", "\ncoefficient = 0.1\n")
        .replace("keep_best = \"held-out\"", "keep_best = \"best\"")
        .replace("dual_clip = 0", "dual_clip = 0.5")
        .replace("pattern = \"x+\"", "ngram = 4")
        .replace("buffer = 32", "")
        .replace("name = \"accuracy\"", "name = \"cosine\"")
        .replace("template = \"file\"", "template = \"orz\"")
        .replace("[[0, 128], [100, \"0.25k\"]]", "[[0, 128], [100, 256]]");
    assert_snapshot!(errors(&text));
}

#[test]
fn a_schedule_of_counts_begins_at_step_zero_and_rises() {
    for wrong in ["[[1, 128]]", "[[0, 128], [0, 256]]", "[[0, 0]]", "[]", "[128]", "[[0, 1, 2]]", "0", "'x'"]
    {
        let text = RL_SMALLEST.replace("max_response_tokens = 16", &format!("max_response_tokens = {wrong}"));
        assert!(errors(&text).contains("max_response_tokens"), "{wrong}");
    }
}

#[test]
fn stages_and_rl_exclude_each_other() {
    let text = format!("{RL_SMALLEST}\n[data]\n[[stages]]\nname = \"s\"\n[checkpoints]\nmilestones = 5\n");
    assert_snapshot!(errors(&text));
}

#[test]
fn a_recipe_without_rewards_is_refused() {
    let text = RL_SMALLEST.replace("[[rl.rewards]]\nkind = \"verify\"", "");
    assert!(errors(&text).contains("rl.rewards"), "{}", errors(&text));
}

#[test]
fn a_validation_set_asks_rows_or_a_task_and_not_both() {
    let with = |keys: &str| errors(&format!("{RL_SMALLEST}\n[[rl.validation]]\nname = \"v\"\n{keys}\n"));
    for (keys, told) in [
        ("", "`generated`"),
        ("task = \"gsm8k-zero\"", "rl.validation[0].data"),
        ("task = \"gsm8k-zero\"\ndata = \"d\"\nprompts = \"p.jsonl\"", "prompts"),
        ("task = \"gsm8k-zero\"\ntask_file = \"t.toml\"\ndata = \"d\"", "task_file"),
        ("task_file = \"t.toml\"\nwhere = \"x\"", "means nothing with a task"),
        ("prompts = \"p.jsonl\"\ndata = \"d\"", "means nothing without `task`"),
    ] {
        let found = with(keys);
        assert!(found.contains(told), "{keys}: {found}");
    }
    let recipe = load(RL_FULL).unwrap_or_else(|errors| panic!("{errors}"));
    let asked = |set: usize| recipe.rl.as_ref().unwrap().validation[set].asked.clone();
    let known = TaskName::Known("gsm8k-zero".to_owned());
    assert!(matches!(asked(2), HeldOut::Task { task, data: Some(_) } if task == known));
    assert!(matches!(asked(3), HeldOut::Task { task: TaskName::File(_), data: None }));
}
