//! From prompts to responses.

use crate::generator::GenerateError;
use crate::item::sha256;
use crate::{Ask, EvalError, Generator, Item, Items, Response, ResponseLog, Task};
use octo_infer::Sampling;
use octo_text::Tokenizer;

/// Requests handed to the generator at once: their prompts are all in memory.
const TOGETHER: usize = 4096;

/// What an evaluation may say otherwise than its tasks.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Responses to each item.
    pub samples: Option<u32>,
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: Option<f32>,
    /// Tokens kept; 0 for all.
    pub top_k: Option<u32>,
    /// Probability mass kept; 1 for all.
    pub top_p: Option<f32>,
    /// Fraction of the likeliest token's probability below which tokens go; 0 for none.
    pub min_p: Option<f32>,
    /// Most tokens of a response.
    pub max_new_tokens: Option<usize>,
    /// Seed; item i draws with seed + i.
    pub seed: u64,
}

impl Settings {
    fn sampling(&self, task: &Task) -> Sampling {
        Sampling {
            temperature: self.temperature.unwrap_or(task.sampling.temperature),
            top_k: self.top_k.unwrap_or(task.sampling.top_k),
            top_p: self.top_p.unwrap_or(task.sampling.top_p),
            min_p: self.min_p.unwrap_or(task.sampling.min_p),
        }
    }
}

/// Who is told how it goes.
pub trait Observer {
    /// Something a person should know.
    fn note(&mut self, _line: &str) {}
    /// A task begins; so many of its responses are there already.
    fn begin(&mut self, _task: &str, _there: usize, _total: usize) {}
    /// A response is complete: so many tokens, right by the task's first mode or not.
    fn response(&mut self, _tokens: usize, _right: bool) {}
    /// A task's responses are all there.
    fn end(&mut self) {}
}

/// Nobody.
impl Observer for () {}

/// A task with its items and prompts, ready to be run.
pub struct Work<'a> {
    /// The task.
    pub task: &'a Task,
    /// Its items.
    pub items: &'a Items,
    /// Token ids of their prompts.
    pub prompts: Vec<Vec<u32>>,
    /// Responses to each.
    pub samples: u32,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens of a response.
    pub max_new_tokens: usize,
    /// Seed.
    pub seed: u64,
}

