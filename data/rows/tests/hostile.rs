//! Parquet files put together by hand, each with one lie in it: an error that says which, and at once.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use octo_rows::Rows;
use octo_rows::fuzz::fuzz_parquet;
use std::io::Write;

/// A struct in Thrift's compact protocol, its fields in ascending order.
#[derive(Clone, Default)]
struct Struct {
    bytes: Vec<u8>,
    last: i16,
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 128 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn zigzag(value: i64) -> Vec<u8> {
    varint(((value << 1) ^ (value >> 63)) as u64)
}

impl Struct {
    fn field(mut self, id: i16, kind: u8, value: &[u8]) -> Struct {
        let step = (id - self.last) as u8;
        self.bytes.push(step << 4 | kind);
        self.bytes.extend_from_slice(value);
        self.last = id;
        self
    }

    fn i32(self, id: i16, value: i64) -> Struct {
        self.field(id, 5, &zigzag(value))
    }

    fn i64(self, id: i16, value: i64) -> Struct {
        self.field(id, 6, &zigzag(value))
    }

    fn text(self, id: i16, text: &str) -> Struct {
        let value = [&varint(text.len() as u64)[..], text.as_bytes()].concat();
        self.field(id, 8, &value)
    }

    fn nested(self, id: i16, value: Struct) -> Struct {
        self.field(id, 12, &value.end())
    }

