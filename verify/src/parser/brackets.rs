//! Brackets: tuples, intervals, sets, absolute values, matrices.

use super::*;

impl Parser<'_> {
    /// Elements up to a closing bracket, which is left where it is.
    pub(super) fn elements(&mut self) -> Result<Vec<Node>, Stop> {
        let bars = std::mem::take(&mut self.bars);
        let list = self.deeper(|p| {
            let mut list = Vec::new();
            if !matches!(p.kind(0), Some(Kind::Symbol(')' | ']' | '}' | '⟩') | Kind::Brace('}'))) {
                list.push(p.relation()?);
                p.trailing_words()?;
                while p.eat(',') || p.eat(';') {
                    list.push(p.relation()?);
                    p.trailing_words()?;
                }
            }
            Ok(list)
        });
        self.bars = bars;
        list
    }

    pub(super) fn bracket(&mut self, open: char) -> Parse {
        match open {
            '(' | '[' => {
                let list = self.elements()?;
                let open_high = match self.symbol() {
                    Some(')') => true,
                    Some(']') => false,
                    _ => return self.unexpected(),
                };
                self.at += 1;
                enclosed(list, open == '(', open_high)
            }
            // `]a, b[` is the open interval in much of Europe.
            ']' => {
                let list = self.elements()?;
                let open_high = match self.symbol() {
                    Some('[') => true,
                    Some(']') => false,
                    _ => return self.unexpected(),
                };
                self.at += 1;
                let [low, high] = <[Node; 2]>::try_from(list).or_else(|_| self.unexpected())?;
                Ok(interval(low, high, true, open_high))
            }
            '{' => {
                let list = self.elements()?;
                self.expect('}')?;
                match <[Node; 1]>::try_from(list) {
                    Ok([node]) => Ok(node),
                    Err(list) => Ok(Node::Set(list)),
                }
            }
            '⟨' => {
                let list = self.elements()?;
                self.expect('⟩')?;
                Ok(Node::Tuple(list))
            }
            '|' => {
                self.bars += 1;
                let inner = self.deeper(Self::sum)?;
                self.bars -= 1;
                self.expect('|')?;
                Ok(Node::Apply(Function::Abs, vec![inner]))
            }
            '⌊' | '⌈' => {
                let inner = self.deeper(Self::sum)?;
                self.expect(if open == '⌊' { '⌋' } else { '⌉' })?;
                Ok(Node::Apply(if open == '⌊' { Function::Floor } else { Function::Ceil }, vec![inner]))
            }
            '√' => {
                let radicand = self.deeper(Self::primary)?;
                Ok(Node::Apply(Function::Root, vec![radicand, Node::integer(2)]))
            }
            '∞' => Ok(Node::Constant(Constant::Infinity)),
            '∅' => Ok(Node::NamedSet('∅')),
            '…' => Ok(Node::Dots),
            _ => {
                self.at -= 1;
                self.unexpected()
            }
        }
    }

    /// `\{1, 2\}`, and `\{x : x > 2\}`, which is its condition.
    pub(super) fn set(&mut self) -> Parse {
        let bars = std::mem::replace(&mut self.bars, 1);
        let first = if self.kind(0) == Some(&Kind::Brace('}')) {
            None
        } else {
            Some(self.deeper(Self::union_relation)?)
        };
        self.bars = bars;
        let node = match first {
            None => Node::NamedSet('∅'),
            Some(_) if self.eat('|') || self.eat(':') => {
                self.deeper(|p| p.answers(|kind| *kind == Kind::Brace('}')))?
            }
            Some(first) => {
                let mut list = vec![first];
                while self.eat(',') || self.eat(';') {
                    list.push(self.deeper(Self::relation)?);
                }
                Node::Set(list)
            }
        };
        if self.kind(0) != Some(&Kind::Brace('}')) {
            return self.unexpected();
        }
        self.at += 1;
        Ok(node)
    }

    /// An element of a set in which a colon is not a ratio: `x \in \mathbb{R} : …`.
    pub(super) fn union_relation(&mut self) -> Parse {
        let left = self.union()?;
        if self.eat('∈') {
            let right = self.union()?;
            return Ok(Node::Chain(vec![left, right], vec![Relation::In]));
        }
        Ok(left)
    }

    pub(super) fn environment(&mut self, name: &str) -> Parse {
        let matrix = matches!(
            name,
            "matrix" | "pmatrix" | "bmatrix" | "Bmatrix" | "vmatrix" | "array" | "smallmatrix"
        );
        if !matrix && !matches!(name, "cases" | "aligned" | "align" | "align*" | "gathered") {
            return Err(Stop::Unparsed(format!("the environment `{name}` is not known")));
        }
        if name == "array" {
            self.subscript()?;
        }
        let ends = |kind: Option<&Kind>| matches!(kind, Some(Kind::End(_)) | None);
        let mut rows = vec![Vec::new()];
        while !ends(self.kind(0)) {
            if self.eat('␤') {
                rows.push(Vec::new());
            } else if !self.eat('&') && !self.eat(',') {
                let cell = self.deeper(Self::relation)?;
                if let Some(row) = rows.last_mut() {
                    row.push(cell);
                }
            }
        }
        if self.kind(0) != Some(&Kind::End(name.to_owned())) {
            return self.unexpected();
        }
        self.at += 1;
        rows.retain(|row| !row.is_empty());
        if !matrix {
            return Ok(Node::List(rows.into_iter().flatten().collect(), false));
        }
        let columns = rows.first().map_or(0, Vec::len);
        if columns == 0 || rows.iter().any(|row| row.len() != columns) {
            return Err(Stop::Unparsed("the rows of the matrix differ in length".into()));
        }
        Ok(if name == "vmatrix" {
            Node::Opaque("det".into(), vec![Node::Matrix(rows)])
        } else {
            Node::Matrix(rows)
        })
    }
}

/// What round and square brackets around elements mean.
pub(super) fn enclosed(mut list: Vec<Node>, open_low: bool, open_high: bool) -> Parse {
    match list.len() {
        1 if open_low == open_high => Ok(list.swap_remove(0)),
        2 if !(open_low && open_high) => {
            let high = list.swap_remove(1);
            Ok(interval(list.swap_remove(0), high, open_low, open_high))
        }
        0 => Err(Stop::Unparsed("brackets with nothing in them".into())),
        1 => Err(Stop::Unparsed("brackets that do not match".into())),
        _ if open_low == open_high => Ok(Node::Tuple(list)),
        _ => Err(Stop::Unparsed("brackets that do not match".into())),
    }
}
