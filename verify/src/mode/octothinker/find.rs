//! Where the paper's scorer finds answers in a response.

use super::strip::strip;

/// Bytes at the end of a response that are looked at: more than any of the paper's responses has.
const TAIL: usize = 64 * 1024;

/// Boxes looked at, the last ones.
const BOXES: usize = 256;

pub(super) fn bounded(response: &str) -> &str {
    let mut from = response.len().saturating_sub(TAIL);
    while !response.is_char_boundary(from) {
        from += 1;
    }
    &response[from..]
}

/// What stands before the next question that the model made up.
pub(super) fn before<'a>(response: &'a str, mark: &str) -> &'a str {
    response.split(mark).next().unwrap_or(response)
}

/// The last match of `-?\d+\.?\d*`.
pub(super) fn last_number(text: &str) -> Option<String> {
    last_match(text, |bytes, at| {
        let mut end = at + usize::from(bytes[at] == b'-');
        let digits = |mut end: usize| {
            while bytes.get(end).is_some_and(u8::is_ascii_digit) {
                end += 1;
            }
            end
        };
        let whole = digits(end);
        if whole == end {
            return None;
        }
        end = whole;
        if bytes.get(end) == Some(&b'.') {
            end = digits(end + 1);
        }
        Some(end)
    })
}

/// The last match of `-?\d*\.?\d+`.
fn last_decimal(text: &str) -> Option<String> {
    last_match(text, |bytes, at| {
        let mut end = at + usize::from(bytes[at] == b'-');
        let digits = |mut end: usize| {
            while bytes.get(end).is_some_and(u8::is_ascii_digit) {
                end += 1;
            }
            end
        };
        let whole = digits(end);
        end = whole;
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            return Some(digits(end + 1));
        }
        bytes[at..end].last().is_some_and(u8::is_ascii_digit).then_some(end)
    })
}

/// The last of the matches found from left to right, none overlapping the one before.
fn last_match(text: &str, matched: impl Fn(&[u8], usize) -> Option<usize>) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut at, mut last) = (0, None);
    while at < bytes.len() {
        let begins = matches!(bytes[at], b'-' | b'.' | b'0'..=b'9');
        match begins.then(|| matched(bytes, at)).flatten() {
            Some(end) => {
                last = Some(&text[at..end]);
                at = end;
            }
            None => at += 1,
        }
    }
    last.map(str::to_owned)
}

/// MATH: all answers of the place that is found first.
pub(super) fn math(text: &str, question: &str) -> Vec<String> {
    found(text).iter().flat_map(|answer| several(answer, question)).collect()
}

/// MATH's gold: an answer, or a solution whose boxes are the answers.
pub(super) fn gold_math(gold: &str, question: &str) -> Vec<String> {
    if gold.contains("boxed") { math(gold, question) } else { several(&strip(gold), question) }
}

/// One answer of the same places.
pub(super) fn single(text: &str) -> Option<String> {
    found(text).pop()
}

fn several(answer: &str, question: &str) -> Vec<String> {
    if question.contains("separated by commas") && !answer.contains(['(', ')', '[', ']']) {
        return answer.split(',').map(|a| a.trim().to_owned()).collect();
    }
    // Spaces are gone by now, also those in `\text{ and }`.
    answer.split("\\text{and}").map(|a| a.trim().to_owned()).collect()
}

/// "final answer is $…$. I hope", boxes, "he answer is", a program's output, the last number.
fn found(text: &str) -> Vec<String> {
    let raw: Vec<String> = if text.contains("final answer is $") && text.contains("$. I hope") {
        let rest = text.split_once("final answer is $").map_or("", |(_, rest)| rest);
        vec![before(rest, "$. I hope").trim().to_owned()]
    } else if text.contains("boxed") {
        boxed(text)
    } else if let Some((_, answer)) = text.rsplit_once("he answer is") {
        vec![answer.trim().to_owned()]
    } else {
        let output = text.rsplit_once("```output").map_or("", |(_, rest)| before(rest, "```")).trim();
        if output.is_empty() {
            last_decimal(&text.replace(',', "")).into_iter().collect()
        } else {
            vec![output.to_owned()]
        }
    };
    let clean = |answer: &String| {
        let line = answer.trim().split('\n').next().unwrap_or("");
        strip(line.trim_start_matches(':').trim_end_matches('.').trim_end_matches('/'))
    };
    raw.iter().map(clean).collect()
}

