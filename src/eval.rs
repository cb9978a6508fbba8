//! `eval`: what do models score on benchmarks?

mod models;
mod progress;
mod stored;
mod watch;

use crate::io::say;
use crate::model::DeviceArgs;
use anyhow::{Context, Result, bail};
use octo_durable::Fs;
use octo_eval::results::Stamp;
use octo_eval::summary::Summary;
use octo_eval::{Catalogue, Items, Settings, Source, Task, check_golds, compare, table};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Arguments of `eval`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Is one of two models better? By the same items, with an interval.
    Compare {
        /// A model's folder of results, or one of its results_….json.
        a: PathBuf,
        /// Another.
        b: PathBuf,
    },
    /// List the tasks.
    List {
        /// A folder of task files beside the built-in ones.
        #[arg(long, value_name = "DIR")]
        task_dir: Option<PathBuf>,
    },
    /// Print a task's first prompts exactly as the model gets them.
    Prompt {
        /// Tasks, groups or task files, with commas between.
        #[arg(long, value_name = "NAME", value_delimiter = ',', required = true)]
        tasks: Vec<String>,
        #[command(flatten)]
        rows: Rows,
    },
    /// Does every gold answer verify against itself, by each of the task's rules?
    Check {
        /// Tasks, groups or task files, with commas between.
        #[arg(long, value_name = "NAME", value_delimiter = ',', required = true)]
        tasks: Vec<String>,
        #[command(flatten)]
        rows: Rows,
    },
}

/// Where the tasks' rows are, and what becomes of them.
#[derive(clap::Args)]
struct Rows {
    /// The folder with the benchmarks' files; or TASK=FILE for one task. May be given several times.
    #[arg(long, value_name = "DIR|TASK=FILE")]
    data: Vec<String>,
    /// A folder of task files beside the built-in ones.
    #[arg(long, value_name = "DIR")]
    task_dir: Option<PathBuf>,
    /// By whose rules: strict, math-verify, octothinker, with commas between; the first is the one of overviews.
    #[arg(long, value_name = "MODE", value_delimiter = ',')]
    modes: Vec<String>,
    /// Only the first N items of each task.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    limit: Option<usize>,
    /// Examples before each prompt.
    #[arg(long, value_name = "N")]
    num_fewshot: Option<usize>,
    /// Take the examples from this file of rows.
    #[arg(long, value_name = "FILE")]
    fewshot: Option<PathBuf>,
    /// Take files whose number of items is not the published one.
    #[arg(long)]
    any_count: bool,
}

#[derive(clap::Args)]
struct Run {
    /// A Hugging Face model directory, a checkpoint, a run, or a folder of any of these.
    #[arg(value_name = "MODEL", required_unless_present_any = ["responses", "watch"])]
    model: Option<PathBuf>,
    /// Tasks, groups (octothinker, zero-shot) or task files, with commas between; `eval list` lists them.
    #[arg(long, value_name = "NAME", value_delimiter = ',', required_unless_present = "responses")]
    tasks: Vec<String>,
    #[command(flatten)]
    rows: Rows,
    /// Results go to DIR/MODEL's name/.
    #[arg(long, value_name = "DIR", default_value = "evals")]
    output: PathBuf,
    /// Only the newest K models of a folder.
    #[arg(long, value_name = "K", value_parser = at_least_one)]
    last: Option<usize>,
    /// Evaluate each milestone of a run as it appears, until the run ends.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["model", "responses", "last", "fresh"])]
    watch: Option<PathBuf>,
    /// Score responses that are already written: lines {"task": ..., "id": ..., "responses": [...]}.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "last", "fresh"])]
    responses: Option<PathBuf>,
    /// With --responses: leave items without a response out.
    #[arg(long, requires = "responses")]
    partial: bool,
    /// With --responses: what results call the model; the file's name by default.
    #[arg(long, value_name = "NAME", requires = "responses")]
    name: Option<String>,
    /// Write all responses anew.
    #[arg(long)]
    fresh: bool,
    /// Responses to each item.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    n: Option<u32>,
    /// Divides the logits; 0 takes the likeliest token.
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Keep so many of the likeliest tokens; 0 keeps all.
    #[arg(long, value_name = "K")]
    top_k: Option<u32>,
    /// Keep so much of the probability.
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Drop tokens below this fraction of the likeliest one's probability.
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Seed; item i draws with seed + i, whatever its company.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Most tokens of a response.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    max_new_tokens: Option<usize>,
    /// Put each prompt into the model's chat template, as what the user says.
    #[arg(long, conflicts_with = "responses")]
    apply_chat_template: bool,
    /// With --apply-chat-template: what the system says first.
    #[arg(long, value_name = "TEXT", requires = "apply_chat_template")]
    system_instruction: Option<String>,
    #[command(flatten)]
    device: DeviceArgs,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("0 is not in 1..".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

/// Runs `eval`.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Some(Command::Compare { a, b }) => say(&compare::table(&compare::compare(&a, &b)?)),
        Some(Command::List { task_dir }) => list(&Catalogue::new(task_dir)),
        Some(Command::Prompt { tasks, rows }) => prompts(rows.load(&tasks)?),
        Some(Command::Check { tasks, rows }) => check(rows.load(&tasks)?),
        None => evaluate(&args.run),
    }
}

