//! Where in a response the answer stands.
//!
//! Classes of places, most telling first; within a class the last one wins. Only the first class that occurs is used: what
//! stands inside mathematics that cannot be parsed is no answer by itself.

/// A place in a response that may hold the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The answer as it stands there.
    pub text: String,
    /// How it was found.
    pub class: Class,
}

/// How a candidate was found, most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// "The final answer is X. I hope it is correct."
    Minerva,
    /// `\boxed{X}`.
    Boxed,
    /// `\boxed{X` that never closes.
    OpenBox,
    /// "final answer is X".
    FinalAnswer,
    /// "answer: X", "the answer is X".
    Answer,
    /// The last piece of mathematics between delimiters.
    Mathematics,
    /// The last number.
    Number,
}

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Extraction {
    /// Only what stands behind the last `</think>` counts, if there is one.
    pub after_thinking: bool,
    /// Nothing but a box counts.
    pub boxed_only: bool,
}

impl Default for Extraction {
    fn default() -> Extraction {
        Extraction { after_thinking: true, boxed_only: false }
    }
}

/// Bytes at the end of a response in which phrases, mathematics and numbers are looked for.
const TAIL: usize = 16 * 1024;

/// Characters between two boxes that belong together, besides "and", "or" and commas.
const NEAR: usize = 10;

/// The candidates of a response, best first. Time and memory are linear in its length.
pub fn extract(text: &str, how: &Extraction) -> Vec<Candidate> {
    candidates(text, how).collect()
}

/// The same, each class looked for only when the one before it has been used up.
pub(crate) fn candidates<'a>(text: &'a str, how: &Extraction) -> impl Iterator<Item = Candidate> + use<'a> {
    let text = match text.rfind("</think>") {
        Some(at) if how.after_thinking => &text[at + "</think>".len()..],
        _ => text,
    };
    let tail = tail(text);
    let classes: &[Class] = if how.boxed_only { &[Class::Boxed] } else { &CLASSES };
    classes.iter().filter_map(move |&class| {
        let found = match class {
            Class::Minerva => minerva(tail),
            // Says itself whether it closes.
            Class::Boxed | Class::OpenBox => return boxed(text),
            Class::FinalAnswer => phrase(tail, "final answer", 100),
            Class::Answer => phrase(tail, "answer", 50),
            Class::Mathematics => spans(tail).pop(),
            Class::Number => last_number(tail),
        };
        found.map(|text| Candidate { text, class })
    })
}

/// In the order in which they are looked for.
const CLASSES: [Class; 6] =
    [Class::Minerva, Class::Boxed, Class::FinalAnswer, Class::Answer, Class::Mathematics, Class::Number];

fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(TAIL);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

fn minerva(text: &str) -> Option<String> {
    let at = rfind_folded(text, "final answer is")?;
    let rest = &text[at + "final answer is".len()..];
    let end = rest.to_ascii_lowercase().find(". i hope")?;
    Some(rest[..end].trim().trim_start_matches(':').trim().to_owned())
}

/// Position of the last occurrence, ASCII letters folded.
fn rfind_folded(text: &str, what: &str) -> Option<usize> {
    text.to_ascii_lowercase().rfind(what)
}

/// The last box; boxes close to it with other contents join it as a list.
fn boxed(text: &str) -> Option<Candidate> {
    let (boxes, open) = boxes(text);
    let Some(&(mut start, _, last)) = boxes.last() else {
        let open = open.map(|from| text[from..].lines().next().unwrap_or("").trim().to_owned());
        return open.filter(|t| !t.is_empty()).map(|text| Candidate { text, class: Class::OpenBox });
    };
    let mut contents = vec![last];
    for &(from, to, content) in boxes.iter().rev().skip(1) {
        let between = text[to..start].trim();
        let separated = [",", ";", "and", "or"].iter().any(|s| between.contains(s));
        if between.chars().count() > NEAR
            || !separated
            || between.contains('\n')
            || contents.contains(&content)
        {
            break;
        }
        contents.push(content);
        start = from;
    }
    contents.reverse();
    Some(Candidate { text: contents.join(", "), class: Class::Boxed })
}

