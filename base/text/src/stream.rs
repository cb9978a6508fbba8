//! Detokenising as tokens arrive.
//!
//! What a token adds depends on its neighbours: bytes of one character come in several tokens, a byte
//! fallback decoder judges a whole run of byte tokens at once, and some decoders strip the leading space of
//! the text alone. Decoding a sliding window and comparing strings gets these wrong at the edges; instead
//! the two families of decoders in use are followed exactly, token by token. Any other decoder is run once,
//! at the end.

use crate::{TextError, Tokenizer, bytes};
use serde_json::Value;

/// Turns token ids into text, one at a time, so that the pieces together are exactly what
/// [`Tokenizer::decode`] makes of all ids.
#[derive(Clone, Debug)]
pub struct TokenStreamDecoder {
    tokenizer: Tokenizer,
    skip_special_tokens: bool,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Byte-level: the bytes of a character that is not complete.
    Bytes(Vec<u8>),
    /// Sentencepiece-like.
    Pieces(Pieces),
    /// Any other: all ids so far.
    Whole(Vec<u32>),
}

#[derive(Clone, Debug, Default)]
struct Pieces {
    /// Literal replacements within each token, in order.
    replace: Vec<(String, String)>,
    /// A character that stands for a space.
    metaspace: Option<Metaspace>,
    /// Whether tokens like `<0xE2>` are bytes.
    byte_fallback: bool,
    /// The run of bytes that is not finished.
    run: Vec<u8>,
    /// How many of this character may still be stripped from the start of the text.
    strip: Option<(char, usize)>,
}

#[derive(Clone, Copy, Debug)]
struct Metaspace {
    replacement: char,
    /// Whether the next token is the first, where the replacement stands for nothing.
    drop: bool,
}

impl TokenStreamDecoder {
    /// A decoder at the start of a text.
    pub fn new(tokenizer: &Tokenizer, skip_special_tokens: bool) -> TokenStreamDecoder {
        let state = State::of(&tokenizer.decoder_json());
        TokenStreamDecoder { tokenizer: tokenizer.clone(), skip_special_tokens, state }
    }

    /// Takes the next token and returns the text that is now final: whole characters, possibly none.
    pub fn push(&mut self, id: u32) -> String {
        if let State::Whole(ids) = &mut self.state {
            ids.push(id);
            return String::new();
        }
        if self.skip_special_tokens && self.tokenizer.is_special(id) {
            return String::new();
        }
        let Some(token) = self.tokenizer.id_to_token(id) else { return String::new() };
        match &mut self.state {
            State::Bytes(pending) => {
                // A token with a character outside the alphabet stands for its own text.
                match token.chars().map(bytes::from_char).collect::<Option<Vec<u8>>>() {
                    Some(mapped) => pending.extend(mapped),
                    None => pending.extend(token.as_bytes()),
                }
                take_characters(pending)
            }
            State::Pieces(pieces) => pieces.push(token),
            State::Whole(_) => String::new(),
        }
    }

    /// The text that was waiting for more tokens; the decoder is then at the start of a new text.
    ///
    /// # Errors
    /// When the file's decoder fails, which the common ones cannot.
    pub fn finish(&mut self) -> Result<String, TextError> {
        let state = std::mem::replace(&mut self.state, State::of(&self.tokenizer.decoder_json()));
        match state {
            State::Bytes(pending) => Ok(String::from_utf8_lossy(&pending).into_owned()),
            State::Pieces(mut pieces) => {
                let text = pieces.end_run();
                Ok(pieces.stripped(text))
            }
            State::Whole(ids) => self.tokenizer.decode(&ids, self.skip_special_tokens),
        }
    }
}

/// Takes whole characters off the front, invalid bytes as U+FFFD; leaves a character that is incomplete.
fn take_characters(pending: &mut Vec<u8>) -> String {
    let mut incomplete = 0;
    // At most three bytes can begin a character that more bytes would complete.
    for length in 1..=pending.len().min(3) {
        let tail = &pending[pending.len() - length..];
        if let Err(e) = std::str::from_utf8(tail) {
            if e.valid_up_to() == 0 && e.error_len().is_none() {
                incomplete = length;
            }
        }
    }
    let rest = pending.split_off(pending.len() - incomplete);
    let text = String::from_utf8_lossy(pending).into_owned();
    *pending = rest;
    text
}

