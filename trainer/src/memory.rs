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
mod tests {
    use super::*;
    use octo_queue::DeviceKind;
    use octo_recipe::{Options, ThisMachine};
    use std::path::Path;

    fn plan(available: u64) -> MemoryPlan {
        let part = |kind, bytes| Part { kind, bytes, of: Vec::new() };
        let of = vec![("streams", 3 << 30), ("norms", 1 << 20)];
        let activations = Part { of, ..part("activations", (3 << 30) + (1 << 20)) };
        MemoryPlan {
            parts: vec![part("weights", 5 << 30), activations],
            moments: "f32",
            recompute: "none",
            device: "cuda",
            available: Some(available),
        }
    }

    #[test]
    fn a_shortage_says_what_is_taken_what_is_there_and_what_would_fit() {
        assert_eq!(plan(9 << 30).lacking(), 0);
        let remedy = Remedy { settings: vec!["memory.recompute=ffn".into(), "a.b=1".into()], bytes: 7 << 30 };
        let shortage = Shortage { plan: plan(15 << 29), remedies: vec![remedy] };
        assert_eq!(
            shortage.to_string(),
            "the run does not fit its device, which lacks 513.00 MiB: 8.00 GiB of 7.50 GiB on cuda: weights 5.00 GiB, \
             activations 3.00 GiB (streams 3.00 GiB, norms 1.00 MiB); moments = f32; recompute = none; it fits \
             with\n  \
             --set memory.recompute=ffn --set a.b=1 (7.00 GiB, 512.00 MiB to spare)"
        );
        let hopeless = Shortage { remedies: Vec::new(), ..shortage };
        assert!(hopeless.to_string().ends_with("take a smaller model, or a device with more memory"));
    }

    #[test]
    fn every_buffer_counts_once() {
        let buffers: Vec<(String, u64)> = [
            ("weights", 1),
            ("layer 12 gate_up", 2),
            ("any layer stream mid", 4),
            ("moment 1", 8),
            ("moment 2", 16),
            ("kv cache", 32),
            ("infer stream", 64),
            ("dqkv", 128),
            ("labels", 256),
        ]
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .into();
        let parts = parts(&buffers, &[], 512);
        let told: Vec<(&str, u64)> = parts.iter().map(|part| (part.kind, part.bytes)).collect();
        assert_eq!(
            told,
            [
                ("weights", 1),
                ("moments", 24),
                ("activations", 134),
                ("workspace", 512),
                ("samples", 96),
                ("rest", 256)
            ]
        );
        assert_eq!(parts[2].of, [("feed-forward", 2), ("streams", 4), ("gradients", 128)]);
    }