impl<'a> Work<'a> {
    /// Encodes a task's prompts: the beginning-of-text token once, where the tokenizer puts one, and nothing behind.
    ///
    /// # Errors
    /// When a prompt cannot be encoded; settings that make no sense together.
    pub fn new(
        task: &'a Task,
        items: &'a Items,
        tokenizer: &Tokenizer,
        settings: &Settings,
    ) -> Result<Work<'a>, EvalError> {
        let samples = settings.samples.unwrap_or(task.samples);
        let sampling = settings.sampling(task);
        let refuse = |reason: String| Err(EvalError::Setting(format!("{}: {reason}", task.name)));
        if samples == 0 {
            return refuse("no responses were asked for; give at least one an item".into());
        }
        if samples < task.metric.samples() {
            let needs = task.metric.samples();
            return refuse(format!(
                "{} needs {needs} responses an item; give --n {needs}",
                task.metric.name()
            ));
        }
        if samples > 1 && sampling.temperature == 0.0 {
            return refuse(format!(
                "{samples} responses at temperature 0 are all the same; give a temperature, or one response"
            ));
        }
        let prompts = items.items.iter().map(|item| encode(tokenizer, &item.prompt));
        let prompts = prompts.collect::<Result<Vec<_>, _>>()?;
        let max_new_tokens = settings.max_new_tokens.unwrap_or(task.max_new_tokens);
        Ok(Work { task, items, prompts, samples, sampling, max_new_tokens, seed: settings.seed })
    }

    /// All that a response depends on besides its prompt and its model.
    pub fn settings(&self) -> String {
        let Sampling { temperature, top_k, top_p, min_p } = self.sampling;
        format!(
            "{} {temperature} {top_k} {top_p} {min_p} {} {} {:?}",
            self.task.name, self.seed, self.max_new_tokens, self.task.stop
        )
    }

    /// All that its results depend on besides its model.
    pub fn identity(&self) -> String {
        let modes: Vec<&str> = self.task.modes.iter().map(|mode| mode.name()).collect();
        let metric = self.task.metric.name();
        let mut items = String::new();
        for item in &self.items.items {
            items += &format!("{}{}{:?}", item.prompt_hash(), item.doc_hash(), item.gold);
        }
        format!("{} {} {modes:?} {metric} {}", self.settings(), self.samples, sha256(&items))
    }

    /// The responses that a log lacks, as (position of the item, sample); without a log all of them.
    pub fn missing(&self, log: Option<&ResponseLog<'_>>) -> Vec<(usize, u32)> {
        let mut missing = Vec::new();
        for (at, item) in self.items.items.iter().enumerate() {
            let hash = item.prompt_hash();
            let lacks = |sample: &u32| log.and_then(|log| log.get(item.index, *sample, &hash)).is_none();
            missing.extend((0..self.samples).filter(lacks).map(|sample| (at, sample)));
        }
        missing
    }

    /// Has the generator write the responses that are missing, longest prompts first, and returns all of them, an item's
    /// together. With a log, each is on disk as soon as it is complete, and none that is there is asked for again.
    ///
    /// # Errors
    /// The generator's, with the item at fault; the log's.
    pub fn run(
        &self,
        generator: &mut dyn Generator,
        mut log: Option<&mut ResponseLog<'_>>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Vec<Response>>, EvalError> {
        let hashes: Vec<String> = self.items.items.iter().map(Item::prompt_hash).collect();
        let there = |at: usize, sample: u32, log: &Option<&mut ResponseLog<'_>>| {
            log.as_ref()?.get(self.items.items[at].index, sample, &hashes[at]).cloned()
        };
        let mut responses: Vec<Vec<Option<Response>>> = (0..hashes.len())
            .map(|at| (0..self.samples).map(|sample| there(at, sample, &log)).collect())
            .collect();
        let mut missing = self.missing(log.as_deref());
        let total = hashes.len() * self.samples as usize;
        observer.begin(&self.task.name, total - missing.len(), total);
        let first = self.task.modes[0];
        for (at, response) in responses.iter().enumerate().flat_map(|(at, r)| r.iter().map(move |r| (at, r)))
        {
            if let Some(response) = response {
                let judged = self.task.judge(&self.items.items[at], &response.text, first);
                observer.response(0, judged.right());
            }
        }
        // Neighbours are of one length, and the samples of a prompt stay together.
        missing.sort_by_key(|&(at, sample)| (std::cmp::Reverse(self.prompts[at].len()), at, sample));
        for part in missing.chunks(TOGETHER) {
            let asks: Vec<Ask<'_>> = part.iter().map(|&(at, sample)| self.ask(at, sample)).collect();
            let mut done = |ask: usize, response: Response| {
                let (at, sample) = part[ask];
                let item = &self.items.items[at];
                if let Some(log) = &mut log {
                    log.put(item.index, sample, &hashes[at], &response)?;
                }
                let judged = self.task.judge(item, &response.text, first);
                observer.response(response.tokens.unwrap_or(0), judged.right());
                responses[at][sample as usize] = Some(response);
                Ok(())
            };
            generator.generate(&asks, &mut done).map_err(|error| self.named(error, part))?;
        }
        if let Some(log) = &mut log {
            log.sync()?;
        }
        observer.end();
        let complete = |found: Vec<Option<Response>>| found.into_iter().collect::<Option<Vec<_>>>();
        let all = responses.into_iter().map(complete).collect::<Option<Vec<_>>>();
        all.ok_or_else(|| EvalError::Generator("it left prompts without a response".into()))
    }

    fn ask(&self, at: usize, sample: u32) -> Ask<'_> {
        Ask {
            prompt: &self.prompts[at],
            max_new_tokens: self.max_new_tokens,
            sampling: self.sampling,
            seed: self.seed.wrapping_add(self.items.items[at].index as u64),
            sample,
            stop: &self.task.stop,
        }
    }

    /// An engine's error with the item it is about.
    fn named(&self, error: GenerateError, part: &[(usize, u32)]) -> EvalError {
        match error {
            GenerateError::Other(error) => error,
            GenerateError::Infer(source) => {
                match source.request().filter(|_| !matches!(source, octo_infer::InferError::Sampling { .. }))
                {
                    Some(request) if request < part.len() => EvalError::Infer {
                        task: self.task.name.clone(),
                        item: self.items.items[part[request].0].id.clone(),
                        source,
                    },
                    _ => EvalError::Device(source),
                }
            }
        }
    }
}

