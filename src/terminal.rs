//! A run's progress on a terminal: a bar with rate and ETA, or plain lines where there is none.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use octo_trainer::{Observer, StepMetrics};
use std::io::{IsTerminal, Write};

/// Draws on standard error, which is where progress belongs.
pub struct Terminal {
    bar: ProgressBar,
    drawn: bool,
    every_steps: u64,
}

impl Terminal {
    /// A terminal that, without a screen, tells of every so many steps.
    pub fn new(every_steps: u64) -> Terminal {
        let drawn = std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        Terminal { bar, drawn, every_steps }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Shows how far a run is.
    pub fn progress(&mut self, step: u64, total_steps: u64, figures: String) {
        if self.drawn {
            if self.bar.length() != Some(total_steps) {
                self.bar.set_length(total_steps);
                self.bar.reset_eta();
                let style = "{bar:30} {pos}/{len}  {msg}  {elapsed} elapsed, {eta} left";
                self.bar.set_style(
                    ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
                );
            }
            self.bar.set_position(step);
            self.bar.set_message(figures);
        } else if step.is_multiple_of(self.every_steps) || step == total_steps {
            print(&format!("step {step}/{total_steps}  {figures}"));
        }
    }

    fn line(&self, line: &str) {
        if self.drawn {
            self.bar.suspend(|| print(line));
        } else {
            print(line);
        }
    }
}

/// Progress that cannot be shown must not stop the run.
fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl Observer for Terminal {
    fn note(&mut self, line: &str) {
        self.line(line);
    }

    fn preparing(&mut self, what: &str, tokens: u64) {
        if self.drawn {
            self.bar.set_message(format!("{what}: {tokens} tokens"));
            self.bar.tick();
        }
    }

    fn step(&mut self, m: &StepMetrics) {
        let figures = format!(
            "loss {:.4}  lr {:.2e}  norm {:.2}  {:.0} tokens/s",
            m.lm_loss, m.lr, m.grad_norm, m.tokens_per_sec
        );
        self.progress(m.step, m.total_steps, figures);
    }

    fn validation(&mut self, step: u64, name: &str, loss: f64) {
        self.line(&format!("step {step}: held-out {name}: loss {loss:.4}"));
    }

    fn sample(&mut self, step: u64, prompt: &str, text: &str) {
        self.line(&format!("step {step}: sample\n  {}", format!("{prompt}{text}").replace('\n', "\n  ")));
    }
}
