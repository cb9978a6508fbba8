//! From `[rl]` to [`Rl`].

use super::{
    Advantage, AlarmAction, Alarms, Fields, HeldOut, ImportanceKind, KlKind, KlPlace, LossKind,
    Normalisation, OldLogprobs, PromptTemplate, Prompts, Rl, RlImportance, RlKl, RlLoss, RlSampling,
    RlValidation, TaskName, rewards,
};
use crate::build::own_name;
use crate::error::RecipeError;
use crate::recipe::{Generator, ModelSource, ModelStart, Order, Origin};
use crate::section::{At, Section};
use crate::stages::schedule;

/// Reads `[rl]`, where there is one.
pub(crate) fn rl(root: &Section, model: Option<&ModelSource>) -> Option<Rl> {
    let table = root.table("rl");
    let steps = table.count("steps");
    let prompts = prompts(&table);
    let fields = fields(&table.table("fields"));
    let order = table.choice("order", Order::from_name);
    let template = template(&table);
    let stop = table.texts("stop");
    let max_prompt = table.count("max_prompt_tokens");
    let batch = table.count("batch_prompts");
    let mini = if table.has("mini_batch_prompts") { table.count("mini_batch_prompts") } else { batch };
    if let (Some(batch), Some(mini)) = (batch, mini)
        && mini.value > batch.value
    {
        let reason = format!("is {}, more than batch_prompts {}", mini.value, batch.value);
        table.reading.object(mini.spot, &table.shown("mini_batch_prompts"), reason, "lower it");
    }
    let samples = table.count("samples_per_prompt");
    let caps = table.counts_from_steps("max_response_tokens");
    let epochs = table.count("epochs");
    let longest = caps.as_ref().and_then(|caps| caps.value.iter().map(|(_, cap)| *cap).max());
    let longest = longest.zip(max_prompt).map(|(cap, prompt)| cap.saturating_add(prompt.value));
    let micro = micro_batch(&table, longest);
    fits(&table, longest, model);
    let streams = table.count("max_streams");
    let advantage = table.choice("advantage", Advantage::from_name);
    let old = table.choice("old_logprobs", OldLogprobs::from_name);
    let mask_truncated = table.flag("mask_truncated");
    let entropy = table.number("entropy_coefficient");
    let dynamic = table.count("dynamic_sampling");
    let failures = table.number("max_failure_rate");
    let keep_best = table.text("keep_best");
    let samples_per_step = table.count("samples_per_step");
    let sampling = sampling(&table.table("sampling"));
    let loss = loss(&table.table("loss"));
    let kl = kl(&table.table("kl"));
    let importance = importance(&table.table("importance"));
    let updates = || {
        let (steps, batch, mini, epochs) = (steps?, batch?, mini?, epochs?);
        let a_step = batch.value.div_ceil(mini.value.max(1)).saturating_mul(epochs.value);
        Some(At { value: steps.value.saturating_mul(a_step), spot: steps.spot })
    };
    let schedule = schedule(&table.table("schedule"), updates());
    let rewards = rewards::rewards(&table);
    let validation = validations(&table);
    let alarms = alarms(&table.table("alarms"));
    if let (Some(kl), Some(sampling)) = (&kl, &sampling)
        && kl.coefficient > 0.0
        && (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) != (1.0, None, 1.0, 0.0)
    {
        let spot = table.spot_of("kl");
        let reason = "compares whole distributions, and sampling changes or cuts them";
        let advice = "sample with temperature 1 and without cuts, or set kl.coefficient = 0";
        table.reading.object(spot, &table.shown("kl"), reason, advice);
    }
    if let (Some(best), Some(validation)) = (&keep_best, &validation)
        && validation.iter().all(|set| set.name != best.value)
    {
        let reason = format!("names `{}`, which is no `[[rl.validation]]`", best.value);
        table.reading.object(best.spot, &table.shown("keep_best"), reason, "give the name of one");
    }
    Some(Rl {
        steps: steps?.value,
        prompts: prompts?,
        fields,
        order: order?.value,
        template: template?,
        stop: stop.map_or_else(Vec::new, |stop| stop.value),
        max_prompt_tokens: max_prompt?.value,
        batch_prompts: batch?.value,
        mini_batch_prompts: mini?.value,
        samples_per_prompt: samples?.value,
        max_response_tokens: caps?.value,
        epochs: epochs?.value,
        micro_batch_tokens: micro?,
        max_streams: streams?.value,
        advantage: advantage?.value,
        old_logprobs: old?.value,
        mask_truncated: mask_truncated?.value,
        entropy_coefficient: entropy?.value,
        dynamic_sampling: dynamic.map(|rounds| rounds.value),
        max_failure_rate: failures?.value,
        keep_best: keep_best.map(|name| name.value),
        samples_per_step: samples_per_step?.value,
        sampling: sampling?,
        loss: loss?,
        kl: kl?,
        importance: importance?,
        schedule: schedule?,
        rewards: rewards?,
        validation: validation?,
        alarms: alarms?,
    })
}