/// Token ids of a prompt. One that already begins with the beginning-of-text token, written out, gets no second one.
fn encode(tokenizer: &Tokenizer, prompt: &str) -> Result<Vec<u32>, EvalError> {
    let ids = tokenizer.encode(prompt, false)?;
    Ok(match tokenizer.bos_id() {
        Some(bos) if ids.first() != Some(&bos) => std::iter::once(bos).chain(ids).collect(),
        _ => ids,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Catalogue, Finish};
    use octo_durable::Disk;
    use serde_json::{Map, Value, json};

    const TOKENIZER: &str = include_str!("../../base/text/tests/golden/tokenizer.json");

    /// The tokenizer, with `<|endoftext|>` before a text and `<|im_end|>` behind it.
    fn with_ends() -> Tokenizer {
        let mut all: Value = serde_json::from_str(TOKENIZER).unwrap();
        let special = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
        let named = |name: &str, id: u32| json!({"id": name, "ids": [id], "tokens": [name]});
        let (first, last) = ("<|endoftext|>", "<|im_end|>");
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        all["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [special(first), text, special(last)],
            "pair": [special(first), text, {"Sequence": {"id": "B", "type_id": 0}}, special(last)],
            "special_tokens": {first: named(first, 0), last: named(last, 1)},
        });
        Tokenizer::from_json(all.to_string(), None).unwrap()
    }

    fn items(prompts: &[&str]) -> Items {
        let item = |(index, prompt): (usize, &&str)| Item {
            index,
            id: format!("i{index}"),
            doc: Map::new(),
            prompt: (*prompt).to_owned(),
            gold: vec![index.to_string()],
            question: String::new(),
            choices: Vec::new(),
        };
        let items: Vec<Item> = prompts.iter().enumerate().map(item).collect();
        Items {
            found: items.len(),
            items,
            file: String::new(),
            shots: 0,
            examples: None,
            own_examples: false,
        }
    }

    /// Says what it was asked, last asked first, and stops after so many.
    struct Echo {
        left: usize,
        asked: Vec<(u64, u32)>,
    }

    impl Generator for Echo {
        fn generate(
            &mut self,
            asks: &[Ask<'_>],
            done: &mut dyn FnMut(usize, Response) -> Result<(), EvalError>,
        ) -> Result<(), GenerateError> {
            for (at, ask) in asks.iter().enumerate().rev() {
                if self.left == 0 {
                    return Err(EvalError::Generator("the power went".into()).into());
                }
                self.left -= 1;
                self.asked.push((ask.seed, ask.sample));
                let text = format!("{} {} {}", ask.seed, ask.sample, ask.prompt.len());
                done(at, Response { text, tokens: Some(3), finish: Some(Finish::Stop) })?;
            }
            Ok(())
        }
    }

    #[test]
    fn the_beginning_of_text_stands_once_and_nothing_stands_behind() {
        let tokenizer = with_ends();
        let text = tokenizer.encode("the answer", false).unwrap();
        let expected: Vec<u32> = std::iter::once(0).chain(text.iter().copied()).collect();
        assert_eq!(encode(&tokenizer, "the answer").unwrap(), expected);
        assert_eq!(encode(&tokenizer, "<|endoftext|>the answer").unwrap(), expected);
        let plain = Tokenizer::from_json(TOKENIZER.into(), None).unwrap();
        assert_eq!(encode(&plain, "the answer").unwrap(), text);
    }

    #[test]
    fn what_a_log_holds_is_never_asked_for_again_and_a_changed_prompt_is() {
        let tokenizer = with_ends();
        let task = Catalogue::default().tasks(&["gsm8k".into()]).unwrap().remove(0);
        let settings = Settings { samples: Some(2), temperature: Some(0.5), seed: 7, ..Settings::default() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut items = items(&["the", "the answer is", "the answer"]);
        let run = |items: &Items, left: usize| {
            let work = Work::new(&task, items, &tokenizer, &settings).unwrap();
            let mut log = ResponseLog::open(&Disk, &path).unwrap();
            let mut echo = Echo { left, asked: Vec::new() };
            let result = work.run(&mut echo, Some(&mut log), &mut ());
            (result, echo.asked)
        };
        let (failed, asked) = run(&items, 4);
        assert!(failed.unwrap_err().to_string().contains("the power went"));
        // The longest prompt is asked first; this generator begins at the end.
        assert_eq!(asked, [(7, 1), (7, 0), (9, 1), (9, 0)]);
        let (whole, asked) = run(&items, 9);
        assert_eq!(asked, [(8, 1), (8, 0)]);
        let whole = whole.unwrap();
        for (at, responses) in whole.iter().enumerate() {
            let tokens = encode(&tokenizer, &items.items[at].prompt).unwrap().len();
            for (sample, response) in responses.iter().enumerate() {
                assert_eq!(response.text, format!("{} {sample} {tokens}", 7 + at));
            }
        }
        let (again, asked) = run(&items, 0);
        assert!(asked.is_empty() && again.unwrap() == whole);
        items.items[1].prompt = "an answer".into();
        assert_eq!(run(&items, 9).1, [(8, 1), (8, 0)]);
    }

    #[test]
    fn a_generator_that_leaves_prompts_out_is_found() {
        struct Lazy;
        impl Generator for Lazy {
            fn generate(
                &mut self,
                _asks: &[Ask<'_>],
                _done: &mut dyn FnMut(usize, Response) -> Result<(), EvalError>,
            ) -> Result<(), GenerateError> {
                Ok(())
            }
        }
        let task = Catalogue::default().tasks(&["gsm8k".into()]).unwrap().remove(0);
        let items = items(&["the"]);
        let work = Work::new(&task, &items, &with_ends(), &Settings::default()).unwrap();
        let error = work.run(&mut Lazy, None, &mut ()).unwrap_err().to_string();
        assert!(error.contains("left prompts without a response"), "{error}");
        let twice = Settings { samples: Some(2), ..Settings::default() };
        let error = Work::new(&task, &items, &with_ends(), &twice).err().unwrap().to_string();
        assert!(error.contains("gsm8k: 2 responses at temperature 0 are all the same"), "{error}");
    }
}
