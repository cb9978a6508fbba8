//! Training a byte-level BPE.
//!
//! Gage 1994 and Sennrich et al. 2016, over bytes as in GPT-2: start from the 256 bytes, and again and again
//! join the neighbours that stand together most often. Ours rather than the `tokenizers` crate's trainer: that
//! one counts pairs in 32 bits, and queues a pair twice when two merges spell the same token, so that its
//! order of merges can hang on the iteration order of a hash map. Here every choice has one answer: the pair
//! with the most occurrences, of equals the one with the lowest ids.

use crate::pattern::Pattern;
use crate::tokenizer::MAX_VOCABULARY;
use crate::{TextError, Tokenizer, bytes};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use tokenizers::SplitDelimiterBehavior;

/// Where words are cut: the split of Llama 3 and GPT-4, with each digit for itself (as in Qwen2), which is
/// what arithmetic is learnt best from.
pub const SPLIT_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Words of more bytes than this are not learnt from: runs and blobs, from which only junk would be merged.
const MAX_WORD_BYTES: usize = 512;
/// A pair must stand in this many places to become a token.
const MIN_COUNT: u64 = 2;
/// Texts counted at once.
const CHUNK_TEXTS: usize = 1024;

/// What tokenizer to train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpeOptions {
    /// Tokens of all kinds; at least the 256 bytes and the special tokens.
    pub vocab_size: usize,
    /// Special tokens, with ids from 0 in this order; the first ends a document.
    pub special_tokens: Vec<String>,
}

impl BpeOptions {
    /// A vocabulary of this size with the one special token `<|endoftext|>`.
    pub fn new(vocab_size: usize) -> BpeOptions {
        BpeOptions { vocab_size, special_tokens: vec!["<|endoftext|>".into()] }
    }
}

type Pair = (u32, u32);

/// Trains a byte-level BPE on texts.
///
/// Every text round-trips, whatever it was trained on. The result depends on the texts alone, not on their
/// order, threads or hashes. Where the texts hold too few repeated pairs, the vocabulary is smaller than
/// asked for: see [`Tokenizer::vocab_size`].
///
/// # Errors
/// When the vocabulary cannot hold the bytes and special tokens, or a special token is empty or repeated.
pub fn train_bpe(
    texts: impl IntoIterator<Item = String>,
    options: &BpeOptions,
) -> Result<Tokenizer, TextError> {
    check(options)?;
    let first_byte = options.special_tokens.len() as u32;
    let (words, counts) = count_words(texts, first_byte)?;
    let learnt = learn(words, &counts, options);
    Tokenizer::from_json(tokenizer_json(&learnt, options), Some(config_json(options)))
}

fn check(options: &BpeOptions) -> Result<(), TextError> {
    let special_tokens = &options.special_tokens;
    if options.vocab_size < 256 + special_tokens.len() {
        return Err(TextError::VocabularyTooSmall {
            asked: options.vocab_size,
            special_tokens: special_tokens.len(),
        });
    }
    if options.vocab_size > MAX_VOCABULARY {
        return Err(TextError::VocabularyTooLarge { asked: options.vocab_size, limit: MAX_VOCABULARY });
    }
    for (i, token) in special_tokens.iter().enumerate() {
        let bad = |reason| TextError::BadSpecialToken { token: token.clone(), reason };
        if token.chars().count() < 2 {
            return Err(bad("it must have at least two characters: single ones stand for bytes"));
        }
        if special_tokens[..i].contains(token) {
            return Err(bad("it is named twice"));
        }
    }
    if special_tokens.is_empty() {
        return Err(TextError::BadSpecialToken {
            token: String::new(),
            reason: "at least one is needed: the first ends a document",
        });
    }
    Ok(())
}

