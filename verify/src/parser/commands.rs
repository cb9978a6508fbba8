//! Commands: fractions, roots, functions and what they apply to.

use super::*;

impl Parser<'_> {
    pub(super) fn fraction(&mut self) -> Parse {
        let mut digits = Vec::new();
        let numerator = self.argument(&mut digits)?;
        let denominator = self.argument(&mut digits)?;
        if let Some(digit) = digits.pop() {
            // `\frac123` is a half times three in TeX, and a slip everywhere else.
            return Err(Stop::Unparsed(format!("`{digit}` is left over behind a fraction without braces")));
        }
        Ok(Node::Divide(Box::new(numerator), Box::new(denominator)))
    }

    pub(super) fn command(&mut self, name: &str) -> Parse {
        if fraction(name) {
            return self.fraction();
        }
        match name {
            "binom" | "dbinom" | "tbinom" => {
                let mut digits = Vec::new();
                let (n, k) = (self.argument(&mut digits)?, self.argument(&mut digits)?);
                Ok(Node::Apply(Function::Binomial, vec![n, k]))
            }
            "boxed" | "fbox" | "mathbin" | "ensuremath" => self.group(),
            "mathbb" | "Bbb" => match self.subscript()?.as_str() {
                letter @ ("R" | "Z" | "N" | "Q" | "C") => {
                    Ok(Node::NamedSet(letter.chars().next().unwrap_or('R')))
                }
                other => Err(Stop::Unparsed(format!("`\\mathbb{{{other}}}` is no set that is known"))),
            },
            "overline" | "bar" | "vec" | "hat" | "tilde" | "overrightarrow" | "mathcal" | "mathscr"
            | "angle" | "triangle" => {
                let argument = self.subscript()?;
                Ok(Node::Symbol(format!("{name} {argument}")))
            }
            "sum" | "prod" | "int" | "iint" | "oint" | "lim" | "limsup" | "liminf" | "bigcup" | "bigcap" => {
                let mut parts = Vec::new();
                for sign in ['_', '^', '_'] {
                    if self.eat(sign) {
                        parts.push(Node::Text(self.subscript()?));
                    }
                }
                parts.push(self.product()?);
                Ok(Node::Opaque(name.to_owned(), parts))
            }
            _ => Err(Stop::Unparsed(format!("`\\{name}` is not known"))),
        }
    }

    // ---- functions -------------------------------------------------------------------------------------------

    pub(super) fn function(&mut self, name: &str) -> Parse {
        if name == "sqrt" {
            return self.root();
        }
        let mut exponent = None;
        let mut base = None;
        for _ in 0..2 {
            if self.eat('^') {
                exponent = Some(self.exponent()?);
            }
            if self.eat('_') {
                base = Some(self.group()?);
            }
        }
        let several = matches!(name, "max" | "min" | "gcd" | "lcm" | "binom");
        let mut arguments = if several { self.arguments()? } else { vec![self.function_argument()?] };
        let one = |f: Function, mut arguments: Vec<Node>| {
            arguments.truncate(1);
            Node::Apply(f, arguments)
        };
        let inverse = exponent.as_ref() == Some(&Node::Negate(Box::new(Node::integer(1))));
        let function = match (name, inverse) {
            ("sin", false) => Function::Sin,
            ("cos", false) => Function::Cos,
            ("tan", false) => Function::Tan,
            ("cot", _) => Function::Cot,
            ("sec", _) => Function::Sec,
            ("csc", _) => Function::Csc,
            ("arcsin" | "asin", _) | ("sin", true) => Function::Asin,
            ("arccos" | "acos", _) | ("cos", true) => Function::Acos,
            ("arctan" | "atan", _) | ("tan", true) => Function::Atan,
            ("sinh", _) => Function::Sinh,
            ("cosh", _) => Function::Cosh,
            ("tanh", _) => Function::Tanh,
            ("exp", _) => Function::Exp,
            ("abs", _) => Function::Abs,
            ("floor", _) => Function::Floor,
            ("ceil", _) => Function::Ceil,
            ("ln", _) => Function::Ln,
            ("lg" | "log", _) => {
                // Without a base, `log` is the common one, as in schoolbooks.
                arguments.push(base.unwrap_or(Node::integer(10)));
                Function::Log
            }
            ("cbrt", _) => {
                arguments.push(Node::integer(3));
                Function::Root
            }
            ("max", _) => Function::Max,
            ("min", _) => Function::Min,
            ("gcd", _) => Function::Gcd,
            ("lcm", _) => Function::Lcm,
            ("binom", _) if arguments.len() == 2 => Function::Binomial,
            _ => return Err(Stop::Unparsed(format!("`{name}` is not understood here"))),
        };
        let node = match function {
            Function::Log
            | Function::Root
            | Function::Max
            | Function::Min
            | Function::Gcd
            | Function::Lcm
            | Function::Binomial => Node::Apply(function, arguments),
            _ => one(function, arguments),
        };
        let inverted = inverse && matches!(function, Function::Asin | Function::Acos | Function::Atan);
        Ok(match exponent {
            Some(exponent) if !inverted => Node::Power(Box::new(node), Box::new(exponent)),
            _ => node,
        })
    }

    /// `\sqrt2`, `\sqrt{x}`, `\sqrt[3]{x}`, `sqrt(x)`.
    pub(super) fn root(&mut self) -> Parse {
        let index = if self.symbol() == Some('[') {
            self.at += 1;
            let index = self.sum()?;
            self.expect(']')?;
            index
        } else {
            Node::integer(2)
        };
        let mut digits = Vec::new();
        let radicand = if self.symbol() == Some('(') { self.primary()? } else { self.argument(&mut digits)? };
        let root = Node::Apply(Function::Root, vec![radicand, index]);
        // `\sqrt23` is √2 · 3 in TeX.
        digits.reverse();
        let rest: String = digits.into_iter().collect();
        Ok(if rest.is_empty() { root } else { multiply(root, number(&rest, None, None)?) })
    }

    pub(super) fn arguments(&mut self) -> Result<Vec<Node>, Stop> {
        let brace = matches!(self.kind(0), Some(Kind::Brace('{')));
        if !brace && self.symbol() != Some('(') {
            return self.unexpected();
        }
        self.at += 1;
        let mut list = vec![self.sum()?];
        while self.eat(',') {
            list.push(self.sum()?);
        }
        if brace && self.kind(0) == Some(&Kind::Brace('}')) {
            self.at += 1;
            return Ok(list);
        }
        self.expect(')')?;
        Ok(list)
    }

    /// `(…)`, `{…}`, or the factors that follow: `\sin 2x`.
    pub(super) fn function_argument(&mut self) -> Parse {
        if matches!(self.symbol(), Some('(' | '{' | '|')) {
            let argument = if self.symbol() == Some('{') { self.group()? } else { self.primary()? };
            return self.postfix(argument);
        }
        let mut node = if self.eat('-') { Node::Negate(Box::new(self.power()?)) } else { self.power()? };
        while self.starts_factor()
            && !matches!(self.kind(0), Some(Kind::Word(w)) if words::function(w))
            && self.symbol() != Some('(')
        {
            node = multiply(node, self.power()?);
        }
        Ok(node)
    }
}

pub(super) fn fraction(name: &str) -> bool {
    matches!(name, "frac" | "dfrac" | "tfrac" | "cfrac")
}
