//! Everything that can be wrong with a model directory, with the facts to mend it.

use std::fmt;
use std::path::PathBuf;

/// Why a model could not be read or written.
///
/// Names that come from files are shown escaped and cut, so that a hostile one cannot paint the terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The operating system refused.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A JSON file that does not parse.
    #[error("{file}:{line}:{column}: broken JSON: {message}")]
    Json {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The parser's words.
        message: String,
    },
    /// A key of a model config whose value cannot be used.
    #[error("{file}: `{key}` is {value}; expected {expected}")]
    Config {
        /// The config file, or where an inline config came from.
        file: String,
        /// The key, dotted where nested.
        key: String,
        /// The value found, as JSON, or "missing".
        value: String,
        /// What is accepted.
        expected: String,
    },
    /// A rotary embedding this engine does not compute.
    #[error("{file}: rope type {found} is not known; known are \"default\", \"linear\" and \"llama3\"", found = Shown(.found))]
    RopeType {
        /// The config file.
        file: String,
        /// The type asked for.
        found: String,
    },
    /// Models that are to be averaged and have not the same tensors.
    #[error(
        "{one} and {other} are not models of one shape{at}; only such can be averaged",
        one = .one.display(), other = .other.display(),
        at = if .tensor.is_empty() { String::new() } else { format!(": {} differs", Shown(.tensor)) }
    )]
    Shapes {
        /// The first model.
        one: PathBuf,
        /// The one that differs.
        other: PathBuf,
        /// The first tensor that differs; empty where one has more.
        tensor: String,
    },
    /// A file larger than anything of its kind.
    #[error("{path}: {bytes} bytes, more than the {limit} a file of this kind may have", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most that is read.
        limit: u64,
    },
    /// A directory without safetensors weights.
    #[error("{dir}: neither {stem}.safetensors nor {stem}.safetensors.index.json is there{hint}", dir = .dir.display())]
    NoWeights {
        /// The directory.
        dir: PathBuf,
        /// The files' common name.
        stem: String,
        /// What was found instead and what to do about it, or nothing.
        hint: &'static str,
    },
    /// A path that would leave the model directory.
    #[error("{name} leads out of {dir}; a model directory may only name plain files of its own", name = Shown(.name), dir = .dir.display())]
    Outside {
        /// The directory.
        dir: PathBuf,
        /// The name as written.
        name: String,
    },
    /// A safetensors file that ends before what its header promises.
    #[error("{path}: truncated: {needed} bytes are needed, {actual} are there; copy or download it again", path = .path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes the header asks for.
        needed: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// A safetensors header that cannot be true.
    #[error("{path}: bad safetensors header: {problem}", path = .path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An index that disagrees with its shards.
    #[error("{path}: {problem}", path = .path.display())]
    Index {
        /// The index file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Tensors the model needs that no file has.
    #[error("{dir}: missing {}{hint}", Names(.names), dir = .dir.display())]
    MissingTensors {
        /// The directory.
        dir: PathBuf,
        /// Their names.
        names: Vec<String>,
        /// What to do about it, or nothing.
        hint: &'static str,
    },
    /// Tensors of the files that the model has no place for.
    #[error("{dir}: the model of config.json has no place for {}", Names(.names), dir = .dir.display())]
    ExtraTensors {
        /// The directory.
        dir: PathBuf,
        /// Their names.
        names: Vec<String>,
    },
    /// A tensor whose shape is not the one the config implies.
    #[error("{path}: tensor {tensor} has shape {found:?}; config.json implies {expected:?}", path = .path.display(), tensor = Shown(.tensor))]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape in the file.
        found: Vec<u64>,
        /// The shape the config implies.
        expected: Vec<u64>,
    },
    /// A tensor whose element type is not read.
    #[error("{path}: tensor {tensor} is stored as {found}; weights are read from F32, BF16 and F16", path = .path.display(), tensor = Shown(.tensor), found = Shown(.found))]
    TensorDType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type as written.
        found: String,
    },
    /// A tied model whose files also hold a head, and another one.
    #[error("{path}: `tie_word_embeddings` is true, yet lm_head.weight differs from model.embed_tokens.weight at element {element}; set the key to false to use the head, or delete the tensor", path = .path.display())]
    TiedHeadDiffers {
        /// The file with the head.
        path: PathBuf,
        /// The first element that differs.
        element: u64,
    },
    /// A weight that is no number.
    #[error("{path}: tensor {tensor} has {value} at element {element}; the file is damaged or its training diverged", path = .path.display(), tensor = Shown(.tensor))]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its element, row by row.
        element: u64,
        /// Infinite or NaN.
        value: f32,
    },
    /// A range of elements outside a parameter: a mistake of the caller.
    #[error("elements {first}..{end} of {param}, which has {elements}: please report this")]
    Range {
        /// The parameter.
        param: String,
        /// First element asked for.
        first: u64,
        /// End of the range asked for.
        end: u64,
        /// Elements there are.
        elements: u64,
    },
}

impl ModelError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> ModelError {
        ModelError::Io { path: path.into(), source }
    }

    pub(crate) fn json(file: &str, error: &serde_json::Error) -> ModelError {
        ModelError::Json {
            file: file.to_owned(),
            line: error.line(),
            column: error.column(),
            message: json_message(error),
        }
    }
}

/// What a JSON parser said, without the place, and cut: it may quote the file.
pub(crate) fn json_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    match text.char_indices().nth(LIMIT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The most characters of foreign text in a message.
const LIMIT: usize = 160;

/// Foreign text, quoted, escaped and cut.
pub(crate) struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(LIMIT) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}… ({} bytes)", &self.0[..end], self.0.len()),
        }
    }
}

/// The first few names and how many more there are.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LIMIT: usize = 4;
        f.write_str(if self.0.len() == 1 { "tensor " } else { "tensors " })?;
        for (i, name) in self.0.iter().take(LIMIT).enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { ", " }, Shown(name))?;
        }
        if self.0.len() > LIMIT {
            write!(f, " and {} more", self.0.len() - LIMIT)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_names_are_escaped_and_cut() {
        let hostile = format!("\u{1b}[31m{}", "é".repeat(10_000));
        let shown = Shown(&hostile).to_string();
        assert!(!shown.contains('\u{1b}') && shown.len() < 500, "{shown}");
    }

    #[test]
    fn a_parser_that_quotes_the_file_is_cut() {
        let text = format!(r#"{{"a": "{}"}}"#, "x".repeat(1 << 20));
        let error = serde_json::from_str::<std::collections::BTreeMap<String, u32>>(&text).unwrap_err();
        assert!(json_message(&error).len() < 500);
    }

    #[test]
    fn long_lists_of_names_are_counted() {
        let names: Vec<String> = (0..9).map(|i| format!("t{i}")).collect();
        assert_eq!(Names(&names).to_string(), r#"tensors "t0", "t1", "t2", "t3" and 5 more"#);
        assert_eq!(Names(&names[..1]).to_string(), r#"tensor "t0""#);
    }
}