/// Rows of prompts: a path or made ones.
fn prompts(table: &Section) -> Option<Prompts> {
    let origin = match table.one_of("prompts") {
        Some("prompts") => table.path("prompts").map(|path| Origin::Path(path.value)),
        Some("generated") => table.table_if_present("generated").and_then(|generated| {
            let kind = generated.choice("kind", Generator::from_name);
            let rows = generated.count("rows");
            let seed = generated.count("seed");
            Some(Origin::Generated { kind: kind?.value, rows: rows?.value, seed: seed?.value })
        }),
        _ => None,
    };
    let filter = table.text("where");
    Some(Prompts { origin: origin?, filter: filter.map(|filter| filter.value) })
}

fn fields(table: &Section) -> Fields {
    let text = |name: &str| table.text(name).map(|text| text.value);
    Fields { question: text("question"), answer: text("answer"), data_source: text("data_source") }
}

fn template(table: &Section) -> Option<PromptTemplate> {
    let name = table
        .choice("template", |name| PromptTemplate::NAMES.iter().find(|known| **known == name).copied())?;
    let file = table.path("template_file");
    match (name.value, table.has("template_file")) {
        ("file", true) => Some(PromptTemplate::File(file?.value)),
        ("file", false) => {
            let error = RecipeError::Missing {
                key: table.shown("template_file"),
                expected: "a path".to_owned(),
                doc: "The template that `template = \"file\"` means.",
            };
            table.reading.report(name.spot, error);
            None
        }
        (_, true) => {
            let reason = "means nothing without template = \"file\"";
            let spot = table.spot_of("template_file");
            table.reading.object(spot, &table.shown("template_file"), reason, "remove it");
            None
        }
        ("chat", _) => Some(PromptTemplate::Chat),
        ("simple", _) => Some(PromptTemplate::Simple),
        ("orz", _) => Some(PromptTemplate::Orz),
        _ => Some(PromptTemplate::None),
    }
}

/// Tokens of a pass: at least the longest sequence, which is the default.
fn micro_batch(table: &Section, longest: Option<u64>) -> Option<u64> {
    let written = table.count("micro_batch_tokens");
    if let (Some(micro), Some(longest)) = (written, longest)
        && micro.value < longest
    {
        let reason = format!(
            "is {}, less than the longest sequence: max_prompt_tokens and the longest response are {longest}",
            micro.value
        );
        table.reading.object(
            micro.spot,
            &table.shown("micro_batch_tokens"),
            reason,
            "raise it or shorten those",
        );
    }
    match table.has("micro_batch_tokens") {
        true => written.map(|micro| micro.value),
        false => longest,
    }
}

/// Whether the longest sequence fits the model, as far as the recipe says.
fn fits(table: &Section, longest: Option<u64>, model: Option<&ModelSource>) {
    let Some(ModelStart::Config(config)) = model.map(|model| &model.start) else { return };
    let positions = config.get("max_position_embeddings").and_then(serde_json::Value::as_u64);
    if let (Some(longest), Some(positions)) = (longest, positions)
        && longest > positions
    {
        let reason =
            format!("with max_prompt_tokens makes {longest}, more than max_position_embeddings {positions}");
        let spot = table.spot_of("max_response_tokens");
        let advice = "shorten them or raise max_position_embeddings";
        table.reading.object(spot, &table.shown("max_response_tokens"), reason, advice);
    }
}

fn sampling(table: &Section) -> Option<RlSampling> {
    let temperature = table.number("temperature");
    let top_k = table.count("top_k");
    let top_p = table.number("top_p");
    let min_p = table.number("min_p");
    Some(RlSampling {
        temperature: temperature?.value,
        top_k: top_k.map(|top_k| top_k.value),
        top_p: top_p?.value,
        min_p: min_p?.value,
    })
}