/// The content of every box that closes before the next one opens. A box with a percent sign behind it keeps its brace.
fn boxed(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for piece in text.split("boxed{").skip(1) {
        let mut depth = 0i64;
        for (at, byte) in piece.bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth < 0 {
                let kept = at + usize::from(piece.as_bytes().get(at + 1) == Some(&b'%'));
                found.push(piece[..kept].to_owned());
                break;
            }
        }
    }
    found.split_off(found.len().saturating_sub(BOXES))
}

/// OlympiadBench: what follows the last "Final Answer:", as a box.
pub(super) fn olympiad(text: &str) -> Option<String> {
    let (_, answer) = text.rsplit_once("Final Answer:")?;
    let answer = answer.replace("The final answer is", "").replace("I hope it is correct.", "");
    let answer = answer.trim().trim_end_matches('.');
    (!answer.is_empty()).then(|| format!("\\boxed{{{answer}}}"))
}

/// The letter, a to d, of the first "the final answer is (x)".
pub(super) fn told_letter(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    lower.match_indices("the final answer is ").find_map(|(at, phrase)| {
        let rest = &lower[at + phrase.len()..];
        let letter = rest.strip_prefix('(').unwrap_or(rest).chars().next()?;
        ('a'..='d').contains(&letter).then(|| letter.to_string())
    })
}

/// The last letter, a to d, in brackets.
pub(super) fn last_letter(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let bytes = lower.as_bytes();
    let last =
        bytes.windows(3).rev().find(|w| w[0] == b'(' && (b'a'..=b'd').contains(&w[1]) && w[2] == b')')?;
    Some(char::from(last[1]).to_string())
}

/// OCW: "final answer is …. I hope it is correct." on one line.
pub(super) fn hoped(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once("final answer is ")?;
        let (answer, _) = rest.rsplit_once(". I hope it is correct")?;
        Some(answer.to_owned())
    })
}

/// TabMWP: the option whose words occur; options are tried from the longest, and a later hit overwrites.
pub(super) fn option(text: &str, choices: &[&str]) -> Option<String> {
    let words = |text: &str| format!(" {} ", crate::parser::plain(text));
    let text = words(text);
    let mut choices = choices.to_vec();
    choices.sort_by_key(|choice| std::cmp::Reverse(choice.len()));
    choices.into_iter().rfind(|choice| text.contains(&words(choice))).map(str::to_owned)
}

/// TabMWP's gold numbers: fractions, separators and percentages worked out.
pub(super) fn gold_number(gold: &str) -> String {
    let plain = gold.replace(',', "");
    let value = match (plain.split_once('/'), plain.split_once('%')) {
        (Some((a, b)), _) => match (a.trim().parse::<f64>(), b.trim().parse::<f64>()) {
            (Ok(a), Ok(b)) if b != 0.0 => Some(a / b),
            _ => None,
        },
        (None, Some((percent, _))) => percent.trim().parse::<f64>().ok().map(|p| p / 100.0),
        _ => None,
    };
    value.map_or(plain, |value| value.to_string())
}

/// ASDiv's gold without the units in round brackets.
pub(super) fn without_brackets(gold: &str) -> String {
    let mut kept = gold.to_owned();
    while let Some(open) = kept.find('(')
        && let Some(length) = kept[open..].find(')')
    {
        kept.replace_range(open..=open + length, "");
    }
    kept
}
