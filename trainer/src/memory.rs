//! What a run takes on its device, whether that fits, and what would.
//!
//! Nothing is guessed: the run is allocated on a queue that only writes down what it is asked, once for each setting
//! that is looked at.

use crate::TrainError;
use crate::setup::{self, Named, Ready};
use octo_model::Recompute;
use octo_ops::{DType, DeviceInfo};
use octo_queue::{Queue, record};
use octo_recipe::{Moments, Recipe, Recompute as Choice, Stage};
use std::fmt;
use turns::REGION;

pub(crate) mod turns;

/// What lies on a device while a run goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// What it holds, in order; nothing twice and nothing left out.
    pub parts: Vec<Part>,
    /// What AdamW's moments are held in.
    pub moments: &'static str,
    /// What the backward pass computes again.
    pub recompute: &'static str,
    /// The device.
    pub device: &'static str,
    /// Bytes that the device has for all of it, where that is known.
    pub available: Option<u64>,
}

/// What is held for one purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The purpose.
    pub kind: &'static str,
    /// Bytes.
    pub bytes: u64,
    /// The same by what it is, where there is more than one kind.
    pub of: Vec<(&'static str, u64)>,
}

/// A run that does not fit its device, and what would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// What it takes.
    pub plan: MemoryPlan,
    /// Settings with which it would fit; empty where none does.
    pub remedies: Vec<Remedy>,
}

impl std::error::Error for Shortage {}

/// Settings with which a run would fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// As `--set` takes them.
    pub settings: Vec<String>,
    /// Bytes that it would take.
    pub bytes: u64,
}

impl MemoryPlan {
    fn of(queue: &Queue, device: &DeviceInfo, (moments, recompute): (Moments, Recompute)) -> MemoryPlan {
        MemoryPlan {
            parts: parts(queue.memory(), queue.in_regions(), device.workspace),
            moments: moments.name(),
            recompute: recompute.name(),
            device: device.kind,
            // The workspace is taken already.
            available: device.available.map(|bytes| bytes + device.workspace),
        }
    }

    /// Bytes of all parts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Bytes of one purpose.
    #[must_use]
    pub fn bytes_of(&self, kind: &str) -> u64 {
        self.parts.iter().filter(|part| part.kind == kind).map(|part| part.bytes).sum()
    }

    /// Bytes that the device lacks.
    #[must_use]
    pub fn lacking(&self) -> u64 {
        self.available.map_or(0, |available| self.bytes().saturating_sub(available))
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Bytes(self.bytes()))?;
        match self.available {
            Some(available) => write!(f, " of {} on {}: ", Bytes(available), self.device)?,
            None => write!(f, " on {}: ", self.device)?,
        }
        for (i, Part { kind, bytes, of }) in self.parts.iter().enumerate() {
            write!(f, "{}{kind} {}", if i > 0 { ", " } else { "" }, Bytes(*bytes))?;
            for (i, (what, bytes)) in of.iter().enumerate() {
                write!(f, "{}{what} {}", if i > 0 { ", " } else { " (" }, Bytes(*bytes))?;
            }
            f.write_str(if of.is_empty() { "" } else { ")" })?;
        }
        write!(f, "; moments = {}; recompute = {}", self.moments, self.recompute)
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plan, lacking) = (&self.plan, Bytes(self.plan.lacking()));
        write!(f, "the run does not fit its device, which lacks {lacking}: {plan}")?;
        if self.remedies.is_empty() {
            return f.write_str(
                "; no micro-batch, memory.recompute or optimizer.moments makes it fit: take a smaller model, or a \
                 device with more memory",
            );
        }
        f.write_str("; it fits with")?;
        let spare = |bytes: u64| Bytes(plan.available.unwrap_or(0).saturating_sub(bytes));
        for Remedy { settings, bytes } in &self.remedies {
            let settings: Vec<String> = settings.iter().map(|setting| format!("--set {setting}")).collect();
            let (settings, spare) = (settings.join(" "), spare(*bytes));
            write!(f, "\n  {settings} ({}, {spare} to spare)", Bytes(*bytes))?;
        }
        Ok(())
    }
}

