//! `rl --dry-run`: what a run would come to.

use crate::io::say;
use anyhow::{Result, bail};
use indicatif::HumanCount;
use octo_recipe::Recipe;
use octo_rl::RlOutlook;
use octo_trainer::Outlook;

/// Tells of a run. It is an error where the device will not hold it.
pub fn tell(recipe: &Recipe, outlook: &RlOutlook) -> Result<()> {
    let Outlook { done, parameters, weights, device, memory, shortage } = &outlook.run;
    let dir = recipe.run.dir.display();
    say(&match (*done, recipe.total_steps()) {
        (0, _) => format!("run      {dir}: begins"),
        (done, steps) if done >= steps => format!("run      {dir}: all {steps} steps are done"),
        (done, steps) => format!("run      {dir}: goes on after step {done} of {steps}"),
    })?;
    say(&format!("model    {} parameters in {weights}", HumanCount(*parameters)))?;
    steps(recipe, Some(outlook.prompts))?;
    say(&format!("device   {device}"))?;
    say(&format!("memory   {memory}"))?;
    if let Some(shortage) = shortage {
        bail!("{shortage}");
    }
    Ok(())
}

/// Steps, responses, updates and the longest response by step; passes over the prompts where their number is known.
pub fn steps(recipe: &Recipe, prompts: Option<u64>) -> Result<()> {
    let Some(rl) = &recipe.rl else { return Ok(()) };
    let passes = prompts.filter(|prompts| *prompts > 0).map_or(String::new(), |prompts| {
        let asked = rl.steps.saturating_mul(rl.batch_prompts);
        format!(", {:.2} passes over the prompts", asked as f64 / prompts as f64)
    });
    say(&format!(
        "steps    {} of {} prompts × {} responses, updates a step: {}{passes}",
        HumanCount(rl.steps),
        HumanCount(rl.batch_prompts),
        HumanCount(rl.samples_per_prompt),
        HumanCount(rl.updates_per_step()),
    ))?;
    let cap =
        |(from, cap): &(u64, u64)| format!("{} tokens from step {}", HumanCount(*cap), HumanCount(from + 1));
    let caps: Vec<String> = rl.max_response_tokens.iter().map(cap).collect();
    say(&format!("length   at most {}", caps.join(", ")))
}
