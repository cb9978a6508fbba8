//! Mode `octothinker`: what the paper's scorer finds in a response and what it calls the same, benchmark by benchmark.
//!
//! Published numbers compare with ours only under the same scorer, so its quirks are kept: a prediction loses what stands
//! before a thousands separator, a percentage may be off by a hundred, brackets are not looked at, OCW never accepts zero
//! or a negative number, SAT and MathQA know no fifth letter. Where it asks a computer algebra system, our own comparison
//! answers, with the scorer's tolerance. Nothing here is used by the other modes.

mod equal;
mod find;
mod ocw;
mod strip;

use crate::fuel::{Fuel, Stop};
use crate::{Config, Outcome, Verdict};

/// The benchmarks of the paper. MATH500 is scored as MATH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Benchmark {
    /// GSM8K.
    Gsm8k,
    /// MATH and MATH500.
    Math,
    /// OlympiadBench.
    Olympiad,
    /// AMC23.
    Amc,
    /// SAT-math.
    Sat,
    /// OCW courses.
    Ocw,
    /// MMLU-STEM.
    MmluStem,
    /// MathQA.
    MathQa,
    /// SVAMP.
    Svamp,
    /// ASDiv.
    Asdiv,
    /// MAWPS.
    Mawps,
    /// TabMWP.
    TabMwp,
}

impl Benchmark {
    /// All of them.
    pub const ALL: [Benchmark; 12] = [
        Benchmark::Gsm8k,
        Benchmark::Math,
        Benchmark::Olympiad,
        Benchmark::Amc,
        Benchmark::Sat,
        Benchmark::Ocw,
        Benchmark::MmluStem,
        Benchmark::MathQa,
        Benchmark::Svamp,
        Benchmark::Asdiv,
        Benchmark::Mawps,
        Benchmark::TabMwp,
    ];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Benchmark::Gsm8k => "gsm8k",
            Benchmark::Math => "math",
            Benchmark::Olympiad => "olympiad",
            Benchmark::Amc => "amc",
            Benchmark::Sat => "sat",
            Benchmark::Ocw => "ocw",
            Benchmark::MmluStem => "mmlu-stem",
            Benchmark::MathQa => "mathqa",
            Benchmark::Svamp => "svamp",
            Benchmark::Asdiv => "asdiv",
            Benchmark::Mawps => "mawps",
            Benchmark::TabMwp => "tabmwp",
        }
    }
}

/// What the scorer looks at besides the response.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The gold answers; several for MATH alone. OlympiadBench's first is the one that counts.
    pub gold: &'a [&'a str],
    /// The question: MATH's may ask for answers separated by commas.
    pub question: &'a str,
    /// TabMWP's options, none where the answer is a number.
    pub choices: &'a [&'a str],
}

/// The verdict of the paper's scorer on a response.
pub fn octothinker(benchmark: Benchmark, item: &Item, response: &str, config: &Config) -> Outcome {
    let fuel = Fuel::new(config.fuel);
    let found = predictions(benchmark, item, response);
    let Some(last) = found.last() else {
        return Outcome::new(
            Verdict::Unparsed,
            "",
            None,
            "the response holds no answer of this benchmark's form",
        );
    };
    let shown = if benchmark == Benchmark::Math { found.join(", ") } else { last.clone() };
    let gold = item.gold.first().copied().unwrap_or_default();
    let same = match benchmark {
        Benchmark::Math => {
            let gold: Vec<String> =
                item.gold.iter().flat_map(|gold| find::gold_math(gold, item.question)).collect();
            equal::lists(&found, &gold, &fuel)
        }
        Benchmark::Olympiad => {
            // The arguments of the comparison stand the other way round.
            let inner =
                crate::verify(last, gold, &Config { mode: crate::Mode::MathVerify, ..config.clone() });
            match inner.verdict {
                Verdict::Budget => Err(Stop::Budget),
                verdict => Ok(verdict == Verdict::Equal),
            }
        }
        Benchmark::Sat | Benchmark::MathQa | Benchmark::MmluStem => {
            Ok(last.eq_ignore_ascii_case(gold.trim().trim_matches(['(', ')'])))
        }
        Benchmark::Ocw => ocw::same(last, gold, &fuel),
        Benchmark::TabMwp => {
            let gold = find::gold_number(gold);
            Ok(last.eq_ignore_ascii_case(&gold) || equal::numbers(last, &gold))
        }
        Benchmark::Asdiv => equal::single(last, &strip::strip(&find::without_brackets(gold)), &fuel),
        Benchmark::Gsm8k | Benchmark::Amc | Benchmark::Svamp | Benchmark::Mawps => {
            equal::single(last, &strip::strip(gold), &fuel)
        }
    };
    match same {
        Ok(true) => Outcome::new(Verdict::Equal, &shown, None, "the paper's scorer calls them the same"),
        Ok(false) => Outcome::new(Verdict::NotEqual, &shown, None, "the paper's scorer tells them apart"),
        Err(stop) => Outcome::stopped(&stop, "", &shown, None),
    }
}

