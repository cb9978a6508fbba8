//! What Math-Verify reads otherwise than it is written; see `math_verify.rs`.

use crate::fuel::{Fuel, Stop};
use crate::node::{Function, Node};
use crate::numeric;

/// LaTeX as the package sees it: upright letters are words, words at the end are a unit and go, with all between the
/// first of them and the end; groups of digits with thin spaces between them are summands.
pub(super) fn latex(text: &str) -> String {
    let mut s = text.trim().replace("\\mathrm{", "\\text{").replace("\\textbf{", "\\text{");
    for word in ["and", "or"] {
        s = s.replace(&format!("\\text{{ {word} }}"), ",").replace(&format!("\\text{{{word}}}"), ",");
    }
    if let Some(at) = s.find("\\text{").filter(|at| *at > 0) {
        let end = s.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('^');
        if end.ends_with('}') {
            s = s[..at].trim_end_matches([' ', '\\']).to_owned();
        }
    }
    // An upright e is a letter like any other.
    s = s.replace("\\text{e}", "\\varphi ");
    let bytes = s.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut kept = String::new();
    let mut from = 0;
    for (at, _) in s.match_indices("\\,").filter(|(at, _)| *at > 0 && digit(at - 1) && digit(at + 2)) {
        kept += &s[from..at];
        kept.push('+');
        from = at + 2;
    }
    kept += &s[from..];
    // Two digits behind a comma are another number, whatever the braces say.
    let thousands = |rest: &str| rest.bytes().take_while(u8::is_ascii_digit).count() == 3;
    match kept.split_once("{,}") {
        Some((head, tail)) if !thousands(tail) => format!("{head},{tail}"),
        _ => kept,
    }
}

/// Whether the package reads this notation at all.
pub(super) fn readable(shown: &str) -> bool {
    // A fraction that follows the end of a row without a space is no fraction to it, in an array.
    let fraction_ends_row = ["\\\\\\frac", "\\\\\\dfrac", "\\\\\\tfrac"].iter().any(|t| shown.contains(t));
    let unknown = ["{:}", "\\langle", "\\sqrt(", "\\cdots"].iter().any(|t| shown.contains(t));
    !(unknown || fraction_ends_row && shown.contains("{array}"))
}

/// Words as they are compared: punctuation counts, case and brackets do not.
pub(super) fn words(shown: &str) -> String {
    shown.replace("\\text", "").replace(['{', '}', '(', ')', ' '], "").to_lowercase()
}

/// The number that is taken from plain text, and the text that stands for it: the first where the text follows "the
/// answer is", else the last.
pub(super) fn plain_number(text: &str, told: bool) -> Option<(String, String)> {
    let text = text.trim();
    let mut starts = text.char_indices().filter(|&(at, c)| {
        let before = text[..at].chars().next_back();
        let free = before.is_none_or(|b| b.is_whitespace() || b == '$');
        free && (c.is_ascii_digit()
            || matches!(c, '-' | '.') && text[at + 1..].starts_with(|d: char| d.is_ascii_digit()))
    });
    let mut first = starts.next()?.0;
    let rest: Vec<usize> = starts.map(|(at, _)| at).collect();
    // Groups of three belong to the number before them.
    let grouped = |at: usize| {
        let group = text[at..].bytes().take_while(u8::is_ascii_digit).count();
        group == 3 && text[..at].trim_end().ends_with(|c: char| c.is_ascii_digit())
    };
    let mixed = rest.first().is_some_and(|&at| fraction(&text[at..]).is_some());
    if let Some(&last) = rest.iter().rfind(|at| !grouped(**at))
        && (!told || mixed)
    {
        first = last;
    }
    let tail = &text[first..];
    if let Some(whole) = fraction(tail)
        && rest.is_empty()
    {
        return Some((whole.to_owned(), whole.to_owned()));
    }
    let end = number_end(tail);
    let (number, behind) = tail.split_at(end);
    let shown = number.replace([',', ' '], "");
    if let Some(exponent) = behind.strip_prefix('^') {
        let length = exponent.len()
            - exponent.trim_start_matches('-').trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let power = format!("{number}^{{{}}}", &exponent[..length]);
        return Some((power.clone(), power));
    }
    let percent = behind.starts_with('%') || behind.trim_start().starts_with("percent");
    Some((format!("{number}{}", if percent { "\\%" } else { "" }), shown))
}

