//! Where answers stand in a response, words and letters, and the traps that verifiers are known to fall into.

use super::value::Value;
use super::{Draft, Random, Surface, either};
use Surface::{Math, Plain, Whole};

const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

pub fn choices(random: &mut Random) -> Draft {
    let letter = random.below(4);
    let near = |random: &mut Random, letter: &u64| (letter + 1 + random.below(3)) % 4;
    let mut draft = either(random, &letter, near, |random, &letter| {
        let letter = LETTERS[letter as usize];
        match random.below(6) {
            0 => Whole(format!("The answer is ({letter}).")),
            1 => Math(format!("\\text{{{letter}}}")),
            2 => Math(format!("\\text{{({letter})}}")),
            3 => Math(format!("\\textbf{{({letter})}}")),
            4 => Whole(format!("Answer: {letter}")),
            _ => Math(format!("\\mathrm{{{letter}}}")),
        }
    });
    draft.gold = Plain(LETTERS[letter as usize].into());
    draft
}

const WORDS: [&str; 16] = [
    "Evelyn", "Evelyne", "yes", "no", "Monday", "Sunday", "true", "false", "even", "odd", "Friday", "north",
    "parabola", "ellipse", "blue", "purple",
];

pub fn words(random: &mut Random) -> Draft {
    let word = random.below(16);
    let near = |random: &mut Random, word: &u64| if random.coin() { word ^ 1 } else { (word + 2) % 16 };
    either(random, &word, near, |random, &word| {
        let word = WORDS[word as usize];
        match random.below(5) {
            0 => Math(format!("\\text{{{}}}", word.to_lowercase())),
            1 => Math(format!("\\textbf{{{word}}}")),
            2 => Math(format!("\\mathrm{{{word}}}")),
            3 => Math(format!("\\text{{{word}.}}")),
            _ => Math(format!("\\text{{{word}}}")),
        }
    })
}

/// Two values that are not the same.
fn two(random: &mut Random) -> (Value, Value) {
    let first = Value::draw(random);
    let second = Value::near(random, &first);
    (first, second)
}

pub fn boxes(random: &mut Random) -> Draft {
    let (a, b) = two(random);
    let equal = random.coin();
    let wrong = Value::fraction(997, 3);
    if random.coin() {
        // Boxes side by side are one answer.
        let (first, second) = if equal { (a, b) } else { (a, wrong) };
        let [first, second] = [first.math(random), second.math(random)];
        let between = *random.pick(&[" and ", ", ", " or "]);
        let answer = format!("So the solutions are $\\boxed{{{first}}}${between}$\\boxed{{{second}}}$.");
        return Draft { gold: Math(format!("{}, {}", b.plain(), a.plain())), answer: Whole(answer), equal };
    }
    // A box that is taken back does not count.
    let (first, last) = if equal { (wrong, a) } else { (a, b) };
    let answer = format!(
        "At first sight it is $\\boxed{{{}}}$, but that forgets the second case, which has to be counted as well. \
         Doing so gives $\\boxed{{{}}}$.",
        first.math(random),
        last.math(random)
    );
    Draft { gold: Math(a.plain()), answer: Whole(answer), equal }
}

pub fn environments(random: &mut Random) -> Draft {
    let (a, b) = two(random);
    let equal = random.coin();
    let (told, other) = if equal { (a, b) } else { (b, a) };
    let (told, other) = (told.math(random), other.math(random));
    let answer = match random.below(8) {
        0 => format!("We try ${other}$ first. That fails, so we find $${told}$$"),
        1 => format!("With \\({other}\\) out of the way, we are left with \\({told}\\)."),
        2 => format!("From ${other}$ it follows that\n\\[ {told} \\]"),
        3 => format!("It is not ${other}$. The final answer is ${told}$. I hope it is correct."),
        4 => format!("<think>maybe \\boxed{{{other}}}</think>The answer is \\boxed{{{told}}}."),
        5 => format!("Not ${other}$.\n\n**Answer:** ${told}$"),
        6 => format!("We exclude ${other}$, so the final answer is: $\\boxed{{{told}}}$"),
        _ => format!("\\boxed{{{told}}}"),
    };
    Draft { gold: Math(a.plain()), answer: Whole(answer), equal }
}

