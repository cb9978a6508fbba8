//! Text to tokens: LaTeX and plain notation in one pass, with what only lays out dropped.

use crate::fuel::Stop;

/// A token, and whether white space stood before it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub kind: Kind,
    pub spaced: bool,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Digits, those behind the point if there is one, and those that repeat (`0.1\overline{6}`). Thousands
    /// separators are gone.
    Number {
        whole: String,
        decimals: Option<String>,
        repeating: Option<String>,
    },
    /// One letter (or a Greek letter by name): a symbol.
    Letter(String),
    /// Several letters that mean something in plain text: `sqrt`, `sin`, `pi`, `and`, or a word.
    Word(String),
    /// A LaTeX command without its backslash.
    Command(String),
    /// The content of `\text{…}` and its relatives.
    Text(String),
    /// One character with a meaning of its own. `≤` stands for `\le`, `∪` for `\cup` and so on.
    Symbol(char),
    /// `\{` and `\}`: curly brackets that are meant, as '{' and '}'.
    Brace(char),
    /// `\begin{…}` and `\end{…}`.
    Begin(String),
    End(String),
}

/// The longest answer that is looked at, in bytes.
pub(crate) const LONGEST: usize = 4096;

/// The largest exponent of a number in scientific notation.
const FARTHEST: i32 = 400;

/// Commands that only lay out.
const LAYOUT: [&str; 30] = [
    "left",
    "right",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "biggl",
    "biggr",
    "middle",
    "displaystyle",
    "textstyle",
    "limits",
    "quad",
    "qquad",
    "boldsymbol",
    "mathbf",
    "mathit",
    "mathsf",
    "bm",
    "thinspace",
    "nolimits",
    "bf",
    "rm",
    "hspace*",
    "phantom",
    "allowbreak",
];

/// Commands whose argument is words.
const TEXTS: [&str; 10] =
    ["text", "textbf", "textit", "textrm", "mbox", "mathrm", "operatorname", "hbox", "mathop", "textsf"];

/// Commands that are one symbol.
const SYMBOLS: [(&str, char); 44] = [
    ("times", '*'),
    ("cdot", '*'),
    ("ast", '*'),
    ("div", '/'),
    ("pm", '±'),
    ("mp", '±'),
    ("le", '≤'),
    ("leq", '≤'),
    ("leqslant", '≤'),
    ("ge", '≥'),
    ("geq", '≥'),
    ("geqslant", '≥'),
    ("ne", '≠'),
    ("neq", '≠'),
    ("lt", '<'),
    ("gt", '>'),
    ("in", '∈'),
    ("cup", '∪'),
    ("cap", '∩'),
    ("setminus", '∖'),
    ("backslash", '∖'),
    ("infty", '∞'),
    ("emptyset", '∅'),
    ("varnothing", '∅'),
    ("circ", '°'),
    ("degree", '°'),
    ("ldots", '…'),
    ("dots", '…'),
    ("cdots", '…'),
    ("vert", '|'),
    ("lvert", '|'),
    ("rvert", '|'),
    ("mid", '|'),
    ("approx", '='),
    ("to", '→'),
    ("rightarrow", '→'),
    ("colon", ':'),
    ("lfloor", '⌊'),
    ("rfloor", '⌋'),
    ("lceil", '⌈'),
    ("rceil", '⌉'),
    ("prime", '\''),
    ("langle", '⟨'),
    ("rangle", '⟩'),
];

/// Greek letters that are symbols.
const GREEK: [&str; 30] = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "vartheta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "rho",
    "sigma",
    "tau",
    "upsilon",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Omega",
    "ell",
    "Phi",
];

/// How what can be read in two ways is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// `3,14` is three and a bit, not two numbers.
    pub comma: bool,
    /// `3e-4` is three ten-thousandths, not a difference.
    pub exponent: bool,
}