/// Bytes for a person to read.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.iter().find(|(_, shift)| self.0 >> shift > 0) {
            Some((unit, shift)) => write!(f, "{:.2} {unit}", self.0 as f64 / (1u64 << shift) as f64),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// What a recipe leaves to the device, decided.
pub(crate) struct Settled {
    /// The dtype of the weights.
    pub dtype: DType,
    /// What the backward pass computes again.
    pub recompute: Recompute,
    /// What it all takes.
    pub plan: MemoryPlan,
    /// Where that is too much.
    pub shortage: Option<Shortage>,
    /// The run on a queue that computes nothing.
    pub recorded: Ready,
}

/// Decides what `recipe` leaves to a device, and writes it there: what is computed again is the least that fits, with
/// moments in f32 if any does, because no result depends on what is computed again.
///
/// # Errors
/// What the recipe asks for and no device of this kind has.
pub(crate) fn settle(recipe: &mut Recipe, named: &Named, device: &DeviceInfo) -> Result<Settled, TrainError> {
    let dtype = setup::weight_dtype(recipe, &named.start, device)?;
    let planner = Planner { named, device, dtype };
    let ((moments, recompute), plan, recorded) = planner.least(recipe)?;
    let shortage = match plan.lacking() {
        0 => None,
        _ => Some(Shortage { remedies: planner.remedies(recipe)?, plan: plan.clone() }),
    };
    *recipe = decided(recipe, (moments, recompute));
    Ok(Settled { dtype, recompute, plan, shortage, recorded })
}

/// What a recipe allows, in the order in which it is tried.
fn choices(recipe: &Recipe) -> Vec<(Moments, Recompute)> {
    let moments = match recipe.optimizer.moments {
        Moments::Auto => &[Moments::F32, Moments::Bf16][..],
        Moments::F32 => &[Moments::F32],
        Moments::Bf16 => &[Moments::Bf16],
    };
    let allowed = match recipe.memory.recompute {
        Choice::Auto => &Recompute::ALL[..],
        Choice::None => &[Recompute::None],
        Choice::NormSwiglu => &[Recompute::NormSwiglu],
        Choice::Ffn => &[Recompute::Ffn],
        Choice::Block => &[Recompute::Block],
    };
    moments.iter().flat_map(|&m| allowed.iter().map(move |&r| (m, r))).collect()
}

/// A recipe with what it leaves to the device decided.
fn decided(recipe: &Recipe, (moments, recompute): (Moments, Recompute)) -> Recipe {
    let mut decided = recipe.clone();
    decided.optimizer.moments = moments;
    decided.memory.recompute = match recompute {
        Recompute::None => Choice::None,
        Recompute::NormSwiglu => Choice::NormSwiglu,
        Recompute::Ffn => Choice::Ffn,
        Recompute::Block => Choice::Block,
    };
    decided
}

/// Narrower moments, as `--set` takes them.
const NARROW: &str = "optimizer.moments=bf16";

struct Planner<'a> {
    named: &'a Named,
    device: &'a DeviceInfo,
    dtype: DType,
}

