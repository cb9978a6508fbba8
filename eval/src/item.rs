//! The items of a task: rows of the user's file, made into prompts and gold answers.

use crate::catalogue::{SHOTS, read_text};
use crate::{EvalError, Task};
use octo_rows::{Origin, Row, Rows, RowsError, Template};
use octo_text::{ChatTemplate, Message};
use octo_verify::{Extraction, extract};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file of examples is read whole.
const MAX_SHOTS_BYTES: u64 = 64 << 20;

/// One question with its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its number in the file, from 0.
    pub index: usize,
    /// Its name.
    pub id: String,
    /// The row.
    pub doc: Map<String, Value>,
    /// What is asked: examples and question.
    pub prompt: String,
    /// The right answers, at least one.
    pub gold: Vec<String>,
    /// The question alone; empty where no rule looks at it.
    pub question: String,
    /// The options; none where no rule looks at them.
    pub choices: Vec<String>,
}

impl Item {
    /// The gold answer that is shown.
    pub fn target(&self) -> &str {
        self.gold.first().map_or("", String::as_str)
    }

    /// SHA-256 of the prompt.
    pub fn prompt_hash(&self) -> String {
        sha256(&self.prompt)
    }

    /// SHA-256 of the row as JSON with sorted keys.
    pub fn doc_hash(&self) -> String {
        sha256(&Value::Object(self.doc.clone()).to_string())
    }
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where rows and examples are.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Folder of all tasks' files.
    pub folder: Option<PathBuf>,
    /// Files of single tasks, by the task's name.
    pub files: BTreeMap<String, String>,
    /// A file of examples instead of the tasks' own.
    pub examples: Option<String>,
    /// How many examples, instead of what the tasks say.
    pub shots: Option<usize>,
    /// At most so many items, the first.
    pub limit: Option<usize>,
    /// Whether another number of items than the task's is fine.
    pub any_count: bool,
}

/// A task's items.
#[derive(Clone, Debug)]
pub struct Items {
    /// The items, in the file's order.
    pub items: Vec<Item>,
    /// Items in the file.
    pub found: usize,
    /// The file.
    pub file: String,
    /// Examples before each prompt.
    pub shots: usize,
    /// Where the examples come from: the name of a set of the program, or a file.
    pub examples: Option<String>,
    /// Whether the examples are the program's own, so that a few-shot score compares with no published one.
    pub own_examples: bool,
}

impl Items {
    /// Reads a task's rows.
    ///
    /// # Errors
    /// A file that is not there or cannot be read; a row that lacks what the task uses; another number of items than the
    /// task's.
    pub fn load(task: &Task, source: &Source) -> Result<Items, EvalError> {
        let rows_error = |source| EvalError::Rows { task: task.name.clone(), source };
        let shots = Shots::load(task, source)?;
        let path = path(task, source)?;
        let mut items = Vec::new();
        let mut found = 0;
        for row in Rows::open(&path).map_err(rows_error)? {
            let row = row.map_err(rows_error)?;
            if source.limit.is_none_or(|limit| items.len() < limit) {
                items.push(item(task, &shots.text, found, row)?);
            }
            found += 1;
        }
        if let Some(expected) = task.items.filter(|n| *n != found && !source.any_count) {
            return Err(EvalError::Count { task: task.name.clone(), file: path, found, expected });
        }
        let own_examples = shots.own;
        let (shots, examples) = (shots.count, shots.name);
        Ok(Items { items, found, file: path, shots, examples, own_examples })
    }
}

impl Items {
    /// The same items with each prompt as what a user says in a conversation, after what the system says, in the words of a
    /// model's template, and the answer opened.
    ///
    /// # Errors
    /// When the template refuses.
    pub fn in_chat(&self, template: &ChatTemplate, system: Option<&str>) -> Result<Items, EvalError> {
        let says = |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
        let mut items = self.clone();
        for item in &mut items.items {
            let mut turns: Vec<Message> = system.iter().map(|content| says("system", content)).collect();
            turns.push(says("user", &item.prompt));
            item.prompt = template.render(&turns, true)?;
        }
        Ok(items)
    }
}

