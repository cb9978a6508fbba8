//! From `[[stages]]` to stages.

use std::collections::BTreeSet;

use crate::build::own_name;
use crate::count::COUNT_LIMIT;
use crate::error::{RecipeError, quoted};
use crate::recipe::{ModelSource, ModelStart, Order, Share, Stage};
use crate::schedule::{Schedule, Shape};
use crate::section::{At, Section, nearest};

/// By how much the shares of a mixture may miss 1: thirds and sevenths are written with a few digits.
const SHARE_TOLERANCE: f64 = 1e-6;

/// Reads `[[stages]]`, and says which of the `sources` some stage draws from.
pub(crate) fn stages(
    root: &Section,
    sources: &[&str],
    model: Option<&ModelSource>,
) -> (Option<Vec<Stage>>, BTreeSet<String>) {
    if root.has("rl") {
        return (without_stages(root), BTreeSet::new());
    }
    let tables = root.tables("stages");
    if !root.has("stages") || (tables.is_empty() && root.is_empty_list("stages")) {
        let error = RecipeError::Missing {
            key: "stages".to_owned(),
            expected: "at least one `[[stages]]` table".to_owned(),
            doc: "What is trained, for how long and at which learning rate.",
        };
        root.reading.report(root.spot, error);
    }
    let mut used = BTreeSet::new();
    let mut seen = Vec::new();
    let mut tokens: Option<u64> = Some(0);
    let mut stages = Vec::new();
    for table in &tables {
        let stage = stage(table, &mut seen, sources, &mut used, model);
        if let Some(stage) = &stage {
            let sum = |before: u64| before.checked_add(stage.schedule.steps.checked_mul(stage.batch_tokens)?);
            if let Some(before) = tokens {
                tokens = sum(before).filter(|tokens| *tokens <= COUNT_LIMIT);
                if tokens.is_none() {
                    let reason = format!("takes the run beyond {COUNT_LIMIT} tokens");
                    table.reading.object(
                        table.spot,
                        table.shown("").trim_end_matches('.'),
                        reason,
                        "train less",
                    );
                }
            }
        }
        stages.push(stage);
    }
    let stages = stages.into_iter().collect::<Option<Vec<_>>>().filter(|stages| !stages.is_empty());
    (stages, used)
}

/// An RL recipe has rollouts in place of stages.
fn without_stages(root: &Section) -> Option<Vec<Stage>> {
    let foreign = ["stages", "data", "validation", "samples"].into_iter().filter(|name| root.has(name));
    let found: Vec<&str> = foreign.collect();
    for name in &found {
        let advice = match *name {
            "validation" => "an RL recipe has [[rl.validation]]",
            _ => "remove it, or [rl]",
        };
        root.reading.object(root.spot_of(name), name, "means nothing beside [rl]", advice);
    }
    found.is_empty().then(Vec::new)
}

fn stage(
    table: &Section,
    seen: &mut Vec<String>,
    sources: &[&str],
    used: &mut BTreeSet<String>,
    model: Option<&ModelSource>,
) -> Option<Stage> {
    let object = |spot, name: &str, reason: String, advice: &str| {
        table.reading.object(spot, &table.shown(name), reason, advice);
    };
    let name = own_name(table, seen, "stage");
    let sequence = table.count("sequence_length");
    let batch = table.count("batch_tokens");
    let micro = if table.has("micro_batch_tokens") { table.count("micro_batch_tokens") } else { batch };
    if let (Some(batch), Some(micro)) = (batch, micro)
        && batch.value % micro.value != 0
    {
        let reason = format!("is {}, not a multiple of micro_batch_tokens {}", batch.value, micro.value);
        object(
            batch.spot,
            "batch_tokens",
            reason,
            "a step is made of whole micro-batches: change one of them",
        );
    }
    if let (Some(micro), Some(sequence)) = (micro, sequence)
        && micro.value % sequence.value != 0
    {
        let name = if table.has("micro_batch_tokens") { "micro_batch_tokens" } else { "batch_tokens" };
        let reason = format!("is {}, not a multiple of sequence_length {}", micro.value, sequence.value);
        object(micro.spot, name, reason, "a batch is made of whole sequences: change one of them");
    }
    let longest = match model.map(|model| &model.start) {
        Some(ModelStart::Config(config)) => {
            config.get("max_position_embeddings").and_then(|longest| longest.as_u64())
        }
        _ => None,
    };
    if let (Some(sequence), Some(longest)) = (sequence, longest)
        && sequence.value > longest
    {
        let reason =
            format!("is {}, more than the model's max_position_embeddings {longest}", sequence.value);
        object(sequence.spot, "sequence_length", reason, "shorten it or raise max_position_embeddings");
    }
    let steps = match table.one_of("steps") {
        Some("steps") => table.count("steps"),
        Some(_) => table
            .count("tokens")
            .and_then(|tokens| Some(At { value: tokens.value.div_ceil(batch?.value), spot: tokens.spot })),
        None => None,
    };
    let mixture = mixture(table, sources);
    match &mixture {
        Some(mixture) => used.extend(mixture.iter().map(|share| share.source.clone())),
        // What was meant is not known.
        None => used.extend(sources.iter().map(|name| (*name).to_owned())),
    }
    let order = table.choice("order", Order::from_name);
    let document_mask = table.flag("document_mask");
    let schedule = schedule(&table.table("schedule"), steps);
    Some(Stage {
        name: name?,
        sequence_length: sequence?.value,
        batch_tokens: batch?.value,
        micro_batch_tokens: micro?.value,
        mixture: mixture?,
        order: order?.value,
        document_mask: document_mask?.value,
        schedule: schedule?,
    })
}

