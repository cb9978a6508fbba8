//! Parquet files of the reference library, read by ours.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use octo_rows::{Row, Rows, RowsError};
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterPropertiesBuilder, WriterVersion};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::io::Write;
use support::{parquet, usual};

fn read(bytes: &[u8]) -> Vec<Result<Row, RowsError>> {
    let mut file = tempfile::Builder::new().suffix(".parquet").tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Rows::open(file.path().to_str().unwrap()).unwrap().collect()
}

fn values(bytes: &[u8]) -> Vec<Value> {
    read(bytes).into_iter().map(|row| Value::Object(row.unwrap().fields)).collect()
}

fn error(bytes: &[u8]) -> String {
    read(bytes).pop().unwrap().unwrap_err().to_string()
}

const EVERYTHING: &str = "message m {
    required binary id (STRING);
    optional int64 n;
    optional boolean flag;
    optional double score;
    optional group tags (LIST) { repeated group list { optional binary element (STRING); } }
    required group messages (LIST) { repeated group list { required group element {
        required binary role (STRING);
        optional binary content (STRING);
        optional group calls (LIST) { repeated group list { optional int32 element; } }
    } } }
    optional group meta { optional binary lang (STRING); optional group inner { required int32 k; } }
    optional group scores (MAP) { repeated group key_value {
        required binary key (STRING); optional group value (LIST) { repeated group list { optional double element; } } } }
    repeated int32 plain;
    repeated group pairs { required int32 a; repeated int32 b; }
    optional group old (LIST) { repeated int32 element; }
}";

fn text() -> impl Strategy<Value = Value> {
    prop_oneof!["[a-c]{0,3}", "\\PC{0,12}", "[a-b]{40}"].prop_map(Value::from)
}

fn or_null(inner: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    prop_oneof![1 => Just(Value::Null), 3 => inner]
}

fn list(inner: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    proptest::collection::vec(inner, 0..4).prop_map(Value::from)
}

fn int() -> impl Strategy<Value = Value> {
    prop_oneof![0..3, any::<i32>()].prop_map(Value::from)
}

fn everything() -> impl Strategy<Value = Value> {
    let message = (text(), or_null(text()), or_null(list(or_null(int()))))
        .prop_map(|(role, content, calls)| json!({ "role": role, "content": content, "calls": calls }));
    let meta = (or_null(text()), or_null(int().prop_map(|k| json!({ "k": k }))))
        .prop_map(|(lang, inner)| json!({ "lang": lang, "inner": inner }));
    let double = || any::<i32>().prop_map(|n| json!(f64::from(n) / 8.0));
    let scores = proptest::collection::btree_map("[a-d]{1,2}", or_null(list(or_null(double()))), 0..3)
        .prop_map(|map| json!(map));
    let pair = (int(), list(int())).prop_map(|(a, b)| json!({ "a": a, "b": b }));
    (
        (text(), or_null(any::<i64>().prop_map(Value::from)), or_null(any::<bool>().prop_map(Value::from))),
        (or_null(double()), or_null(list(or_null(text()))), list(message), or_null(meta), or_null(scores)),
        (list(int()), list(pair), or_null(list(int()))),
    )
        .prop_map(|((id, n, flag), (score, tags, messages, meta, scores), (plain, pairs, old))| {
            json!({ "id": id, "n": n, "flag": flag, "score": score, "tags": tags, "messages": messages,
                "meta": meta, "scores": scores, "plain": plain, "pairs": pairs, "old": old })
        })
}

fn properties() -> impl Strategy<Value = WriterPropertiesBuilder> {
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
    ];
    let versions = [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0];
    let select = proptest::sample::select::<Compression>;
    (select(codecs.to_vec()), proptest::sample::select(versions.to_vec()), any::<bool>(), 1usize..20)
        .prop_map(|(codec, version, dictionary, page_rows)| {
            usual()
                .set_compression(codec)
                .set_writer_version(version)
                .set_dictionary_enabled(dictionary)
                .set_write_batch_size(page_rows)
                .set_data_page_row_count_limit(page_rows)
        })
}