/// The file or pattern of a task's rows.
fn path(task: &Task, source: &Source) -> Result<String, EvalError> {
    if let Some(path) = source.files.get(&task.name) {
        return Ok(path.clone());
    }
    let beside = task.file.as_deref().and_then(Path::parent).map(Path::to_owned);
    let folder = source.folder.clone().or(beside).unwrap_or_else(|| PathBuf::from("."));
    let mut last = None;
    for name in &task.data {
        let path = folder.join(name).display().to_string();
        match Rows::files(&path) {
            Ok(_) => return Ok(path),
            Err(RowsError::NoFiles { .. }) => {}
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(source) => EvalError::Rows { task: task.name.clone(), source },
        None => EvalError::NoData { task: task.name.clone(), folder, tried: task.data.clone() },
    })
}

/// Solved examples as the text before a prompt.
struct Shots {
    text: String,
    count: usize,
    name: Option<String>,
    own: bool,
}

impl Shots {
    fn load(task: &Task, source: &Source) -> Result<Shots, EvalError> {
        let none = Shots { text: task.preamble.clone(), count: 0, name: None, own: false };
        let Some(template) = &task.example else { return Ok(none) };
        let wanted = source.shots.or(task.shots);
        let Some(name) = source.examples.as_ref().or(task.examples.as_ref()) else { return Ok(none) };
        if wanted == Some(0) {
            return Ok(none);
        }
        let own = SHOTS.iter().find(|(known, _)| known == name).filter(|_| source.examples.is_none());
        let rows = match own {
            Some((_, text)) => lines(name, text),
            None => file_rows(task, source, name, wanted)?,
        };
        let rows: Vec<Row> = rows.into_iter().take(wanted.unwrap_or(usize::MAX)).collect();
        if let Some(wanted) = wanted.filter(|wanted| *wanted > rows.len()) {
            let have = rows.len();
            return Err(EvalError::Setting(format!(
                "{}: {wanted} examples were asked for, but `{name}` holds {have}",
                task.name
            )));
        }
        let mut text = task.preamble.clone();
        for row in &rows {
            text += &rendered(task, template, row)?;
        }
        Ok(Shots { text, count: rows.len(), name: Some(name.clone()), own: own.is_some() })
    }
}

/// The rows of a set of the program.
fn lines(name: &str, text: &str) -> Vec<Row> {
    let file: Arc<Path> = Path::new(name).into();
    let rows = text.lines().filter_map(|line| serde_json::from_str(line).ok()).zip(1..);
    rows.map(|(fields, line)| Row {
        fields,
        origin: Origin { file: file.clone(), line },
        unread: Arc::default(),
    })
    .collect()
}

/// The first rows of a file of examples: as it is named on the command line, or beside the task file.
fn file_rows(task: &Task, source: &Source, name: &str, wanted: Option<usize>) -> Result<Vec<Row>, EvalError> {
    let beside = task.file.as_deref().and_then(Path::parent).filter(|_| source.examples.is_none());
    let path = beside.map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
    if !path.exists() {
        let known = SHOTS.iter().map(|(name, _)| *name).collect();
        return Err(EvalError::NoExamples { task: task.name.clone(), name: name.to_owned(), known });
    }
    if wanted.is_none() {
        // All of them stand before every prompt.
        read_text(&path, MAX_SHOTS_BYTES)?;
    }
    let error = |source| EvalError::Rows { task: task.name.clone(), source };
    let rows = Rows::open(&path.display().to_string()).map_err(error)?;
    rows.take(wanted.unwrap_or(usize::MAX)).map(|row| row.map_err(error)).collect()
}

fn rendered(task: &Task, template: &Template, row: &Row) -> Result<String, EvalError> {
    template.render(row).map_err(|source| EvalError::Rows { task: task.name.clone(), source })
}