impl Pieces {
    fn push(&mut self, mut token: String) -> String {
        for (from, to) in &self.replace {
            token = token.replace(from, to);
        }
        if let Some(metaspace) = &mut self.metaspace {
            let space = if metaspace.drop { "" } else { " " };
            token = token.replace(metaspace.replacement, space);
            metaspace.drop = false;
        }
        if self.byte_fallback {
            if let Some(byte) = byte_token(&token) {
                self.run.push(byte);
                return String::new();
            }
        }
        let text = self.end_run() + &token;
        self.stripped(text)
    }

    /// The text of the finished run of bytes: all of it, or U+FFFD for each byte when it is not UTF-8.
    fn end_run(&mut self) -> String {
        let bytes = std::mem::take(&mut self.run);
        String::from_utf8(bytes).unwrap_or_else(|e| "\u{FFFD}".repeat(e.as_bytes().len()))
    }

    /// The text without what is stripped from the very start.
    fn stripped(&mut self, mut text: String) -> String {
        if let Some((strip, left)) = self.strip {
            let found = text.chars().take(left).take_while(|&c| c == strip).count();
            let goes_on = found < left && text.chars().count() == found;
            text.drain(..found * strip.len_utf8());
            self.strip = goes_on.then_some((strip, left - found));
        }
        text
    }
}

/// The byte of a token like `<0xE2>`.
fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

impl State {
    /// The state at the start of a text, for the decoder of a `tokenizer.json`.
    fn of(decoder: &Value) -> State {
        let steps = match (kind(decoder), decoder.get("decoders")) {
            ("Sequence", Some(Value::Array(steps))) => steps.as_slice(),
            _ => std::slice::from_ref(decoder),
        };
        match steps {
            [step] if kind(step) == "ByteLevel" => State::Bytes(Vec::new()),
            _ => Pieces::of(steps).map_or(State::Whole(Vec::new()), State::Pieces),
        }
    }
}

fn kind(step: &Value) -> &str {
    step.get("type").and_then(Value::as_str).unwrap_or_default()
}

impl Pieces {
    /// The steps `Metaspace`, or `Replace`, `ByteFallback`, `Fuse`, `Strip` from the start, each optional
    /// and in this order; none for anything else.
    fn of(steps: &[Value]) -> Option<Pieces> {
        let mut pieces = Pieces::default();
        let text = |step: &Value, name: &str| step.get(name).and_then(Value::as_str).map(str::to_string);
        if let [step] = steps {
            if kind(step) == "Metaspace" {
                let drop = text(step, "prepend_scheme")? != "never";
                let replacement = text(step, "replacement")?.chars().next()?;
                pieces.metaspace = Some(Metaspace { replacement, drop });
                return Some(pieces);
            }
        }
        let mut rest = steps;
        while let [step, after @ ..] = rest {
            if kind(step) != "Replace" {
                break;
            }
            let from = text(step.get("pattern")?, "String").filter(|from| !from.is_empty())?;
            pieces.replace.push((from, text(step, "content")?));
            rest = after;
        }
        if let [step, after @ ..] = rest {
            if kind(step) == "ByteFallback" {
                pieces.byte_fallback = true;
                rest = after;
            }
        }
        match rest {
            [] if !steps.is_empty() => {}
            [fuse] if kind(fuse) == "Fuse" => {}
            [fuse, strip] if kind(fuse) == "Fuse" && kind(strip) == "Strip" => {
                if strip.get("stop").and_then(Value::as_u64) != Some(0) {
                    return None;
                }
                let start = usize::try_from(strip.get("start")?.as_u64()?).ok()?;
                pieces.strip = Some((text(strip, "content")?.chars().next()?, start));
            }
            _ => return None,
        }
        Some(pieces)
    }
}