/// `a/b` at the beginning of a text.
fn fraction(text: &str) -> Option<&str> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let sign = usize::from(text.starts_with('-'));
    let top = digits(&text[sign..]);
    let rest = text[sign + top..].strip_prefix('/')?;
    let bottom = digits(rest);
    (top > 0 && bottom > 0).then(|| &text[..sign + top + 1 + bottom])
}

/// Length of a number with groups of three and a decimal point or comma.
fn number_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits =
        |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = usize::from(bytes.first() == Some(&b'-'));
    end += digits(end);
    while matches!(bytes.get(end), Some(b',' | b' ')) && digits(end + 1) == 3 {
        end += 4;
    }
    let behind = digits(end + 1);
    if bytes.get(end) == Some(&b'.') && behind > 0
        || bytes.get(end) == Some(&b',') && (1..=3).contains(&behind)
    {
        end += 1 + behind;
    }
    end
}

/// The tree as the package has it; `None` where it gives up.
pub(super) fn habits(node: &Node, fuel: &Fuel) -> Result<Option<Node>, Stop> {
    fuel.spend(10)?;
    let boxed = |node: &Node| Ok::<_, Stop>(habits(node, fuel)?.map(Box::new));
    let list =
        |list: &[Node]| list.iter().map(|n| habits(n, fuel)).collect::<Result<Option<Vec<Node>>, Stop>>();
    // Both sides of a pair, or nothing.
    macro_rules! pair {
        ($make:expr, $a:expr, $b:expr) => {
            match (boxed($a)?, boxed($b)?) {
                (Some(a), Some(b)) => Some($make(a, b)),
                _ => None,
            }
        };
    }
    Ok(match node {
        // An angle is so many radians, a base nothing.
        Node::Degrees(angle) => habits(angle, fuel)?,
        Node::Opaque(name, parts) if name == "base" => parts.first().cloned(),
        // Signs of both kinds inside a fraction, angle brackets and patterns are not read.
        Node::Divide(a, _) if a.any(&|n| matches!(n, Node::PlusMinus(..))) => None,
        Node::Dots => None,
        Node::Ratio(parts) => match list(parts)? {
            Some(parts) => parts.into_iter().reduce(|a, b| Node::Divide(Box::new(a), Box::new(b))),
            None => None,
        },
        // Logarithms are not expanded, since a letter might be negative.
        Node::Apply(Function::Ln, arguments)
            if arguments.iter().any(|a| !a.symbols().is_empty() && !matches!(a, Node::Symbol(_))) =>
        {
            Some(Node::Symbol(format!("{node:?}")))
        }
        Node::Apply(Function::Root, parts) if matches!(&parts[..], [Node::Divide(_, below), _] if !below.symbols().is_empty()) => {
            Some(Node::Symbol(format!("{node:?}")))
        }
        // The odd root of a negative number is the principal one.
        Node::Apply(Function::Root, parts) => match (&parts[..], list(parts)?) {
            ([radicand, index], Some(parts)) if *index != Node::integer(2) && negative(radicand, fuel)? => {
                let radicand = Node::Negate(Box::new(parts[0].clone()));
                let root = Node::Apply(Function::Root, vec![radicand, parts[1].clone()]);
                Some(Node::Mul(vec![root, Node::Symbol(format!("root of -1, {index:?}"))]))
            }
            (_, parts) => parts.map(|parts| Node::Apply(Function::Root, parts)),
        },
        Node::Power(base, exponent)
            if matches!(&**exponent, Node::Divide(..))
                && negative(base, fuel)?
                && exponent.symbols().is_empty() =>
        {
            let Node::Divide(one, index) = &**exponent else { return Ok(None) };
            let root = Node::Apply(Function::Root, vec![(**base).clone(), (**index).clone()]);
            match habits(&root, fuel)? {
                Some(root) if **one == Node::integer(1) => Some(root),
                _ => None,
            }
        }
        Node::Add(parts) => list(parts)?.map(Node::Add),
        Node::Mul(parts) => list(parts)?.map(Node::Mul),
        Node::Negate(a) => boxed(a)?.map(Node::Negate),
        Node::Percent(a) => boxed(a)?.map(Node::Percent),
        Node::Divide(a, b) => pair!(Node::Divide, a, b),
        Node::Power(a, b) => pair!(Node::Power, a, b),
        Node::PlusMinus(a, b) => pair!(Node::PlusMinus, a, b),
        Node::Difference(a, b) => pair!(Node::Difference, a, b),
        Node::Apply(function, parts) => list(parts)?.map(|parts| Node::Apply(*function, parts)),
        Node::Tuple(parts) => list(parts)?.map(Node::Tuple),
        Node::Set(parts) => list(parts)?.map(Node::Set),
        Node::List(parts, or) => list(parts)?.map(|parts| Node::List(parts, *or)),
        Node::Union(parts) => list(parts)?.map(Node::Union),
        Node::Chain(sides, signs) => list(sides)?.map(|sides| Node::Chain(sides, signs.clone())),
        Node::Matrix(rows) => rows
            .iter()
            .map(|row| list(row))
            .collect::<Result<Option<Vec<Vec<Node>>>, Stop>>()?
            .map(Node::Matrix),
        Node::Interval { low, high, open_low, open_high } => {
            let interval =
                |low, high| Node::Interval { low, high, open_low: *open_low, open_high: *open_high };
            pair!(interval, low, high)
        }
        other => Some(other.clone()),
    })
}

