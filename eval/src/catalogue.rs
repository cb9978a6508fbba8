//! Which tasks there are: those of the program, and files of the user's, which win.

use crate::reader::Reader;
use crate::{EvalError, Task};
use octo_recipe::nearest;
use std::path::{Path, PathBuf};

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../tasks/", $name, ".toml")))),*]
    };
}

/// The tasks and groups of the program.
const BUILT_IN: &[(&str, &str)] = built_in![
    "aime24",
    "aime25",
    "amc23",
    "amc23-zero",
    "asdiv",
    "gsm8k",
    "gsm8k-zero",
    "math",
    "math-zero",
    "math500",
    "math500-zero",
    "mathqa",
    "mawps",
    "mmlu-stem",
    "ocw",
    "ocw-zero",
    "octothinker",
    "olympiad",
    "olympiad-zero",
    "sat",
    "svamp",
    "tabmwp",
    "zero-shot",
];

/// Examples of the program, a row a line.
pub(crate) const SHOTS: &[(&str, &str)] = &[
    ("choices", include_str!("../tasks/shots/choices.jsonl")),
    ("courses", include_str!("../tasks/shots/courses.jsonl")),
    ("problems", include_str!("../tasks/shots/problems.jsonl")),
    ("stories", include_str!("../tasks/shots/stories.jsonl")),
];

/// Tasks extend each other at most so often.
const CHAIN: usize = 8;
/// A task file is a page.
const MAX_BYTES: u64 = 1 << 20;

/// The tasks of the program and of a folder.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    folder: Option<PathBuf>,
}

/// What a name stands for.
enum Found {
    Task(Box<Task>),
    Group(Vec<String>),
}

impl Catalogue {
    /// The program's tasks, and those of a folder where there is one: a file there named as one of the program's takes its
    /// place.
    pub fn new(folder: Option<PathBuf>) -> Catalogue {
        Catalogue { folder }
    }

