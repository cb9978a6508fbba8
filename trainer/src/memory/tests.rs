//! Plans of small runs.

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
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../base/text/tests/golden/tokenizer.json");
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
