//! What an answer means: one tree for numbers, expressions and the structures built of them.

use dashu_ratio::RBig;

/// A constant with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Constant {
    Pi,
    Euler,
    Imaginary,
    Infinity,
}

/// A function of one or two arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Function {
    Abs,
    /// nth root: radicand, index.
    Root,
    Exp,
    /// Natural logarithm.
    Ln,
    /// Logarithm: argument, base.
    Log,
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Floor,
    Ceil,
    Factorial,
    Binomial,
    Min,
    Max,
    Gcd,
    Lcm,
}

/// How two sides of a relation stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    /// `x ∈ …`
    In,
}

impl Relation {
    /// The relation read from right to left.
    pub fn flipped(self) -> Relation {
        match self {
            Relation::Less => Relation::Greater,
            Relation::LessEqual => Relation::GreaterEqual,
            Relation::Greater => Relation::Less,
            Relation::GreaterEqual => Relation::LessEqual,
            same => same,
        }
    }

    /// Whether it orders its sides.
    pub fn orders(self) -> bool {
        matches!(self, Relation::Less | Relation::LessEqual | Relation::Greater | Relation::GreaterEqual)
    }
}

/// A parsed answer. Order and equality are structural.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    /// An exact number.
    Number(RBig),
    /// A decimal literal and the digits behind its point.
    Decimal(RBig, u32),
    Constant(Constant),
    /// A letter, with its subscript and primes if it has any.
    Symbol(String),
    Add(Vec<Node>),
    Mul(Vec<Node>),
    Negate(Box<Node>),
    Divide(Box<Node>, Box<Node>),
    Power(Box<Node>, Box<Node>),
    Apply(Function, Vec<Node>),
    Percent(Box<Node>),
    /// Degrees of an angle, as a plain number.
    Degrees(Box<Node>),
    /// a ± b.
    PlusMinus(Box<Node>, Box<Node>),
    /// Sums, integrals, limits and other things kept as they stand.
    Opaque(String, Vec<Node>),
    /// `…`
    Dots,
    /// In order, in round brackets.
    Tuple(Vec<Node>),
    /// Without order, in curly brackets.
    Set(Vec<Node>),
    /// Several answers without brackets, without order; whether an "or" stood among them.
    List(Vec<Node>, bool),
    Interval {
        low: Box<Node>,
        high: Box<Node>,
        open_low: bool,
        open_high: bool,
    },
    Union(Vec<Node>),
    Intersection(Vec<Node>),
    Difference(Box<Node>, Box<Node>),
    /// A set with a name: R, Z, N, Q, C or the empty set.
    NamedSet(char),
    /// Rows of a matrix, all of one length.
    Matrix(Vec<Vec<Node>>),
    /// `a : b : c`
    Ratio(Vec<Node>),
    /// A chain of relations: one more side than relations.
    Chain(Vec<Node>, Vec<Relation>),
    /// Words, in lower case, single spaces.
    Text(String),
}

impl Node {
    pub fn integer(value: i64) -> Node {
        Node::Number(RBig::from(value))
    }

    /// The nodes below this one.
    pub fn children(&self) -> Vec<&Node> {
        match self {
            Node::Number(_)
            | Node::Decimal(..)
            | Node::Constant(_)
            | Node::Symbol(_)
            | Node::Dots
            | Node::NamedSet(_)
            | Node::Text(_) => Vec::new(),
            Node::Negate(a) | Node::Percent(a) | Node::Degrees(a) => vec![a],
            Node::Divide(a, b) | Node::Power(a, b) | Node::PlusMinus(a, b) | Node::Difference(a, b) => {
                vec![a, b]
            }
            Node::Interval { low, high, .. } => vec![low, high],
            Node::Matrix(rows) => rows.iter().flatten().collect(),
            Node::Add(list)
            | Node::Mul(list)
            | Node::Apply(_, list)
            | Node::Opaque(_, list)
            | Node::Tuple(list)
            | Node::Set(list)
            | Node::List(list, _)
            | Node::Union(list)
            | Node::Intersection(list)
            | Node::Ratio(list)
            | Node::Chain(list, _) => list.iter().collect(),
        }
    }

    /// Whether any node of the tree satisfies a condition.
    pub fn any(&self, condition: &impl Fn(&Node) -> bool) -> bool {
        condition(self) || self.children().into_iter().any(|child| child.any(condition))
    }

    /// Whether it is a number or an expression, made of nothing that has a structure.
    pub fn scalar(&self) -> bool {
        !self.any(&|node| {
            matches!(
                node,
                Node::Tuple(_)
                    | Node::Set(_)
                    | Node::List(..)
                    | Node::Interval { .. }
                    | Node::Union(_)
                    | Node::Intersection(_)
                    | Node::Difference(..)
                    | Node::NamedSet(_)
                    | Node::Matrix(_)
                    | Node::Ratio(_)
                    | Node::Chain(..)
                    | Node::Text(_)
                    | Node::Dots
                    | Node::PlusMinus(..)
            )
        })
    }

    /// Names of its symbols, sorted, each once.
    pub fn symbols(&self) -> Vec<&str> {
        fn collect<'a>(node: &'a Node, names: &mut Vec<&'a str>) {
            if let Node::Symbol(name) = node {
                names.push(name);
            }
            for child in node.children() {
                collect(child, names);
            }
        }
        let mut names = Vec::new();
        collect(self, &mut names);
        names.sort_unstable();
        names.dedup();
        names
    }
}
