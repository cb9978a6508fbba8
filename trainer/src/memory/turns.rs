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

#[cfg(test)]
mod tests {
    use super::*;
    use octo_ops::DType;
    use octo_queue::DeviceKind;
    use octo_recipe::{Options, ThisMachine};
    use std::path::Path;

    const RECIPE: &str = "[run]\ndir = 'run'\n[model]\ntokenizer = 'TOKENIZER'\n[model.config]\nmodel_type = 'llama'\n\
        vocab_size = 4096\nhidden_size = 64\nintermediate_size = 160\nnum_hidden_layers = 1\nnum_attention_heads = 4\n\
        max_position_embeddings = 64\n[optimizer]\nmoments = 'f32'\n[memory]\nrecompute = 'none'\n[rl]\nsteps = 2\n\
        generated = { kind = 'modular-addition', rows = 9 }\nmax_prompt_tokens = 4\nmax_response_tokens = 4\n\
        batch_prompts = 4\nsamples_per_prompt = 4\nmicro_batch_tokens = 64\nschedule = { lr = 1.0 }\n\
        [[rl.rewards]]\nkind = 'verify'\n";

    fn recipe(folder: &Path, sets: &[String]) -> Recipe {
        let tokenizer =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../base/text/tests/golden/tokenizer.json");
        let text = RECIPE.replace("TOKENIZER", &tokenizer.display().to_string());
        let path = folder.join("recipe.toml");
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
        let options = Options { sets: sets.to_vec(), ..Options::default() };
        Recipe::load(&ThisMachine, &path, &options).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// A thousand bytes of moments or half of it; in turns forty bytes a response at once, and 100 to 400 of activations.
    fn allocate(queue: &mut Queue, recipe: &Recipe) -> Result<(), TrainError> {
        let moments = if recipe.optimizer.moments == Moments::F32 { DType::F32 } else { DType::Bf16 };
        queue.tensor("moment 1", moments, &[250])?;
        let streams = recipe.rl.as_ref().unwrap().max_streams.min(16) as u32;
        let kept = match recipe.memory.recompute {
            Choice::Auto => panic!("left open"),
            Choice::None => 400,
            Choice::NormSwiglu => 300,
            Choice::Ffn => 200,
            Choice::Block => 100,
        };
        let region = queue.region(REGION, u64::from((40 * streams).max(kept)))?;
        queue.within(region, |queue| queue.tensor("kv cache", DType::F32, &[10 * streams]))?;
        queue.within(region, |queue| queue.tensor("stream 0", DType::F32, &[kept / 4]))?;
        Ok(())
    }

    fn settled(recipe: &Recipe, available: u64) -> (Recipe, MemoryPlan, Option<Shortage>) {
        let device = DeviceInfo { available: Some(available), workspace: 0, ..DeviceKind::Cuda.unopened() };
        let mut recipe = recipe.clone();
        let (plan, shortage) = settle(&mut recipe, &device, &mut allocate).unwrap();
        (recipe, plan, shortage)
    }

    #[test]
    fn phases_count_once_as_the_larger_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let (_, plan, shortage) = settled(&recipe(folder.path(), &[]), 1640);
        assert_eq!((plan.bytes(), plan.bytes_of("in turns"), shortage), (1640, 640, None));
        assert!(plan.to_string().contains("in turns 640 B (rollout 640 B, update 400 B)"), "{plan}");
    }

    #[test]
    fn what_is_left_open_is_the_first_that_fits() {
        let folder = tempfile::tempdir().unwrap();
        let open = ["rl.max_streams=5", "memory.recompute=auto", "optimizer.moments=auto"];
        let recipe = recipe(folder.path(), &open.map(str::to_owned));
        for (available, moments, recompute) in [
            (1400, Moments::F32, Choice::None),
            (1399, Moments::F32, Choice::NormSwiglu),
            (1200, Moments::F32, Choice::Ffn),
            (1199, Moments::Bf16, Choice::None),
            (700, Moments::Bf16, Choice::Ffn),
        ] {
            let (resolved, _, shortage) = settled(&recipe, available);
            let found = (resolved.optimizer.moments, resolved.memory.recompute);
            assert_eq!((found, shortage), ((moments, recompute), None), "{available}");
        }
    }

    #[test]
    fn with_each_remedy_the_run_fits_in_the_bytes_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let mut tried = Vec::new();
        for (available, sets) in
            [(1600, vec![]), (1500, vec![]), (1390, vec!["rl.max_streams=2"]), (600, vec![])]
        {
            let sets: Vec<String> = sets.into_iter().map(str::to_owned).collect();
            let shortage = settled(&recipe(folder.path(), &sets), available).2.unwrap();
            assert!(!shortage.remedies.is_empty(), "{available}");
            for Remedy { settings, bytes } in shortage.remedies {
                let (_, plan, shortage) =
                    settled(&recipe(folder.path(), &[sets.clone(), settings.clone()].concat()), available);
                assert_eq!((shortage, plan.bytes()), (None, bytes), "{settings:?}");
                tried.push(settings.join(" "));
            }
        }
        let all = "rl.max_streams=2 memory.recompute=auto optimizer.moments=bf16";
        for one in ["optimizer.moments=bf16", "rl.max_streams=8", "memory.recompute=norm_swiglu", all] {
            assert!(tried.iter().any(|settings| settings == one), "{one} in {tried:?}");
        }
        let hopeless = settled(&recipe(folder.path(), &[]), 100).2.unwrap();
        assert!(hopeless.remedies.is_empty());
    }
}
