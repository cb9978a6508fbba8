//! A user's program as a reward: a line of JSON for each response, a line of JSON for each answer.

use super::process::{Fault, Process};
use crate::prompts::Prompt;
use octo_recipe::Program;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// A reward program, started when it is first asked and again when it has ended.
pub(super) struct ProgramReward {
    program: Program,
    process: Option<Process>,
    /// Number of the next question to this process, so that an answer out of turn is noticed.
    next: u64,
}

#[derive(Serialize)]
struct Question<'a> {
    id: u64,
    data_source: &'a str,
    prompt: &'a str,
    response: &'a str,
    ground_truth: &'a str,
    extra_info: &'a Value,
}

impl ProgramReward {
    pub fn new(program: Program) -> ProgramReward {
        ProgramReward { program, process: None, next: 0 }
    }

    /// Its score of a response. One that ends is started anew once; one that hangs or talks rubbish is killed, and the
    /// response has no score.
    pub fn rate(&mut self, prompt: &Prompt, response: &str) -> Result<f64, String> {
        let mut last = String::new();
        for _ in 0..2 {
            match self.attempt(prompt, response) {
                Ok(score) => return score,
                Err(Fault::Ended(why)) => last = why,
                Err(Fault::Misbehaved(why)) => {
                    self.process = None;
                    return Err(why);
                }
            }
            self.process = None;
        }
        Err(last)
    }

    fn attempt(&mut self, prompt: &Prompt, response: &str) -> Result<Result<f64, String>, Fault> {
        if self.process.is_none() {
            self.process = Some(Process::start(&self.program)?);
            self.next = 0;
        }
        let id = self.next;
        self.next += 1;
        let question = Question {
            id,
            data_source: &prompt.data_source,
            prompt: &prompt.text,
            response,
            ground_truth: &prompt.answer,
            extra_info: &prompt.extra_info,
        };
        let line = serde_json::to_vec(&question).map_err(|error| Fault::Misbehaved(error.to_string()))?;
        let Some(process) = &mut self.process else { return Err(Fault::Ended("it is gone".to_owned())) };
        let timeout = Duration::try_from_secs_f64(self.program.timeout_seconds).unwrap_or(Duration::MAX / 4);
        let answer = process.ask(line, timeout)?;
        score(id, &answer)
    }
}

