//! Parquet files of JSON rows, written by the reference library from columns that are cut here.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use parquet::basic::{Compression, ConvertedType, Repetition, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::Type;
use serde_json::{Value, json};
use std::sync::Arc;

/// Zstandard, and otherwise what the library does by itself.
pub fn usual() -> WriterPropertiesBuilder {
    WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()))
}

/// A file of these rows, `group_rows` in a row group. Numbers are written as they stand, whatever they mean.
pub fn parquet(
    schema: &str,
    rows: &[Value],
    group_rows: usize,
    properties: WriterPropertiesBuilder,
) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut file =
        SerializedFileWriter::new(&mut bytes, schema.clone(), Arc::new(properties.build())).unwrap();
    for rows in rows.chunks(group_rows.max(1)) {
        let mut leaves = Vec::new();
        for row in rows {
            let mut cutter = Cutter { leaves: &mut leaves, at: 0 };
            for field in schema.get_fields() {
                cutter.node(field, &row[field.name()], Place::default());
            }
        }
        let mut group = file.next_row_group().unwrap();
        for leaf in &leaves {
            let mut column = group.next_column().unwrap().unwrap();
            leaf.write(column.untyped());
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    file.close().unwrap();
    bytes
}

/// The values of a column with their levels.
#[derive(Default)]
struct Leaf {
    definition: Vec<i16>,
    repetition: Vec<i16>,
    values: Vec<Value>,
    length: i32,
}

#[derive(Clone, Copy, Default)]
struct Place {
    definition: i16,
    repetition: i16,
    /// Lists around this place.
    lists: i16,
}

struct Cutter<'a> {
    leaves: &'a mut Vec<Leaf>,
    at: usize,
}

impl Cutter<'_> {
    fn node(&mut self, node: &Type, value: &Value, place: Place) {
        match node.get_basic_info().repetition() {
            Repetition::REQUIRED => self.body(node, value, place),
            Repetition::OPTIONAL if value.is_null() => self.nothing(node, place),
            Repetition::OPTIONAL => {
                self.body(node, value, Place { definition: place.definition + 1, ..place });
            }
            Repetition::REPEATED => {
                let items = value.as_array().unwrap();
                if items.is_empty() {
                    return self.nothing(node, place);
                }
                let start = self.at;
                let lists = place.lists + 1;
                for (index, item) in items.iter().enumerate() {
                    self.at = start;
                    let repetition = if index == 0 { place.repetition } else { lists };
                    self.body(node, item, Place { definition: place.definition + 1, repetition, lists });
                }
            }
        }
    }

    fn body(&mut self, node: &Type, value: &Value, place: Place) {
        if node.is_primitive() {
            let leaf = self.leaf(node);
            leaf.definition.push(place.definition);
            leaf.repetition.push(place.repetition);
            leaf.values.push(value.clone());
            return;
        }
        let fields = node.get_fields();
        let inner = |name: usize| fields[0].get_fields()[name].name().to_string();
        match node.get_basic_info().converted_type() {
            ConvertedType::LIST if fields[0].is_group() && fields[0].name() == "list" => {
                let items = value.as_array().unwrap().iter().map(|item| json!({ inner(0): item }));
                self.node(&fields[0], &items.collect(), place);
            }
            ConvertedType::LIST => self.node(&fields[0], value, place),
            ConvertedType::MAP => {
                let pairs = value.as_object().unwrap().iter();
                let pairs = pairs.map(|(key, value)| json!({ inner(0): key, inner(1): value }));
                self.node(&fields[0], &pairs.collect(), place);
            }
            _ => fields.iter().for_each(|field| self.node(field, &value[field.name()], place)),
        }
    }

    fn nothing(&mut self, node: &Type, place: Place) {
        if node.is_primitive() {
            let leaf = self.leaf(node);
            leaf.definition.push(place.definition);
            leaf.repetition.push(place.repetition);
        } else {
            node.get_fields().iter().for_each(|field| self.nothing(field, place));
        }
    }

    fn leaf(&mut self, node: &Type) -> &mut Leaf {
        if self.at == self.leaves.len() {
            let Type::PrimitiveType { type_length, .. } = node else { panic!("a leaf") };
            self.leaves.push(Leaf { length: *type_length, ..Leaf::default() });
        }
        self.at += 1;
        &mut self.leaves[self.at - 1]
    }
}

/// The bytes of a value: of a string its UTF-8, of an array its numbers.
fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        Value::Array(bytes) => bytes.iter().map(|byte| byte.as_u64().unwrap() as u8).collect(),
        other => panic!("{other} for bytes"),
    }
}

impl Leaf {
    fn write(&self, column: &mut ColumnWriter) {
        let (definition, repetition) = (Some(&self.definition[..]), Some(&self.repetition[..]));
        let values = self.values.iter();
        let int = |value: &Value| value.as_i64().unwrap_or_else(|| value.as_u64().unwrap() as i64);
        match column {
            ColumnWriter::BoolColumnWriter(column) => {
                let values: Vec<bool> = values.map(|value| value.as_bool().unwrap()).collect();
                column.write_batch(&values, definition, repetition)
            }
            ColumnWriter::Int32ColumnWriter(column) => {
                let values: Vec<i32> = values.map(|value| int(value) as i32).collect();
                column.write_batch(&values, definition, repetition)
            }
            ColumnWriter::Int64ColumnWriter(column) => {
                let values: Vec<i64> = values.map(int).collect();
                column.write_batch(&values, definition, repetition)
            }
            ColumnWriter::Int96ColumnWriter(column) => {
                let word =
                    |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
                let values =
                    values.map(bytes).map(|b| Int96::from(vec![word(&b, 0), word(&b, 4), word(&b, 8)]));
                column.write_batch(&values.collect::<Vec<_>>(), definition, repetition)
            }
            ColumnWriter::FloatColumnWriter(column) => {
                let values: Vec<f32> =
                    values.map(|value| value.as_f64().unwrap_or(f64::NAN) as f32).collect();
                column.write_batch(&values, definition, repetition)
            }
            ColumnWriter::DoubleColumnWriter(column) => {
                let values: Vec<f64> = values.map(|value| value.as_f64().unwrap_or(f64::NAN)).collect();
                column.write_batch(&values, definition, repetition)
            }
            ColumnWriter::ByteArrayColumnWriter(column) => {
                let values: Vec<ByteArray> = values.map(|value| bytes(value).into()).collect();
                column.write_batch(&values, definition, repetition)
            }
            ColumnWriter::FixedLenByteArrayColumnWriter(column) => {
                let values: Vec<FixedLenByteArray> = values.map(|value| bytes(value).into()).collect();
                assert!(values.iter().all(|value| value.len() == self.length as usize));
                column.write_batch(&values, definition, repetition)
            }
        }
        .unwrap();
    }
}