/// What the scorer takes for the answer, in its order; several for MATH alone.
fn predictions(benchmark: Benchmark, item: &Item, response: &str) -> Vec<String> {
    let response = find::bounded(response);
    match benchmark {
        Benchmark::Math => find::math(find::before(response, "Problem:"), item.question),
        Benchmark::Olympiad => find::olympiad(find::before(response, "Problem:")).into_iter().collect(),
        Benchmark::Sat | Benchmark::MathQa => {
            find::told_letter(find::before(response, "Problem:")).into_iter().collect()
        }
        Benchmark::MmluStem => find::last_letter(find::before(response, "Problem:")).into_iter().collect(),
        Benchmark::Ocw => find::hoped(find::before(response, "Problem:")).into_iter().collect(),
        Benchmark::TabMwp if !item.choices.is_empty() => {
            find::option(find::before(response, "Q: "), item.choices).into_iter().collect()
        }
        Benchmark::TabMwp => find::single(find::before(response, "Q: ")).into_iter().collect(),
        _ => find::last_number(find::before(response, "Q: ")).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(benchmark: Benchmark, gold: &str, response: &str) -> Verdict {
        let item = Item { gold: &[gold], question: "", choices: &[] };
        octothinker(benchmark, &item, response, &Config::default()).verdict
    }

    #[test]
    fn thousands_separators_break_numbers() {
        assert_eq!(judged(Benchmark::Gsm8k, "18", "so 9 * 2 = 18. The answer is 18."), Verdict::Equal);
        assert_eq!(judged(Benchmark::Gsm8k, "1234", "The answer is 1234."), Verdict::Equal);
        assert_eq!(judged(Benchmark::Gsm8k, "1234", "The answer is 1,234."), Verdict::NotEqual);
        assert_eq!(judged(Benchmark::Gsm8k, "18", "It is 18.\n\nQ: what is 5?"), Verdict::Equal);
        assert_eq!(judged(Benchmark::Amc, "27.0", "The answer is 27."), Verdict::Equal);
        assert_eq!(judged(Benchmark::Asdiv, "9 (apples)", "The answer is 9."), Verdict::Equal);
        assert_eq!(judged(Benchmark::Gsm8k, "18", "no idea"), Verdict::Unparsed);
    }

    #[test]
    fn letters_are_found_as_each_benchmark_finds_them() {
        assert_eq!(
            judged(Benchmark::Sat, "B", "the final answer is (b). the final answer is (a)"),
            Verdict::Equal
        );
        assert_eq!(judged(Benchmark::MathQa, "e", "the final answer is (e)"), Verdict::Unparsed);
        assert_eq!(judged(Benchmark::MmluStem, "A", "the final answer is (B), not (a)"), Verdict::Equal);
    }

    #[test]
    fn math_takes_lists_percentages_and_any_bracket() {
        let math = |gold: &str, response: &str| judged(Benchmark::Math, gold, response);
        assert_eq!(math("\\frac{1}{2}", "The final answer is $1/2$. I hope it is correct."), Verdict::Equal);
        assert_eq!(math("50", "so $\\boxed{0.5}$"), Verdict::Equal);
        assert_eq!(math("50", "so $\\boxed{5000}$"), Verdict::Equal);
        assert_eq!(math("0.0004", "so $\\boxed{0.0009}$"), Verdict::Equal);
        assert_eq!(math("[1,2)", "so $\\boxed{(1,2]}$"), Verdict::Equal);
        assert_eq!(math("1\\text{ and }2", "so $\\boxed{2}$ and $\\boxed{1}$"), Verdict::Equal);
        assert_eq!(math("1\\text{ and }2", "so $\\boxed{2}$"), Verdict::NotEqual);
        assert_eq!(math("x^2+2x+1", "the answer is $(x+1)^2$."), Verdict::Equal);
        assert_eq!(math("2\\sqrt{3}", "we get 5"), Verdict::NotEqual);
        assert_eq!(math("6", "so $\\boxed{2\\cdot 3}$"), Verdict::NotEqual);
        let commas = Item { gold: &["1,2"], question: "Give all, separated by commas.", choices: &[] };
        let outcome = octothinker(Benchmark::Math, &commas, "\\boxed{2,1}", &Config::default());
        assert_eq!(outcome.verdict, Verdict::Equal);
    }

    #[test]
    fn ocw_never_accepts_zero_or_less() {
        let ocw = |gold: &str, answer: &str| {
            judged(Benchmark::Ocw, gold, &format!("The final answer is {answer}. I hope it is correct."))
        };
        assert_eq!(ocw("2.5", "2.5 \\mathrm{~m}"), Verdict::Equal);
        assert_eq!(ocw("3e8", "$3 \\times 10^8$ m/s"), Verdict::Equal);
        assert_eq!(ocw("-2", "-2"), Verdict::NotEqual);
        assert_eq!(ocw("0", "0"), Verdict::NotEqual);
        assert_eq!(ocw("y = x + 1", "y = 1 + x"), Verdict::Equal);
        assert_eq!(ocw("x+1", "1+x"), Verdict::NotEqual);
        assert_eq!(ocw("\\frac{1}{2}", "\\frac12"), Verdict::Equal);
    }

    #[test]
    fn options_found_later_overwrite_earlier_ones() {
        let item = Item { gold: &["blue"], question: "", choices: &["dark blue", "blue", "red"] };
        let judged = |response| octothinker(Benchmark::TabMwp, &item, response, &Config::default()).verdict;
        assert_eq!(judged("it is dark blue"), Verdict::Equal);
        assert_eq!(judged("it is blue, not red"), Verdict::NotEqual);
    }
}
