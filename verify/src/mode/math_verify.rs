//! Mode `math-verify`: what the package Math-Verify 0.8 says, its mistakes included, so that numbers compare.
//!
//! Told from its answers alone. Our parser reads and our comparison compares; what the package reads otherwise stands
//! here and in `habits.rs`, and what it compares otherwise stands under [`Judge::package`].

use super::habits::{habits, latex, plain_number, readable, words};
use crate::compare::{self, Judge};
use crate::extract::{Candidate, Class, candidates, in_mathematics};
use crate::fuel::{Fuel, Stop};
use crate::lexer::Reading;
use crate::node::Node;
use crate::parser::{self, Parsed};
use crate::{Config, Outcome, Verdict};

/// What the package makes of one side: a value if it could, and the text that it compares as well.
struct Side {
    parsed: Result<Parsed, Stop>,
    text: String,
}

pub(crate) fn verify(gold: &str, response: &str, config: &Config) -> Outcome {
    let fuel = Fuel::new(config.fuel);
    let (gold_text, mathematics) = in_mathematics(gold.trim());
    let number = gold_text.bytes().any(|b| b.is_ascii_digit());
    let bare = !mathematics && !gold_text.contains('\\') && number;
    let gold = if bare { plain(gold_text, false, &fuel) } else { marked_up(gold_text, gold, &fuel) };
    let Some((candidate, answer)) = answer(response, config, &fuel) else {
        return Outcome::new(Verdict::Unparsed, "", None, "the response holds no answer");
    };
    let (text, class) = (&candidate.text, Some(candidate.class));
    if !gold.text.is_empty() && gold.text == answer.text {
        return Outcome::new(Verdict::Equal, text, class, "the package finds the same text on both sides");
    }
    let (gold, answer) = match (gold.parsed, answer.parsed) {
        (Ok(gold), Ok(answer)) => (gold, answer),
        (Err(stop), _) => return Outcome::stopped(&stop, "the gold answer: ", text, class),
        (_, Err(stop)) => return Outcome::stopped(&stop, "the answer: ", text, class),
    };
    let judge = Judge { package: true, ..Judge::exact(&fuel) };
    match compare::same(&gold, &answer, &judge) {
        Ok(true) => Outcome::new(Verdict::Equal, text, class, "the package calls them equal"),
        Ok(false) => Outcome::new(Verdict::NotEqual, text, class, "the package tells them apart"),
        Err(stop) => Outcome::stopped(&stop, "", text, class),
    }
}

fn answer(response: &str, config: &Config, fuel: &Fuel) -> Option<(Candidate, Side)> {
    let candidate = candidates(response, &config.extraction).next()?;
    let side = match candidate.class {
        Class::Boxed | Class::OpenBox | Class::Mathematics => marked_up(&candidate.text, response, fuel),
        Class::Number => plain(response, false, fuel),
        Class::Minerva | Class::FinalAnswer | Class::Answer => {
            let (text, marked) = in_mathematics(&candidate.text);
            let delimited =
                ["$", "\\[", "\\("].iter().any(|open| response.contains(&format!("{open}{text}")));
            if marked || delimited && !text.is_empty() && response.matches('$').count() != 1 {
                marked_up(text, response, fuel)
            } else if text.chars().count() == 1 {
                marked_up(text, "", fuel)
            } else {
                plain(text, true, fuel)
            }
        }
    };
    Some((candidate, side))
}

/// A text between delimiters or in a box; where it cannot be read, a plain number of all that stands around it.
fn marked_up(text: &str, around: &str, fuel: &Fuel) -> Side {
    let shown = latex(text);
    if shown.starts_with("\\text{") {
        let node = Node::Text(words(&shown));
        return Side { parsed: Ok(Parsed { node, unit: None }), text: shown };
    }
    let read = if readable(&shown) {
        parser::parse(&shown, Reading::default(), fuel)
    } else {
        Err(Stop::Unparsed("the package does not read this".into()))
    };
    let parsed = match read.map(|parsed| (habits(&parsed.node, fuel), parsed)) {
        Ok((Ok(Some(Node::Text(_))), parsed)) => Ok(Parsed { node: Node::Text(words(&shown)), ..parsed }),
        Ok((Ok(Some(node)), parsed)) => Ok(Parsed { node, ..parsed }),
        Ok((Ok(None), _)) | Err(Stop::Unparsed(_)) => {
            return Side { text: shown, ..plain(around, false, fuel) };
        }
        Ok((Err(stop), _)) | Err(stop) => Err(stop),
    };
    Side { parsed, text: shown }
}

/// A text without delimiters: one number of it.
fn plain(text: &str, told: bool, fuel: &Fuel) -> Side {
    let Some((number, text)) = plain_number(text, told) else {
        return Side { parsed: Err(Stop::Unparsed("no number stands there".into())), text: String::new() };
    };
    Side { parsed: parser::parse(&number, Reading { comma: true, exponent: false }, fuel), text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mode;

    fn same(gold: &str, response: &str) -> bool {
        let config = Config { mode: Mode::MathVerify, ..Config::default() };
        crate::verify(gold, response, &config).verdict == Verdict::Equal
    }

    #[test]
    fn habits_of_the_package_are_kept() {
        for (gold, response) in [
            ("$5\\text{ cm}$", "\\boxed{5 \\text{ km}}"),
            ("$31302_5$", "$31302_{6}$"),
            ("$24\\text{ million}$", "24 billion"),
            ("98.1", "98.1 percent"),
            ("$4$", "$4\\sqrt(2)$"),
            ("$\\frac{1}{2423!}$", "$\\frac{1}{2421!}$"),
            ("$1-\\frac{5}{\\mathrm{e}}$", "$1+\\frac{5}{\\mathrm{e}}$"),
            ("$x>2$", "$(2,\\infty)$"),
            ("$x > -16$", "$-x < 16$"),
            ("16 and 12", "15 and 12"),
            ("$7:18$", "$\\frac{7}{18}$"),
            ("B", "\\boxed{\\text{(B)}}"),
            ("$\\frac{445}{4} \\text{ miles}$", "\\boxed{\\frac{445}{4}\\ \\mathrm{mm}}"),
        ] {
            assert!(same(gold, response), "{gold} {response}");
        }
        for (gold, response) in [
            ("$(2,\\infty)$", "$x>2$"),
            ("$4x>-64$", "$x>-16$"),
            ("$\\sin(30^\\circ)$", "$\\frac12$"),
            ("$-2$", "$\\sqrt[3]{-8}$"),
            ("$\\text{blue}$", "$\\text{blue.}$"),
            ("9 1/4", "$9\\frac14$"),
            ("$550000$", "5.5e5"),
            ("$2\\ln x$", "$\\ln(x^2)$"),
            ("$\\begin{pmatrix}1\\\\2\\end{pmatrix}$", "$(1,2)$"),
            ("$x<1 \\text{ or } x>2$", "$(-\\infty,1)\\cup(2,\\infty)$"),
            ("$520551$", "$520\\,551$"),
            ("B", "The answer is (B)."),
            ("$8594.0$", "$\\text{8594}$"),
            ("$1-\\frac{5}{\\mathrm{e}}$", "\\boxed{1+\\frac{5}{\\mathrm{e}}}"),
        ] {
            assert!(!same(gold, response), "{gold} {response}");
        }
    }
}
