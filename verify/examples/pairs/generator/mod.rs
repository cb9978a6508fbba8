//! Pairs with known truth: a value is drawn, written down in two ways, and one of them is changed in half of the pairs.
//!
//! Truth is known because it is made, never because something was computed from the texts. Where schools differ (is
//! `1011_2` the same as `1011`, 1/3 as 0.33?) there is no pair. A pair depends on its number and the seed alone.

mod numbers;
mod places;
mod random;
mod structures;
mod symbolic;
mod value;

pub use random::Random;

/// A gold answer, a response, and whether it holds the answer.
#[derive(Clone, Debug)]
pub struct Pair {
    pub form: &'static str,
    pub gold: String,
    pub answer: String,
    pub equal: bool,
}

/// One way to write a value down.
#[derive(Clone, Debug)]
pub enum Surface {
    /// In LaTeX's mathematics.
    Math(String),
    /// In plain words.
    Plain(String),
    /// A whole response, or a gold answer that is to stand as it is.
    Whole(String),
}

/// What a form draws: gold, answer, whether they are the same.
pub struct Draft {
    pub gold: Surface,
    pub answer: Surface,
    pub equal: bool,
}

type Form = (&'static str, fn(&mut Random) -> Draft);

/// Numbers, words and places.
const PLAIN: [Form; 20] = [
    ("integers", numbers::integers),
    ("decimals", numbers::decimals),
    ("thousands separators", numbers::thousands),
    ("decimal comma", numbers::decimal_comma),
    ("fractions", numbers::fractions),
    ("mixed numbers", numbers::mixed),
    ("percent", numbers::percent),
    ("units", numbers::units),
    ("currency", numbers::currency),
    ("degrees", numbers::degrees),
    ("million and billion", numbers::number_words),
    ("scientific", numbers::scientific),
    ("ratios and times", numbers::ratios),
    ("bases", numbers::bases),
    ("choices", places::choices),
    ("words", places::words),
    ("several boxes", places::boxes),
    ("environments", places::environments),
    ("huge and tiny numbers", places::huge),
    ("traps", places::traps),
];

/// Symbolic expressions, sets, intervals, matrices.
const RICH: [Form; 15] = [
    ("intervals", structures::intervals),
    ("sets and lists", structures::sets),
    ("unions", structures::unions),
    ("tuples", structures::tuples),
    ("vectors", structures::vectors),
    ("matrices", structures::matrices),
    ("plus-minus", structures::plus_minus),
    ("inequalities", structures::inequalities),
    ("equations", symbolic::equations),
    ("chains", symbolic::chains),
    ("expressions", symbolic::expressions),
    ("identities", symbolic::identities),
    ("closed forms", symbolic::closed_forms),
    ("nested radicals", symbolic::nested_radicals),
    ("cube roots", symbolic::cube_roots),
];

/// The pairs of a seed; every other one is symbolic, a set, an interval or a matrix.
pub fn pairs(count: u64, seed: u64) -> impl Iterator<Item = Pair> {
    (0..count).map(move |number| {
        let forms = if number % 2 == 0 { &PLAIN[..] } else { &RICH[..] };
        let (form, draw) = forms[(number / 2) as usize % forms.len()];
        let mut random = Random::new(seed, number);
        let Draft { gold, answer, equal } = draw(&mut random);
        let gold = match gold {
            Surface::Math(text) => format!("${text}$"),
            Surface::Plain(text) | Surface::Whole(text) => text,
        };
        Pair { form, gold, answer: response(answer, &mut random), equal }
    })
}

/// An answer as a model would give it.
fn response(answer: Surface, random: &mut Random) -> String {
    match answer {
        Surface::Math(text) => match random.below(5) {
            0 => format!("${text}$"),
            1 => format!("\\boxed{{{text}}}"),
            2 => format!("The answer is ${text}$."),
            3 => format!("Putting both steps together, the final answer is $\\boxed{{{text}}}$."),
            _ => format!("Hence we find \\[{text}\\]"),
        },
        Surface::Plain(text) => match random.below(3) {
            0 => format!("The answer is {text}."),
            1 => format!("Answer: {text}"),
            _ => text,
        },
        Surface::Whole(text) => text,
    }
}

/// Gold and answer of a value: a second surface of it, or of another value that is near.
pub fn either<T>(
    random: &mut Random,
    value: &T,
    near: impl FnOnce(&mut Random, &T) -> T,
    surface: impl Fn(&mut Random, &T) -> Surface,
) -> Draft {
    let equal = random.coin();
    let gold = surface(random, value);
    let answer = if equal {
        surface(random, value)
    } else {
        let other = near(random, value);
        surface(random, &other)
    };
    Draft { gold, answer, equal }
}
