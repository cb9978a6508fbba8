//! How an evaluation goes, on a terminal: a bar with ETA and the score so far, or plain lines where there is none.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use octo_eval::Observer;
use std::io::{IsTerminal, Write};

/// Draws on standard error.
pub struct Progress {
    bar: ProgressBar,
    drawn: bool,
    task: String,
    there: usize,
    done: usize,
    total: usize,
    right: usize,
    tokens: usize,
}

/// Without a screen, a line is printed whenever another part of so many is done.
const PARTS: usize = 10;

impl Progress {
    /// Nothing drawn yet.
    pub fn new() -> Progress {
        let drawn = std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = "{prefix} {bar:30} {pos}/{len}  {msg}  {elapsed} elapsed, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Progress { bar, drawn, task: String::new(), there: 0, done: 0, total: 0, right: 0, tokens: 0 }
    }

    fn told(&self) -> String {
        let share = 100.0 * self.right as f64 / self.done.max(1) as f64;
        format!("{share:.1} % right  {} tokens", self.tokens)
    }

    fn print(&self, line: &str) {
        // Progress that cannot be shown must not stop the evaluation.
        let print = || {
            let _ = writeln!(std::io::stderr(), "{line}");
        };
        if self.drawn { self.bar.suspend(print) } else { print() }
    }
}

impl Observer for Progress {
    fn note(&mut self, line: &str) {
        self.print(line);
    }

    fn begin(&mut self, task: &str, there: usize, total: usize) {
        (self.task, self.there, self.total) = (task.to_owned(), there, total);
        (self.done, self.right, self.tokens) = (0, 0, 0);
        if there > 0 {
            self.print(&format!("{task}: {there} of {total} responses are there already"));
        }
        if self.drawn {
            self.bar.reset();
            self.bar.set_length(total as u64);
            self.bar.set_prefix(task.to_owned());
        }
    }

    fn response(&mut self, tokens: usize, right: bool) {
        self.done += 1;
        self.right += usize::from(right);
        self.tokens += tokens;
        if self.drawn {
            self.bar.set_message(self.told());
            match self.done <= self.there {
                // What was there takes no time and says nothing about the rest.
                true => {
                    self.bar.set_position(self.done as u64);
                    self.bar.reset_eta();
                }
                false => self.bar.inc(1),
            }
        } else if self.done > self.there
            && self.done * PARTS / self.total.max(1) > (self.done - 1) * PARTS / self.total.max(1)
        {
            self.print(&format!("{} {}/{}  {}", self.task, self.done, self.total, self.told()));
        }
    }

    fn end(&mut self) {
        self.bar.finish_and_clear();
    }
}
