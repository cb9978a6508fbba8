//! `train --dry-run`: what a run would come to.

use crate::io::say;
use anyhow::{Result, bail};
use indicatif::{BinaryBytes, HumanCount, HumanDuration};
use octo_recipe::{Plan, Recipe, SourcePlan, StagePlan};
use octo_trainer::{Disk, Forecast};
use std::fmt::Write;
use std::time::Duration;

/// Tells of a run. It is an error where device or disk will not hold it, because then it would not reach its end.
pub fn tell(recipe: &Recipe, forecast: &Forecast) -> Result<()> {
    let dir = recipe.run.dir.display();
    say(&match (forecast.done, forecast.plan.steps) {
        (0, _) => format!("run      {dir}: begins"),
        (done, steps) if done >= steps => format!("run      {dir}: all {steps} steps are done"),
        (done, steps) => format!("run      {dir}: goes on after step {done} of {steps}"),
    })?;
    let parameters = HumanCount(forecast.parameters);
    say(&format!("model    {parameters} parameters in {}", forecast.weights))?;
    say(&stages(recipe, &forecast.plan))?;
    say(&format!("device   {}", forecast.device))?;
    let snapshot = BinaryBytes(forecast.snapshot);
    say(&format!("memory   {}", forecast.memory))?;
    say(&format!("host     {snapshot} to write checkpoints from"))?;
    say(&disk(&forecast.disk))?;
    say(&time(recipe, forecast))?;
    if let Some(shortage) = &forecast.shortage {
        bail!("{shortage}");
    }
    let Disk { free, .. } = forecast.disk;
    if forecast.done == 0 && forecast.disk.bytes() > free {
        bail!(
            "the disk will not hold what the run keeps; make room, or lower checkpoints.keep or the milestones"
        );
    }
    Ok(())
}

/// Steps, tokens, passes and learning rates of each stage, and their sum.
pub fn stages(recipe: &Recipe, plan: &Plan) -> String {
    let mut text = String::new();
    for (stage, plan) in recipe.stages.iter().zip(&plan.stages) {
        let StagePlan { name, steps, tokens, .. } = plan;
        let micro_batches = stage.batch_tokens / stage.micro_batch_tokens.max(1);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "stage    {name}: {} steps of {} tokens, {} in all; {micro_batches} × {} a step, sequences of {}",
            HumanCount(*steps),
            HumanCount(stage.batch_tokens),
            HumanCount(*tokens),
            HumanCount(stage.micro_batch_tokens),
            HumanCount(stage.sequence_length),
        );
        for source in &plan.sources {
            let _ = writeln!(text, "           {}", drawn(source));
        }
        let rates: Vec<String> =
            plan.curve.iter().map(|(step, lr)| format!("{} {lr:.2e}", HumanCount(step + 1))).collect();
        let _ = writeln!(text, "           lr by step: {}", rates.join(", "));
    }
    let _ = write!(text, "total    {} steps, {} tokens", HumanCount(plan.steps), HumanCount(plan.tokens));
    if plan.stages.len() > 1 {
        for source in &plan.sources {
            let _ = write!(text, "\n           {}", drawn(source));
        }
    }
    text
}

fn drawn(source: &SourcePlan) -> String {
    let passes = source.passes.map_or(String::new(), |passes| format!(", {passes:.2} passes"));
    let share = 100.0 * source.share;
    format!("{}: {} tokens, {share:.1} %{passes}", source.name, HumanCount(source.tokens))
}

fn disk(disk: &Disk) -> String {
    let kept = [
        (disk.rolling, "checkpoints", disk.checkpoint),
        (disk.milestones_with_state, "milestones with state", disk.checkpoint),
        (disk.milestones, "milestones", disk.milestone),
    ];
    let kept = kept.iter().filter(|(count, ..)| *count > 0);
    let kept: Vec<String> =
        kept.map(|(count, what, bytes)| format!("{count} {what} of {}", BinaryBytes(*bytes))).collect();
    format!("disk     {}: {}; {} free", BinaryBytes(disk.bytes()), kept.join(", "), BinaryBytes(disk.free))
}

fn time(recipe: &Recipe, forecast: &Forecast) -> String {
    let Some(rate) = forecast.rate else {
        return "time     not known: nothing here tells how fast that device is".into();
    };
    let left = forecast.plan.tokens.saturating_sub(recipe.consumed_tokens(forecast.done));
    let seconds = (left as f64 / rate.tokens_per_sec).clamp(0.0, 1e15);
    let how = match rate.measured {
        true => "as measured in this run",
        false => "estimated from a product of matrices of the model",
    };
    format!(
        "time     {} for {} tokens at {:.0} a second, {how}",
        HumanDuration(Duration::from_secs_f64(seconds)),
        HumanCount(left),
        rate.tokens_per_sec
    )
}