fn item(task: &Task, shots: &str, index: usize, row: Row) -> Result<Item, EvalError> {
    let origin = row.origin.to_string();
    let missing = |reason: &str| EvalError::Gold {
        task: task.name.clone(),
        origin: origin.clone(),
        reason: reason.to_owned(),
    };
    let mut gold = Vec::with_capacity(task.gold.len());
    for template in &task.gold {
        let mut text = rendered(task, template, &row)?;
        if task.gold_boxed {
            let how = Extraction { after_thinking: false, boxed_only: true };
            let boxed = extract(&text, &how).into_iter().next();
            text = boxed.ok_or_else(|| missing("its gold text holds no \\boxed{}"))?.text;
        }
        let text = text.trim().to_owned();
        if text.is_empty() {
            return Err(missing("its gold answer is empty"));
        }
        if !gold.contains(&text) {
            gold.push(text);
        }
    }
    let id = match &task.id {
        Some(id) => rendered(task, id, &row)?,
        None => index.to_string(),
    };
    let question = task.question.as_ref().map(|q| rendered(task, q, &row)).transpose()?.unwrap_or_default();
    let choices = match task.choices.as_ref().map(|field| row.fields.get(field)) {
        Some(Some(Value::Array(options))) => options.iter().map(plain).collect(),
        Some(Some(Value::Null)) | None => Vec::new(),
        Some(_) => return Err(missing("its field of options is no list")),
    };
    let prompt = shots.to_owned() + &rendered(task, &task.prompt, &row)?;
    Ok(Item { index, id, doc: row.fields, prompt, gold, question, choices })
}

/// A value as text, a string without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalogue;
    use octo_durable::{Disk, write_bytes};

    #[test]
    fn the_examples_of_the_program_are_rows_and_stand_before_the_prompt() {
        for (name, text) in SHOTS {
            assert_eq!(lines(name, text).len(), text.lines().count(), "{name}");
        }
        let folder = tempfile::tempdir().unwrap();
        let row = "{\"question\": \"How many?\", \"answer\": \"so\\n#### 1,234\"}\n";
        write_bytes(&Disk, &folder.path().join("gsm8k.jsonl"), row.as_bytes()).unwrap();
        let task = Catalogue::default().tasks(&["gsm8k".into()]).unwrap().remove(0);
        let mut source = Source { folder: Some(folder.path().to_owned()), ..Source::default() };
        let error = Items::load(&task, &source).unwrap_err().to_string();
        assert!(error.contains("has 1 items, but the task says 1319"), "{error}");
        source.any_count = true;
        let items = Items::load(&task, &source).unwrap();
        let item = &items.items[0];
        assert_eq!((items.shots, item.target()), (8, "1,234"));
        assert_eq!(item.prompt.matches("Q: ").count(), 9);
        assert!(item.prompt.ends_with("\n\nQ: How many?\nA:"), "{}", item.prompt);
        source.shots = Some(0);
        assert_eq!(Items::load(&task, &source).unwrap().items[0].prompt, "Q: How many?\nA:");
        source.shots = Some(9);
        let error = Items::load(&task, &source).unwrap_err().to_string();
        assert!(error.contains("9 examples were asked for, but `stories` holds 8"), "{error}");
    }

    #[test]
    fn a_hash_is_what_other_programs_call_sha256() {
        assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn in_a_conversation_the_prompt_is_what_the_user_says() {
        let item = Item {
            index: 0,
            id: "0".into(),
            doc: Map::new(),
            prompt: "How many?".into(),
            gold: vec!["3".into()],
            question: String::new(),
            choices: Vec::new(),
        };
        let (file, shots) = (String::new(), 0);
        let items = Items { items: vec![item], found: 1, file, shots, examples: None, own_examples: false };
        let source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
        let template = ChatTemplate::new(source, None, None).unwrap();
        let prompt = |system| items.in_chat(&template, system).unwrap().items[0].prompt.clone();
        assert_eq!(prompt(None), "[user]How many?[assistant]");
        assert_eq!(prompt(Some("Be short.")), "[system]Be short.[user]How many?[assistant]");
    }
}
