//! A row from the next values of its columns.
//!
//! The levels say how values of one column hang together (Melnik et al. 2010, "Dremel", section 4). Columns of
//! one list must tell the same story; where they do not, the file is damaged.

use super::Fault;
use super::column::{Column, Levels};
use super::schema::{Field, Kind, Node};
use crate::room::Room;
use serde_json::{Map, Value};
use std::io::{Read, Seek};
use std::ops::Range;

/// The next row.
pub(super) fn row<R: Read + Seek>(
    fields: &[Field],
    columns: &mut [Column],
    input: &mut R,
) -> Result<Map<String, Value>, Fault> {
    Assembler { columns, input, room: Room::new() }.fields(fields, 0)
}

struct Assembler<'a, R> {
    columns: &'a mut [Column],
    input: &'a mut R,
    room: Room,
}

impl<R: Read + Seek> Assembler<'_, R> {
    fn fields(&mut self, fields: &[Field], repetition: u32) -> Result<Map<String, Value>, Fault> {
        self.room.object()?;
        let mut object = Map::new();
        for Field { name, node } in fields {
            self.room.text(name)?;
            object.insert(name.clone(), self.value(node, repetition)?);
        }
        Ok(object)
    }

    /// The value of a node, all of whose columns must go on with this repetition level.
    fn value(&mut self, node: &Node, repetition: u32) -> Result<Value, Fault> {
        let first = node.columns.start;
        self.room.value()?;
        if let Some(level) = node.present_from
            && self.levels(first, repetition)?.definition < level
        {
            self.absent(&node.columns, repetition, level)?;
            return Ok(Value::Null);
        }
        match &node.kind {
            Kind::Scalar(scalar) => {
                self.levels(first, repetition)?;
                let column = &mut self.columns[first];
                let value = match column.take()? {
                    Some(raw) => scalar.value(raw),
                    None => return Err(self.disagree(first)),
                };
                let value = value.map_err(|fault| fault.of_column(&self.columns[first].name))?;
                self.room.text(value.as_str().unwrap_or_default())?;
                Ok(value)
            }
            Kind::Struct(fields) => Ok(Value::Object(self.fields(fields, repetition)?)),
            Kind::List { levels, item } => {
                let mut items = Vec::new();
                self.repeat(node, *levels, repetition, |row, repetition| {
                    items.push(row.value(item, repetition)?);
                    Ok(())
                })?;
                Ok(Value::Array(items))
            }
            Kind::Map { levels, key, value } => {
                self.room.object()?;
                let mut object = Map::new();
                self.repeat(node, *levels, repetition, |row, repetition| {
                    let key = match row.value(key, repetition)? {
                        Value::String(text) => text,
                        other => other.to_string(),
                    };
                    let value = match value {
                        Some(value) => row.value(value, repetition)?,
                        None => Value::Null,
                    };
                    object.insert(key, value);
                    Ok(())
                })?;
                Ok(Value::Object(object))
            }
        }
    }

    /// Calls `element` for each element of a list, with the repetition level that its columns must have.
    fn repeat(
        &mut self,
        node: &Node,
        levels: Levels,
        mut repetition: u32,
        mut element: impl FnMut(&mut Self, u32) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let first = node.columns.start;
        if self.levels(first, repetition)?.definition < levels.definition {
            return self.absent(&node.columns, repetition, levels.definition);
        }
        loop {
            element(self, repetition)?;
            repetition = levels.repetition;
            match self.columns[first].peek(self.input)? {
                Some(next) if next.repetition == repetition => {}
                Some(next) if next.repetition > repetition => return Err(self.disagree(first)),
                _ => return Ok(()),
            }
        }
    }

    /// Passes over the one entry that each column has of something that is not there.
    fn absent(&mut self, columns: &Range<usize>, repetition: u32, level: u32) -> Result<(), Fault> {
        for index in columns.clone() {
            if self.levels(index, repetition)?.definition >= level || self.columns[index].take()?.is_some() {
                return Err(self.disagree(index));
            }
        }
        Ok(())
    }

    /// The levels of a column's next value, which must have this repetition level.
    fn levels(&mut self, index: usize, repetition: u32) -> Result<Levels, Fault> {
        match self.columns[index].peek(self.input)? {
            Some(levels) if levels.repetition == repetition => Ok(levels),
            Some(_) => Err(self.disagree(index)),
            None => Err(Fault::damaged("it holds fewer values than its row group has rows")
                .of_column(&self.columns[index].name)),
        }
    }

    fn disagree(&self, index: usize) -> Fault {
        Fault::damaged("its lists do not fit those of its neighbours").of_column(&self.columns[index].name)
    }
}