/// The distinct words as ids of their bytes, sorted, and how often each stands in the texts.
fn count_words(
    texts: impl IntoIterator<Item = String>,
    first_byte: u32,
) -> Result<(Vec<Vec<u32>>, Vec<u64>), TextError> {
    let pattern = Pattern::regex(SPLIT_PATTERN).map_err(|reason| TextError::Encode { bytes: 0, reason })?;
    let count = |text: &String| {
        let mut counts: HashMap<String, u64> = HashMap::new();
        pattern
            .split(text, SplitDelimiterBehavior::Isolated, false, |range| {
                let word = &text[range];
                if word.len() <= MAX_WORD_BYTES {
                    match counts.get_mut(word) {
                        Some(n) => *n += 1,
                        None => drop(counts.insert(word.to_string(), 1)),
                    }
                }
                Ok(())
            })
            .map_err(|reason| TextError::Encode { bytes: text.len(), reason })?;
        Ok(counts)
    };
    let add = |a: HashMap<String, u64>, b: HashMap<String, u64>| {
        let (mut large, small) = if a.len() < b.len() { (b, a) } else { (a, b) };
        for (word, n) in small {
            *large.entry(word).or_default() += n;
        }
        large
    };
    let mut all: HashMap<String, u64> = HashMap::new();
    let mut texts = texts.into_iter();
    loop {
        let chunk: Vec<String> = texts.by_ref().take(CHUNK_TEXTS).collect();
        if chunk.is_empty() {
            break;
        }
        let counted = chunk.par_iter().map(count).try_reduce(HashMap::new, |a, b| Ok(add(a, b)))?;
        all = add(all, counted);
    }
    let mut sorted: Vec<(String, u64)> = all.into_iter().collect();
    sorted.sort_unstable();
    let mut ids = [0u32; 256];
    for (id, byte) in (first_byte..).zip(alphabet()) {
        ids[usize::from(byte)] = id;
    }
    let as_ids = |word: &str| word.bytes().map(|byte| ids[usize::from(byte)]).collect();
    Ok(sorted.into_iter().map(|(word, n)| (as_ids(&word), n)).unzip())
}

/// The bytes in the order of their characters, as other byte-level tokenizers number them.
fn alphabet() -> Vec<u8> {
    let mut alphabet: Vec<u8> = (0..=255).collect();
    alphabet.sort_by_key(|&byte| bytes::to_char(byte));
    alphabet
}

/// What training found.
struct Learnt {
    /// The merges, in order.
    merges: Vec<Pair>,
    /// The bytes of each token, special tokens (none) first.
    spellings: Vec<Vec<u8>>,
}

/// Merges until the vocabulary is full or no repeated pair is left.
fn learn(mut words: Vec<Vec<u32>>, word_counts: &[u64], options: &BpeOptions) -> Learnt {
    let mut pair_counts: HashMap<Pair, u64> = HashMap::new();
    let mut places: HashMap<Pair, Vec<u32>> = HashMap::new();
    for (i, word) in words.iter().enumerate() {
        for pair in word.windows(2).map(|w| (w[0], w[1])) {
            *pair_counts.entry(pair).or_default() += word_counts[i];
            note(&mut places, pair, i);
        }
    }
    let mut queue: BinaryHeap<(u64, Reverse<Pair>)> =
        pair_counts.iter().map(|(&pair, &n)| (n, Reverse(pair))).collect();
    let mut spellings: Vec<Vec<u8>> = vec![Vec::new(); options.special_tokens.len()];
    spellings.extend(alphabet().into_iter().map(|byte| vec![byte]));
    // Two merges that spell the same make one token; none may spell a special token.
    let mut spelled: HashMap<Vec<u8>, Option<u32>> = options
        .special_tokens
        .iter()
        .filter_map(|token| Some((token.chars().map(bytes::from_char).collect::<Option<Vec<u8>>>()?, None)))
        .collect();
    let mut merges = Vec::new();
    let mut done: HashSet<Pair> = HashSet::new();
    while spellings.len() < options.vocab_size {
        let Some((count, Reverse(pair))) = queue.pop() else { break };
        let now = pair_counts.get(&pair).copied().unwrap_or(0);
        if now < count {
            // Other merges took some of its places since it was queued.
            if now > 0 {
                queue.push((now, Reverse(pair)));
            }
            continue;
        }
        if count < MIN_COUNT {
            break;
        }
        let spelling = [spellings[pair.0 as usize].as_slice(), &spellings[pair.1 as usize]].concat();
        let token = spelled.entry(spelling.clone()).or_insert_with(|| {
            spellings.push(spelling);
            Some(spellings.len() as u32 - 1)
        });
        let Some(token) = *token else {
            pair_counts.remove(&pair);
            continue;
        };
        // A pair comes back when its token is spelled by a second merge; its rank stays the first one.
        if done.insert(pair) {
            merges.push(pair);
        }
        let mut grown: BTreeSet<Pair> = BTreeSet::new();
        for i in places.remove(&pair).unwrap_or_default() {
            let (word, n) = (&mut words[i as usize], word_counts[i as usize]);
            for old in word.windows(2).map(|w| (w[0], w[1])) {
                if let Some(count) = pair_counts.get_mut(&old) {
                    *count -= n;
                }
            }
            *word = merged(word, pair, token);
            for new in word.windows(2).map(|w| (w[0], w[1])) {
                if new.0 == token || new.1 == token {
                    *pair_counts.entry(new).or_default() += n;
                    note(&mut places, new, i as usize);
                    grown.insert(new);
                } else if let Some(count) = pair_counts.get_mut(&new) {
                    *count += n;
                }
            }
        }
        pair_counts.remove(&pair);
        queue.extend(
            grown.iter().filter_map(|pair| pair_counts.get(pair).map(|&count| (count, Reverse(*pair)))),
        );
    }
    Learnt { merges, spellings }
}

