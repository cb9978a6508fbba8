//! Responses that another engine wrote.

use super::{Run, make_folder, now};
use crate::io::say;
use anyhow::{Result, bail};
use octo_durable::Disk;
use octo_eval::results::{Scored, Subject, write};
use octo_eval::{Items, Score, StoredResponses, table};
use serde_json::json;
use std::path::Path;

/// Scores a file of responses.
pub fn score(run: &Run, file: &Path) -> Result<()> {
    let mut stored = StoredResponses::load(file)?;
    let names = match run.tasks.is_empty() {
        true => stored.tasks(),
        false => run.tasks.clone(),
    };
    let tasks = run.rows.named(&names)?;
    let source = run.rows.source();
    let mut parts = Vec::new();
    for task in &tasks {
        let mut items = Items::load(task, &source)?;
        let responses = stored.take(&task.name, &mut items, run.partial)?;
        let score = Score::of(task, &items, &responses)?;
        parts.push((items, responses, score));
    }
    let scored: Vec<Scored<'_>> = tasks
        .iter()
        .zip(&parts)
        .map(|(task, (items, responses, score))| Scored { task, items, responses, score, drawn: None })
        .collect();
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = run.name.clone().unwrap_or(stem);
    if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
        bail!(
            "--name {name}: results go to a folder of this name; give one without `/` that does not begin with a dot"
        );
    }
    let folder = run.output.join(&name);
    make_folder(&folder)?;
    let mut subject = Subject { name, source: "responses".into(), ..Subject::default() };
    subject.config.insert("model".into(), json!("responses"));
    subject.config.insert("model_args".into(), json!({"responses": file.display().to_string()}));
    subject.config.insert("limit".into(), json!(run.rows.limit));
    let written = write(&Disk, &folder, &now(), &subject, &scored)?;
    say(&table::results(&scored))?;
    say(&format!("results  {}", written.display()))?;
    run.summarise(&Disk)
}
