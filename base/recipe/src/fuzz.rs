//! What a fuzzer calls.

use std::io;
use std::path::{Path, PathBuf};

use crate::accept::accept;
use crate::build::Options;
use crate::changes::changes;
use crate::host::Host;
use crate::plan::plan;
use crate::recipe::Recipe;

/// A machine that has one file and no other: a hostile recipe reaches nothing from here.
struct OneFile<'a>(&'a [u8]);

impl Host for OneFile<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path == Path::new("/fuzz/recipe.toml") {
            true => Ok(self.0.to_vec()),
            false => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    fn exists(&self, _: &Path) -> bool {
        true
    }

    fn is_link(&self, path: &Path) -> bool {
        path.ends_with("link")
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "HOME").then(|| "/home/fuzz".to_owned())
    }

    fn working_directory(&self) -> io::Result<PathBuf> {
        Ok(PathBuf::from("/fuzz"))
    }
}

/// Reads any bytes as a recipe: it is refused with its mistakes, or its resolved form gives the same recipe, which
/// has a plan and a learning rate at every step.
///
/// # Panics
/// Where that does not hold.
pub fn fuzz_recipe(bytes: &[u8]) {
    let load = |bytes: &[u8]| Recipe::load(&OneFile(bytes), Path::new("recipe.toml"), &Options::default());
    match load(bytes) {
        Ok(recipe) => {
            let resolved = recipe.to_toml();
            assert_eq!(load(resolved.as_bytes()).as_ref(), Ok(&recipe), "{resolved}");
            assert_eq!(changes(&recipe, &recipe, 0), []);
            let plan = plan(&recipe, |_| Some(1));
            for (step, lr) in plan.stages.iter().flat_map(|stage| &stage.curve) {
                assert!(recipe.lr(*step) == *lr && *lr >= 0.0, "step {step}");
            }
        }
        Err(errors) => {
            assert!(!errors.problems.is_empty(), "refused without a reason");
            assert!(errors.to_string().len() < 1 << 20);
        }
    }
    // The same bytes as an override of a sound recipe, and as the name of an accepted key.
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = accept(&[], &[text.to_owned()]).map_err(|refused| refused.to_string());
        let options = Options { sets: vec![text.to_owned()], no_paths: false };
        let _ = Recipe::load(&OneFile(SMALLEST.as_bytes()), Path::new("recipe.toml"), &options);
    }
}

/// The smallest recipe there is.
pub(crate) const SMALLEST: &str = r#"
[run]
dir = "out"
[model]
from = "model"
[data.sources.text]
path = "text.jsonl"
[[stages]]
name = "only"
steps = 10
sequence_length = 8
batch_tokens = 16
schedule = { lr = 1e-3 }
"#;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{FULL, load};

    #[test]
    fn a_megabyte_of_mistakes_is_counted_and_not_listed() {
        let keys: String = (0..30_000).map(|n| format!("k{n}=1\n")).collect();
        for text in [keys, "= 1\n".repeat(50_000), "[[stages]]\nx=1\n".repeat(15_000)] {
            let errors = load(&text).unwrap_err();
            assert!(errors.contains("\nand ") && errors.len() < 100_000, "{}", errors.len());
        }
    }

    #[test]
    fn every_file_of_the_corpus_is_read_or_refused() {
        let mut found = 0;
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap() {
            fuzz_recipe(&std::fs::read(entry.unwrap().path()).unwrap());
            found += 1;
        }
        assert!(found > 0);
    }

    /// A valid recipe with some of its values replaced by others that are valid too.
    fn valid_recipes() -> impl Strategy<Value = String> {
        let rate = prop_oneof![Just("0".to_owned()), (0.0f64..10.0).prop_map(|rate| format!("{rate:?}"))];
        let shape = proptest::sample::select(&["linear", "cosine", "one_minus_sqrt"][..]);
        let text = any::<String>().prop_filter("text is not empty", |text| !text.is_empty());
        (rate, shape, 0..=i64::MAX, 1u64..1_000_000, 1u64..64, text, any::<bool>()).prop_map(
            |(rate, shape, seed, rows, sequences, text, flag)| {
                FULL.replace("lr = 2e-3", &format!("lr = {rate}"))
                    .replace("one_minus_sqrt", shape)
                    .replace("seed = 7", &format!("seed = {seed}"))
                    .replace("rows = \"20k\"", &format!("rows = {rows}"))
                    .replace("batch_tokens = 8_192", &format!("batch_tokens = {}", sequences * 2048))
                    .replace("warmup_steps = 10", "warmup_steps = 1")
                    .replace("add_eos = false", &format!("add_eos = {flag}"))
                    .replace("\"Ann has\"", &toml::Value::String(text).to_string())
            },
        )
    }

    proptest! {
        #[test]
        fn any_valid_recipe_resolves_to_itself(text in valid_recipes()) {
            let recipe = load(&text);
            prop_assert!(recipe.is_ok(), "{}", recipe.unwrap_err());
            let recipe = recipe.unwrap();
            prop_assert_eq!(load(&recipe.to_toml()).unwrap(), recipe);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            fuzz_recipe(&bytes);
        }

        #[test]
        fn a_recipe_with_bytes_changed_is_read_or_refused(
            changes in proptest::collection::vec((0usize..FULL.len(), any::<u8>()), 1..6),
            cut in 0usize..FULL.len() * 4,
        ) {
            let mut bytes = FULL.as_bytes().to_vec();
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            bytes.truncate(cut.max(1));
            fuzz_recipe(&bytes);
        }

        #[test]
        fn a_recipe_of_shuffled_lines_is_read_or_refused(
            lines in proptest::sample::subsequence(FULL.lines().collect::<Vec<_>>(), 0..60).prop_shuffle(),
        ) {
            fuzz_recipe(lines.join("\n").as_bytes());
        }
    }
}