fn evaluate(run: &Run) -> Result<()> {
    if let Some(responses) = &run.responses {
        return stored::score(run, responses);
    }
    let loaded = run.rows.load(&run.tasks)?;
    match (&run.watch, &run.model) {
        (Some(watched), _) => watch::milestones(run, &loaded, watched),
        (None, Some(model)) => models::evaluate(run, &loaded, model),
        (None, None) => bail!("give a MODEL, --watch RUN or --responses FILE"),
    }
}

impl Run {
    fn settings(&self) -> Settings {
        Settings {
            samples: self.n,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            max_new_tokens: self.max_new_tokens,
            seed: self.seed,
        }
    }

    /// All results below the output folder, in files and on the terminal.
    fn summarise(&self, fs: &dyn Fs) -> Result<()> {
        let summary = Summary::of(&self.output)?;
        summary.write(fs, &self.output)?;
        if summary.rows.iter().map(|row| &row.model).collect::<std::collections::BTreeSet<_>>().len() > 1 {
            say(&format!("\n{}", summary.table()))?;
        }
        Ok(())
    }
}

impl Rows {
    /// The tasks of `names`.
    fn named(&self, names: &[String]) -> Result<Vec<Task>> {
        let mut tasks = Catalogue::new(self.task_dir.clone()).tasks(names)?;
        if !self.modes.is_empty() {
            for task in &mut tasks {
                task.set_modes(&self.modes)?;
            }
        }
        Ok(tasks)
    }

    fn source(&self) -> Source {
        let (mut folder, mut files) = (None, std::collections::BTreeMap::new());
        for data in &self.data {
            match data.split_once('=').filter(|(task, _)| !task.contains('/')) {
                Some((task, file)) => {
                    files.insert(task.to_owned(), file.to_owned());
                }
                None => folder = Some(PathBuf::from(data)),
            }
        }
        Source {
            folder,
            files,
            examples: self.fewshot.as_ref().map(|path| path.display().to_string()),
            shots: self.num_fewshot,
            limit: self.limit,
            any_count: self.any_count,
        }
    }

    /// The tasks with their items.
    fn load(&self, names: &[String]) -> Result<Vec<(Task, Items)>> {
        let source = self.source();
        let tasks = self.named(names)?;
        if let Some(unknown) = source.files.keys().find(|name| tasks.iter().all(|task| task.name != **name)) {
            bail!(
                "--data {unknown}=…: `{unknown}` is none of the tasks; for a folder with `=` in its name write ./ before it"
            );
        }
        tasks
            .into_iter()
            .map(|task| Items::load(&task, &source).map(|items| (task, items)).map_err(Into::into))
            .collect()
    }
}

/// This moment.
fn now() -> Stamp {
    let now = SystemTime::now();
    let name = octo_trainer::utc(now).trim_end_matches('Z').replace(':', "-");
    Stamp { name, seconds: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() }
}

/// Makes a folder and those above it.
fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

fn list(catalogue: &Catalogue) -> Result<()> {
    let mut rows = Vec::new();
    for name in catalogue.names()? {
        if let Some(members) = catalogue.group(&name)? {
            rows.push(vec![name, String::new(), String::new(), format!("group of {}", members.join(", "))]);
            continue;
        }
        for task in catalogue.tasks(&[name])? {
            let modes: Vec<&str> = task.modes.iter().map(|mode| mode.name()).collect();
            let items = task.items.map(|items| items.to_string()).unwrap_or_default();
            rows.push(vec![task.name, items, modes.join(", "), task.about]);
        }
    }
    say(&table::aligned(&["task", "items", "modes", "about"], &rows, &[1]))
}

fn prompts(tasks: Vec<(Task, Items)>) -> Result<()> {
    for (task, items) in tasks {
        let Some(item) = items.items.first() else { bail!("{}: no items in {}", task.name, items.file) };
        say(&format!("=== {}, item {}, gold {:?}, stop {:?}", task.name, item.id, item.gold, task.stop))?;
        say(&item.prompt)?;
    }
    Ok(())
}

fn check(tasks: Vec<(Task, Items)>) -> Result<()> {
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    for (task, items) in tasks {
        for check in check_golds(&task, &items, &task.modes)? {
            let all = items.items.len();
            rows.push(vec![
                task.name.clone(),
                check.filter.name().to_owned(),
                all.to_string(),
                check.right.to_string(),
                check.wrong.len().to_string(),
            ]);
            for (id, gold, judged) in check.wrong {
                let (task, filter) = (&task.name, check.filter.name());
                wrong.push(format!(
                    "{task} {id} {filter}: {}, gold {gold:?}, found {:?}",
                    judged.verdict.name(),
                    judged.answer
                ));
            }
        }
    }
    for line in &wrong {
        say(line)?;
    }
    say(&table::aligned(&["task", "mode", "items", "verify", "do not"], &rows, &[2, 3, 4]))
}
