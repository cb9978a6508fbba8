//! Threads that work rewards out while the device generates.

use super::{Rating, Response, Rewards, is_for};
use crate::RlError;
use crate::prompts::Prompt;
use octo_recipe::{Reward, RewardKind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What was said of a response: its rating, or why there is none.
pub type Judged = Result<Rating, String>;

/// A pool of threads, each with programs of its own. What is said of a response does not depend on which thread says it.
pub struct Judge {
    questions: Option<Sender<(usize, Response)>>,
    answers: Receiver<(usize, Judged)>,
    asked: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Judge {
    /// Starts as many threads as the recipe's programs want.
    ///
    /// # Errors
    /// [`RlError::Pattern`], [`RlError::Judge`].
    pub fn start(rewards: &[Reward]) -> Result<Judge, RlError> {
        let workers = rewards.iter().map(|reward| match &reward.kind {
            RewardKind::Program(program) => program.workers,
            _ => 1,
        });
        let (questions, to_ask) = channel::<(usize, Response)>();
        let (tell, answers) = channel();
        let to_ask = Arc::new(Mutex::new(to_ask));
        let mut threads = Vec::new();
        for _ in 0..workers.max().unwrap_or(1) {
            let mut rewards = Rewards::new(rewards)?;
            let (to_ask, tell) = (Arc::clone(&to_ask), tell.clone());
            let work = move || {
                loop {
                    let question = to_ask.lock().ok().and_then(|to_ask| to_ask.recv().ok());
                    let Some((index, response)) = question else { return };
                    if tell.send((index, rewards.rate(&response))).is_err() {
                        return;
                    }
                }
            };
            let thread = std::thread::Builder::new().name("reward".to_owned()).spawn(work);
            threads.push(thread.map_err(|error| RlError::Judge(error.to_string()))?);
        }
        Ok(Judge { questions: Some(questions), answers, asked: 0, threads })
    }

    /// Hands a response over, under a number of the caller's.
    ///
    /// # Errors
    /// [`RlError::Judge`].
    pub fn ask(&mut self, index: usize, response: Response) -> Result<(), RlError> {
        let sent = self.questions.as_ref().is_some_and(|questions| questions.send((index, response)).is_ok());
        self.asked += usize::from(sent);
        if sent {
            Ok(())
        } else {
            Err(RlError::Judge("a thread has died (a bug: please report it)".to_owned()))
        }
    }

    /// What is said of all that was handed over since the last time, by number.
    ///
    /// # Errors
    /// [`RlError::Judge`].
    pub fn answers(&mut self) -> Result<Vec<(usize, Judged)>, RlError> {
        let mut said = Vec::with_capacity(self.asked);
        for _ in 0..std::mem::take(&mut self.asked) {
            let answer = self.answers.recv();
            said.push(
                answer
                    .map_err(|_| RlError::Judge("a thread has died (a bug: please report it)".to_owned()))?,
            );
        }
        said.sort_by_key(|(index, _)| *index);
        Ok(said)
    }

    /// Asks every program about the gold answer, nothing, and a response that breaks off, for a row that it is for.
    ///
    /// # Errors
    /// [`RlError::Probe`] for one that does not answer each with a number.
    pub fn probe(&mut self, rewards: &[Reward], prompts: &[Prompt]) -> Result<(), RlError> {
        let programs = rewards.iter().filter(|reward| matches!(reward.kind, RewardKind::Program(_)));
        for reward in programs {
            let Some(prompt) =
                prompts.iter().find(|prompt| is_for(&reward.data_sources, &prompt.data_source))
            else {
                continue;
            };
            let mut alone = Rewards::new(std::slice::from_ref(reward))?;
            let probes = [
                ("the gold answer", prompt.answer.clone()),
                ("an empty response", String::new()),
                ("a malformed response", "\\boxed{\\frac{1}{\u{fffd}\u{0} $$ }} {\"".to_owned()),
            ];
            for (probe, text) in probes {
                let response =
                    Response { prompt: Arc::new(prompt.clone()), text, tokens: Vec::new(), cap: 1 };
                alone.rate(&response).map_err(|why| RlError::Probe {
                    name: reward.name.clone(),
                    probe,
                    why,
                })?;
            }
        }
        Ok(())
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.questions = None;
        for thread in self.threads.drain(..) {
            // One that panicked has nothing left to say.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_recipe::Program;
    use octo_rows::Origin;
    use serde_json::Value;
    use std::path::Path;

    fn prompt(data_source: &str) -> Prompt {
        Prompt {
            text: "1/2+1/3=".to_owned(),
            tokens: vec![1],
            answer: "5/6".to_owned(),
            data_source: data_source.to_owned(),
            extra_info: Value::Null,
            origin: Origin { file: Path::new("rows.jsonl").into(), line: 9 },
        }
    }

    fn response(data_source: &str, text: &str) -> Response {
        let tokens = text.bytes().map(u32::from).collect();
        Response { prompt: Arc::new(prompt(data_source)), text: text.to_owned(), tokens, cap: 40 }
    }

    fn reward(kind: RewardKind, weight: f64, data_sources: &[&str]) -> Reward {
        let data_sources = data_sources.iter().map(|&source| source.to_owned()).collect();
        Reward { name: kind.name().to_owned(), weight, data_sources, kind }
    }

    fn program(script: &str) -> RewardKind {
        RewardKind::Program(Program {
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            environment: Vec::new(),
            timeout_seconds: 20.0,
            cpu_seconds: 60,
            memory_bytes: 1 << 30,
            workers: 3,
        })
    }

    #[test]
    fn rewards_are_chosen_by_source_and_summed_by_weight() {
        let rewards = [
            reward(RewardKind::Verify { boxed_only: true }, 1.0, &["fractions"]),
            reward(RewardKind::Format { pattern: r"\\boxed\{".to_owned() }, 0.5, &[]),
        ];
        let mut judge = Judge::start(&rewards).unwrap();
        let texts = ["\\boxed{10/12}", "\\boxed{1}", "5/6"];
        for (i, text) in texts.iter().enumerate() {
            judge.ask(i, response("fractions", text)).unwrap();
        }
        judge.ask(3, response("other", "\\boxed{5/6}")).unwrap();
        let said: Vec<f64> = judge.answers().unwrap().into_iter().map(|(_, r)| r.unwrap().total).collect();
        assert_eq!(said, [1.5, 0.5, 0.0, 0.5]);
        judge.ask(0, response("other", "\\boxed{5/6}")).unwrap();
        assert_eq!(judge.answers().unwrap()[0].1.as_ref().unwrap().parts, [None, Some(1.0)]);
    }

    #[test]
    fn a_failed_reward_is_no_zero() {
        let failing = program("while read -r line; do exit 1; done");
        let mut judge =
            Judge::start(&[reward(failing, 1.0, &[]), reward(RewardKind::Repetition { ngram: 2 }, 1.0, &[])])
                .unwrap();
        judge.ask(5, response("x", "aaaa")).unwrap();
        let said = judge.answers().unwrap();
        assert!(said[0].0 == 5 && said[0].1.is_err(), "{said:?}");
    }

    #[test]
    fn a_program_is_probed_before_the_first_step() {
        let good =
            "while read -r l; do n=${l#*:}; n=${n%%,*}; echo \"{\\\"id\\\": $n, \\\"score\\\": 0}\"; done";
        let rewards = [reward(program(good), 1.0, &[])];
        Judge::start(&rewards).unwrap().probe(&rewards, &[prompt("x")]).unwrap();
        let picky = "while read -r l; do case $l in *'\"response\":\"\"'*) exit 1;; esac; n=${l#*:}; n=${n%%,*}; \
                     echo \"{\\\"id\\\": $n, \\\"score\\\": 0}\"; done";
        let rewards = [reward(program(picky), 1.0, &[])];
        let error = Judge::start(&rewards).unwrap().probe(&rewards, &[prompt("x")]).unwrap_err().to_string();
        assert!(error.contains("an empty response"), "{error}");
    }

    #[test]
    fn golds_that_cannot_be_given_are_named() {
        let rewards = [reward(RewardKind::Verify { boxed_only: true }, 1.0, &[])];
        super::super::check_golds(&rewards, &[prompt("x")]).unwrap();
        let broken = Prompt { answer: "\\frac{1}{".to_owned(), ..prompt("x") };
        let error = super::super::check_golds(&rewards, &[prompt("x"), broken]).unwrap_err().to_string();
        assert!(error.contains("rows.jsonl:9"), "{error}");
    }

    #[test]
    fn a_pattern_that_is_none_is_refused() {
        let rewards = [reward(RewardKind::Format { pattern: "(".to_owned() }, 1.0, &[])];
        assert!(Judge::start(&rewards).is_err());
    }
}