pub fn huge(random: &mut Random) -> Draft {
    let (n, b) = (random.between(99, 2999), *random.pick(&[2, 3, 5, 7]));
    let k = random.between(2, 9);
    let near = |random: &mut Random, n: &i64| n + random.sign() * random.between(1, 2);
    match random.below(5) {
        0 => either(random, &n, near, |random, n| {
            Math((*random.pick(&["\\frac{1}{@!}", "1/@!", "\\dfrac{1}{@!}"])).replace('@', &n.to_string()))
        }),
        1 => either(random, &n, near, |random, &n| {
            Math(match random.below(3) {
                0 => format!("{b}^{{{n}}}"),
                1 => format!("{b} \\cdot {b}^{{{}}}", n - 1),
                _ => format!("\\frac{{{b}^{{{}}}}}{{{b}}}", n + 1),
            })
        }),
        2 => either(random, &n, near, |random, &n| {
            Math(match random.below(3) {
                0 => format!("\\frac{{1}}{{{b}^{{{n}}}}}"),
                1 => format!("{b}^{{-{n}}}"),
                _ => format!("\\left(\\frac{{1}}{{{b}}}\\right)^{{{n}}}"),
            })
        }),
        3 => {
            // (b^n + 1)/(k b^(n+1)), with the 1 or without.
            let near = |_: &mut Random, &(n, one): &(i64, i64)| (n, 1 - one);
            either(random, &(n, 1), near, |random, &(n, one)| {
                let top = if one == 1 { format!("{b}^{{{n}}}+1") } else { format!("{b}^{{{n}}}") };
                Math(match (random.below(2), one) {
                    (0, 1) => format!("\\frac{{1}}{{{}}}+\\frac{{1}}{{{k} \\cdot {b}^{{{}}}}}", k * b, n + 1),
                    _ => format!("\\frac{{{top}}}{{{k} \\cdot {b}^{{{}}}}}", n + 1),
                })
            })
        }
        _ => {
            // n! + 1 and n!: too long to write down, apart in the last digit.
            let near = |_: &mut Random, &(n, plus): &(i64, i64)| (n, plus + 1);
            either(random, &(n, k), near, |random, &(n, plus)| {
                Math(match random.below(3) {
                    0 => format!("{n}!+{plus}"),
                    1 => format!("{plus}+{n}!"),
                    _ => format!("{n} \\cdot {}!+{plus}", n - 1),
                })
            })
        }
    }
}

/// Pairs that are not equal and that one verifier or another calls equal; and their equal twins.
pub fn traps(random: &mut Random) -> Draft {
    let (a, b, c) = (random.between(2, 9), random.between(2, 9), random.between(10, 20));
    let d = a + random.between(1, 5);
    let equal = random.below(4) == 0;
    let (gold, other): (String, String) = match random.below(10) {
        // What cannot be parsed must not leave a number behind.
        0 => (format!("{a}"), format!("{a}\\sqrt({c})")),
        1 => (format!("1-\\frac{{{a}}}{{\\mathrm{{e}}}}"), format!("1+\\frac{{{a}}}{{\\mathrm{{e}}}}")),
        // Patterns share their first elements.
        2 => ("1,2,\\ldots,n".into(), format!("1,{},\\ldots,{a}n-{}", 1 + a, a - 1)),
        3 => (format!("{a}:{}:{}:\\cdots", 2 * a, 3 * a), format!("{a}:{}:{}:\\cdots", 4 * a, 9 * a)),
        // Equations that end in the same number.
        4 => (format!("{a}x-{b}y+{c}=0"), format!("{d}x+{b}y+{}=0", c + 1)),
        5 => (format!("{a}*x-{b}*y+{c}=0"), format!("{a}*x+{b}*y+{c}=0")),
        // Tolerances that are absolute, or a factor of a hundred that is forgiven.
        6 => (format!("0.000{a}"), format!("0.000{d}")),
        7 => (format!("{c}"), format!("0.{c}")),
        8 => (format!("{}00000", a), format!("{}00009", a)),
        // Brackets that are ignored.
        _ => (format!("[{a}, {c})"), format!("({a}, {c}]")),
    };
    Draft { answer: Math(if equal { gold.clone() } else { other }), gold: Math(gold), equal }
}
