//! Tokens to a [`Node`]: precedence climbing with implicit products, bounded in depth and in nodes.
//!
//! From loose to tight: separators of answers, relations, ratios, set operations, sums, products, signs, powers,
//! postfixes, primaries. The whole text must be consumed.

mod brackets;
mod commands;

use crate::fuel::{Fuel, Stop};
use crate::lexer::{Kind, Reading, Token, lex};
use crate::node::{Constant, Function, Node, Relation};
use crate::words;
use commands::fraction;
use dashu_int::UBig;
use dashu_ratio::RBig;

/// Nesting allowed.
const DEPTH: usize = 64;
/// What a node costs of the fuel.
const NODE_FUEL: u64 = 20;

/// A parsed answer.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub node: Node,
    /// The known unit that stood behind it.
    pub unit: Option<&'static str>,
}

/// Parses a whole answer.
pub(crate) fn parse(text: &str, reading: Reading, fuel: &Fuel) -> Result<Parsed, Stop> {
    fuel.spend(text.len() as u64)?;
    let tokens = lex(text, reading)?;
    if tokens.is_empty() {
        return Err(Stop::Unparsed("the answer is empty".into()));
    }
    if let Some(words) = words_alone(&tokens) {
        return Ok(Parsed { node: Node::Text(words), unit: None });
    }
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0, bars: 0, fuel, unit: None };
    let node = parser.answers(|_| false)?;
    if parser.at < tokens.len() {
        return Err(Stop::Unparsed(format!("{} is left over", show(&tokens[parser.at].kind))));
    }
    Ok(Parsed { node, unit: parser.unit })
}

/// The text of an answer that is words and nothing else.
fn words_alone(tokens: &[Token]) -> Option<String> {
    let mut words = Vec::new();
    let mut word_like = false;
    for token in tokens {
        match &token.kind {
            Kind::Word(word) if !words::function(word) && word != "pi" => {
                word_like |= !words::separator(word);
                words.push(word.as_str());
            }
            Kind::Text(text) => {
                word_like |= !words::separator(&text.to_lowercase());
                words.push(text);
            }
            Kind::Letter(letter) => words.push(letter),
            Kind::Symbol(',' | '-' | '\'' | ':') => {}
            _ => return None,
        }
    }
    let separators = words.iter().any(|w| words::separator(&w.to_lowercase()));
    (word_like && !separators).then(|| plain(&words.join(" ")))
}