impl Planner<'_> {
    /// The first of what the recipe allows that fits, or the last that it allows.
    fn least(&self, recipe: &Recipe) -> Result<((Moments, Recompute), MemoryPlan, Ready), TrainError> {
        let all = choices(recipe);
        let (last, before) = all.split_last().unwrap_or((&(Moments::Bf16, Recompute::Block), &[]));
        for &choice in before {
            let (plan, ready) = self.plan(recipe, choice)?;
            if plan.lacking() == 0 {
                return Ok((choice, plan, ready));
            }
        }
        let (plan, ready) = self.plan(recipe, *last)?;
        Ok((*last, plan, ready))
    }

    fn plan(&self, recipe: &Recipe, choice: (Moments, Recompute)) -> Result<(MemoryPlan, Ready), TrainError> {
        let (queue, _) = record(self.device.precision);
        let decided = decided(recipe, choice);
        let ready = setup::allocate(&decided, self.named, self.dtype, choice.1, queue)?;
        Ok((MemoryPlan::of(&ready.queue, self.device, choice), ready))
    }

    /// What would fit: another policy, narrower moments, smaller micro-batches, or where none of these is enough as many
    /// of them as it takes.
    fn remedies(&self, recipe: &Recipe) -> Result<Vec<Remedy>, TrainError> {
        let mut remedies = Vec::new();
        let mut free = recipe.clone();
        let mut freed = Vec::new();
        if recipe.memory.recompute != Choice::Auto {
            let mut other = recipe.clone();
            other.memory.recompute = Choice::Auto;
            let name =
                |(_, recompute): (Moments, Recompute)| format!("memory.recompute={}", recompute.name());
            remedies.extend(self.remedy(&other, name)?);
            free.memory.recompute = Choice::Auto;
            freed.push("memory.recompute=auto".to_owned());
        }
        if recipe.optimizer.moments == Moments::F32 {
            let mut other = recipe.clone();
            other.optimizer.moments = Moments::Bf16;
            remedies.extend(self.remedy(&other, |_| NARROW.to_owned())?);
            free.optimizer.moments = Moments::Bf16;
            freed.push(NARROW.to_owned());
        }
        remedies.extend(self.smaller(recipe)?);
        if remedies.is_empty() && !freed.is_empty() {
            let all = match self.least(&free)?.1 {
                plan if plan.lacking() == 0 => Some(Remedy { settings: Vec::new(), bytes: plan.bytes() }),
                _ => self.smaller(&free)?,
            };
            remedies.extend(all.map(|Remedy { mut settings, bytes }| {
                settings.extend(freed);
                Remedy { settings, bytes }
            }));
        }
        Ok(remedies)
    }

    /// The one setting by which a recipe differs from what was asked for, if it fits with that.
    fn remedy(
        &self,
        recipe: &Recipe,
        name: impl Fn((Moments, Recompute)) -> String,
    ) -> Result<Option<Remedy>, TrainError> {
        let (choice, plan, _) = self.least(recipe)?;
        Ok((plan.lacking() == 0).then(|| Remedy { settings: vec![name(choice)], bytes: plan.bytes() }))
    }

    /// The largest micro-batches that fit, where any do.
    fn smaller(&self, recipe: &Recipe) -> Result<Option<Remedy>, TrainError> {
        let mut sizes: Vec<u64> = recipe.stages.iter().flat_map(sizes).collect();
        sizes.sort_unstable();
        sizes.dedup();
        // Memory grows with the size: the first that does not fit is found by halving.
        let (mut fits, mut from, mut to) = (None, 0, sizes.len());
        while from < to {
            let middle = from.midpoint(to);
            let smaller = at_most(recipe, sizes[middle]);
            let (_, plan, _) = self.least(&smaller)?;
            if plan.lacking() == 0 {
                from = middle + 1;
                fits = Some((smaller, plan.bytes()));
            } else {
                to = middle;
            }
        }
        Ok(fits.map(|(smaller, bytes)| {
            let stages = recipe.stages.iter().zip(&smaller.stages).enumerate();
            let changed = stages.filter(|(_, (old, new))| old != new);
            let setting = |(i, (_, new)): (usize, (_, &Stage))| {
                format!("stages.{i}.micro_batch_tokens={}", new.micro_batch_tokens)
            };
            Remedy { settings: changed.map(setting).collect(), bytes }
        }))
    }
}

/// The sizes that a stage's micro-batches may have, its own among them.
fn sizes(stage: &Stage) -> impl Iterator<Item = u64> + '_ {
    let sequences = stage.batch_tokens / stage.sequence_length.max(1);
    let most = stage.micro_batch_tokens / stage.sequence_length.max(1);
    let divisors = (1..=most.min(1 << 20)).filter(move |n| sequences.is_multiple_of(*n));
    divisors.map(|sequences| sequences * stage.sequence_length)
}