/// Whether a node is a negative number.
fn negative(node: &Node, fuel: &Fuel) -> Result<bool, Stop> {
    Ok(node.symbols().is_empty() && numeric::double(node, fuel)?.is_some_and(|value| value < 0.0))
}

/// The logarithm of a number's size to base 2, of numbers too large or too small for a double as well.
pub(crate) fn magnitude(node: &Node, fuel: &Fuel) -> Result<Option<f64>, Stop> {
    fuel.spend(10)?;
    let of = |node: &Node| magnitude(node, fuel);
    if let Some(value) = numeric::double(node, fuel)?.filter(|value| *value != 0.0) {
        return Ok(Some(value.abs().log2()));
    }
    let sum = |list: &[Node], combine: fn(f64, f64) -> Option<f64>| {
        let mut total: Option<f64> = None;
        for node in list {
            let Some(next) = of(node)? else { return Ok(None) };
            total = match total {
                None => Some(next),
                Some(before) => combine(before, next),
            };
            if total.is_none() {
                return Ok(None);
            }
        }
        Ok(total)
    };
    match node {
        Node::Negate(a) => of(a),
        Node::Mul(list) => sum(list, |a, b| Some(a + b)),
        // The larger one, if the other is far below it.
        Node::Add(list) => sum(list, |a, b| ((a - b).abs() > 60.0).then_some(a.max(b))),
        Node::Divide(a, b) => Ok(of(a)?.zip(of(b)?).map(|(a, b)| a - b)),
        Node::Power(base, exponent) => {
            let Some(exponent) = numeric::double(exponent, fuel)? else { return Ok(None) };
            Ok(of(base)?.map(|base| base * exponent))
        }
        // Stirling's formula.
        Node::Apply(Function::Factorial, list) => {
            let n = match list.first() {
                Some(n) => numeric::double(n, fuel)?.filter(|n| *n > 20.0),
                None => None,
            };
            Ok(n.map(|n| n * (n / std::f64::consts::E).log2() + 0.5 * (std::f64::consts::TAU * n).log2()))
        }
        _ => Ok(None),
    }
}
