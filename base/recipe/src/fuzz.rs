//! What a fuzzer calls.

use std::io;
use std::path::{Path, PathBuf};

use crate::build::Options;
use crate::host::Host;
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

/// Reads any bytes as a recipe: it is refused with its mistakes, or its resolved form gives the same recipe.
///
/// # Panics
/// Where that does not hold.
pub fn fuzz_recipe(bytes: &[u8]) {
    let load = |bytes: &[u8]| Recipe::load(&OneFile(bytes), Path::new("recipe.toml"), &Options::default());
    match load(bytes) {
        Ok(recipe) => {
            let resolved = recipe.to_toml();
            assert_eq!(load(resolved.as_bytes()).as_ref(), Ok(&recipe), "{resolved}");
        }
        Err(errors) => {
            assert!(!errors.problems.is_empty(), "refused without a reason");
            assert!(errors.to_string().len() < 1 << 20);
        }
    }
    // The same bytes as an override of a sound recipe.
    if let Ok(text) = std::str::from_utf8(bytes) {
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