/// What a stage draws from each source, by name.
fn mixture(table: &Section, sources: &[&str]) -> Option<Vec<Share>> {
    let shown = table.shown("mixture");
    let reading = table.reading;
    if !table.has("mixture") {
        match sources {
            [only] => return Some(vec![Share { source: (*only).to_owned(), share: 1.0 }]),
            [] => {
                let advice = "add a `[data.sources.NAME]`";
                reading.object(table.spot, &shown, "has no source to draw from", advice);
            }
            several => {
                let reason = format!("is missing, and there are {} sources", several.len());
                let advice = format!("give the share of each: {}", quoted(several, ", "));
                reading.object(table.spot, &shown, reason, advice);
            }
        }
        return None;
    }
    let shares = table.shares("mixture")?;
    let mut known = true;
    for (name, share) in shares.value.iter().filter(|(name, _)| !sources.contains(&name.as_str())) {
        let advice = match nearest(name, sources) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None if sources.is_empty() => "add a `[data.sources.NAME]`".to_owned(),
            None => format!("there is {}", quoted(sources, ", ")),
        };
        reading.object(share.spot, &shown, format!("names `{name}`, which is no source"), advice);
        known = false;
    }
    let sum: f64 = shares.value.iter().map(|(_, share)| share.value).sum();
    if (sum - 1.0).abs() > SHARE_TOLERANCE {
        let reason = format!("has shares that sum to {}", (sum * 1e8).round() / 1e8);
        reading.object(shares.spot, &shown, reason, "make them sum to 1");
        known = false;
    }
    let share = |(source, share): (String, At<f64>)| Share { source, share: share.value };
    known.then(|| shares.value.into_iter().map(share).collect())
}

/// Reads a learning rate over so many steps.
pub(crate) fn schedule(table: &Section, steps: Option<At<u64>>) -> Option<Schedule> {
    let shape = table.choice("shape", Shape::from_name);
    let lr = table.number("lr");
    let final_lr = table.number("final_lr");
    let warmup = table.count("warmup_steps");
    let constant = shape.is_some_and(|shape| shape.value == Shape::Constant);
    if let (true, Some(end)) = (constant, final_lr) {
        let advice = "remove it or choose another shape";
        table.reading.object(
            end.spot,
            &table.shown("final_lr"),
            "means nothing where the shape is constant",
            advice,
        );
    }
    if let (Some(warmup), Some(steps)) = (warmup, steps)
        && warmup.value > steps.value
    {
        let reason = format!("is {}, more than the stage's {} steps", warmup.value, steps.value);
        table.reading.object(warmup.spot, &table.shown("warmup_steps"), reason, "shorten it or train longer");
    }
    let lr = lr?.value;
    Some(Schedule {
        shape: shape?.value,
        lr,
        final_lr: if constant { lr } else { final_lr.map_or(0.0, |end| end.value) },
        warmup_steps: warmup?.value,
        steps: steps?.value,
    })
}
