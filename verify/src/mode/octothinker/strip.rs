//! The normal form of strings that the paper's scorer compares: replacements in a fixed order, with what they break.

/// A string in normal form.
pub(super) fn strip(text: &str) -> String {
    let mut s = text.trim().replace('\n', "");
    s = s.trim_end_matches('.').replace("\\!", "");
    if let Some(inner) = s.strip_prefix("\\text{").and_then(|rest| rest.strip_suffix('}')) {
        s = inner.to_owned();
    }
    for name in ["tfrac", "dfrac", "cfrac"] {
        s = s.replace(name, "frac");
    }
    s = s.replace("\\left", "").replace("\\right", "");
    // A unit in words goes, and all between the first words and it.
    if s.ends_with('}')
        && let Some(at) = s.find("\\text{")
        && !s[..at].trim().is_empty()
    {
        s = s[..at].trim().to_owned();
    }
    s = s.replace("^{\\circ}", "").replace("^\\circ", "").trim().to_owned();
    for unit in ["{cm}", "{mm}", "{m}"] {
        for power in ["^2", "^3", ""] {
            s = s.replace(&format!("{unit}{power}"), "");
        }
    }
    s = s.trim().trim_end_matches("p.m.").trim().to_owned();
    if let Some(number) = s.strip_suffix('t').map(str::trim_end)
        && number.ends_with(|c: char| c.is_ascii_digit())
    {
        s = number.to_owned();
    }
    s = s.replace("\\$", "").replace('$', "").replace("x\\in", "").replace("\\%", "%");
    s = s.replace(" .", " 0.").replace("{.", "{0.").replace("\\cdot", "");
    s = s.replace("infinity", "\\infty");
    if !s.contains("\\infty") {
        s = s.replace("inf", "\\infty");
    }
    s = s.replace("\\mathbf", "").replace("\\mathrm", "");
    s = without_mbox(&s);
    if s.contains('j') && !s.contains('i') {
        s = s.replace('j', "i");
    }
    s = whole_decimals(&s);
    if s.starts_with('.') {
        s.insert(0, '0');
    }
    s = braced(&braced(&s, "\\sqrt"), "\\tan").replace(' ', "");
    s = quotient(&fractions(&s));
    s.trim_end_matches(['\\', ',', '.']).to_owned()
}

fn without_mbox(s: &str) -> String {
    let mut kept = String::new();
    let mut rest = s;
    while let Some(at) = rest.find("\\mbox{")
        && let Some(length) = rest[at..].find('}')
    {
        kept += &rest[..at];
        rest = &rest[at + length + 1..];
    }
    kept + rest
}

/// `5.00` is `5`.
fn whole_decimals(s: &str) -> String {
    let chars: Vec<char> = s.chars().collect();
    let mut kept = String::new();
    let mut at = 0;
    while at < chars.len() {
        let zeros = chars[at + 1..].iter().take_while(|c| **c == '0').count();
        let ends = chars.get(at + 1 + zeros).is_none_or(|c| !c.is_ascii_digit());
        if chars[at] == '.' && kept.ends_with(|c: char| c.is_ascii_digit()) && zeros > 0 && ends {
            at += 1 + zeros;
        } else {
            kept.push(chars[at]);
            at += 1;
        }
    }
    kept
}

/// `\sqrt3` is `\sqrt{3}`, with all letters and digits that follow.
fn braced(s: &str, command: &str) -> String {
    let mut kept = String::new();
    let mut rest = s;
    while let Some(at) = rest.find(command) {
        let (head, tail) = rest.split_at(at + command.len());
        kept += head;
        let argument = |tail: &str, minus: bool| {
            let sign = usize::from(minus && tail.starts_with('-'));
            let length = tail[sign..].bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'.').count();
            if length == 0 { 0 } else { sign + length }
        };
        let spaces = tail.len() - tail.trim_start().len();
        let direct = argument(tail, true);
        let last = argument(&tail[spaces..], false);
        let (skip, length) = match direct {
            // Behind a space only what ends the string is its argument.
            0 if spaces > 0 && last > 0 && spaces + last == tail.len() => (spaces, last),
            length => (0, length),
        };
        if length > 0 {
            kept += &format!("{{{}}}", &tail[skip..skip + length]);
        }
        rest = &tail[skip + length..];
    }
    kept + rest
}

/// `\frac12` is `\frac{1}{2}`.
fn fractions(s: &str) -> String {
    let mut parts = s.split("\\frac");
    let mut kept = parts.next().unwrap_or("").to_owned();
    for part in parts {
        kept += "\\frac";
        let mut chars = part.chars();
        match (chars.next(), chars.next()) {
            (Some('{'), _) => kept += part,
            (Some(a), Some('{')) => kept += &format!("{{{a}}}{{{}", chars.as_str()),
            (Some(a), Some(b)) => kept += &format!("{{{a}}}{{{b}}}{}", chars.as_str()),
            _ => return s.to_owned(),
        }
    }
    kept
}

/// `1/2` is `\frac{1}{2}`, where both are integers or roots.
fn quotient(s: &str) -> String {
    let Some((a, b)) = s.split_once('/').filter(|(_, b)| !b.contains('/')) else { return s.to_owned() };
    let part = |text: &str| text.contains("sqrt") || text.parse::<i64>().is_ok_and(|n| n.to_string() == text);
    if part(a) && part(b) { format!("\\frac{{{a}}}{{{b}}}") } else { s.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::strip;

    #[test]
    fn strings_take_their_normal_form() {
        for (text, normal) in [
            ("\\dfrac12", "\\frac{1}{2}"),
            ("1/2", "\\frac{1}{2}"),
            ("\\sqrt3", "\\sqrt{3}"),
            ("5.00", "5"),
            (".5", "0.5"),
            ("\\$5.50.", "5.50"),
            ("30^\\circ", "30"),
            ("12\\text{ cm}^2", "12\\text{cm}^2"),
            ("12\\text{ cm}", "12"),
            ("\\text{Evelyn}", "Evelyn"),
            ("2\\cdot3", "23"),
            ("(-inf, 3]", "(-\\infty,3]"),
            ("1 + j", "1+i"),
            ("\\left(1, 2\\right)", "(1,2)"),
            ("x \\in [1,2]", "x\\in[1,2]"),
            ("\\frac", "\\frac"),
        ] {
            assert_eq!(strip(text), normal, "{text}");
        }
    }
}
