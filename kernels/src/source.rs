//! What is each shipped PTX module compiled from, and with what?
//!
//! `cargo xtask ptx` compiles [`units`] and writes [`first_line`] above each result. A test of this crate compares that
//! line with the sources as they lie in the repository, so that PTX older than its source is found without a compiler.
//! Nothing here runs when the program does.

use crate::tuning::{attention_backward_rows, attention_rows, attention_segment_rows, head_parts_rows, rows};
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// Compiler release that writes the PTX: its PTX ISA, 8.4, is what drivers from R550 on take.
pub const COMPILER: &str = "nvrtc-12.4.127";

/// Flags of every compilation. Multiply-adds are contracted only where the source says so (`docs/numerics.md`); source
/// lines are kept, without the chain of calls a line was inlined through, which doubles the text.
pub const FLAGS: [&str; 6] = [
    "--gpu-architecture=compute_80",
    "--std=c++17",
    "--fmad=false",
    "--generate-line-info",
    "--no-lineinfo-inlined-at",
    "--device-as-default-execution-space",
];

/// Sources cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The tuning table names a source that is not there.
    #[error("the tuning table names {source_stem}.cu, which is not in {}", folder.display())]
    NoSource {
        /// Stem in the table.
        source_stem: String,
        /// Where sources lie.
        folder: PathBuf,
    },
}

/// One PTX module: a source, compiled once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Stem of the `.ptx`: the source's, or the entry of a tuning row.
    pub name: String,
    /// Stem of the `.cu`.
    pub source: String,
    /// Preprocessor definitions.
    pub defines: Vec<(&'static str, String)>,
}

/// Every module of a folder of sources, sorted by name. A source that the tuning table names makes a module a row, any
/// other makes one.
///
/// # Errors
/// [`SourceError`].
pub fn units(folder: &Path) -> Result<Vec<Unit>, SourceError> {
    let failed = |error| SourceError::Read { path: folder.to_path_buf(), error };
    let mut stems = BTreeSet::new();
    for entry in folder.read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "cu") {
            stems.extend(path.file_stem().and_then(|stem| stem.to_str()).map(String::from));
        }
    }
    let mut units = Vec::new();
    let products = rows().iter().chain(head_parts_rows()).map(|row| (&row.entry, row.source, &row.defines));
    let attention = attention_rows().iter().map(|row| (&row.entry, row.source, &row.defines));
    let segments = attention_segment_rows().iter().map(|row| (&row.entry, row.source, &row.defines));
    let backward = attention_backward_rows().iter().map(|row| (&row.entry, row.source, &row.defines));
    let mut varied = BTreeSet::new();
    for (entry, source, defines) in products.chain(attention).chain(segments).chain(backward) {
        if !stems.contains(source) {
            return Err(SourceError::NoSource { source_stem: source.into(), folder: folder.to_path_buf() });
        }
        varied.insert(source);
        units.push(Unit { name: entry.clone(), source: source.into(), defines: defines.clone() });
    }
    for stem in stems {
        if !varied.contains(stem.as_str()) {
            units.push(Unit { name: stem.clone(), source: stem, defines: Vec::new() });
        }
    }
    units.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(units)
}

impl Unit {
    /// Arguments of the compiler: [`FLAGS`] and the definitions.
    pub fn flags(&self) -> Vec<String> {
        let defines = self.defines.iter().map(|(name, value)| format!("--define-macro={name}={value}"));
        FLAGS.iter().map(|flag| flag.to_string()).chain(defines).collect()
    }
}

/// The first line of a module's PTX: a hash of the source and everything it includes, the compiler, its flags.
///
/// # Errors
/// [`SourceError::Read`].
pub fn first_line(folder: &Path, unit: &Unit) -> Result<String, SourceError> {
    let read = |name: &str| {
        let path = folder.join(if name.ends_with(".cu") { "" } else { "include" }).join(name);
        std::fs::read_to_string(&path).map_err(|error| SourceError::Read { path, error })
    };
    let mut line = format!("// octo-engine {:032x} {COMPILER}", hash(&unit.source, read)?);
    for flag in unit.flags() {
        line.push(' ');
        line.push_str(&flag);
    }
    Ok(line)
}

/// XXH3-128 over name, length and bytes of the source and of each file it includes, in the order of their names.
fn hash<E>(stem: &str, read: impl Fn(&str) -> Result<String, E>) -> Result<u128, E> {
    let mut texts = BTreeMap::new();
    let mut found = vec![format!("{stem}.cu")];
    while let Some(name) = found.pop() {
        if let Entry::Vacant(place) = texts.entry(name) {
            let text = read(place.key())?;
            found.extend(includes(&text).map(String::from));
            place.insert(text);
        }
    }
    let mut hasher = Xxh3::new();
    for part in texts.iter().flat_map(|(name, text)| [name, text]) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    Ok(hasher.digest128())
}

/// The names in `#include "…"` lines.
fn includes(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include")?;
        rest.trim_start().strip_prefix('"')?.split_once('"').map(|(name, _)| name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(files: &[(&str, &str)]) -> Result<u128, String> {
        let files: BTreeMap<&str, &str> = files.iter().copied().collect();
        hash("k", |name| files.get(name).map(|text| text.to_string()).ok_or_else(|| name.into()))
    }

    #[test]
    fn any_file_that_a_source_reaches_changes_its_hash() {
        let of = |b, c| {
            let a = ("a.cuh", "# include \"b.cuh\" // why\n");
            hash_of(&[("k.cu", "#include \"a.cuh\"\nint x;\n"), a, ("b.cuh", b), ("c.cuh", c)])
        };
        let before = of("1", "").unwrap();
        assert_eq!(before, of("1", "").unwrap());
        assert_ne!(before, of("2", "").unwrap());
        assert_eq!(before, of("1", "not included").unwrap());
    }

    #[test]
    fn text_that_moves_to_another_file_changes_the_hash() {
        let of =
            |a, b| hash_of(&[("k.cu", "#include \"a.cuh\"\n#include \"b.cuh\""), ("a.cuh", a), ("b.cuh", b)]);
        assert_ne!(of("12", "3"), of("1", "23"));
    }

    #[test]
    fn an_include_that_is_not_there_is_named() {
        assert_eq!(hash_of(&[("k.cu", "#include \"gone.cuh\"\n")]), Err("gone.cuh".into()));
    }

    #[test]
    fn files_that_include_each_other_come_to_an_end() {
        let [k, a] = [("k.cu", "#include \"a.cuh\""), ("a.cuh", "#include \"a.cuh\"")];
        assert_ne!(hash_of(&[k, a]), hash_of(&[k, ("a.cuh", "")]));
    }

    #[test]
    fn definitions_stand_in_the_first_line() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
        let unit = Unit { name: "x".into(), source: "rms_norm".into(), defines: vec![("N", "3".into())] };
        let line = first_line(&folder, &unit).unwrap();
        assert!(line.starts_with("// octo-engine ") && line.ends_with(" --define-macro=N=3"), "{line}");
    }
}
