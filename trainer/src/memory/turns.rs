//! The same for a loop whose rollouts and updates use memory in turns.

use super::{MemoryPlan, NARROW, Remedy, Shortage, choices, decided};
use crate::TrainError;
use octo_model::Recompute;
use octo_ops::DeviceInfo;
use octo_queue::{Queue, record};
use octo_recipe::{Moments, Recipe, Recompute as Choice};

/// The buffer that both phases lie in.
pub const REGION: &str = "rollout or update";

/// Allocates what a recipe asks for.
type Allocate<'a> = dyn FnMut(&mut Queue, &Recipe) -> Result<(), TrainError> + 'a;

/// Decides what `recipe` leaves to a device, and writes it there, as [`super::settle`] does; what it takes, and where that
/// does not fit what would.
///
/// # Errors
/// What the recipe asks for and no device of this kind has.
pub(crate) fn settle(
    recipe: &mut Recipe,
    device: &DeviceInfo,
    allocate: &mut Allocate<'_>,
) -> Result<(MemoryPlan, Option<Shortage>), TrainError> {
    let (settled, plan) = least(recipe, device, allocate)?;
    let shortage = match plan.lacking() {
        0 => None,
        _ => Some(Shortage { remedies: remedies(recipe, device, allocate)?, plan: plan.clone() }),
    };
    *recipe = settled;
    Ok((plan, shortage))
}

/// The first of what the recipe allows that fits, or the last that it allows.
fn least(
    recipe: &Recipe,
    device: &DeviceInfo,
    allocate: &mut Allocate<'_>,
) -> Result<(Recipe, MemoryPlan), TrainError> {
    let mut plan = |choice| {
        let settled = decided(recipe, choice);
        let (mut queue, _) = record(device.precision);
        allocate(&mut queue, &settled)?;
        Ok::<_, TrainError>((settled, MemoryPlan::of(&queue, device, choice)))
    };
    let all = choices(recipe);
    let (last, before) = all.split_last().unwrap_or((&(Moments::Bf16, Recompute::Block), &[]));
    for &choice in before {
        let settled = plan(choice)?;
        if settled.1.lacking() == 0 {
            return Ok(settled);
        }
    }
    plan(*last)
}

/// What would fit: another policy of recomputation, narrower moments, fewer responses under way at once, or all of it.
fn remedies(
    recipe: &Recipe,
    device: &DeviceInfo,
    allocate: &mut Allocate<'_>,
) -> Result<Vec<Remedy>, TrainError> {
    let mut remedies = Vec::new();
    let mut all = (recipe.clone(), Vec::new());
    if recipe.memory.recompute != Choice::Auto {
        let mut other = recipe.clone();
        other.memory.recompute = Choice::Auto;
        let settled = least(&other, device, allocate)?;
        if settled.1.lacking() == 0 {
            let settings = vec![format!("memory.recompute={}", settled.1.recompute)];
            remedies.push(Remedy { settings, bytes: settled.1.bytes() });
        }
        all.0.memory.recompute = Choice::Auto;
        all.1.push("memory.recompute=auto".to_owned());
    }
    if recipe.optimizer.moments == Moments::F32 {
        let mut other = recipe.clone();
        other.optimizer.moments = Moments::Bf16;
        let (_, plan) = least(&other, device, allocate)?;
        if plan.lacking() == 0 {
            remedies.push(Remedy { settings: vec![NARROW.to_owned()], bytes: plan.bytes() });
        }
        all.0.optimizer.moments = Moments::Bf16;
        all.1.push(NARROW.to_owned());
    }
    remedies.extend(fewer(recipe, device, allocate)?);
    if remedies.is_empty() && !all.1.is_empty() {
        let (_, plan) = least(&all.0, device, allocate)?;
        let together = match plan.lacking() {
            0 => Some(Remedy { settings: Vec::new(), bytes: plan.bytes() }),
            _ => fewer(&all.0, device, allocate)?,
        };
        remedies.extend(together.map(|Remedy { mut settings, bytes }| {
            settings.extend(all.1);
            Remedy { settings, bytes }
        }));
    }
    Ok(remedies)
}

/// Half as many responses at once, or half of that, and so on, if any of it fits.
fn fewer(
    recipe: &Recipe,
    device: &DeviceInfo,
    allocate: &mut Allocate<'_>,
) -> Result<Option<Remedy>, TrainError> {
    let Some(rl) = &recipe.rl else { return Ok(None) };
    let most = rl.max_streams.min(rl.batch_prompts.saturating_mul(rl.samples_per_prompt));
    let halves = std::iter::successors(Some(most / 2), |streams| Some(streams / 2));
    for streams in halves.take_while(|streams| *streams > 0) {
        let mut other = recipe.clone();
        other.rl.iter_mut().for_each(|rl| rl.max_streams = streams);
        let (_, plan) = least(&other, device, allocate)?;
        if plan.lacking() == 0 {
            let settings = vec![format!("rl.max_streams={streams}")];
            return Ok(Some(Remedy { settings, bytes: plan.bytes() }));
        }
    }
    Ok(None)
}