proptest! {
    #[test]
    fn rows_come_back_as_they_were_written(
        rows in proptest::collection::vec(everything(), 0..30), group_rows in 1usize..12, properties in properties(),
    ) {
        prop_assert_eq!(values(&parquet(EVERYTHING, &rows, group_rows, properties)), rows);
    }
}

#[test]
fn every_encoding_of_values_is_read() {
    let encodings: [(&str, &str, Encoding); 9] = [
        ("boolean", "", Encoding::RLE),
        ("int32", "", Encoding::DELTA_BINARY_PACKED),
        ("int64", "", Encoding::DELTA_BINARY_PACKED),
        ("int32", "", Encoding::BYTE_STREAM_SPLIT),
        ("double", "", Encoding::BYTE_STREAM_SPLIT),
        ("binary", "(STRING)", Encoding::DELTA_LENGTH_BYTE_ARRAY),
        ("binary", "(STRING)", Encoding::DELTA_BYTE_ARRAY),
        ("fixed_len_byte_array(3)", "", Encoding::DELTA_BYTE_ARRAY),
        ("fixed_len_byte_array(3)", "", Encoding::BYTE_STREAM_SPLIT),
    ];
    for (physical, annotation, encoding) in encodings {
        let value = |i: u64| match physical {
            "boolean" => json!(i % 7 < 3),
            "int32" => json!((i.wrapping_mul(2_654_435_761) as i32) >> (i % 32)),
            "int64" => json!((i.wrapping_mul(0x9E37_79B9_7F4A_7C15) as i64) >> (i % 64)),
            "double" => json!(i as f64 / 3.0),
            "binary" => json!("ab".repeat(i as usize % 9) + &i.to_string()),
            _ => json!(format!("{:03}", i % 1000)),
        };
        let rows: Vec<Value> =
            (0..1000).map(|i| json!({ "x": if i % 5 == 0 { Value::Null } else { value(i) } })).collect();
        let schema = format!("message m {{ optional {physical} x {annotation}; }}");
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let properties = usual()
                .set_dictionary_enabled(false)
                .set_encoding(encoding)
                .set_writer_version(version)
                .set_data_page_row_count_limit(300)
                .set_write_batch_size(100);
            assert_eq!(values(&parquet(&schema, &rows, 700, properties)), rows, "{physical} {encoding}");
        }
    }
}

#[test]
fn what_json_lacks_becomes_text() {
    let cases = [
        ("int32 x (DATE)", json!(19_844), json!("2024-05-01")),
        ("int32 x (TIME(MILLIS,true))", json!(34_200_250), json!("09:30:00.250")),
        ("int64 x (TIME(NANOS,false))", json!(34_200_000_000_001i64), json!("09:30:00.000000001")),
        ("int64 x (TIMESTAMP(MILLIS,true))", json!(1_714_555_800_000i64), json!("2024-05-01T09:30:00Z")),
        ("int64 x (TIMESTAMP(MICROS,false))", json!(-1), json!("1969-12-31T23:59:59.999999")),
        ("int64 x (TIMESTAMP_MILLIS)", json!(1), json!("1970-01-01T00:00:00.001Z")),
        ("int96 x", json!([0, 0, 0, 0, 0, 0, 0, 0, 0x8C, 0x3D, 0x25, 0]), json!("1970-01-01T00:00:00")),
        ("int32 x (DECIMAL(9,2))", json!(-1250), json!("-12.50")),
        ("int64 x (DECIMAL(18,3))", json!(5), json!("0.005")),
        ("binary x (DECIMAL(5,1))", json!([0xFF, 0x85]), json!("-12.3")),
        ("fixed_len_byte_array(3) x (DECIMAL(5,0))", json!([0, 1, 0]), json!("256")),
        ("int32 x (INTEGER(8,false))", json!(200), json!(200)),
        ("int32 x (INTEGER(32,false))", json!(-1), json!(4_294_967_295u32)),
        ("int64 x (INTEGER(64,false))", json!(-1), json!(u64::MAX)),
        ("float x", json!(0.1), json!(0.1)),
        ("double x", Value::Null, Value::Null),
        ("fixed_len_byte_array(2) x (FLOAT16)", json!([0, 0x3E]), json!(1.5)),
        (
            "fixed_len_byte_array(16) x (UUID)",
            json!([1, 35, 69, 103, 137, 171, 205, 239, 1, 35, 69, 103, 137, 171, 205, 239]),
            json!("01234567-89ab-cdef-0123-456789abcdef"),
        ),
        ("binary x (JSON)", json!("{\"a\": 1}"), json!("{\"a\": 1}")),
        ("binary x (ENUM)", json!("RED"), json!("RED")),
        ("binary x", json!("text without a mark"), json!("text without a mark")),
        ("binary x", json!([0xFF, 0xD8]), Value::Null),
    ];
    for (field, written, expected) in cases {
        let schema = format!("message m {{ required {field}; }}");
        let bytes = parquet(&schema, &[json!({ "x": written })], 1, usual());
        assert_eq!(values(&bytes), [json!({ "x": expected })], "{field}");
    }
}

