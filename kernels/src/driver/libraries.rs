//! Libraries that are used where they are found: where is one looked for, and what does its lack cost?
//!
//! Places, in this order: what the user names (`OCTO_LIB_<NAME>`, a file or folder; `off` for none), the packages of the
//! active Python (`nvidia/*/lib`), `CUDA_HOME` or `CUDA_PATH`, the system's loader with `LD_LIBRARY_PATH`. The first that
//! loads is taken. A name that the user gave and that does not load is an error; everything else that is missing is
//! not. Nothing is started to find out.

use super::DriverError;
use libloading::Library;
use octo_ops::DeviceLibrary;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A library that the engine can do without.
#[derive(Debug)]
pub struct Wanted {
    /// What it is called.
    pub name: &'static str,
    /// The environment variable that names it, or `off`.
    pub variable: &'static str,
    /// File names, best first, each with the CUDA version that a driver must have for it; 0 where any does.
    pub files: &'static [(&'static str, u32)],
    /// What its lack costs, and what mends it.
    pub without: &'static str,
}

/// Matrix products.
pub const CUBLASLT: Wanted = Wanted {
    name: "cuBLASLt",
    variable: "OCTO_LIB_CUBLASLT",
    files: &[("libcublasLt.so.13", 13), ("libcublasLt.so.12", 12)],
    without: "all products run on the engine's own kernels; `pip install nvidia-cublas-cu12` brings it",
};

/// Names of ranges for profilers.
pub const NVTX: Wanted = Wanted {
    name: "NVTX",
    variable: "OCTO_LIB_NVTX",
    files: &[("libnvToolsExt.so.1", 0), ("libnvtx3interop.so.1", 0), ("libnvtx3interop.so", 0)],
    without: "a profile names kernels but no phases; `pip install nvidia-nvtx-cu12` brings it",
};

/// A file to try.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    path: PathBuf,
    /// Why there.
    place: &'static str,
}

/// A library that was loaded.
pub(super) struct Opened {
    pub library: Library,
    pub path: PathBuf,
    place: &'static str,
}

impl Opened {
    /// What is told of it.
    pub fn told(&self, wanted: &Wanted, version: Option<String>) -> DeviceLibrary {
        let detail = format!("{} ({})", self.path.display(), self.place);
        DeviceLibrary { name: wanted.name, version: version.or(Some(String::new())), detail }
    }
}

impl Wanted {
    /// What is told where it is not used.
    fn missing(&self, why: &str) -> DeviceLibrary {
        let detail = format!("{why}: {}", self.without);
        DeviceLibrary { name: self.name, version: None, detail }
    }
}

/// Looks for a library that suits a driver of this CUDA version (12 for 12.4), and loads it.
///
/// # Errors
/// [`DriverError::Library`] where the user names one that cannot be loaded.
pub(super) fn open(wanted: &Wanted, cuda: u32) -> Result<Result<Opened, DeviceLibrary>, DriverError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let named = variable(wanted.variable);
    if named.as_ref().is_some_and(|value| value == "off") {
        return Ok(Err(wanted.missing(&format!("off by {}", wanted.variable))));
    }
    let candidates = match &named {
        Some(path) => by_name(wanted, Path::new(path)),
        None => candidates(wanted, cuda, &variable),
    };
    let mut refused = Vec::new();
    for Candidate { path, place } in candidates {
        // SAFETY: NVIDIA's libraries, which do nothing at load but set themselves up; what the user names is the
        // user's to vouch for.
        match unsafe { Library::new(&path) } {
            Ok(library) => return Ok(Ok(Opened { library, path, place })),
            Err(error) => {
                let why =
                    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                refused.push(why);
            }
        }
    }
    match named {
        Some(path) => Err(DriverError::Library {
            name: wanted.name,
            variable: wanted.variable,
            why: format!("{} ({})", Path::new(&path).display(), refused.join("; ")),
        }),
        None => Ok(Err(wanted.missing(&format!("not found ({} names one)", wanted.variable)))),
    }
}

/// What a path of the user's may mean: the file, or a folder that holds it.
fn by_name(wanted: &Wanted, path: &Path) -> Vec<Candidate> {
    let place = "as the environment names it";
    match path.is_dir() {
        false => vec![Candidate { path: path.to_owned(), place }],
        true => {
            let inside = |&(file, _): &(&str, u32)| Candidate { path: path.join(file), place };
            wanted.files.iter().map(inside).collect()
        }
    }
}

