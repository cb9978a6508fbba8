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
        if let Err(e) = std::str::from_utf8(tail)
            && e.valid_up_to() == 0
            && e.error_len().is_none()
        {
            incomplete = length;
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
        if self.byte_fallback
            && let Some(byte) = byte_token(&token)
        {
            self.run.push(byte);
            return String::new();
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
        if let [step] = steps
            && kind(step) == "Metaspace"
        {
            let drop = text(step, "prepend_scheme")? != "never";
            let replacement = text(step, "replacement")?.chars().next()?;
            pieces.metaspace = Some(Metaspace { replacement, drop });
            return Some(pieces);
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
        if let [step, after @ ..] = rest
            && kind(step) == "ByteFallback"
        {
            pieces.byte_fallback = true;
            rest = after;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{byte_level, llama2, metaspace, odd_decoder};
    use proptest::prelude::*;

    fn streamed(tokenizer: &Tokenizer, ids: &[u32], skip: bool) -> String {
        let mut stream = TokenStreamDecoder::new(tokenizer, skip);
        let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
        text += &stream.finish().unwrap();
        text
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn the_pieces_together_are_the_whole(ids in proptest::collection::vec(0u32..310, 0..24), skip: bool) {
            for tokenizer in [byte_level(), llama2(), metaspace(), odd_decoder()] {
                prop_assert_eq!(streamed(tokenizer, &ids, skip), tokenizer.decode(&ids, skip).unwrap());
            }
        }

        #[test]
        fn bytes_in_any_order_decode_like_the_whole(bytes in proptest::collection::vec(
            prop_oneof![Just(0xE2u32), Just(0x82), Just(0xAC), Just(0xF0), Just(0x9F), Just(0x99), Just(0x82), 0u32..256], 0..16),
        ) {
            let of = |tokenizer: &Tokenizer, spell: &dyn Fn(u8) -> String| -> Vec<u32> {
                bytes.iter().map(|&b| tokenizer.token_to_id(&spell(b as u8)).unwrap()).collect()
            };
            let ids = of(byte_level(), &|b| crate::bytes::to_char(b).to_string());
            prop_assert_eq!(streamed(byte_level(), &ids, false), byte_level().decode(&ids, false).unwrap());
            let ids = of(llama2(), &|b| format!("<0x{b:02X}>"));
            prop_assert_eq!(streamed(llama2(), &ids, false), llama2().decode(&ids, false).unwrap());
        }

        #[test]
        fn text_comes_as_soon_as_its_characters_are_whole(text in "\\PC{0,12}") {
            let tokenizer = byte_level();
            let mut stream = TokenStreamDecoder::new(tokenizer, false);
            let (mut shown, mut bytes) = (String::new(), 0);
            for id in tokenizer.encode(&text, false).unwrap() {
                shown += &stream.push(id);
                bytes += tokenizer.id_to_token(id).unwrap().chars().count();
                let whole = (0..=bytes).rev().find(|&n| text.is_char_boundary(n)).unwrap();
                prop_assert_eq!(&shown, &text[..whole]);
            }
        }
    }

    #[test]
    fn a_stream_starts_afresh_after_finish() {
        let ids = llama2().encode("the an", false).unwrap();
        let mut stream = TokenStreamDecoder::new(llama2(), false);
        for _ in 0..2 {
            let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
            text += &stream.finish().unwrap();
            assert_eq!(text, "the an");
        }
    }
}