/// The other way to read a text, if it has one.
pub(crate) fn second_reading(text: &str) -> Option<Reading> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let around = |at: usize| at > 0 && digit(at - 1);
    let mut commas = bytes.iter().enumerate().filter(|(_, b)| **b == b',').map(|(at, _)| at);
    let comma = match (commas.next(), commas.next()) {
        (Some(at), None) => around(at) && digit(at + 1) && !text.contains(['.', '(', '[', '{']),
        _ => false,
    };
    let exponent = (0..bytes.len()).any(|at| {
        matches!(bytes[at], b'e' | b'E')
            && around(at)
            && matches!(bytes.get(at + 1), Some(b'+' | b'-'))
            && digit(at + 2)
    });
    (comma || exponent).then_some(Reading { comma, exponent })
}

/// Splits an answer into tokens.
pub(crate) fn lex(text: &str, reading: Reading) -> Result<Vec<Token>, Stop> {
    if text.len() > LONGEST {
        return Err(Stop::Unparsed(format!("the answer is longer than {LONGEST} bytes")));
    }
    let chars: Vec<char> = text.chars().collect();
    let mut lexer = Lexer { chars: &chars, at: 0, tokens: Vec::new(), spaced: false, depth: 0, reading };
    while lexer.at < chars.len() {
        lexer.step()?;
    }
    times(&mut lexer.tokens);
    Ok(lexer.tokens)
}

