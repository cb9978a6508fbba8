//! What a row may take in memory. Packed and columnar files can say in a few bytes what takes gigabytes to hold,
//! and so can JSON: `{"":0},` is seven bytes and an object.

use crate::{Origin, RowsError};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// The most bytes that a row may take, about.
pub(crate) const MAX_ROW_BYTES: usize = 512 << 20;
/// What any value takes beside its text.
const VALUE_BYTES: usize = size_of::<Value>();
/// What an object takes beside its values, whose map makes room for eleven at a time.
const OBJECT_BYTES: usize = 11 * (size_of::<String>() + VALUE_BYTES);

/// The bytes that a row may still take.
pub(crate) struct Room(usize);

/// There is no room left.
#[derive(Debug)]
pub(crate) struct Full;

impl Room {
    /// Room for one row.
    pub fn new() -> Room {
        Room(MAX_ROW_BYTES)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Full> {
        match self.0.checked_sub(bytes) {
            Some(left) => self.0 = left,
            None => {
                self.0 = 0;
                return Err(Full);
            }
        }
        Ok(())
    }

    /// Any value.
    pub fn value(&mut self) -> Result<(), Full> {
        self.spend(VALUE_BYTES)
    }

    /// A value's text, or a field's name.
    pub fn text(&mut self, text: &str) -> Result<(), Full> {
        self.spend(text.len())
    }

    /// A value's fields.
    pub fn object(&mut self) -> Result<(), Full> {
        self.spend(OBJECT_BYTES)
    }

    /// The error of this crate for a row that is too large.
    pub fn error(origin: Origin) -> RowsError {
        RowsError::TooLarge { origin, limit: MAX_ROW_BYTES }
    }
}

/// Reads JSON as the library does, but no more of it than fits into a row; with an error, whether that is why.
pub(crate) fn parse(text: &str) -> Result<Value, (serde_json::Error, bool)> {
    let mut room = Room::new();
    let mut full = false;
    let mut parser = serde_json::Deserializer::from_str(text);
    let node = Node { room: &mut room, full: &mut full };
    let value = node.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value));
    value.map_err(|error| (error, full))
}

/// Reads a value as long as there is room.
struct Node<'a> {
    room: &'a mut Room,
    full: &'a mut bool,
}

impl Node<'_> {
    fn check<E: Error>(&mut self, spent: Result<(), Full>) -> Result<(), E> {
        spent.map_err(|Full| {
            *self.full = true;
            E::custom("too large")
        })
    }

    fn again(&mut self) -> Node<'_> {
        Node { room: self.room, full: self.full }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, parser: D) -> Result<Value, D::Error> {
        let spent = self.room.value();
        self.check(spent)?;
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<Value, E> {
        let spent = self.room.text(text);
        self.check(spent)?;
        Ok(Value::String(text.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self.again())? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<Value, A::Error> {
        let spent = self.room.object();
        self.check(spent)?;
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let spent = self.room.text(&name);
            self.check(spent)?;
            object.insert(name, fields.next_value_seed(self.again())?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_line_of_a_million_objects_is_refused() {
        let objects = format!("[{}0]", "{\"\":0},".repeat(1_000_000));
        assert!(parse(&objects).unwrap_err().1);
        assert!(!parse("[1").unwrap_err().1);
        let numbers = format!("[{}0]", "0,".repeat(1_000_000));
        assert!(parse(&numbers).is_ok());
    }

    proptest! {
        #[test]
        fn values_are_those_of_the_library(text in "[\\[\\]{}:,0-9.eE\"a-c\\\\ntrufalse -]{0,20}|[\\[{]{0,4}\"\\PC\"[\\]}]{0,4}|-?[0-9]{1,22}(\\.[0-9]{1,20})?") {
            let expected = serde_json::from_str::<Value>(&text).map_err(|error| error.to_string());
            prop_assert_eq!(parse(&text).map_err(|(error, _)| error.to_string()), expected);
        }
    }
}
