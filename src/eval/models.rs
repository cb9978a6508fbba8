//! Models in folders: loaded one after the other, each asked for what is missing.

use super::progress::Progress;
use super::{Run, make_folder, now};
use crate::io::say;
use crate::model::{Needs, open_model};
use anyhow::{Context, Result};
use octo_durable::{Disk, Fs, KillingFs, RunLock, move_folder, remove_leftovers};
use octo_eval::results::{Drawn, Scored, Stamp, Subject, write};
use octo_eval::{Engine, Items, Observer, ResponseLog, Score, Task, Work, checkpoints, fingerprint, table};
use octo_model::ModelDir;
use octo_model::hf::model_path;
use octo_ops::DeviceInfo;
use octo_text::{ChatTemplate, Tokenizer};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Evaluates the models of a path.
pub fn evaluate(run: &Run, tasks: &[(Task, Items)], path: &Path) -> Result<()> {
    let mut models = checkpoints::find(path)?;
    if let Some(last) = run.last {
        models.drain(..models.len().saturating_sub(last));
    }
    leave_at_once_on_signals()?;
    let fs = disk()?;
    for (at, model) in models.iter().enumerate() {
        if models.len() > 1 {
            say(&format!(
                "{}model {} of {}: {}",
                if at > 0 { "\n" } else { "" },
                at + 1,
                models.len(),
                model.display()
            ))?;
        }
        one(run, tasks, model, fs).with_context(|| model.display().to_string())?;
    }
    run.summarise(fs)
}

/// Every response is on disk as soon as it is complete: nothing is left to be saved. Exit code 75 says "run again".
pub fn leave_at_once_on_signals() -> Result<()> {
    for signal in [SIGTERM, SIGUSR1, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 75, Arc::new(AtomicBool::new(true)))?;
    }
    Ok(())
}

/// The disk; in tests one on which the process dies (docs/testing.md).
pub fn disk() -> Result<&'static dyn Fs> {
    Ok(match std::env::var("OCTO_KILL_AT") {
        Ok(at) => {
            let at = at.parse().with_context(|| format!("OCTO_KILL_AT={at}"))?;
            Box::leak(Box::new(KillingFs::new(at)))
        }
        Err(_) => &Disk,
    })
}

/// Evaluates one model.
pub fn one(run: &Run, tasks: &[(Task, Items)], path: &Path, fs: &'static dyn Fs) -> Result<()> {
    let mut progress = Progress::new();
    let name = checkpoints::name(path);
    let folder = run.output.join(&name);
    make_folder(&folder.join("responses"))?;
    let _lock = RunLock::take(&folder.join("lock"), None)?;
    remove_leftovers(fs, &folder)?;
    remove_leftovers(fs, &folder.join("responses"))?;
    if run.fresh {
        move_folder(fs, &folder.join("responses"), &folder.join("discarded"))?;
        make_folder(&folder.join("responses"))?;
    }
    let queue = run.device.open()?;
    let model = Model::open(run, path, name, queue.describe())?;
    let items = tasks.iter().map(|(_, items)| model.asked(run, items)).collect::<Result<Vec<_>>>()?;
    let settings = run.settings();
    let works = tasks.iter().zip(&items);
    let works: Vec<Work<'_>> = works
        .map(|((task, _), items)| Ok(Work::new(task, items, &model.tokenizer, &settings)?))
        .collect::<Result<_>>()?;
    let identity = model.identity();
    let mut logs = Vec::new();
    for work in &works {
        let file = format!("{}_{}.jsonl", work.task.name, fingerprint(&[&identity, &work.settings()]));
        logs.push(ResponseLog::open(fs, &folder.join("responses").join(file))?);
    }
    let stamp = stamp(fs, &folder, identity, &works)?;
    let missing = works.iter().zip(&logs).map(|(work, log)| work.missing(Some(log)).len()).sum();
    let mut responses = Vec::new();
    if missing == 0 {
        progress.note(&format!("{}: all responses are there already; --fresh writes them anew", model.name));
        for (work, log) in works.iter().zip(&mut logs) {
            responses.push(work.run(&mut (), Some(log), &mut progress)?);
        }
    } else {
        let needs = needs(&works, missing);
        let mut loaded = run.device.load(queue, &model.dir, Some(model.tokenizer.clone()), &needs)?;
        for (work, log) in works.iter().zip(&mut logs) {
            let mut engine = Engine {
                queue: &mut loaded.queue,
                net: &loaded.net,
                session: &mut loaded.session,
                tokenizer: &model.tokenizer,
                stop_tokens: &loaded.eos,
            };
            responses.push(work.run(&mut engine, Some(log), &mut progress)?);
        }
    }
    let scores =
        works.iter().zip(&responses).map(|(work, responses)| Score::of(work.task, work.items, responses));
    let scores = scores.collect::<Result<Vec<_>, _>>()?;
    let parts = works.iter().zip(&responses).zip(&scores);
    let scored: Vec<Scored<'_>> = parts
        .map(|((work, responses), score)| {
            let drawn = Some(Drawn::of(work));
            Scored { task: work.task, items: work.items, responses, score, drawn }
        })
        .collect();
    let written = write(fs, &folder, &stamp, &model.subject(run), &scored)?;
    say(&table::results(&scored))?;
    say(&format!("results  {}", written.display()))
}

