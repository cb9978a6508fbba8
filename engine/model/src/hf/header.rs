//! The header of a safetensors file: eight bytes of length, JSON, then the tensors without gaps.
//!
//! <https://huggingface.co/docs/safetensors>. Read here by hand, because each lie is to be named with its
//! tensor, and because the payload is read piece by piece and never mapped or held.

use crate::error::{Shown, json_message};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Bytes before the JSON.
pub(crate) const LENGTH_BYTES: u64 = 8;
/// The longest JSON that is read; the format allows 100 MB, a model of 1,024 layers needs two.
pub(crate) const MAX_HEADER_BYTES: u64 = 16 << 20;
/// The most axes a tensor may have.
const MAX_RANK: usize = 8;

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorInfo {
    pub name: String,
    /// As written.
    pub dtype: String,
    pub shape: Vec<u64>,
    /// First byte, counted from the start of the file.
    pub begin: u64,
    pub end: u64,
}

/// What is wrong with a header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// The file ends before this many bytes.
    Truncated { needed: u64 },
    /// Anything else.
    Bad(String),
}

/// Checks the declared length of the JSON against the length of the file.
pub(crate) fn json_bytes(length: [u8; 8], file_bytes: u64) -> Result<u64, HeaderError> {
    let declared = u64::from_le_bytes(length);
    if declared > MAX_HEADER_BYTES {
        return Err(HeaderError::Bad(format!(
            "it declares {declared} bytes of JSON, more than {MAX_HEADER_BYTES}"
        )));
    }
    match LENGTH_BYTES + declared > file_bytes {
        true => Err(HeaderError::Truncated { needed: LENGTH_BYTES + declared }),
        false => Ok(declared),
    }
}

/// Parses the JSON; the tensors come in file order, and fill the rest of the file without gap or overlap.
pub(crate) fn parse(json: &[u8], file_bytes: u64) -> Result<Vec<TensorInfo>, HeaderError> {
    let bad = |problem: String| Err(HeaderError::Bad(problem));
    let entries = match serde_json::from_slice::<Entries>(json) {
        Ok(entries) => entries.0,
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            return bad(format!("line {line}, column {column}: {}", json_message(&error)));
        }
    };
    let data = LENGTH_BYTES + json.len() as u64;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let (begin, end) = entry.data_offsets;
        let shown = Shown(&name);
        if begin > end {
            return bad(format!("tensor {shown} ends at {end}, before its start at {begin}"));
        }
        if let Some(bits) = element_bits(&entry.dtype) {
            let total = entry.shape.iter().try_fold(bits, |product, &n| product.checked_mul(n));
            if total != (end - begin).checked_mul(8) {
                return bad(format!(
                    "tensor {shown} of shape {:?} in {} does not fill {} bytes",
                    entry.shape,
                    entry.dtype,
                    end - begin
                ));
            }
        }
        let (Some(begin), Some(end)) = (data.checked_add(begin), data.checked_add(end)) else {
            return bad(format!("tensor {shown} ends at {end}, beyond any file"));
        };
        tensors.push(TensorInfo { name, dtype: entry.dtype, shape: entry.shape, begin, end });
    }

    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return bad(format!("tensor {} stands there twice", Shown(&pair[0].name)));
    }
    tensors.sort_by_key(|t| (t.begin, t.end));
    let mut end = data;
    for tensor in &tensors {
        if tensor.begin != end {
            let what = if tensor.begin < end { "overlaps the one before" } else { "leaves a gap before" };
            return bad(format!("tensor {} {what} it", Shown(&tensor.name)));
        }
        end = tensor.end;
    }
    match end.cmp(&file_bytes) {
        std::cmp::Ordering::Greater => Err(HeaderError::Truncated { needed: end }),
        std::cmp::Ordering::Less => bad(format!("{} bytes after the last tensor", file_bytes - end)),
        std::cmp::Ordering::Equal => Ok(tensors),
    }
}

/// Size of one element; `None` for types this list does not know, whose sizes cannot be checked.
fn element_bits(dtype: &str) -> Option<u64> {
    match dtype {
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" => Some(8),
        "U16" | "I16" | "F16" | "BF16" => Some(16),
        "U32" | "I32" | "F32" => Some(32),
        "U64" | "I64" | "F64" => Some(64),
        _ => None,
    }
}