fn loss(table: &Section) -> Option<RlLoss> {
    let kind = table.choice("kind", LossKind::from_name);
    let low = table.number("clip_low");
    let high = table.number("clip_high");
    let dual = table.number("dual_clip");
    let normalise = table.choice("normalise", Normalisation::from_name);
    if let Some(dual) = dual
        && dual.value > 0.0
        && dual.value <= 1.0
    {
        let reason = format!("is {:?}; a bound of at most 1 would hold back every sample", dual.value);
        table.reading.object(dual.spot, &table.shown("dual_clip"), reason, "3.0 is usual, 0 is no bound");
    }
    Some(RlLoss {
        kind: kind?.value,
        clip_low: low?.value,
        clip_high: high?.value,
        dual_clip: Some(dual?.value).filter(|dual| *dual > 0.0),
        normalise: normalise?.value,
    })
}

fn kl(table: &Section) -> Option<RlKl> {
    let coefficient = table.number("coefficient");
    let estimator = table.choice("estimator", KlKind::from_name);
    let place = table.choice("place", KlPlace::from_name);
    Some(RlKl { coefficient: coefficient?.value, estimator: estimator?.value, place: place?.value })
}

fn importance(table: &Section) -> Option<RlImportance> {
    let kind = table.choice("kind", ImportanceKind::from_name);
    let low = table.number("low");
    let high = table.number("high");
    Some(RlImportance { kind: kind?.value, low: low?.value, high: high?.value })
}

fn validations(table: &Section) -> Option<Vec<RlValidation>> {
    let mut seen = Vec::new();
    let one = |table: &Section| {
        let name = own_name(table, &mut seen, "validation set");
        let asked = held_out(table);
        let every_steps = table.count("every_steps");
        let max_prompts = table.count("max_prompts");
        let samples = table.count("samples");
        let temperature = table.number("temperature");
        Some(RlValidation {
            name: name?,
            asked: asked?,
            every_steps: every_steps?.value,
            max_prompts: max_prompts.map(|most| most.value),
            samples: samples?.value,
            temperature: temperature?.value,
        })
    };
    let sets: Vec<Option<RlValidation>> = table.tables("validation").iter().map(one).collect();
    sets.into_iter().collect()
}

/// What a validation set asks: rows of prompts, or a task with its data.
fn held_out(table: &Section) -> Option<HeldOut> {
    let is_task = table.has("task") || table.has("task_file");
    for name in ["where", "data"].into_iter().filter(|name| (*name == "where") == is_task && table.has(name))
    {
        let (reason, advice) = match name {
            "where" => {
                ("means nothing with a task", "remove it, or name a file of the rows that count in `data`")
            }
            _ => ("means nothing without `task` or `task_file`", "remove it"),
        };
        table.reading.object(table.spot_of(name), &table.shown(name), reason, advice);
    }
    // One of the four, and no more than one.
    if !is_task || table.has("prompts") || table.has("generated") {
        return prompts(table).map(HeldOut::Prompts);
    }
    let data = table.path("data").map(|path| path.value);
    let task = match table.one_of("task")? {
        "task_file" => TaskName::File(table.path("task_file")?.value),
        _ => {
            let name = table.text("task")?;
            if !table.has("data") {
                let error = RecipeError::Missing {
                    key: table.shown("data"),
                    expected: "a path".to_owned(),
                    doc: "The folder with the task's rows under the names it knows, or the file of them.",
                };
                table.reading.report(name.spot, error);
            }
            TaskName::Known(name.value)
        }
    };
    Some(HeldOut::Task { task, data })
}

fn alarms(table: &Section) -> Option<Alarms> {
    let action = |name: &str| table.choice(name, AlarmAction::from_name);
    let window = table.count("window");
    let (length, repetition, reward, entropy) =
        (action("length"), action("repetition"), action("reward"), action("entropy"));
    let clip = table.number("length_clip_ratio");
    let repeated = table.number("repetition_ratio");
    let fall = table.number("reward_fall");
    let floor = table.number("entropy_floor");
    let ceiling = table.number("entropy_ceiling");
    Some(Alarms {
        window: window?.value,
        length: length?.value,
        length_clip_ratio: clip?.value,
        repetition: repetition?.value,
        repetition_ratio: repeated?.value,
        reward: reward?.value,
        reward_fall: fall?.value,
        entropy: entropy?.value,
        entropy_floor: floor?.value,
        entropy_ceiling: ceiling.map(|ceiling| ceiling.value),
    })
}