/// What an answer says: `{"id": …, "score": …}` or `{"id": …, "error": "…"}`.
fn score(id: u64, answer: &str) -> Result<Result<f64, String>, Fault> {
    let shown: String = answer.chars().take(80).collect();
    let rubbish = |why: &str| Fault::Misbehaved(format!("it answered {shown:?}, {why}"));
    let value: Value = serde_json::from_str(answer).map_err(|_| rubbish("which is no JSON"))?;
    if value.get("id").and_then(Value::as_u64) != Some(id) {
        return Err(rubbish("without the id of the question"));
    }
    match (value.get("score"), value.get("error")) {
        (Some(score), None) => {
            match score.as_f64().or_else(|| score.as_bool().map(|b| f64::from(u8::from(b)))) {
                Some(score) if score.is_finite() => Ok(Ok(score)),
                _ => Err(rubbish("whose score is no number")),
            }
        }
        (None, Some(error)) => Ok(Err(error.as_str().map_or_else(|| error.to_string(), str::to_owned))),
        _ => Err(rubbish("without one of score and error")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_rows::Origin;
    use std::path::Path;
    use std::time::Instant;

    fn prompt() -> Prompt {
        Prompt {
            text: "1+1=".to_owned(),
            tokens: vec![1],
            answer: "2".to_owned(),
            data_source: "sums".to_owned(),
            extra_info: Value::Null,
            origin: Origin { file: Path::new("f").into(), line: 1 },
        }
    }

    fn shell(script: &str) -> ProgramReward {
        ProgramReward::new(Program {
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            environment: Vec::new(),
            timeout_seconds: 20.0,
            cpu_seconds: 60,
            memory_bytes: 1 << 30,
            workers: 1,
        })
    }

    /// A program in shell that answers each line with this score.
    fn always(score: &str) -> String {
        format!(
            "n=0; while read -r line; do echo \"{{\\\"id\\\": $n, \\\"score\\\": {score}}}\"; n=$((n+1)); done"
        )
    }

    #[test]
    fn a_program_answers_line_by_line() {
        let mut reward = shell(&always("0.5"));
        for _ in 0..3 {
            assert_eq!(reward.rate(&prompt(), "2"), Ok(0.5));
        }
        let mut reward = shell("read -r line; echo '{\"id\": 0, \"error\": \"no unit\"}'");
        assert_eq!(reward.rate(&prompt(), "2"), Err("no unit".to_owned()));
    }

    #[test]
    fn a_response_cannot_break_out_of_its_line() {
        let mut reward = shell(&always("1"));
        for text in ["\n{\"id\": 0, \"score\": 9}\n", "$(rm -rf x)`x`\"'\\", "\u{0}\u{7f}"] {
            assert_eq!(reward.rate(&prompt(), text), Ok(1.0), "{text:?}");
        }
    }

    #[test]
    fn one_that_hangs_is_killed_with_all_it_has_started() {
        let mut reward = shell("sleep 600 & sleep 600");
        reward.program.timeout_seconds = 0.3;
        let began = Instant::now();
        let error = reward.rate(&prompt(), "2").unwrap_err();
        assert!(error.contains("within 0.3 s"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(60) && reward.process.is_none());
        // The next response finds a program of its own.
        reward.program.command = shell(&always("1")).program.command;
        reward.program.timeout_seconds = 20.0;
        assert_eq!(reward.rate(&prompt(), "2"), Ok(1.0));
    }

    #[test]
    fn one_that_crashes_is_started_anew_once() {
        let error = shell("echo 'no module named x' >&2; exit 3").rate(&prompt(), "2").unwrap_err();
        assert!(error.contains("exit status: 3") && error.contains("no module"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("been-here").display().to_string();
        let script = format!(
            "if [ -e {mark} ]; then read -r l; echo '{{\"id\": 0, \"score\": 1}}'; else : > {mark}; fi"
        );
        assert_eq!(shell(&script).rate(&prompt(), "2"), Ok(1.0));
        let nothing = Program { command: vec!["/no/such/program".to_owned()], ..shell("").program };
        let error = ProgramReward::new(nothing).rate(&prompt(), "2").unwrap_err();
        assert!(error.contains("/no/such/program"), "{error}");
    }

    #[test]
    fn one_that_floods_is_killed() {
        for script in ["yes", "head -c 10000000 /dev/zero | tr '\\0' x", "yes >&2"] {
            let mut reward = shell(script);
            reward.program.timeout_seconds = 2.0;
            assert!(reward.rate(&prompt(), "2").is_err(), "{script}");
        }
    }

    #[test]
    fn rubbish_is_no_score() {
        for rubbish in [
            "hello",
            "{\"score\": 1}",
            "{\"id\": 7, \"score\": 1}",
            "{\"id\": 0, \"score\": \"high\"}",
            "{\"id\": 0, \"score\": 1e999}",
            "{\"id\": 0}",
            "[]",
            "",
        ] {
            let error = shell(&format!("read -r line; echo '{rubbish}'; sleep 5")).rate(&prompt(), "2");
            assert!(error.is_err(), "{rubbish}");
        }
        assert!(shell("printf '\\377\\n'; sleep 5").rate(&prompt(), "2").unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn it_gets_a_few_variables_and_no_others() {
        let script = "read -r line; n=$(env | grep -c '^CARGO'); echo \"{\\\"id\\\": 0, \\\"score\\\": $n}\"";
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert_eq!(shell(script).rate(&prompt(), "2"), Ok(0.0));
        let mut reward = shell(script);
        reward.program.environment = vec!["CARGO_MANIFEST_DIR".to_owned()];
        assert_eq!(reward.rate(&prompt(), "2"), Ok(1.0));
    }

    #[test]
    fn its_bounds_stand_before_its_first_instruction() {
        // Python would take a moment to be limited from without; a shell's first word is spoken at once.
        let script = "m=$(ulimit -v) t=$(ulimit -t) c=$(ulimit -c); read -r line; \
                      echo \"{\\\"id\\\": 0, \\\"score\\\": $((m + t + c))}\"";
        for _ in 0..20 {
            assert_eq!(shell(script).rate(&prompt(), "2"), Ok(f64::from((1 << 20) + 60)));
        }
        // Its words are no shell's: it gets them as they are.
        let mut reward = shell("");
        let script = "read -r l; [ \"$1\" = '$(touch x) \"a b\" *' ] && echo '{\"id\": 0, \"score\": 1}'";
        reward.program.command =
            ["/bin/sh", "-c", script, "x", "$(touch x) \"a b\" *"].map(str::to_owned).to_vec();
        assert_eq!(reward.rate(&prompt(), "2"), Ok(1.0));
    }

    #[test]
    fn its_memory_and_files_are_bounded() {
        let script = "read -r line; echo \"{\\\"id\\\": 0, \\\"score\\\": $(ulimit -v)}\"";
        assert_eq!(shell(script).rate(&prompt(), "2"), Ok(f64::from(1 << 20)));
        let script = "read -r line; echo \"{\\\"id\\\": 0, \\\"score\\\": $(ulimit -t)}\"";
        assert_eq!(shell(script).rate(&prompt(), "2"), Ok(60.0));
    }
}