/// What the missing responses need of cache.
fn needs(works: &[Work<'_>], missing: usize) -> Needs {
    let lengths = |work: &Work<'_>| -> Vec<usize> {
        work.prompts.iter().map(|prompt| prompt.len().saturating_add(work.max_new_tokens)).collect()
    };
    let lengths: Vec<usize> = works.iter().flat_map(lengths).collect();
    let samples = works.iter().map(|work| work.samples as usize).max().unwrap_or(1);
    Needs {
        context: lengths.iter().copied().max().unwrap_or(0),
        total: lengths.into_iter().fold(0, usize::saturating_add).saturating_mul(samples),
        requests: missing,
    }
}

/// When this very evaluation first began.
fn stamp(fs: &dyn Fs, folder: &Path, model: String, works: &[Work<'_>]) -> Result<Stamp> {
    let parts: Vec<String> = std::iter::once(model).chain(works.iter().map(Work::identity)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let began = folder.join("responses").join(format!("began_{}.json", fingerprint(&parts)));
    Ok(Stamp::kept(fs, &began, now())?)
}

/// A model before its weights are loaded.
struct Model<'a> {
    path: &'a Path,
    name: String,
    dir: ModelDir,
    tokenizer: Tokenizer,
    /// Hash of config and weights.
    weights: String,
    /// Most tokens of a prompt and its response.
    context: u32,
    device: DeviceInfo,
    /// Its chat template, where that was asked for.
    chat: Option<ChatTemplate>,
}

impl<'a> Model<'a> {
    fn open(run: &Run, path: &'a Path, name: String, device: DeviceInfo) -> Result<Model<'a>> {
        let (dir, tokenizer) = open_model(path)?;
        let tokenizer = tokenizer
            .context("the model directory has no tokenizer.json, without which there are no prompts")?;
        let chat = match run.apply_chat_template {
            true => Some(ChatTemplate::of(&tokenizer)?.context(
                "its tokenizer_config.json has no chat_template; leave out --apply-chat-template",
            )?),
            false => None,
        };
        let weights = checkpoints::hash(&model_path(path))?;
        let context = run.device.context(&dir);
        Ok(Model { path, name, dir, tokenizer, weights, context, device, chat })
    }

    /// A task's items as this model is asked them.
    fn asked<'i>(&self, run: &Run, items: &'i Items) -> Result<Cow<'i, Items>> {
        Ok(match &self.chat {
            Some(chat) => Cow::Owned(items.in_chat(chat, run.system_instruction.as_deref())?),
            None => Cow::Borrowed(items),
        })
    }

    /// All that a response depends on besides its prompt and how it is drawn.
    fn identity(&self) -> String {
        fingerprint(&[
            &self.weights,
            &format!("{:032x}", self.tokenizer.content_hash()),
            self.device.kind,
            &format!("{:?}", self.device.precision),
            &self.context.to_string(),
            env!("CARGO_PKG_VERSION"),
        ])
    }

    /// What results say of it.
    fn subject(&self, run: &Run) -> Subject {
        let token = |id: Option<u32>| json!([id.and_then(|id| self.tokenizer.id_to_token(id)), id]);
        let config = json!({
            "model": "octo-engine",
            "model_args": {"path": self.path.display().to_string()},
            "model_dtype": format!("{:?}", self.dir.weights().narrowest_dtype()).to_lowercase(),
            "model_sha": self.weights,
            "device": self.device.description,
            "limit": run.rows.limit,
            "random_seed": run.seed,
        });
        let more = json!({
            "tokenizer_bos_token": token(self.tokenizer.bos_id()),
            "tokenizer_eos_token": token(self.tokenizer.eos_id()),
            "tokenizer_hash": format!("{:032x}", self.tokenizer.content_hash()),
            "eot_token_id": self.dir.eos_token_ids(),
            "max_length": self.context,
            "chat_template": self.chat.as_ref().map(ChatTemplate::source),
            "system_instruction": run.system_instruction,
        });
        let map = |value: Value| value.as_object().cloned().unwrap_or_default();
        let source = "octo-engine".to_owned();
        Subject { name: self.name.clone(), config: map(config), more: map(more), source }
    }
}
