//! From the schema of a file to the shape of its rows: what is a struct, a list, a map, a value.
//!
//! Source: apache/parquet-format, `LogicalTypes.md`, with its rules for older ways to write lists and maps.

use super::Fault;
use super::column::{Column, Levels};
use super::footer::{Logical, SchemaElement};
use super::scalar::Scalar;
use super::values::Physical;
use std::collections::BTreeSet;
use std::ops::Range;

/// How deep the schema may nest.
const MAX_DEPTH: u32 = 64;

/// What is read of a file.
pub(super) struct Schema {
    pub fields: Vec<Field>,
    pub columns: Vec<Column>,
    /// Top-level columns that are left alone.
    pub unread: Vec<String>,
    /// All leaves of the file.
    pub leaves: usize,
}

/// A named part of a row or a struct.
#[derive(Debug)]
pub(super) struct Field {
    pub name: String,
    pub node: Node,
}

/// A part of a row.
#[derive(Debug)]
pub(super) struct Node {
    /// The definition level from which on it is not null; none where it cannot be.
    pub present_from: Option<u32>,
    /// Its columns.
    pub columns: Range<usize>,
    pub kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Scalar(Scalar),
    Struct(Vec<Field>),
    List { levels: Levels, item: Box<Node> },
    Map { levels: Levels, key: Box<Node>, value: Option<Box<Node>> },
}

/// A node of the schema with what is below it.
struct Tree<'a> {
    element: &'a SchemaElement,
    children: Vec<Tree<'a>>,
}

const REQUIRED: i32 = 0;
const OPTIONAL: i32 = 1;
const REPEATED: i32 = 2;

/// The shape of the rows, of the `wanted` columns alone where they are given.
pub(super) fn build(elements: &[SchemaElement], wanted: Option<&BTreeSet<String>>) -> Result<Schema, Fault> {
    let mut rest = elements.iter();
    let root = tree(&mut rest, 0)?;
    if rest.next().is_some() {
        return Err(Fault::damaged("its schema has parts that hang together with nothing"));
    }
    let mut builder = Builder { columns: Vec::new(), leaf: 0, path: Vec::new() };
    let (mut fields, mut unread) = (Vec::new(), Vec::new());
    let is_wanted = |tree: &Tree| wanted.is_none_or(|names| names.contains(&tree.element.name));
    // Where nothing is wanted, the first column still tells how many rows there are.
    let none = !root.children.iter().any(is_wanted);
    for (index, child) in root.children.iter().enumerate() {
        let name = child.element.name.clone();
        if is_wanted(child) || (none && index == 0) {
            let node = builder.node(child, Levels { repetition: 0, definition: 0 })?;
            fields.push(Field { name, node });
        } else {
            unread.push(name);
            builder.leaf += leaves(child);
        }
    }
    Ok(Schema { fields, columns: builder.columns, unread, leaves: builder.leaf })
}

fn tree<'a>(rest: &mut std::slice::Iter<'a, SchemaElement>, depth: u32) -> Result<Tree<'a>, Fault> {
    let element = rest.next().ok_or_else(|| Fault::damaged("its schema is cut off"))?;
    if depth > MAX_DEPTH {
        return Err(Fault::Unread(format!("its schema is nested deeper than {MAX_DEPTH} levels")));
    }
    if depth > 0 && !matches!(element.repetition, REQUIRED | OPTIONAL | REPEATED) {
        return Err(Fault::damaged(format!("`{}` is repeated in no known way", element.name)));
    }
    let children = (0..element.children).map(|_| tree(rest, depth + 1)).collect::<Result<_, _>>()?;
    Ok(Tree { element, children })
}

fn leaves(tree: &Tree) -> usize {
    match tree.element.physical {
        Some(_) if tree.children.is_empty() => 1,
        _ => tree.children.iter().map(leaves).sum(),
    }
}

struct Builder<'a> {
    columns: Vec<Column>,
    leaf: usize,
    path: Vec<&'a str>,
}

impl<'a> Builder<'a> {
    /// A node below one of these levels.
    fn node(&mut self, tree: &'a Tree<'a>, above: Levels) -> Result<Node, Fault> {
        match tree.element.repetition {
            REQUIRED => self.body(tree, above, None),
            OPTIONAL => {
                let levels = Levels { definition: above.definition + 1, ..above };
                self.body(tree, levels, Some(levels.definition))
            }
            _ => {
                let levels = inside_list(above);
                let item = self.body(tree, levels, None)?;
                Ok(list(levels, item))
            }
        }
    }