    /// Names of all tasks and groups, sorted.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>, EvalError> {
        let mut names: Vec<String> = BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect();
        if let Some(folder) = &self.folder {
            let read = |source| EvalError::Read { path: folder.clone(), source };
            for entry in std::fs::read_dir(folder).map_err(read)? {
                let path = entry.map_err(read)?.path();
                let stem = path.file_stem().and_then(|stem| stem.to_str());
                if let Some(stem) = stem.filter(|_| path.extension().is_some_and(|e| e == "toml")) {
                    names.push(stem.to_owned());
                }
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The tasks that names, groups and paths of task files stand for, each once, in their order.
    ///
    /// # Errors
    /// A name that nothing has; a file with mistakes.
    pub fn tasks(&self, names: &[String]) -> Result<Vec<Task>, EvalError> {
        let mut tasks: Vec<Task> = Vec::new();
        let mut waiting: Vec<(String, usize)> = names.iter().rev().map(|name| (name.clone(), 0)).collect();
        while let Some((name, depth)) = waiting.pop() {
            if depth > CHAIN {
                let nearest = None;
                return Err(EvalError::NoTask { name: format!("{name} (groups within groups)"), nearest });
            }
            match self.find(&name)? {
                Found::Task(task) if tasks.iter().any(|other| other.name == task.name) => {}
                Found::Task(task) => tasks.push(*task),
                Found::Group(members) => {
                    waiting.extend(members.into_iter().rev().map(|member| (member, depth + 1)));
                }
            }
        }
        Ok(tasks)
    }

    /// What a group stands for; `None` where the name is a task's.
    ///
    /// # Errors
    /// As [`Catalogue::tasks`].
    pub fn group(&self, name: &str) -> Result<Option<Vec<String>>, EvalError> {
        Ok(match self.find(name)? {
            Found::Task(_) => None,
            Found::Group(members) => Some(members),
        })
    }

    fn find(&self, name: &str) -> Result<Found, EvalError> {
        let (mut reader, file) = self.read(name, true)?;
        let own = file.clone();
        let mut at = (name.to_owned(), file.is_some());
        for _ in 0..CHAIN {
            if reader.has("tasks") {
                let members = reader.texts("tasks").unwrap_or_default();
                return match reader.is_sound() {
                    true => Ok(Found::Group(members)),
                    false => Err(EvalError::TaskFile(reader.errors())),
                };
            }
            let Some(base) = reader.take_text("extends") else {
                let stem = own.as_deref().and_then(Path::file_stem).map(|s| s.to_string_lossy().into_owned());
                return Task::build(stem.as_deref().unwrap_or(name), reader, own)
                    .map(|task| Found::Task(Box::new(task)));
            };
            // A file that extends its own name means the program's task of that name; the program's extend each other.
            let (below, from) = self.read(&base, at.1 && base != at.0)?;
            at = (base, from.is_some());
            reader.extend(below);
        }
        reader.object::<()>("extends", "goes in a circle", "remove one of them");
        Err(EvalError::TaskFile(reader.errors()))
    }

    /// The file of a name: the user's, or the program's.
    fn read(&self, name: &str, own: bool) -> Result<(Reader, Option<PathBuf>), EvalError> {
        let parsed =
            |shown: &str, text: &str| Reader::new(shown, text, &Task::keys()).map_err(EvalError::TaskFile);
        let as_path = Path::new(name);
        let path = match &self.folder {
            _ if name.ends_with(".toml") => Some(as_path.to_owned()),
            Some(folder) if own => Some(folder.join(format!("{name}.toml"))).filter(|path| path.exists()),
            _ => None,
        };
        if let Some(path) = path {
            let text = read_text(&path, MAX_BYTES)?;
            return Ok((parsed(&path.display().to_string(), &text)?, Some(path)));
        }
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => Ok((parsed(&format!("{name}.toml, which is built in"), text)?, None)),
            None => {
                let names = self.names()?;
                let known: Vec<&str> = names.iter().map(String::as_str).collect();
                let plain = |text: &str| text.replace('-', "_");
                let close = nearest(
                    name,
                    &known
                        .iter()
                        .map(|k| plain(k))
                        .collect::<Vec<_>>()
                        .iter()
                        .map(String::as_str)
                        .collect::<Vec<_>>(),
                )
                .and_then(|found| known.iter().find(|k| plain(k) == found));
                Err(EvalError::NoTask { name: name.to_owned(), nearest: close.map(|n| (*n).to_owned()) })
            }
        }
    }
}

/// A small text file.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, EvalError> {
    let read = |source| EvalError::Read { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(read)?.len();
    if bytes > limit {
        let source = std::io::Error::other(format!("it has {bytes} bytes; at most {limit} are read"));
        return Err(read(source));
    }
    std::fs::read_to_string(path).map_err(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_durable::{Disk, write_bytes};

    #[test]
    fn every_task_of_the_program_is_sound() {
        let catalogue = Catalogue::default();
        let names = catalogue.names().unwrap();
        assert_eq!(names.len(), BUILT_IN.len(), "two tasks of one name");
        for name in &names {
            let tasks = catalogue.tasks(std::slice::from_ref(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(tasks.iter().all(|task| !task.about.is_empty() && !task.prompt.source().is_empty()));
        }
        let thirteen = catalogue.tasks(&["octothinker".into()]).unwrap();
        assert_eq!(thirteen.len(), 13);
        let published: usize = thirteen.iter().map(|task| task.items.unwrap()).sum();
        assert_eq!(
            published,
            1319 + 5000 + 500 + 675 + 40 + 32 + 272 + 3018 + 1000 + 1000 + 1000 + 2215 + 2065
        );
    }

    #[test]
    fn a_file_of_the_user_takes_the_place_of_the_program_s_and_may_extend_it() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            write_bytes(&Disk, &folder.path().join(name), text.as_bytes()).unwrap();
        };
        put("gsm8k.toml", "extends = \"gsm8k\"\nmax_new_tokens = 7\n");
        put("mine.toml", "tasks = [\"gsm8k\", \"svamp\", \"gsm8k\"]\n");
        let catalogue = Catalogue::new(Some(folder.path().to_owned()));
        let tasks = catalogue.tasks(&["mine".into(), "svamp".into()]).unwrap();
        let told: Vec<(&str, usize)> = tasks.iter().map(|t| (t.name.as_str(), t.max_new_tokens)).collect();
        assert_eq!(told, [("gsm8k", 7), ("svamp", 1024)]);
        put("a.toml", "extends = \"b\"\n");
        put("b.toml", "extends = \"a\"\n");
        let error = catalogue.tasks(&["a".into()]).err().unwrap().to_string();
        assert!(error.contains("goes in a circle"), "{error}");
        let error = catalogue.tasks(&["gsm-8k".into()]).err().unwrap().to_string();
        assert!(error.contains("did you mean `gsm8k`?"), "{error}");
    }

    #[test]
    fn mistakes_are_told_all_at_once_where_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        let text = "data = \"x.jsonl\"\npromt = \"{{ q }}\"\ngold = \"{{ a\"\nitems = 0\nmodes = [\"octothinker\"]\n";
        write_bytes(&Disk, &folder.path().join("t.toml"), text.as_bytes()).unwrap();
        let catalogue = Catalogue::new(Some(folder.path().to_owned()));
        let error = catalogue.tasks(&["t".into()]).err().unwrap().to_string();
        for said in [
            "t.toml:2:1: unknown key `promt`",
            "did you mean `prompt`?",
            "t.toml:3:8",
            "t.toml:4:9",
            "5 mistakes",
            "`prompt` is missing",
            "name the paper's scorer with `benchmark`",
        ] {
            assert!(error.contains(said), "{said}: {error}");
        }
    }

    #[test]
    fn no_text_is_more_than_a_mistake() {
        let mut random = crate::random::Random::new(1);
        let source = BUILT_IN.iter().find(|(name, _)| *name == "sat").unwrap().1;
        let pieces = ["\"", "{{", "}}", "[", "]", "=", "\n", "tasks", "1e9", "-1", "é", "{%", "0"];
        for _ in 0..2_000 {
            let mut text: Vec<char> = source.chars().collect();
            for _ in 0..=random.below(3) {
                let at = random.below(text.len());
                let end = (at + random.below(9)).min(text.len());
                text.splice(at..end, pieces[random.below(pieces.len())].chars());
            }
            let text: String = text.into_iter().collect();
            if let Ok(reader) = Reader::new("sat.toml", &text, &Task::keys()) {
                let _ = Task::build("sat", reader, None);
            }
        }
    }
}