/// The recipe with micro-batches of `limit` tokens at most, as far as sequences allow.
fn at_most(recipe: &Recipe, limit: u64) -> Recipe {
    let mut smaller = recipe.clone();
    for stage in &mut smaller.stages {
        let size = sizes(stage).take_while(|size| *size <= limit).last();
        stage.micro_batch_tokens = size.unwrap_or(stage.sequence_length);
    }
    smaller
}

/// Purposes in the order in which they are told.
const KINDS: [&str; 9] =
    ["weights", "remainder", "gradients", "moments", "activations", IN_TURNS, "workspace", "samples", "rest"];

/// What rollouts and updates use in turns.
const IN_TURNS: &str = "in turns";

/// What a buffer is for, and of what kind it is among those.
fn kind(buffer: &str) -> (&'static str, &'static str) {
    match buffer {
        "weights" => return ("weights", ""),
        "remainder" => return ("remainder", ""),
        "gradients" => return ("gradients", ""),
        "moment 1" | "moment 2" => return ("moments", ""),
        REGION => return (IN_TURNS, ""),
        "kv cache" => return ("samples", "cache"),
        name if name.starts_with("infer ") => return ("samples", "passes"),
        "stream 0" => return ("activations", "streams"),
        "dstream" | "dnorm" | "dattention" | "dqkv" | "dproduct" => return ("activations", "gradients"),
        _ => {}
    }
    // `layer 3 gate_up`, or `any layer gate_up` where all share one.
    let of_layer = buffer.strip_prefix("any layer ").or_else(|| {
        let (_, name) = buffer.strip_prefix("layer ")?.split_once(' ')?;
        Some(name)
    });
    match of_layer.unwrap_or(buffer) {
        "stream mid" | "stream out" => ("activations", "streams"),
        "norm1" | "norm2" | "rstd1" | "rstd2" | "final norm" | "final rstd" => ("activations", "norms"),
        "q" | "k" | "v" | "attention" | "lse" => ("activations", "attention"),
        "gate_up" | "product" => ("activations", "feed-forward"),
        _ => ("rest", ""),
    }
}

/// Of all buffers, and of what lies in a region among them: that counts once, and tells of either phase.
fn parts(buffers: &[(String, u64)], within: &[(String, u64)], workspace: u64) -> Vec<Part> {
    let mut parts: Vec<Part> =
        KINDS.map(|kind| Part { kind, bytes: 0, of: Vec::new() }).into_iter().collect();
    let named = buffers.iter().map(|(name, bytes)| (kind(name), *bytes));
    for ((kind, what), bytes) in named.chain([(("workspace", ""), workspace)]) {
        let Some(part) = parts.iter_mut().find(|part| part.kind == kind) else { continue };
        part.bytes += bytes;
        match part.of.iter_mut().find(|(found, _)| *found == what) {
            Some((_, sum)) => *sum += bytes,
            None if what.is_empty() => {}
            None => part.of.push((what, bytes)),
        }
    }
    let rollout = |name: &str| kind(name).0 == "samples";
    let phase = |is_rollout| -> u64 {
        within.iter().filter(|(name, _)| rollout(name) == is_rollout).map(|(_, bytes)| bytes).sum()
    };
    if let Some(part) = parts.iter_mut().find(|part| part.kind == IN_TURNS) {
        part.of = vec![("rollout", phase(true)), ("update", phase(false))];
        // What tokens could have been, where distributions are cut: the update's rows.
        let supports = within.iter().find(|(name, _)| name == "policy support");
        part.of.extend(supports.map(|(_, bytes)| ("of it supports", *bytes)));
    }
    parts.retain(|part| part.bytes > 0);
    parts
}

#[cfg(test)]
mod tests;