/// A JSON object with its duplicates, which a map would hide.
struct Entries(Vec<(String, Entry)>);

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    #[serde(deserialize_with = "short")]
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// A list of at most [`MAX_RANK`] numbers, however many the file has.
fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    struct Short;
    impl<'de> Visitor<'de> for Short {
        type Value = Vec<u64>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a shape")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u64>, A::Error> {
            let mut shape = Vec::new();
            while let Some(n) = seq.next_element()? {
                if shape.len() == MAX_RANK {
                    return Err(A::Error::custom(format!("a shape of more than {MAX_RANK} axes")));
                }
                shape.push(n);
            }
            Ok(shape)
        }
    }
    deserializer.deserialize_seq(Short)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses a header followed by `data` bytes of payload.
    fn with(json: &str, data: u64) -> Result<Vec<TensorInfo>, HeaderError> {
        parse(json.as_bytes(), LENGTH_BYTES + json.len() as u64 + data)
    }

    fn problem(json: &str, data: u64) -> String {
        match with(json, data) {
            Err(HeaderError::Bad(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tensors_come_in_file_order_at_absolute_offsets() {
        let json = r#"{"__metadata__":{"format":"pt"},
            "b":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},
            "a":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}}"#;
        let tensors = with(json, 10).unwrap();
        let data = 8 + json.len() as u64;
        assert_eq!((tensors[0].name.as_str(), tensors[0].begin, tensors[0].end), ("b", data, data + 8));
        assert_eq!((tensors[1].name.as_str(), tensors[1].begin, tensors[1].end), ("a", data + 8, data + 10));
    }

    #[test]
    fn lying_lengths_are_refused_before_anything_is_read() {
        let length = |n: u64| json_bytes(n.to_le_bytes(), 100);
        assert_eq!(length(92), Ok(92));
        assert_eq!(length(93), Err(HeaderError::Truncated { needed: 101 }));
        assert!(matches!(length(MAX_HEADER_BYTES + 1), Err(HeaderError::Bad(_))));
        assert!(matches!(length(u64::MAX), Err(HeaderError::Bad(_))));
    }

    #[test]
    fn lying_offsets_are_named_with_their_tensor() {
        let one = |shape: &str, begin: u64, end: u64| {
            format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#)
        };
        assert!(with(&one("[2]", 0, 8), 8).is_ok());
        let header = one("[2]", 0, 8).len() as u64 + 8;
        assert_eq!(with(&one("[2]", 0, 8), 7), Err(HeaderError::Truncated { needed: header + 8 }));
        for (json, data, expected) in [
            (one("[2]", 0, 8), 9, "1 bytes after the last tensor"),
            (one("[2]", 8, 0), 8, "tensor \"w\" ends at 0, before its start at 8"),
            (one("[3]", 0, 8), 8, "tensor \"w\" of shape [3] in F32 does not fill 8 bytes"),
            (
                one("[4294967296,4294967296]", 0, 0),
                0,
                "tensor \"w\" of shape [4294967296, 4294967296] in F32 does not fill 0 bytes",
            ),
            (one("[2]", 4, 12), 12, "tensor \"w\" leaves a gap before it"),
        ] {
            assert_eq!(problem(&json, data), expected);
        }
        let max = u64::MAX;
        let far = format!(r#"{{"w":{{"dtype":"ODD","shape":[],"data_offsets":[0,{max}]}}}}"#);
        assert_eq!(problem(&far, 0), format!("tensor \"w\" ends at {max}, beyond any file"));
    }

    #[test]
    fn tensors_that_overlap_or_repeat_are_named() {
        let a = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
        let b = r#""b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}"#;
        assert_eq!(problem(&format!("{{{a},{b}}}"), 12), "tensor \"b\" overlaps the one before it");
        assert_eq!(problem(&format!("{{{a},{a}}}"), 16), "tensor \"a\" stands there twice");
    }

    #[test]
    fn deep_long_and_broken_json_is_refused() {
        let deep = format!(r#"{{"__metadata__":{}"#, "[".repeat(1 << 20));
        assert!(problem(&deep, 0).contains("EOF"));
        let nested = format!(r#"{{"w":{{"dtype":"F32","shape":{}"#, "[".repeat(1 << 20));
        assert!(problem(&nested, 0).contains("invalid type: sequence"));
        let long =
            format!(r#"{{"w":{{"dtype":"F32","shape":[{}1],"data_offsets":[0,4]}}}}"#, "1,".repeat(1 << 20));
        assert!(problem(&long, 4).contains("more than 8 axes"));
        assert!(problem("{\"w\": 1}", 0).contains("line 1"));
        assert!(problem("[]", 0).contains("an object of tensors"));
    }
}