#[test]
fn text_that_is_not_utf8_names_its_column() {
    let schema =
        "message m { required group a (LIST) { repeated group list { required binary b (STRING); } } }";
    let bytes = parquet(schema, &[json!({ "a": ["ok"] }), json!({ "a": ["ok", [0xFF]] })], 9, usual());
    let error = error(&bytes);
    assert!(
        error.contains(", row 2: damaged: column `a.list.b`: it holds text that is not UTF-8"),
        "{error}"
    );
}

#[test]
fn rows_are_counted_and_columns_chosen() {
    let schema = "message m { required binary text (STRING); optional int32 n; required group l (LIST) {
        repeated group list { required int32 element; } } }";
    let rows: Vec<Value> = (0..100).map(|n| json!({ "text": n.to_string(), "n": n, "l": [n, n] })).collect();
    let bytes = parquet(schema, &rows, 30, usual());
    let mut file = tempfile::Builder::new().suffix(".parquet").tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let path = file.path().to_str().unwrap();
    let rows = Rows::open(path).unwrap().with_fields(["n".to_string(), "none".to_string()]);
    let progress = rows.progress();
    assert_eq!((progress.consumed(), progress.total()), (0, bytes.len() as u64));
    let mut last = 0;
    for (index, row) in rows.enumerate() {
        let row = row.unwrap();
        assert_eq!(Value::Object(row.fields), json!({ "n": index }));
        assert_eq!(row.origin.line, index as u64 + 1);
        assert_eq!(row.unread[..], ["text", "l"]);
        assert!(progress.consumed() > last);
        last = progress.consumed();
    }
    assert_eq!(last, progress.total());
    // Where nothing is wanted there are still as many rows.
    assert_eq!(Rows::open(path).unwrap().with_fields([]).count(), 100);
}

#[test]
fn a_cut_file_is_named_and_never_read_in_part() {
    let rows: Vec<Value> = (0..50).map(|n| json!({ "text": format!("{n}").repeat(9) })).collect();
    let bytes = parquet("message m { required binary text (STRING); }", &rows, 20, usual());
    for cut in 0..bytes.len() {
        let rows = read(&bytes[..cut]);
        assert!(rows.len() == 1 && rows[0].is_err(), "cut to {cut}");
    }
    assert!(
        error(&bytes[..bytes.len() - 1]).contains("does not end as a parquet file does: it may be cut off")
    );
    assert!(error(b"").contains("does not start as a parquet file does"));
    assert!(error(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n").contains("git lfs pull"));
}

#[test]
fn a_codec_that_is_not_read_is_named() {
    let rows = [json!({ "x": 1 })];
    let bytes = parquet("message m { required int32 x; }", &rows, 9, usual());
    // Field 4 of the column's metadata: the codec, from Zstandard (6) to Brotli (4), in zigzag.
    let at = bytes.windows(2).rposition(|pair| pair == [0x15, 12]).unwrap();
    let mut brotli = bytes.clone();
    brotli[at + 1] = 8;
    let error = error(&brotli);
    assert!(error.contains("is not read: column `x`: it is packed with Brotli; write it anew"), "{error}");
}