/// Notes that a pair stands in a word; twice in a row is once.
fn note(places: &mut HashMap<Pair, Vec<u32>>, pair: Pair, word: usize) {
    let places = places.entry(pair).or_default();
    if places.last() != Some(&(word as u32)) {
        places.push(word as u32);
    }
}

/// The word with every occurrence of the pair, from the left, replaced by the token.
fn merged(word: &[u32], pair: Pair, token: u32) -> Vec<u32> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, after @ ..] = rest {
        match after {
            [second, after @ ..] if (*first, *second) == pair => {
                out.push(token);
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// The `tokenizer.json`, tokens in the order of their ids.
fn tokenizer_json(learnt: &Learnt, options: &BpeOptions) -> String {
    let spell = |id: u32| -> String {
        let spelling = &learnt.spellings[id as usize];
        spelling.iter().map(|&byte| bytes::to_char(byte)).collect()
    };
    let added_tokens: Vec<Value> = options
        .special_tokens
        .iter()
        .enumerate()
        .map(|(id, token)| {
            json!({
                "id": id, "content": token, "special": true,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            })
        })
        .collect();
    let split = json!({
        "type": "Split", "pattern": { "Regex": SPLIT_PATTERN }, "behavior": "Isolated", "invert": false,
    });
    let byte_level =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
    let specials = options.special_tokens.iter().cloned();
    let learnt_tokens = (options.special_tokens.len() as u32..learnt.spellings.len() as u32).map(spell);
    let vocab: Vec<String> = specials
        .chain(learnt_tokens)
        .enumerate()
        .map(|(id, token)| format!("      {}: {id}", Value::from(token)))
        .collect();
    let merges: Vec<String> =
        learnt.merges.iter().map(|&(a, b)| format!("      {}", json!([spell(a), spell(b)]))).collect();
    // Written by hand around the two long lists, so that ids and ranks stand in order.
    format!(
        r#"{{
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": {},
  "normalizer": null,
  "pre_tokenizer": {},
  "post_processor": null,
  "decoder": {byte_level},
  "model": {{
    "type": "BPE",
    "dropout": null,
    "unk_token": null,
    "continuing_subword_prefix": null,
    "end_of_word_suffix": null,
    "fuse_unk": false,
    "byte_fallback": false,
    "ignore_merges": false,
    "vocab": {{
{}
    }},
    "merges": [
{}
    ]
  }}
}}
"#,
        Value::from(added_tokens),
        json!({ "type": "Sequence", "pretokenizers": [split, byte_level] }),
        vocab.join(",\n"),
        merges.join(",\n"),
    )
}

/// The `tokenizer_config.json` that makes `AutoTokenizer` load the folder.
fn config_json(options: &BpeOptions) -> String {
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": options.special_tokens.first(),
        "clean_up_tokenization_spaces": false,
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts() -> Vec<String> {
        let mut state = 7u64;
        (0..400)
            .map(|i| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let (a, b) = (state >> 59, (state >> 50) % 32);
                format!(
                    "Question {i}: there are {a} baskets with {b} apples. Answer: {a} * {b} = {}.\n",
                    a * b
                )
            })
            .collect()
    }

    #[test]
    fn training_hangs_on_nothing_but_the_texts() {
        let options = BpeOptions::new(290);
        let one = train_bpe(texts(), &options).unwrap();
        let mut backwards = texts();
        backwards.reverse();
        let two = rayon::ThreadPoolBuilder::new()
            .num_threads(5)
            .build()
            .unwrap()
            .install(|| train_bpe(backwards, &options).unwrap());
        let three = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap()
            .install(|| train_bpe(texts(), &options).unwrap());
        assert_eq!(one.json(), two.json());
        assert_eq!(one.json(), three.json());
    }

    #[test]
    fn training_gives_the_recorded_files_on_every_machine() {
        let tokenizer = crate::samples::byte_level();
        assert!(tokenizer.json() == include_str!("../tests/golden/tokenizer.json"));
        assert_eq!(tokenizer.config_json(), Some(include_str!("../tests/golden/tokenizer_config.json")));
    }

    #[test]
    fn the_vocabulary_has_the_size_asked_for() {
        for vocab_size in [257, 258, 290] {
            let tokenizer = train_bpe(texts(), &BpeOptions::new(vocab_size)).unwrap();
            assert_eq!(tokenizer.vocab_size(), vocab_size);
        }
        // No more pairs that stand twice: smaller than asked for.
        let all = train_bpe(texts(), &BpeOptions::new(5000)).unwrap().vocab_size();
        assert!((290..400).contains(&all), "{all}");
        // Nothing to merge: bytes and specials remain.
        assert_eq!(train_bpe(Vec::new(), &BpeOptions::new(5000)).unwrap().vocab_size(), 257);
    }

    #[test]
    fn merges_are_by_count_then_by_lowest_ids() {
        let tokenizer = train_bpe(vec!["abab abab ba ba".into()], &BpeOptions::new(261)).unwrap();
        let json: Value = serde_json::from_str(tokenizer.json()).unwrap();
        // In the words abab, Ġabab, Ġba, Ġba: a b stands 4 times; then ab ab, Ġ b and b a twice, of which
        // the lowest ids come first; a byte's id follows its character, so Ġ is above the letters.
        let merges: Vec<String> = json["model"]["merges"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| format!("{}+{}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
            .collect();
        assert_eq!(merges, ["a+b", "b+a", "Ġ+ba", "ab+ab"]);
    }

    #[test]
    fn digits_stand_alone() {
        let tokenizer =
            train_bpe(vec!["2024 2024 2024 2024 12 12 12".into()], &BpeOptions::new(300)).unwrap();
        assert_eq!(tokenizer.encode("2024", false).unwrap().len(), 4);
    }

    #[test]
    fn no_merge_spells_a_special_token() {
        let options = BpeOptions { vocab_size: 300, special_tokens: vec!["<e>".into(), "the".into()] };
        let tokenizer = train_bpe(vec!["the theory there the thesis the the".repeat(9)], &options).unwrap();
        assert_eq!(tokenizer.token_to_id("the"), Some(1));
        let ids = tokenizer.encode("there the", false).unwrap();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), "re ");
    }

    #[test]
    fn impossible_options_are_refused() {
        let error = |vocab_size, special_tokens: &[&str]| {
            let special_tokens = special_tokens.iter().map(|t| t.to_string()).collect();
            train_bpe(texts(), &BpeOptions { vocab_size, special_tokens }).unwrap_err().to_string()
        };
        assert!(error(256, &["<e>"]).contains("need at least 257"));
        assert!(error(usize::MAX, &["<e>"]).contains("too large"));
        assert!(error(300, &["<e>", "<e>"]).contains("named twice"));
        assert!(error(300, &["x"]).contains("two characters"));
        assert!(error(300, &[]).contains("at least one"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_text_round_trips_whatever_was_trained_on(
            trained in proptest::collection::vec("[ab]{0,12}", 0..12), text in "\\PC{0,40}", vocab in 257usize..300,
        ) {
            let tokenizer = train_bpe(trained.clone(), &BpeOptions::new(vocab)).unwrap();
            for text in trained.iter().chain([&text]) {
                let ids = tokenizer.encode(text, false).unwrap();
                prop_assert_eq!(&tokenizer.decode(&ids, false).unwrap(), text);
            }
        }
    }
}