    /// A node that is there once, at these levels.
    fn body(&mut self, tree: &'a Tree<'a>, levels: Levels, present_from: Option<u32>) -> Result<Node, Fault> {
        self.path.push(&tree.element.name);
        let mut node = self.unnamed(tree, levels)?;
        node.present_from = present_from;
        self.path.pop();
        Ok(node)
    }

    fn unnamed(&mut self, tree: &'a Tree<'a>, levels: Levels) -> Result<Node, Fault> {
        let start = self.columns.len();
        let name = self.path.join(".");
        if tree.children.is_empty() {
            let Some(physical) = tree.element.physical else {
                return Err(Fault::Unread(format!("column `{name}` has no fields")));
            };
            let physical = physical_of(physical, tree.element.length)
                .ok_or_else(|| Fault::damaged(format!("column `{name}` is stored in no known way")))?;
            let scalar = Scalar::of(tree.element, physical);
            self.columns.push(Column::new(name, self.leaf, physical, levels));
            self.leaf += 1;
            return Ok(Node { present_from: None, columns: start..start + 1, kind: Kind::Scalar(scalar) });
        }
        let inner = inside_list(levels);
        let kind = match (annotation(tree.element), &tree.children[..]) {
            (Annotation::List, [repeated]) if repeated.element.repetition == REPEATED => {
                let item = match element_of(tree, repeated) {
                    Some(element) => {
                        self.path.push(&repeated.element.name);
                        let item = self.node(element, inner)?;
                        self.path.pop();
                        item
                    }
                    None => self.body(repeated, inner, None)?,
                };
                return Ok(list(inner, item));
            }
            (Annotation::Map, [pair])
                if pair.element.repetition == REPEATED && matches!(pair.children.len(), 1 | 2) =>
            {
                self.path.push(&pair.element.name);
                let key = Box::new(self.node(&pair.children[0], inner)?);
                let value = pair.children.get(1).map(|value| self.node(value, inner)).transpose()?;
                self.path.pop();
                Kind::Map { levels: inner, key, value: value.map(Box::new) }
            }
            (_, children) => Kind::Struct(
                children
                    .iter()
                    .map(|child| {
                        let node = self.node(child, levels)?;
                        Ok(Field { name: child.element.name.clone(), node })
                    })
                    .collect::<Result<_, Fault>>()?,
            ),
        };
        Ok(Node { present_from: None, columns: start..self.columns.len(), kind })
    }
}

fn inside_list(above: Levels) -> Levels {
    Levels { repetition: above.repetition + 1, definition: above.definition + 1 }
}

fn list(levels: Levels, item: Node) -> Node {
    Node {
        present_from: None,
        columns: item.columns.clone(),
        kind: Kind::List { levels, item: Box::new(item) },
    }
}

/// The element of a list in today's form, inside its repeated group; none where the repeated node is itself
/// the element, as older writers had it.
fn element_of<'a>(list: &Tree, repeated: &'a Tree<'a>) -> Option<&'a Tree<'a>> {
    match &repeated.children[..] {
        [only] => {
            let name = &repeated.element.name;
            let older = only.element.repetition == REPEATED
                || name == "array"
                || name.strip_suffix("_tuple") == Some(list.element.name.as_str());
            (!older).then_some(only)
        }
        _ => None,
    }
}

enum Annotation {
    List,
    Map,
    None,
}

fn annotation(element: &SchemaElement) -> Annotation {
    match (element.logical, element.converted) {
        (Some(Logical::List), _) | (None, Some(3)) => Annotation::List,
        (Some(Logical::Map), _) | (None, Some(1 | 2)) => Annotation::Map,
        _ => Annotation::None,
    }
}

fn physical_of(number: i32, length: u32) -> Option<Physical> {
    Some(match number {
        0 => Physical::Boolean,
        1 => Physical::Int32,
        2 => Physical::Int64,
        3 => Physical::Int96,
        4 => Physical::Float,
        5 => Physical::Double,
        6 => Physical::Bytes,
        7 => Physical::Fixed(length),
        _ => return None,
    })
}