/// `3 x 10^5`: an x between a number and a power of ten is a sign.
fn times(tokens: &mut [Token]) {
    for at in 1..tokens.len().saturating_sub(2) {
        let number = |token: &Token| matches!(&token.kind, Kind::Number { .. });
        let ten = matches!(&tokens[at + 1].kind, Kind::Number { whole, decimals: None, .. } if whole == "10");
        let x = matches!(&tokens[at].kind, Kind::Letter(letter) if letter == "x");
        if x && ten && number(&tokens[at - 1]) && tokens[at + 2].kind == Kind::Symbol('^') {
            tokens[at].kind = Kind::Symbol('*');
        }
    }
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
    tokens: Vec<Token>,
    spaced: bool,
    /// Brackets that are open: inside them a comma separates.
    depth: usize,
    reading: Reading,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn push(&mut self, kind: Kind) {
        self.tokens.push(Token { kind, spaced: std::mem::take(&mut self.spaced) });
    }

    fn step(&mut self) -> Result<(), Stop> {
        let Some(c) = self.peek(0) else { return Ok(()) };
        match c {
            _ if c.is_whitespace() || c == '~' || c == '\u{200b}' => {
                self.at += 1;
                self.spaced = true;
            }
            // Mathematics delimiters and currency.
            '$' | '€' | '£' | '¥' | '₹' => self.at += 1,
            '\\' => self.command()?,
            '0'..='9' => self.number()?,
            '.' if self.peek(1).is_some_and(|d| d.is_ascii_digit()) => self.number()?,
            // `12{:}00` sets the colon without the space of a relation.
            '{' if self.peek(1) == Some(':') && self.peek(2) == Some('}') => {
                self.at += 3;
                self.push(Kind::Symbol(':'));
            }
            '.' if self.peek(1) == Some('.') => {
                while self.peek(0) == Some('.') {
                    self.at += 1;
                }
                self.push(Kind::Symbol('…'));
            }
            _ if c.is_alphabetic() => self.letters(),
            _ => self.symbol(c)?,
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Stop> {
        let mut whole = self.digits();
        // Thousands: groups of three behind a comma, a thin space or `{,}`.
        if (1..=3).contains(&whole.len()) {
            while let Some(skip) = self.separator() {
                self.at += skip;
                whole.push_str(&self.digits());
            }
        }
        let decimals = self.point().map(|length| {
            self.at += length;
            self.digits()
        });
        let repeating = self.repeating(decimals.is_some());
        let decimals = decimals.filter(|d| !d.is_empty());
        let exponent = if repeating.is_none() { self.exponent()? } else { 0 };
        let (whole, decimals) = shifted(whole, decimals, exponent);
        self.push(Kind::Number { whole, decimals, repeating });
        Ok(())
    }

    /// Length of the decimal point that stands here: a point, or a comma where it is read as one.
    fn point(&self) -> Option<usize> {
        let digit = |ahead: usize| self.peek(ahead).is_some_and(|d| d.is_ascii_digit());
        match self.peek(0)? {
            '.' if digit(1) || self.dot_ends() => Some(1),
            ',' if self.reading.comma && digit(1) => Some(1),
            // Three digits would have been thousands.
            '{' if self.peek(1) == Some(',') && self.peek(2) == Some('}') && digit(3) => Some(3),
            _ => None,
        }
    }

    /// The exponent of `3e5`; with a sign only where the reading says so.
    fn exponent(&mut self) -> Result<i32, Stop> {
        if !matches!(self.peek(0), Some('e' | 'E')) {
            return Ok(0);
        }
        let sign = self.reading.exponent.then(|| self.peek(1)).flatten().filter(|c| matches!(c, '+' | '-'));
        let from = 1 + usize::from(sign.is_some());
        if !self.peek(from).is_some_and(|d| d.is_ascii_digit()) {
            return Ok(0);
        }
        self.at += from;
        let digits = self.digits();
        match digits.parse::<i32>() {
            Ok(exponent) if exponent <= FARTHEST => Ok(if sign == Some('-') { -exponent } else { exponent }),
            _ => Err(Stop::Unparsed(format!("the exponent {digits} is larger than {FARTHEST}"))),
        }
    }

    /// `\overline{…}` behind the point, or the point with it.
    fn repeating(&mut self, pointed: bool) -> Option<String> {
        let from = self.at;
        let rest: String = self.chars[from..].iter().take(40).collect();
        let behind = if pointed { rest.as_str() } else { rest.strip_prefix('.')? };
        let digits: String =
            behind.strip_prefix("\\overline{")?.chars().take_while(char::is_ascii_digit).collect();
        let closed = behind.strip_prefix("\\overline{")?.get(digits.len()..)?.starts_with('}');
        if digits.is_empty() || !closed {
            return None;
        }
        self.at += usize::from(!pointed) + "\\overline{".len() + digits.len() + 1;
        Some(digits)
    }

    /// A point after a number that ends the text is the end of a sentence.
    fn dot_ends(&self) -> bool {
        self.chars[self.at + 1..].iter().all(|c| c.is_whitespace() || *c == '$')
    }

    fn digits(&mut self) -> String {
        let from = self.at;
        while self.peek(0).is_some_and(|d| d.is_ascii_digit()) {
            self.at += 1;
        }
        self.chars[from..self.at].iter().collect()
    }

    /// Length of a thousands separator here that three digits and no fourth follow.
    fn separator(&self) -> Option<usize> {
        let rest = &self.chars[self.at..];
        let starts = |prefix: &str| {
            rest.iter().copied().zip(prefix.chars()).all(|(a, b)| a == b) && rest.len() >= prefix.len()
        };
        let skip = match rest.first()? {
            ',' if self.depth == 0 => 1,
            ',' if starts(",\\!") => 3,
            '{' if starts("{,}") => 3,
            '\\' if starts("\\,") || starts("\\!") || starts("\\;") => 2,
            ' ' if self.depth == 0 => 1,
            '\u{202f}' | '\u{2009}' | '\u{a0}' => 1,
            _ => return None,
        };
        let skip = if self.depth == 0 && starts(",\\!") { 3 } else { skip };
        let digits = rest[skip..].iter().take_while(|c| c.is_ascii_digit()).count();
        // `1 234/5` is a mixed number in nobody's hand; `2 000 apples` is two thousand.
        (digits == 3).then_some(skip)
    }

    fn letters(&mut self) {
        let from = self.at;
        while self.peek(0).is_some_and(|c| c.is_alphabetic()) {
            self.at += 1;
        }
        let word: String = self.chars[from..self.at].iter().collect();
        self.word(&word);
    }

    /// A run of letters: a word, a letter, or letters that are multiplied.
    fn word(&mut self, word: &str) {
        let lower = word.to_lowercase();
        if let Some(symbol) = plain_symbol(&lower) {
            self.push(Kind::Symbol(symbol));
        } else if GREEK.contains(&word) {
            self.push(Kind::Letter(word.to_owned()));
        } else if crate::words::known(&lower) || word.chars().count() > 3 {
            self.push(Kind::Word(word.to_owned()));
        } else {
            for letter in word.chars() {
                match letter {
                    'π' => self.push(Kind::Word("pi".into())),
                    'θ' => self.push(Kind::Letter("theta".into())),
                    _ => self.push(Kind::Letter(letter.to_string())),
                }
            }
        }
    }

    fn command(&mut self) -> Result<(), Stop> {
        self.at += 1;
        let Some(c) = self.peek(0) else { return Err(Stop::Unparsed("ends in a backslash".into())) };
        if !c.is_ascii_alphabetic() {
            self.at += 1;
            match c {
                '{' | '}' => {
                    self.bracket(c);
                    self.push(Kind::Brace(c));
                }
                '\\' => self.push(Kind::Symbol('␤')),
                '%' => self.push(Kind::Symbol('%')),
                '|' => self.push(Kind::Symbol('|')),
                // Delimiters and currency leave nothing, spaces a space.
                '(' | ')' | '[' | ']' | '$' | '&' | '#' | '_' | '!' => {}
                _ => self.spaced = true,
            }
            return Ok(());
        }
        let from = self.at;
        while self.peek(0).is_some_and(|c| c.is_ascii_alphabetic()) {
            self.at += 1;
        }
        let name: String = self.chars[from..self.at].iter().collect();
        if LAYOUT.contains(&name.as_str()) {
            // `\left.` opens nothing.
            if matches!(name.as_str(), "left" | "right") && self.peek(0) == Some('.') {
                self.at += 1;
            }
        } else if TEXTS.contains(&name.as_str()) {
            let content = self.group(&name)?;
            self.text(&name, &content);
        } else if name == "begin" || name == "end" {
            let environment = self.group(&name)?;
            self.push(if name == "begin" { Kind::Begin(environment) } else { Kind::End(environment) });
        } else if let Some(&(_, symbol)) = SYMBOLS.iter().find(|(n, _)| *n == name) {
            self.push(Kind::Symbol(symbol));
        } else if GREEK.contains(&name.as_str()) {
            self.push(Kind::Letter(name));
        } else if crate::words::function(&name) || name == "pi" {
            self.push(Kind::Word(name));
        } else {
            self.push(Kind::Command(name));
        }
        Ok(())
    }

    /// `\text{and}` separates, `\mathrm{e}` is Euler's number, `\operatorname{lcm}` a function.
    fn text(&mut self, command: &str, content: &str) {
        let trimmed = content.trim();
        let lower = trimmed.to_lowercase();
        let inner = matches!(command, "mathrm" | "operatorname" | "mathop");
        if inner && crate::words::function(&lower) {
            self.push(Kind::Word(lower));
        } else if inner && trimmed.chars().count() == 1 {
            self.push(Kind::Letter(trimmed.to_owned()));
        } else if let Ok(tokens) = numeric(trimmed) {
            self.tokens.extend(tokens);
        } else {
            self.push(Kind::Text(trimmed.to_owned()));
        }
    }

    /// The content of the braces that follow.
    fn group(&mut self, command: &str) -> Result<String, Stop> {
        while self.peek(0).is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        if self.peek(0) != Some('{') {
            return Err(Stop::Unparsed(format!("\\{command} has no braces")));
        }
        let from = self.at + 1;
        let mut depth = 0usize;
        while let Some(c) = self.peek(0) {
            self.at += 1;
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(self.chars[from..self.at - 1].iter().collect());
            }
        }
        Err(Stop::Unparsed(format!("the braces of \\{command} do not close")))
    }

    fn bracket(&mut self, c: char) {
        match c {
            '(' | '[' | '{' => self.depth += 1,
            _ => self.depth = self.depth.saturating_sub(1),
        }
    }

    fn symbol(&mut self, c: char) -> Result<(), Stop> {
        let two = self.peek(1);
        let (symbol, length) = match (c, two) {
            ('*', Some('*')) => ('^', 2),
            ('<', Some('=')) => ('≤', 2),
            ('>', Some('=')) => ('≥', 2),
            ('!', Some('=')) => ('≠', 2),
            ('+', Some('-')) if self.peek(2) != Some('-') => ('±', 2),
            ('=', Some('=')) => ('=', 2),
            ('−' | '–' | '—' | '‐', _) => ('-', 1),
            ('×' | '·' | '⋅' | '∙' | '∗', _) => ('*', 1),
            ('÷' | '⁄' | '∕', _) => ('/', 1),
            ('∓', _) => ('±', 1),
            ('⩽', _) => ('≤', 1),
            ('⩾', _) => ('≥', 1),
            ('º' | '˚', _) => ('°', 1),
            ('∣', _) => ('|', 1),
            ('′' | '’', _) => ('\'', 1),
            ('，', _) => (',', 1),
            _ => (c, 1),
        };
        self.at += length;
        match symbol {
            '½' | '⅓' | '⅔' | '¼' | '¾' => self.vulgar(symbol),
            '²' | '³' => {
                self.push(Kind::Symbol('^'));
                let digit = if symbol == '²' { "2" } else { "3" };
                self.push(Kind::Number { whole: digit.into(), decimals: None, repeating: None });
            }
            '(' | ')' | '[' | ']' | '{' | '}' => {
                // `{` groups in LaTeX and encloses a set in plain text; the parser tells which.
                if !matches!(symbol, '{' | '}') {
                    self.bracket(symbol);
                }
                self.push(Kind::Symbol(symbol));
            }
            '+' | '-' | '*' | '/' | '^' | '_' | '=' | '<' | '>' | '≤' | '≥' | '≠' | '±' | '!' | '%' | ','
            | ';' | ':' | '|' | '∈' | '∪' | '∩' | '∖' | '∞' | '∅' | '°' | '…' | '→' | '√' | '\'' | '⌊'
            | '⌋' | '⌈' | '⌉' | '⟨' | '⟩' | '&' => {
                self.push(Kind::Symbol(symbol));
            }
            // Quotes, points and marks that say nothing.
            '"' | '“' | '”' | '`' | '.' | '?' => {}
            _ => return Err(Stop::Unparsed(format!("`{c}` means nothing here"))),
        }
        Ok(())
    }

    /// `½` is \frac12, so that `3½` is a mixed number.
    fn vulgar(&mut self, symbol: char) {
        let (numerator, denominator) = match symbol {
            '½' => ("1", "2"),
            '⅓' => ("1", "3"),
            '⅔' => ("2", "3"),
            '¼' => ("1", "4"),
            _ => ("3", "4"),
        };
        self.push(Kind::Command("frac".into()));
        for part in [numerator, denominator] {
            self.push(Kind::Symbol('{'));
            self.push(Kind::Number { whole: part.into(), decimals: None, repeating: None });
            self.push(Kind::Symbol('}'));
        }
    }
}

/// The digits before and behind the point once it has moved.
fn shifted(whole: String, decimals: Option<String>, exponent: i32) -> (String, Option<String>) {
    if exponent == 0 {
        return (whole, decimals);
    }
    let behind = decimals.unwrap_or_default();
    let point = whole.len() as i32 + exponent;
    let mut digits = whole + &behind;
    let zeros = |count: i32| "0".repeat(count.max(0) as usize);
    digits = zeros(-point) + &digits + &zeros(point - digits.len() as i32);
    let decimals = digits.split_off(point.max(0) as usize);
    (digits, (!decimals.is_empty()).then_some(decimals))
}

/// The tokens of a text that is nothing but a number, as in `\text{13}`.
fn numeric(text: &str) -> Result<Vec<Token>, ()> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ',' | '-')) {
        return Err(());
    }
    lex(text, Reading::default()).map_err(drop)
}

fn plain_symbol(word: &str) -> Option<char> {
    Some(match word {
        "infinity" | "oo" => '∞',
        "union" | "u" if word.len() > 1 => '∪',
        "percent" => '%',
        "degrees" | "degree" => '°',
        _ => return None,
    })
}