/// Words as they are compared: lower case, letters and digits, single spaces.
pub(crate) fn plain(text: &str) -> String {
    let kept: String =
        text.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn show(kind: &Kind) -> String {
    match kind {
        Kind::Number { whole, .. } => format!("`{whole}`"),
        Kind::Letter(s) | Kind::Word(s) | Kind::Text(s) => format!("`{s}`"),
        Kind::Command(s) => format!("`\\{s}`"),
        Kind::Symbol(c) | Kind::Brace(c) => format!("`{c}`"),
        Kind::Begin(s) => format!("`\\begin{{{s}}}`"),
        Kind::End(s) => format!("`\\end{{{s}}}`"),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    /// Absolute-value bars that are open: inside them a bar closes.
    bars: usize,
    fuel: &'a Fuel,
    unit: Option<&'static str>,
}

type Parse = Result<Node, Stop>;

impl Parser<'_> {
    fn kind(&self, ahead: usize) -> Option<&Kind> {
        self.tokens.get(self.at + ahead).map(|t| &t.kind)
    }

    fn symbol(&self) -> Option<char> {
        match self.kind(0) {
            Some(Kind::Symbol(c)) => Some(*c),
            _ => None,
        }
    }

    fn eat(&mut self, symbol: char) -> bool {
        let here = self.symbol() == Some(symbol);
        self.at += usize::from(here);
        here
    }

    fn unexpected<T>(&self) -> Result<T, Stop> {
        Err(Stop::Unparsed(match self.kind(0) {
            Some(kind) => format!("{} is unexpected", show(kind)),
            None => "the answer ends too early".into(),
        }))
    }

    fn expect(&mut self, symbol: char) -> Result<(), Stop> {
        if self.eat(symbol) { Ok(()) } else { self.unexpected() }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        self.fuel.spend(NODE_FUEL)?;
        if self.depth == DEPTH {
            return Err(Stop::Unparsed(format!("nested deeper than {DEPTH}")));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    // ---- answers ---------------------------------------------------------------------------------------------

    /// One answer, or a list of several.
    fn answers(&mut self, ends: impl Fn(&Kind) -> bool) -> Parse {
        let mut list = Vec::new();
        let mut or = false;
        while self.separator().is_some() {}
        loop {
            list.push(self.relation()?);
            self.trailing_words()?;
            let before = self.at;
            while let Some(this) = self.separator() {
                or |= this;
            }
            if self.at == before || self.kind(0).is_none_or(&ends) {
                break;
            }
        }
        Ok(if list.len() == 1 { list.swap_remove(0) } else { Node::List(list, or) })
    }

    /// Steps over what separates two answers; whether it was an "or".
    fn separator(&mut self) -> Option<bool> {
        let or = match self.kind(0) {
            Some(Kind::Word(word)) => word.eq_ignore_ascii_case("or"),
            Some(Kind::Text(text)) => plain(text) == "or",
            Some(Kind::Command(name)) => matches!(name.as_str(), "lor" | "vee"),
            _ => false,
        };
        let here = match self.kind(0) {
            Some(Kind::Symbol(',' | ';' | '␤')) => true,
            Some(Kind::Word(word)) => words::separator(&word.to_lowercase()),
            Some(Kind::Text(text)) => words::separator(&plain(text)),
            Some(Kind::Command(name)) => matches!(name.as_str(), "land" | "lor" | "wedge" | "vee"),
            _ => false,
        };
        self.at += usize::from(here);
        here.then_some(or)
    }

    /// Units and other words behind a value.
    fn trailing_words(&mut self) -> Result<(), Stop> {
        while let Some(kind) = self.kind(0) {
            let words = match kind {
                Kind::Text(text) if !words::separator(&plain(text)) => plain(text),
                Kind::Word(word) if !words::separator(&word.to_lowercase()) && !words::function(word) => {
                    plain(word)
                }
                _ => break,
            };
            self.at += 1;
            if self.unit.is_none() {
                self.unit = words.split(' ').find_map(words::unit);
            }
            // `cm^2`, `m/s`
            if self.eat('^') {
                self.group()?;
            }
            if self.symbol() == Some('/')
                && matches!(self.kind(1), Some(Kind::Text(_) | Kind::Word(_) | Kind::Letter(_)))
            {
                self.at += 1;
                if matches!(self.kind(0), Some(Kind::Letter(_))) {
                    self.at += 1;
                }
            }
        }
        Ok(())
    }

    fn relation_sign(&self) -> Option<Relation> {
        Some(match self.symbol()? {
            '=' => Relation::Equal,
            '≠' => Relation::NotEqual,
            '<' => Relation::Less,
            '≤' => Relation::LessEqual,
            '>' => Relation::Greater,
            '≥' => Relation::GreaterEqual,
            '∈' => Relation::In,
            _ => return None,
        })
    }

    fn relation(&mut self) -> Parse {
        let mut sides = vec![self.ratio()?];
        let mut signs = Vec::new();
        while let Some(sign) = self.relation_sign() {
            self.at += 1;
            signs.push(sign);
            // `x, y \in …` and `(x, y) = …` are read; what stands right of a sign may be a list in brackets only.
            sides.push(self.ratio()?);
        }
        if !signs.is_empty() && matches!(sides[0], Node::Text(_)) {
            return Err(Stop::Unparsed("a relation begins with words".into()));
        }
        Ok(if signs.is_empty() { sides.swap_remove(0) } else { Node::Chain(sides, signs) })
    }

    fn ratio(&mut self) -> Parse {
        let mut parts = vec![self.union()?];
        while self.eat(':') || self.eat_to() {
            parts.push(self.union()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Node::Ratio(parts) })
    }

    /// `7 to 32`.
    fn eat_to(&mut self) -> bool {
        let to = matches!(self.kind(0), Some(Kind::Word(word)) if word == "to")
            || matches!(self.kind(0), Some(Kind::Text(text)) if plain(text) == "to");
        let here = to && matches!(self.kind(1), Some(Kind::Number { .. }));
        self.at += usize::from(here);
        here
    }

    fn union(&mut self) -> Parse {
        let mut node = self.sum()?;
        loop {
            if self.eat('∪') {
                let next = self.sum()?;
                node = match node {
                    Node::Union(mut list) => {
                        list.push(next);
                        Node::Union(list)
                    }
                    first => Node::Union(vec![first, next]),
                };
            } else if self.eat('∩') {
                node = Node::Intersection(vec![node, self.sum()?]);
            } else if self.eat('∖') {
                node = Node::Difference(Box::new(node), Box::new(self.sum()?));
            } else {
                return Ok(node);
            }
        }
    }

    // ---- expressions -----------------------------------------------------------------------------------------

    fn sum(&mut self) -> Parse {
        self.deeper(|p| {
            let mut terms =
                vec![if p.eat('±') { plus_minus(Node::integer(0), p.product()?) } else { p.product()? }];
            loop {
                if p.eat('+') {
                    terms.push(p.product()?);
                } else if p.eat('-') {
                    terms.push(Node::Negate(Box::new(p.product()?)));
                } else if p.eat('±') {
                    let left = add(std::mem::take(&mut terms));
                    terms = vec![plus_minus(left, p.product()?)];
                } else {
                    return Ok(add(terms));
                }
            }
        })
    }

    fn product(&mut self) -> Parse {
        let mut node = self.signed()?;
        loop {
            self.fuel.spend(NODE_FUEL)?;
            if self.eat('*') {
                node = multiply(node, self.signed()?);
            } else if self.eat('/') {
                node = Node::Divide(Box::new(node), Box::new(self.signed()?));
            } else if matches!(node, Node::Text(_)) {
                // Words do not multiply: this is prose.
                return if self.starts_factor() { self.unexpected() } else { Ok(node) };
            } else if self.starts_factor() {
                node = multiply(node, self.power()?);
            } else {
                return Ok(node);
            }
        }
    }

    fn signed(&mut self) -> Parse {
        if self.eat('-') {
            return self.deeper(|p| Ok(Node::Negate(Box::new(p.signed()?))));
        }
        if self.eat('+') {
            return self.deeper(Self::signed);
        }
        self.power()
    }

    /// Whether a factor begins here with no sign before it.
    fn starts_factor(&self) -> bool {
        match self.kind(0) {
            Some(Kind::Letter(_) | Kind::Begin(_)) => true,
            Some(Kind::Word(word)) => words::function(word) || word == "pi",
            Some(Kind::Command(name)) => {
                !matches!(name.as_str(), "land" | "lor" | "wedge" | "vee" | "over" | "mod" | "pmod")
            }
            Some(Kind::Symbol('|')) => self.bars == 0,
            Some(Kind::Symbol(c)) => matches!(c, '(' | '{' | '√' | '∞' | '⌊' | '⌈'),
            // Two numbers side by side mean nothing, unless a bracket or letter stood between.
            Some(Kind::Number { .. }) => !matches!(
                self.tokens.get(self.at.wrapping_sub(1)).map(|t| &t.kind),
                Some(Kind::Number { .. })
            ),
            _ => false,
        }
    }

    fn power(&mut self) -> Parse {
        self.deeper(|p| {
            let base = p.primary()?;
            let base = p.postfix(base)?;
            if !p.eat('^') {
                return Ok(base);
            }
            // `30^\circ`, `x^{\prime}`
            let braces = usize::from(p.symbol() == Some('{'));
            if let Some(Kind::Symbol(mark @ ('°' | '\''))) = p.kind(braces) {
                let mark = *mark;
                p.at += braces + 1;
                if braces == 1 {
                    p.expect('}')?;
                }
                let marked = if mark == '°' { Node::Degrees(Box::new(base)) } else { primed(base)? };
                return p.postfix(marked);
            }
            let exponent = p.exponent()?;
            let power = Node::Power(Box::new(base), Box::new(exponent));
            p.postfix(power)
        })
    }

    fn exponent(&mut self) -> Parse {
        if self.eat('-') {
            return Ok(Node::Negate(Box::new(self.exponent()?)));
        }
        if self.symbol() == Some('{') { self.group() } else { self.power() }
    }

    fn postfix(&mut self, mut node: Node) -> Parse {
        loop {
            self.fuel.spend(1)?;
            if self.eat('!') {
                node = Node::Apply(Function::Factorial, vec![node]);
            } else if self.eat('%') {
                node = Node::Percent(Box::new(node));
            } else if self.eat('°') {
                node = Node::Degrees(Box::new(node));
            } else if self.eat('\'') {
                node = primed(node)?;
            } else {
                return Ok(node);
            }
        }
    }

    /// `{…}`, or the one thing that stands in its place.
    fn group(&mut self) -> Parse {
        if self.eat('{') {
            let bars = std::mem::take(&mut self.bars);
            let node = self.deeper(Self::sum)?;
            self.bars = bars;
            self.expect('}')?;
            return Ok(node);
        }
        self.deeper(Self::primary)
    }

    /// The argument of a command without braces: `\frac12` takes a digit each.
    fn argument(&mut self, digits: &mut Vec<char>) -> Parse {
        if let Some(digit) = digits.pop() {
            return Ok(Node::integer(i64::from(digit.to_digit(10).unwrap_or(0))));
        }
        if let Some(Kind::Number { whole, decimals: None, repeating: None }) = self.kind(0)
            && whole.len() > 1
        {
            *digits = whole.chars().rev().collect();
            self.at += 1;
            return self.argument(digits);
        }
        self.group()
    }

    fn primary(&mut self) -> Parse {
        self.fuel.spend(NODE_FUEL)?;
        let Some(kind) = self.kind(0) else { return self.unexpected() };
        match kind.clone() {
            Kind::Number { whole, decimals, repeating } => {
                self.at += 1;
                let number = number(&whole, decimals.as_deref(), repeating.as_deref())?;
                let number = self.mixed(number)?;
                Ok(self.magnitude(number))
            }
            Kind::Letter(name) => {
                self.at += 1;
                self.letter(name)
            }
            Kind::Word(word) if word == "pi" => {
                self.at += 1;
                Ok(Node::Constant(Constant::Pi))
            }
            Kind::Word(word) if words::function(&word) => {
                self.at += 1;
                self.function(&word)
            }
            Kind::Word(word) => {
                self.at += 1;
                Ok(Node::Text(plain(&word)))
            }
            Kind::Text(text) => {
                self.at += 1;
                Ok(Node::Text(plain(&text)))
            }
            Kind::Command(name) => {
                self.at += 1;
                self.command(&name)
            }
            Kind::Begin(environment) => {
                self.at += 1;
                self.environment(&environment)
            }
            Kind::Brace('{') => {
                self.at += 1;
                self.set()
            }
            Kind::Symbol(c) => {
                self.at += 1;
                self.bracket(c)
            }
            _ => self.unexpected(),
        }
    }

    /// `1\frac34`, `1 3/4`; and a number in a base, `1011_2`.
    fn mixed(&mut self, number: Node) -> Parse {
        let whole = matches!(&number, Node::Number(n) if n.is_int());
        if !whole {
            return Ok(number);
        }
        if self.eat('_') {
            let base = self.group()?;
            return Ok(Node::Opaque("base".into(), vec![number, base]));
        }
        let from = self.at;
        if let Some(Kind::Command(name)) = self.kind(0)
            && fraction(name)
        {
            self.at += 1;
            let fraction = self.fraction()?;
            if let Node::Divide(a, b) = &fraction
                && let (Node::Number(_), Node::Number(_)) = (&**a, &**b)
            {
                return Ok(Node::Add(vec![number, fraction]));
            }
            self.at = from;
            return Ok(number);
        }
        if let [
            Token { kind: Kind::Number { whole: a, decimals: None, .. }, spaced: true },
            Token { kind: Kind::Symbol('/'), .. },
            Token { kind: Kind::Number { whole: b, decimals: None, .. }, .. },
            ..,
        ] = &self.tokens[self.at..]
        {
            let (a, b) = (self::number(a, None, None)?, self::number(b, None, None)?);
            self.at += 3;
            return Ok(Node::Add(vec![number, Node::Divide(Box::new(a), Box::new(b))]));
        }
        Ok(number)
    }

    /// `3 million`, `3\text{ million dollars}`.
    fn magnitude(&mut self, number: Node) -> Node {
        let (zeros, unit) = match self.kind(0) {
            Some(Kind::Word(word)) => (words::magnitude(&word.to_lowercase()), None),
            Some(Kind::Text(text)) => {
                let text = plain(text);
                let mut words = text.split(' ');
                (words.next().and_then(words::magnitude), words.find_map(words::unit))
            }
            _ => (None, None),
        };
        let Some(zeros) = zeros else { return number };
        self.at += 1;
        self.unit = self.unit.or(unit);
        multiply(number, Node::Number(RBig::from(UBig::from(10u8).pow(zeros))))
    }

    fn letter(&mut self, name: String) -> Parse {
        if self.symbol() == Some('_') {
            self.at += 1;
            let subscript = self.subscript()?;
            return Ok(Node::Symbol(format!("{name}_{subscript}")));
        }
        Ok(match name.as_str() {
            "e" => Node::Constant(Constant::Euler),
            "i" => Node::Constant(Constant::Imaginary),
            _ => Node::Symbol(name),
        })
    }

    /// A subscript as text: what it means does not matter, only whether two are the same.
    fn subscript(&mut self) -> Result<String, Stop> {
        let text = |kind: &Kind| match kind {
            Kind::Number { whole, .. } => whole.clone(),
            Kind::Letter(s) | Kind::Word(s) | Kind::Text(s) | Kind::Command(s) => s.clone(),
            Kind::Symbol(c) | Kind::Brace(c) => c.to_string(),
            Kind::Begin(_) | Kind::End(_) => String::new(),
        };
        if !self.eat('{') {
            let Some(kind) = self.kind(0) else { return self.unexpected() };
            let subscript = text(kind);
            self.at += 1;
            return Ok(subscript);
        }
        let mut subscript = String::new();
        while !self.eat('}') {
            let Some(kind) = self.kind(0) else { return self.unexpected() };
            subscript += &text(kind);
            self.at += 1;
        }
        Ok(subscript)
    }
}

fn add(mut terms: Vec<Node>) -> Node {
    if terms.len() == 1 { terms.swap_remove(0) } else { Node::Add(terms) }
}

fn multiply(a: Node, b: Node) -> Node {
    match a {
        Node::Mul(mut factors) => {
            factors.push(b);
            Node::Mul(factors)
        }
        a => Node::Mul(vec![a, b]),
    }
}

fn plus_minus(a: Node, b: Node) -> Node {
    Node::PlusMinus(Box::new(a), Box::new(b))
}

fn interval(low: Node, high: Node, open_low: bool, open_high: bool) -> Node {
    Node::Interval { low: Box::new(low), high: Box::new(high), open_low, open_high }
}

fn primed(node: Node) -> Parse {
    match node {
        Node::Symbol(name) => Ok(Node::Symbol(name + "'")),
        _ => Err(Stop::Unparsed("a prime stands behind something that is no letter".into())),
    }
}

/// A literal, exact: decimals as a fraction, repeating ones too.
fn number(whole: &str, decimals: Option<&str>, repeating: Option<&str>) -> Parse {
    let digits = |text: &str| {
        UBig::from_str_radix(if text.is_empty() { "0" } else { text }, 10)
            .map_err(|_| Stop::Unparsed(format!("`{text}` is no number")))
    };
    let decimals_text = decimals.unwrap_or("");
    let scale = UBig::from(10u8).pow(decimals_text.len());
    let mut value = RBig::from_parts(digits(&format!("{whole}{decimals_text}"))?.into(), scale.clone());
    if let Some(repeating) = repeating {
        let nines = UBig::from(10u8).pow(repeating.len()) - UBig::ONE;
        value += RBig::from_parts(digits(repeating)?.into(), nines * scale);
        return Ok(Node::Number(value));
    }
    Ok(match decimals {
        Some(decimals) => Node::Decimal(value, decimals.len() as u32),
        None => Node::Number(value),
    })
}