/// The commands whose braces are boxes.
const BOXES: [&str; 3] = ["\\boxed", "\\fbox", "\\boxed "];

/// All boxes that lie in no other (begin, end, content), and where the content of the last open one begins: in one
/// pass, with the open braces on a stack.
fn boxes(text: &str) -> (Vec<(usize, usize, &str)>, Option<usize>) {
    let mut closed: Vec<(usize, usize, &str)> = Vec::new();
    let mut stack: Vec<(usize, Option<usize>)> = Vec::new();
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\\' => {
                escaped = !escaped;
                continue;
            }
            b'{' if !escaped => {
                let command = BOXES.iter().find(|command| text[..at].ends_with(**command));
                stack.push((at + 1, command.map(|command| at - command.len())));
            }
            b'}' if !escaped => {
                if let Some((inside, Some(begin))) = stack.pop() {
                    // The outer box replaces those in it.
                    while closed.last().is_some_and(|(from, ..)| *from > begin) {
                        closed.pop();
                    }
                    closed.push((begin, at + 1, &text[inside..at]));
                }
            }
            _ => {}
        }
        escaped = false;
    }
    let open = stack.iter().rev().find(|(_, begin)| begin.is_some()).map(|(inside, _)| *inside);
    (closed, open)
}

/// What follows the last "… answer … is X" or "answer: X" with at most so many characters in between.
fn phrase(text: &str, words: &str, reach: usize) -> Option<String> {
    let at = rfind_folded(text, words)?;
    let rest = &text[at + words.len()..];
    let lower = rest.to_ascii_lowercase();
    let is =
        [" is", ":", " =", " equals"].iter().filter_map(|s| lower.find(s).map(|at| (at, s.len()))).min()?;
    if rest[..is.0].chars().count() > reach {
        return None;
    }
    let value = rest[is.0 + is.1..].trim_start_matches([':', ' ']).trim_start_matches("is ");
    Some(sentence(value)).filter(|v| !v.is_empty())
}

/// Up to the end of the sentence: mathematics between delimiters alone, if the value begins with it.
fn sentence(text: &str) -> String {
    let text = text.trim_start_matches(['*', ' ', '\n']);
    if let Some((_, inside)) = span_at(text, &mut [false; 4]) {
        return inside.to_owned();
    }
    let line = text.lines().next().unwrap_or("");
    let end = line
        .char_indices()
        .find(|&(at, c)| c == '.' && line[at + 1..].chars().next().is_none_or(char::is_whitespace))
        .map_or(line.len(), |(at, _)| at);
    line[..end].trim().trim_matches('*').trim().to_owned()
}

/// Delimiters of mathematics.
const DELIMITERS: [(&str, &str); 4] = [("$$", "$$"), ("\\[", "\\]"), ("$", "$"), ("\\(", "\\)")];

/// Mathematics that begins here: its length and its content. A delimiter that never closes is marked as open, so that it
/// is searched for once.
fn span_at<'a>(text: &'a str, open_ended: &mut [bool; 4]) -> Option<(usize, &'a str)> {
    DELIMITERS.iter().zip(open_ended).find_map(|((open, close), open_ended)| {
        let inside = text.strip_prefix(open).filter(|_| !*open_ended)?;
        // `\$` is a dollar, no delimiter.
        let closes = |&(at, _): &(usize, &str)| *close != "$" || !inside[..at].ends_with('\\');
        let Some((end, _)) = inside.match_indices(close).find(closes) else {
            *open_ended = true;
            return None;
        };
        (end > 0).then(|| (open.len() + end + close.len(), &inside[..end]))
    })
}

/// Whether words stand around the mathematics of a text that are more than separators and units.
pub(crate) fn prose(text: &str) -> bool {
    let mut open_ended = [false; 4];
    let mut outside = String::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        match span_at(&text[at..], &mut open_ended).filter(|_| matches!(c, '$' | '\\')) {
            Some((length, _)) => {
                outside.push(' ');
                at += length;
            }
            None => {
                outside.push(c);
                at += c.len_utf8();
            }
        }
    }
    outside.split(|c: char| !c.is_alphabetic()).map(str::to_lowercase).any(|word| {
        word.chars().count() > 1 && !crate::words::known(&word) && crate::words::magnitude(&word).is_none()
    })
}