/// Files that are there, in the order in which they are tried, and in the end the names alone for the system's loader.
fn candidates(wanted: &Wanted, cuda: u32, variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<Candidate> {
    let mut places: Vec<(PathBuf, &str)> = Vec::new();
    let packages = python_packages(variable);
    places.extend(packages.iter().flat_map(|dir| libraries_of(dir)).map(|dir| (dir, "of the active Python")));
    for (name, place) in [("CUDA_HOME", "of CUDA_HOME"), ("CUDA_PATH", "of CUDA_PATH")] {
        if let Some(home) = variable(name).map(PathBuf::from) {
            let inside = ["lib64", "lib", "targets/x86_64-linux/lib"].map(|dir| (home.join(dir), place));
            places.extend(inside);
        }
    }
    let files = || wanted.files.iter().filter(|(_, needs)| *needs <= cuda).map(|(file, _)| file);
    let mut found: Vec<Candidate> = places
        .iter()
        .flat_map(|(dir, place)| files().map(move |file| Candidate { path: dir.join(file), place }))
        .filter(|candidate| candidate.path.is_file())
        .collect();
    found.extend(files().map(|file| Candidate { path: file.into(), place: "of the system" }));
    found
}

/// Folders of packages of the active Python: of `VIRTUAL_ENV` or `CONDA_PREFIX`, else of the first `python3` or `python`
/// on `PATH`, as far as its place says.
fn python_packages(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut prefixes: Vec<PathBuf> =
        ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(|name| variable(name)).map(PathBuf::from).collect();
    let path = variable("PATH").unwrap_or_default();
    let python = std::env::split_paths(&path)
        .flat_map(|dir| ["python3", "python"].map(|name| dir.join(name)))
        .find(|file| file.is_file());
    // `bin/python3` of an environment is a link to elsewhere: its folder counts, not what it points to.
    prefixes.extend(python.as_deref().and_then(Path::parent).and_then(Path::parent).map(PathBuf::from));
    let mut packages = Vec::new();
    for prefix in prefixes {
        for (lib, kind) in [("lib", "site-packages"), ("lib", "dist-packages"), ("lib64", "site-packages")] {
            let mut versions = folders(&prefix.join(lib));
            versions.retain(|dir| name_of(dir).starts_with("python3"));
            packages.extend(versions.iter().map(|dir| dir.join(kind)));
        }
    }
    packages
}

/// The `lib` folders of NVIDIA's packages.
fn libraries_of(packages: &Path) -> Vec<PathBuf> {
    folders(&packages.join("nvidia")).iter().map(|package| package.join("lib")).collect()
}

/// The folders in a folder, by name.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs::{File, create_dir_all};

    /// A machine: a folder with empty files, and its environment.
    fn machine(
        files: &[&str],
        variables: &[(&str, &str)],
    ) -> (tempfile::TempDir, BTreeMap<String, OsString>) {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            create_dir_all(path.parent().unwrap()).unwrap();
            File::create(path).unwrap();
        }
        let inside = |value: &str| root.path().join(value).into_os_string();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), inside(value))).collect();
        (root, variables)
    }

    fn tried(files: &[&str], variables: &[(&str, &str)], cuda: u32) -> Vec<String> {
        let (root, variables) = machine(files, variables);
        let found = candidates(&CUBLASLT, cuda, &|name| variables.get(name).cloned());
        let shown = |c: Candidate| c.path.strip_prefix(root.path()).unwrap_or(&c.path).display().to_string();
        found.into_iter().map(shown).collect()
    }

    const WHEEL: &str = "venv/lib/python3.12/site-packages/nvidia/cublas/lib/libcublasLt.so.12";

    #[test]
    fn the_active_python_comes_before_cuda_home_and_that_before_the_system() {
        let files = [WHEEL, "cuda/lib64/libcublasLt.so.12", "cuda/lib64/libcublasLt.so.13"];
        assert_eq!(
            tried(&files, &[("VIRTUAL_ENV", "venv"), ("CUDA_HOME", "cuda")], 13),
            [WHEEL, files[2], files[1], "libcublasLt.so.13", "libcublasLt.so.12"]
        );
        assert_eq!(tried(&files, &[], 13), ["libcublasLt.so.13", "libcublasLt.so.12"]);
    }

    #[test]
    fn a_python_on_the_path_is_found_without_running_it() {
        let files = [WHEEL, "venv/bin/python3"];
        assert_eq!(tried(&files, &[("PATH", "venv/bin")], 12), [WHEEL, "libcublasLt.so.12"]);
    }

    #[test]
    fn a_library_newer_than_the_driver_is_left_alone() {
        let files = ["cuda/lib64/libcublasLt.so.13"];
        assert_eq!(tried(&files, &[("CUDA_PATH", "cuda")], 12), ["libcublasLt.so.12"]);
    }

    #[test]
    fn a_name_may_be_a_file_or_a_folder() {
        let (root, _) = machine(&["lib/libcublasLt.so.12"], &[]);
        let lib = root.path().join("lib");
        let paths: Vec<PathBuf> = by_name(&CUBLASLT, &lib).into_iter().map(|c| c.path).collect();
        assert_eq!(paths, [lib.join("libcublasLt.so.13"), lib.join("libcublasLt.so.12")]);
        let file = lib.join("libcublasLt.so.12");
        assert_eq!(by_name(&CUBLASLT, &file)[0].path, file);
    }
}
