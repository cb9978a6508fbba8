//! What the tests of the parser share.

use octo_ptx::{Module, Span};
use std::path::{Path, PathBuf};

/// The module without its places in the text.
pub fn placeless(module: &Module) -> Module {
    let mut module = module.clone();
    module.text.clear();
    module.variables.iter_mut().for_each(|variable| variable.span = Span::default());
    for kernel in &mut module.kernels {
        kernel.span = Span::default();
        kernel.variables.iter_mut().for_each(|variable| variable.span = Span::default());
        kernel.body.iter_mut().for_each(|instruction| instruction.span = Span::default());
    }
    module
}

/// The files of a folder of `tests` with that ending, by name.
pub fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|found| found == ending));
    files.sort();
    files
}
