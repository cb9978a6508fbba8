//! Modes: what counts as the answer and what as the same.

pub(crate) mod habits;
pub(crate) mod math_verify;
pub(crate) mod octothinker;
pub(crate) mod strict;

use octothinker::Benchmark;

/// By whose rules answers are found and compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Our own: for rewards and scores.
    #[default]
    Strict,
    /// As the package Math-Verify 0.8 would say, its mistakes included.
    MathVerify,
    /// As the OctoThinker paper's scorer says of a benchmark.
    OctoThinker(Benchmark),
}

impl Mode {
    /// All of them, with every benchmark.
    pub fn all() -> impl Iterator<Item = Mode> {
        [Mode::Strict, Mode::MathVerify].into_iter().chain(Benchmark::ALL.into_iter().map(Mode::OctoThinker))
    }

    /// Name on the command line; without the benchmark.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Strict => "strict",
            Mode::MathVerify => "math-verify",
            Mode::OctoThinker(_) => "octothinker",
        }
    }
}