    fn list(self, id: i16, items: &[Struct]) -> Struct {
        let head = [&[0xFC][..], &varint(items.len() as u64)].concat();
        let items = items.iter().flat_map(|item| item.clone().end());
        self.field(id, 9, &head.into_iter().chain(items).collect::<Vec<u8>>())
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

const INT32: i64 = 1;
const BYTES: i64 = 6;
const PLAIN: i64 = 0;
const RLE: i64 = 3;
const DELTA_LENGTHS: i64 = 6;
const RLE_DICTIONARY: i64 = 8;
const GZIP: i64 = 2;
const ZSTANDARD: i64 = 6;

fn group(name: &str, repetition: i64, children: i64) -> Struct {
    Struct::default().i32(3, repetition).text(4, name).i32(5, children)
}

fn leaf(physical: i64, repetition: i64) -> Struct {
    Struct::default().i32(1, physical).i32(3, repetition).text(4, "x")
}

/// A file with a footer.
fn with_footer(pages: &[u8], schema: &[Struct], groups: &[Struct]) -> Vec<u8> {
    let footer = Struct::default().i32(1, 1).list(2, schema).i64(3, 1).list(4, groups).end();
    [b"PAR1", pages, &footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

/// A file with one column.
fn one_column(leaf: Struct, codec: i64, rows: i64, pages: &[Vec<u8>]) -> Vec<u8> {
    let pages = pages.concat();
    let column = Struct::default().i32(4, codec).i64(7, pages.len() as i64).i64(9, 4);
    let group = Struct::default().list(1, &[Struct::default().nested(3, column)]).i64(3, rows);
    with_footer(&pages, &[Struct::default().text(4, "m").i32(5, 1), leaf], &[group])
}

/// A page whose header says so many bytes and values.
fn page(kind: i64, unpacked: i64, values: i64, encoding: i64, body: &[u8]) -> Vec<u8> {
    let about = Struct::default().i32(1, values).i32(2, encoding);
    let about = if kind == 0 { about.i32(3, RLE).i32(4, RLE) } else { about };
    let header = Struct::default().i32(1, kind).i32(2, unpacked).i32(3, body.len() as i64);
    [header.nested(if kind == 0 { 5 } else { 7 }, about).end(), body.to_vec()].concat()
}

fn data(values: i64, encoding: i64, body: &[u8]) -> Vec<u8> {
    page(0, body.len() as i64, values, encoding, body)
}

/// Levels behind their length.
fn levels(runs: &[u8]) -> Vec<u8> {
    [&(runs.len() as u32).to_le_bytes(), runs].concat()
}

fn last(bytes: &[u8]) -> Result<serde_json::Value, String> {
    fuzz_parquet(bytes);
    let mut file = tempfile::Builder::new().suffix(".parquet").tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let rows = Rows::open(file.path().to_str().unwrap()).unwrap();
    rows.last().unwrap().map(|row| row.fields.into()).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(bytes: &[u8], expected: &str) {
    let error = last(bytes).unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_file_by_hand_is_a_file() {
    let seven = data(1, PLAIN, &7i32.to_le_bytes());
    assert_eq!(last(&one_column(leaf(INT32, 0), 0, 1, &[seven])).unwrap(), serde_json::json!({ "x": 7 }));
}

#[test]
fn schemas_do_not_grow_beyond_their_bytes() {
    let deep: Vec<Struct> = (0..100_000).map(|_| group("a", 0, 1)).collect();
    refused(&with_footer(b"", &deep, &[]), "nested deeper than 64");
    for children in [2, 1_000_000, i64::from(i32::MAX)] {
        refused(&with_footer(b"", &[group("m", 0, children)], &[]), "its schema is cut off");
    }
    refused(&with_footer(b"", &[group("m", 0, -1)], &[]), "a count in a header is negative");
    refused(&with_footer(b"", &[group("m", 0, 0), leaf(INT32, 0)], &[]), "hang together with nothing");
    refused(&with_footer(b"", &[group("m", 0, 1), leaf(99, 0)], &[]), "stored in no known way");
    refused(&with_footer(b"", &[group("m", 0, 1), leaf(INT32, 3)], &[]), "repeated in no known way");
    let empty = Struct::default().i64(3, i64::MAX);
    refused(&with_footer(b"", &[group("m", 0, 0)], &[empty]), "it has no columns");
}

#[test]
fn sizes_of_pages_are_checked_before_room_is_made() {
    let body = [0; 20];
    let of = |codec, unpacked| one_column(leaf(INT32, 0), codec, 1, &[page(0, unpacked, 1, PLAIN, &body)]);
    refused(&of(ZSTANDARD, 1 << 29), "the size of a page is not what its header says");
    refused(&of(ZSTANDARD, i64::from(i32::MAX)), "a page of 2147483647 bytes, more than 1073741824");
    refused(&of(0, 21), "the size of a page is not what its header says");
    refused(&of(ZSTANDARD, 20), "a page does not unpack");
    refused(&of(77, 20), "packed with the unknown codec 77");
    // Two megabytes in a page that says it holds twenty bytes.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&[0; 2 << 20]).unwrap();
    let bomb = page(0, 20, 1, PLAIN, &gzip.finish().unwrap());
    refused(&one_column(leaf(INT32, 0), GZIP, 1, &[bomb]), "the size of a page is not what its header says");
    // A page longer than its column.
    let long = Struct::default().i32(1, 0).i32(2, 9).i32(3, 1 << 30).end();
    refused(&one_column(leaf(INT32, 0), 0, 1, &[long]), "a page is longer than its column");
}

#[test]
fn counts_of_values_are_checked_before_room_is_made() {
    let column = |leaf, rows, pages: &[Vec<u8>]| one_column(leaf, 0, rows, pages);
    let many = i64::from(i32::MAX);
    let dictionary = page(2, 8, many, PLAIN, &[1, 0, 0, 0, b'a', 0, 0, 0]);
    refused(&column(leaf(BYTES, 0), 1, &[dictionary]), "a page holds fewer values than it says");
    let numbers = page(2, 8, many, PLAIN, &[0; 8]);
    let index = data(1, RLE_DICTIONARY, &[32, 2, 255, 255, 255, 0]);
    refused(&column(leaf(INT32, 0), 1, &[numbers, index]), "uses a value that its dictionary lacks");
    refused(&column(leaf(INT32, 0), 1, &[data(many, PLAIN, &[])]), "a page holds fewer values than it says");
    refused(&column(leaf(INT32, 0), i64::MAX, &[]), "fewer values than its row group has rows");
    refused(
        &column(leaf(INT32, 0), 1, &[data(2, PLAIN, &[0; 8])]),
        "more values than its row group has rows",
    );
    // Blocks of lengths: one of 2^31 numbers of no bits, and one that no number fits.
    let block = |size, blocks, count| [varint(size), varint(blocks), varint(count), zigzag(0)].concat();
    let lengths = |head: Vec<u8>| data(1, DELTA_LENGTHS, &[head, vec![0, 0]].concat());
    refused(&column(leaf(BYTES, 0), 1, &[lengths(block(1 << 31, 1, 1 << 40))]), "fewer values than it says");
    refused(&column(leaf(BYTES, 0), 1, &[lengths(block(1 << 40, 1, 2))]), "blocks of an impossible size");
    refused(&column(leaf(BYTES, 0), 1, &[lengths(block(128, 0, 2))]), "blocks of an impossible size");
    // A list of two thousand million nulls in one row: a run of repetition levels 1, one of definition levels 1.
    let levels = |value| levels(&[varint(u64::from(i32::MAX as u32) << 1), vec![value]].concat());
    let first = self::levels(&[2, 0]);
    let rest = data(many, PLAIN, &[levels(1), levels(1)].concat());
    let start = data(1, PLAIN, &[first, self::levels(&[2, 1])].concat());
    let list = |repetition| {
        let list = group("l", repetition, 1).i32(6, 3);
        [group("m", 0, 1), list, group("list", 2, 1), leaf(INT32, 1)]
    };
    let pages = [start, rest].concat();
    let chunk = Struct::default().i64(7, pages.len() as i64).i64(9, 4);
    let rows = Struct::default().list(1, &[Struct::default().nested(3, chunk)]).i64(3, 1);
    refused(&with_footer(&pages, &list(0), &[rows]), "a row that takes more than 536870912 bytes");
}

#[test]
fn lists_that_contradict_each_other_are_named() {
    // Two columns of one list; the second has an element less.
    let schema = [group("m", 0, 1), group("l", 2, 2), leaf(INT32, 0), leaf(INT32, 0)];
    let of = |lengths: [usize; 2]| {
        let pages = lengths.map(|length| {
            let repetition: Vec<u8> = (0..length).flat_map(|i| [2, u8::from(i > 0)]).collect();
            let definition = [2 * length as u8, 1];
            data(
                length as i64,
                PLAIN,
                &[levels(&repetition), levels(&definition), vec![0; 4 * length]].concat(),
            )
        });
        let at = |bytes: usize, start: usize| {
            let column = Struct::default().i64(7, bytes as i64).i64(9, start as i64);
            Struct::default().nested(3, column)
        };
        let chunks = [at(pages[0].len(), 4), at(pages[1].len(), 4 + pages[0].len())];
        let group = Struct::default().list(1, &chunks).i64(3, 1);
        with_footer(&pages.concat(), &schema, &[group])
    };
    assert!(last(&of([3, 3])).is_ok());
    refused(&of([3, 2]), "column `l.x`: it holds fewer values");
    refused(&of([2, 3]), "column `l.x`: it holds more values");
}

#[test]
fn a_page_that_fails_its_checksum_is_named() {
    let with = |checksum: u32| {
        let body = 7i32.to_le_bytes();
        let about = Struct::default().i32(1, 1).i32(2, PLAIN).i32(3, RLE).i32(4, RLE);
        let header = Struct::default()
            .i32(1, 0)
            .i32(2, 4)
            .i32(3, 4)
            .i32(4, i64::from(checksum as i32))
            .nested(5, about);
        one_column(leaf(INT32, 0), 0, 1, &[[header.end(), body.to_vec()].concat()])
    };
    let mut crc = flate2::Crc::new();
    crc.update(&7i32.to_le_bytes());
    assert!(last(&with(crc.sum())).is_ok());
    refused(&with(crc.sum() ^ 1), "column `x`: the checksum of a page does not fit its bytes");
}