    fn recipe(folder: &Path, more: &str) -> Recipe {
        let tokenizer =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../base/text/tests/golden/tokenizer.json");
        let text = format!(
            "[run]\ndir = 'run'\n[model]\ntokenizer = '{}'\n[model.config]\nmodel_type = 'llama'\nvocab_size = 4096\n\
             hidden_size = 64\nintermediate_size = 160\nnum_hidden_layers = 5\nnum_attention_heads = 4\n\
             max_position_embeddings = 64\n[data.sources.a]\ngenerated = {{ kind = 'word-problems', rows = 9 }}\n\
             [[stages]]\nname = 'a'\nsteps = 2\nsequence_length = 32\nbatch_tokens = 1536\n\
             micro_batch_tokens = 1536\nschedule = {{ lr = 1.0 }}\n[[stages]]\nname = 'b'\nsteps = 2\n\
             sequence_length = 64\nbatch_tokens = 512\nschedule = {{ lr = 1.0 }}\n{more}",
            tokenizer.display()
        );
        let path = folder.join("recipe.toml");
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
        Recipe::load(&ThisMachine, &path, &Options::default()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn device(available: Option<u64>) -> DeviceInfo {
        DeviceInfo { available, ..DeviceKind::Cuda.unopened() }
    }

    /// What a recipe comes to where so much memory is there, and the recipe as it is resolved.
    fn settled(recipe: &Recipe, available: Option<u64>) -> (Settled, Recipe) {
        let mut recipe = recipe.clone();
        let named = setup::open(&recipe, None).unwrap();
        (settle(&mut recipe, &named, &device(available)).unwrap(), recipe)
    }

    #[test]
    fn the_first_policy_that_fits_is_taken_and_none_that_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let single = "[optimizer]\nmoments = 'f32'\n";
        let auto = recipe(folder.path(), single);
        let given = |choice: Choice| {
            let more = format!("{single}[memory]\nrecompute = '{}'", choice.name());
            recipe(folder.path(), &more)
        };
        let choices = [Choice::None, Choice::NormSwiglu, Choice::Ffn, Choice::Block];
        // The workspace is there before it is asked what is left.
        let buffers = choices.map(|choice| {
            let plan = settled(&given(choice), None).0.plan;
            plan.bytes() - plan.bytes_of("workspace")
        });
        assert!(buffers.is_sorted_by(|a, b| a > b), "{buffers:?}");
        for (i, (choice, bytes)) in choices.into_iter().zip(buffers).enumerate() {
            let (fits, resolved) = settled(&auto, Some(bytes));
            assert_eq!((resolved.memory.recompute, fits.shortage), (choice, None));
            // What is resolved stays as it is, and is what the plan was made for.
            let (again, resolved_again) = settled(&resolved, Some(bytes));
            assert_eq!((again.plan, resolved_again), (fits.plan, resolved));
            let (less, _) = settled(&auto, Some(bytes - 1));
            assert_eq!(less.shortage.is_some(), i == 3);
            // One that is asked for is not replaced.
            let shortage = settled(&given(choice), Some(bytes - 1)).0.shortage.unwrap();
            assert_eq!(shortage.plan.lacking(), 1);
            let first = &shortage.remedies[0].settings;
            match choices.get(i + 1) {
                Some(next) => assert_eq!(first, &[format!("memory.recompute={}", next.name())]),
                None => {
                    assert_eq!(first, &["optimizer.moments=bf16"]);
                    let second = &shortage.remedies[1].settings;
                    assert!(second[0].starts_with("stages.0.micro_batch_tokens="), "{second:?}");
                }
            }
        }
    }

    #[test]
    fn moments_are_f32_where_any_policy_fits_with_them_and_else_bf16() {
        let folder = tempfile::tempdir().unwrap();
        let with = |moments: &str, recompute: &str| {
            let more = format!("[optimizer]\nmoments = '{moments}'\n[memory]\nrecompute = '{recompute}'");
            recipe(folder.path(), &more)
        };
        let buffers = |moments: &str, recompute: &str| {
            let plan = settled(&with(moments, recompute), None).0.plan;
            plan.bytes() - plan.bytes_of("workspace")
        };
        let (single, half) = (buffers("f32", "block"), buffers("bf16", "block"));
        let moments = |moments: &str| settled(&with(moments, "none"), None).0.plan.bytes_of("moments");
        assert_eq!(single - half, moments("bf16"));
        assert_eq!(moments("f32"), 2 * moments("bf16"));
        let decided = |available| {
            let (settled, resolved) = settled(&with("auto", "auto"), available);
            (resolved.optimizer.moments, resolved.memory.recompute, settled.shortage.is_some())
        };
        assert_eq!(decided(None), (Moments::F32, Choice::None, false));
        assert_eq!(decided(Some(single)), (Moments::F32, Choice::Block, false));
        // No result depends on what is computed again, but on what moments are rounded to.
        let (settled_less, resolved) = settled(&with("auto", "auto"), Some(single - 1));
        assert_eq!((resolved.optimizer.moments, settled_less.shortage), (Moments::Bf16, None));
        assert_eq!(settled_less.plan.moments, "bf16");
        assert_eq!(decided(Some(half)), (Moments::Bf16, Choice::Block, false));
        assert_eq!(decided(Some(half - 1)), (Moments::Bf16, Choice::Block, true));
    }

    #[test]
    fn with_each_remedy_the_run_fits_in_the_bytes_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let given = "[optimizer]\nmoments = 'f32'\n[memory]\nrecompute = 'none'";
        let wanted = recipe(folder.path(), given);
        let plan = settled(&wanted, None).0.plan;
        let whole = plan.bytes() - plan.bytes_of("workspace");
        let mut tried = Vec::new();
        for available in (1..40).map(|part| whole * part / 40) {
            let shortage = settled(&wanted, Some(available)).0.shortage.unwrap();
            for Remedy { settings, bytes } in shortage.remedies {
                let options = Options { sets: settings.clone(), ..Options::default() };
                let other = Recipe::load(&ThisMachine, &folder.path().join("recipe.toml"), &options).unwrap();
                let (fits, _) = settled(&other, Some(available));
                assert_eq!((fits.shortage, fits.plan.bytes()), (None, bytes), "{settings:?}");
                tried.push(settings.concat());
            }
        }
        // Each by itself, and where that is not enough together with others.
        for one in ["memory.recompute=block", NARROW, "stages.0.micro_batch_tokens=96"] {
            assert!(tried.iter().any(|settings| settings.contains(one)), "{one} in {tried:?}");
        }
        let all = |settings: &&String| settings.contains("recompute=auto") && settings.ends_with(NARROW);
        assert!(tried.iter().any(|settings| all(&settings)), "{tried:?}");
    }

    #[test]
    fn the_micro_batches_of_a_remedy_fit_and_the_next_larger_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let half = "[optimizer]\nmoments = 'bf16'\n";
        let auto = recipe(folder.path(), half);
        let least = {
            let block = recipe(folder.path(), &format!("{half}[memory]\nrecompute = 'block'"));
            let plan = settled(&block, None).0.plan;
            plan.bytes() - plan.bytes_of("workspace")
        };
        let all: Vec<u64> = auto.stages.iter().flat_map(sizes).collect();
        for available in [least - 1, least - 200_000, least - 500_000] {
            let shortage = settled(&auto, Some(available)).0.shortage.unwrap();
            let [remedy] = &shortage.remedies[..] else { panic!("{shortage}") };
            let size = |setting: &String| setting.rsplit('=').next().unwrap().parse::<u64>().unwrap();
            let largest = remedy.settings.iter().map(size).max().unwrap();
            let fits = settled(&at_most(&auto, largest), Some(available)).0;
            assert_eq!((fits.shortage, fits.plan.bytes()), (None, remedy.bytes));
            let next = *all.iter().filter(|size| **size > largest).min().unwrap();
            assert!(settled(&at_most(&auto, next), Some(available)).0.shortage.is_some(), "{next}");
        }
        let hopeless = settled(&auto, Some(1 << 20)).0.shortage.unwrap();
        assert_eq!(hopeless.remedies, []);
    }

    #[test]
    fn weights_that_a_device_has_not_are_refused_in_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut recipe = recipe(folder.path(), "");
        recipe.model.weights = octo_recipe::Weights::F32;
        let named = setup::open(&recipe, None).unwrap();
        let refused = settle(&mut recipe, &named, &device(None)).err().unwrap();
        assert!(matches!(refused, TrainError::Weights { device: "cuda", .. }), "{refused}");
    }
}