/// A text without the delimiters around the whole of it, and whether it had some.
pub(crate) fn in_mathematics(text: &str) -> (&str, bool) {
    match span_at(text, &mut [false; 4]) {
        Some((length, inside)) if length == text.len() => (inside, true),
        _ => (text, false),
    }
}

/// All mathematics between delimiters; neighbours joined by "and", "or" or a comma are one.
fn spans(text: &str) -> Vec<String> {
    let mut found: Vec<(usize, usize, String)> = Vec::new();
    let mut open_ended = [false; 4];
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let Some(skip) = rest.find(['$', '\\']) else { break };
        at += skip;
        match span_at(&text[at..], &mut open_ended) {
            Some((length, content)) => {
                let joins = found.last().is_some_and(|(_, end, _)| {
                    matches!(text[*end..at].trim(), "and" | "or" | "," | ", and" | ", or" | ";")
                });
                match found.last_mut() {
                    Some(last) if joins => {
                        last.1 = at + length;
                        last.2 = format!("{}, {content}", last.2);
                    }
                    _ => found.push((at, at + length, content.to_owned())),
                }
                at += length;
            }
            None => at += text[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    found.into_iter().map(|(.., content)| content).collect()
}

/// The last number: with its sign, thousands, point, fraction, percent.
fn last_number(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let end = bytes.iter().rposition(u8::is_ascii_digit)? + 1;
    let digit_or = |extra: &[u8], byte: u8| byte.is_ascii_digit() || extra.contains(&byte);
    let mut from = end;
    while from > 0 && digit_or(b".,/", bytes[from - 1]) {
        from -= 1;
    }
    while from < end && !bytes[from].is_ascii_digit() && bytes[from] != b'.' {
        from += 1;
    }
    if from > 0 && bytes[from - 1] == b'-' && (from == 1 || !bytes[from - 2].is_ascii_alphanumeric()) {
        from -= 1;
    }
    let percent = bytes.get(end) == Some(&b'%') || text[end..].starts_with("\\%");
    Some(format!("{}{}", &text[from..end], if percent { "%" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(text: &str) -> (String, Class) {
        let first = extract(text, &Extraction::default()).into_iter().next().unwrap();
        (first.text, first.class)
    }

    #[test]
    fn the_most_telling_place_wins() {
        assert_eq!(
            best("So 3. The final answer is $5$. I hope it is correct."),
            ("$5$".into(), Class::Minerva)
        );
        assert_eq!(
            best("first \\boxed{1}, later on we find that it is \\boxed{\\frac{1}{2}}."),
            ("\\frac{1}{2}".into(), Class::Boxed)
        );
        assert_eq!(best("The final answer, then, is 12."), ("12".into(), Class::FinalAnswer));
        assert_eq!(best("**Answer:** $x=3$"), ("x=3".into(), Class::Answer));
        assert_eq!(best("we get $1$ and $2$"), ("1, 2".into(), Class::Mathematics));
        assert_eq!(best("she pays 1,234.50 for -3/4 of 17%"), ("17%".into(), Class::Number));
    }

    #[test]
    fn boxes_side_by_side_are_one_answer() {
        assert_eq!(best("\\boxed{2} and \\boxed{3}").0, "2, 3");
        assert_eq!(best("\\boxed{2} is wrong. It is \\boxed{3}").0, "3");
        assert_eq!(best("so \\boxed{\\{1, 2\\}}").0, "\\{1, 2\\}");
        assert_eq!(best("so \\boxed{7").1, Class::OpenBox);
    }

    #[test]
    fn thinking_does_not_count_and_a_reward_may_ask_for_a_box() {
        assert_eq!(best("<think>\\boxed{1}</think> it is 2").0, "2");
        let how = Extraction { boxed_only: true, ..Extraction::default() };
        assert!(extract("the answer is 3", &how).is_empty());
    }
}
