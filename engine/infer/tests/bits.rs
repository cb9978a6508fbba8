//! One numeric path: what is drawn token by token with the cache, alone or in a crowd, is bit for bit what one
//! pass over the whole sequence computes, and what training computes.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_infer::{Completion, FinishReason, InferError, Limits, Request, Sampling, Session, generate, score};
use octo_model::{AdamWConfig, MicroBatch, ModelConfig, ModelDir, Net, Shape, Trainer};
use octo_ops::DType;
use octo_queue::{DeviceKind, Queue, open};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::Path;

const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0 };
const PLAIN: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 };
const CUT: Sampling = Sampling { temperature: 1.3, top_k: 40, top_p: 0.9, min_p: 0.01 };

/// Everything in one pass, one request at a time.
const WIDE: Limits = Limits { rows: 512, requests: 1, context: 400, cache_tokens: 400 };

/// Three heads over one of keys, no power of two anywhere. Weights are large so that logits differ.
fn llama() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 3, "num_key_value_heads": 1, "vocab_size": 131,
        "max_position_embeddings": 4096, "initializer_range": 0.3,
    })
}

/// Biases, tied head, two heads of keys.
fn qwen() -> Value {
    json!({
        "model_type": "qwen2", "hidden_size": 40, "intermediate_size": 72, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 300, "tie_word_embeddings": true,
        "max_position_embeddings": 4096, "initializer_range": 0.3,
    })
}

/// One thin layer, for contexts of thousands of tokens.
fn thin() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 67,
        "max_position_embeddings": 4096, "initializer_range": 0.8,
    })
}

const MODELS: [(fn() -> Value, DType); 4] =
    [(llama, DType::F32), (llama, DType::Bf16), (qwen, DType::F32), (qwen, DType::Bf16)];

struct Engine {
    queue: Queue,
    net: Net,
    session: Session,
}

impl Engine {
    fn new(model: fn() -> Value, dtype: DType, threads: usize, limits: Limits) -> Engine {
        let config = ModelConfig::from_value(model(), "test").unwrap();
        let mut queue = open(DeviceKind::Cpu, Some(threads)).unwrap();
        let net = Net::allocate(&mut queue, config, dtype, limits.context).unwrap();
        let session = Session::allocate(&mut queue, &net, limits).unwrap();
        queue.seal();
        net.randomise(&mut queue, 11, None).unwrap();
        Engine { queue, net, session }
    }

    fn generate(&mut self, requests: &[Request]) -> Vec<Completion> {
        self.try_generate(requests).unwrap()
    }

    fn try_generate(&mut self, requests: &[Request]) -> Result<Vec<Completion>, InferError> {
        let Engine { queue, net, session } = self;
        generate(queue, net, session, requests, |_, _| ControlFlow::Continue(()))
    }

    fn score(&mut self, sequences: &[Vec<u32>]) -> Vec<Vec<f32>> {
        let mut scores = Vec::new();
        let Engine { queue, net, session } = self;
        score(queue, net, session, sequences, |i, logprobs| {
            assert_eq!(i, scores.len());
            scores.push(logprobs);
        })
        .unwrap();
        scores
    }
}

/// What training's own forward pass makes of the sequences, packed one after the other.
fn packed_score(model: fn() -> Value, dtype: DType, sequences: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let config = ModelConfig::from_value(model(), "test").unwrap();
    let mut queue = open(DeviceKind::Cpu, Some(2)).unwrap();
    let tokens = sequences.iter().map(Vec::len).sum::<usize>() as u32;
    let net = Net::allocate(&mut queue, config, dtype, tokens).unwrap();
    let optimizer = AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, clip: 1.0 };
    let shape = Shape { tokens, documents: sequences.len() as u32, sequences: 1, sources: 1 };
    let mut trainer = Trainer::new(&mut queue, net, optimizer, &[shape]).unwrap();
    queue.seal();
    let remainder = trainer.remainder();
    trainer.net().randomise(&mut queue, 11, remainder).unwrap();
    let (mut ids, mut labels, mut positions, mut cu_seqlens) = (vec![], vec![], vec![], vec![0]);
    for sequence in sequences {
        ids.extend(sequence);
        labels.extend(sequence[1..].iter().map(|&t| t as i32).chain([-1]));
        positions.extend(0..sequence.len() as u32);
        cu_seqlens.push(ids.len() as u32);
    }
    let batch = MicroBatch {
        ids: &ids,
        labels: &labels,
        positions: &positions,
        cu_seqlens: &cu_seqlens,
        sources: &[0],
    };
    let all = trainer.score(&mut queue, &batch).unwrap();
    cu_seqlens.windows(2).map(|w| all[w[0] as usize..w[1] as usize - 1].to_vec()).collect()
}

/// Tokens without a pattern, a pure function of the arguments.
fn tokens(length: usize, salt: u32, vocab: u32) -> Vec<u32> {
    let mut state = salt.wrapping_mul(0x9e37_79b9).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % vocab
    };
    (0..length).map(|_| next()).collect()
}

fn request(prompt: Vec<u32>, max_new_tokens: usize, sampling: Sampling, seed: u64) -> Request {
    Request { prompt, max_new_tokens, sampling, seed, sample: 0, stop_tokens: vec![], support: false }
}

fn whole(request: &Request, completion: &Completion) -> Vec<u32> {
    request.prompt.iter().chain(&completion.tokens).copied().collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[track_caller]
fn assert_same_bits(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}: number of log-probabilities");
    if let Some(at) = (0..got.len()).find(|&i| got[i].to_bits() != expected[i].to_bits()) {
        panic!("{what}: log-probability {at} is {:e}, expected {:e}", got[at], expected[at]);
    }
}

/// Prompts and continuations around the borders of pages (64) and blocks of keys (128).
fn border_requests(vocab: u32) -> Vec<Request> {
    let lengths = [1, 2, 62, 63, 64, 65, 126, 127, 128, 129, 190, 255, 256, 257];
    let policies = [GREEDY, PLAIN, CUT];
    let each = |(i, &length): (usize, &usize)| {
        request(tokens(length, i as u32, vocab), 5 + 30 * (i % 4), policies[i % 3], 70 + i as u64)
    };
    lengths.iter().enumerate().map(each).collect()
}

#[test]
fn token_by_token_equals_one_pass_chunks_and_training() {
    for (model, dtype) in MODELS {
        let mut engine = Engine::new(model, dtype, 2, WIDE);
        let requests = border_requests(engine.net.config.vocab_size);
        let completions = engine.generate(&requests);
        let sequences: Vec<Vec<u32>> = requests.iter().zip(&completions).map(|(r, c)| whole(r, c)).collect();
        let one_pass = engine.score(&sequences);
        for ((request, completion), scores) in requests.iter().zip(&completions).zip(&one_pass) {
            assert_eq!(completion.tokens.len(), request.max_new_tokens);
            let drawn = &scores[request.prompt.len() - 1..];
            assert_same_bits(
                &completion.logprobs,
                drawn,
                &format!("{dtype}: drawn, prompt {}", request.prompt.len()),
            );
        }
        for rows in [1, 7, 64, 129] {
            let mut engine = Engine::new(model, dtype, 2, Limits { rows, ..WIDE });
            for (chunked, scores) in engine.score(&sequences).iter().zip(&one_pass) {
                assert_same_bits(chunked, scores, &format!("{dtype}: chunks of {rows}"));
            }
        }
        for (packed, scores) in packed_score(model, dtype, &sequences).iter().zip(&one_pass) {
            assert_same_bits(packed, scores, &format!("{dtype}: {} tokens packed", scores.len() + 1));
        }
    }
}

#[test]
fn contexts_of_thousands_of_tokens_keep_the_bits() {
    let limits = Limits { rows: 2100, requests: 1, context: 2100, cache_tokens: 2100 };
    let mut engine = Engine::new(thin, DType::F32, 2, limits);
    let vocab = engine.net.config.vocab_size;
    // Drawn one by one over every border, then prompts that end at each border.
    let mut requests = vec![request(tokens(5, 1, vocab), 2060, PLAIN, 3)];
    for border in [1024, 2048] {
        for length in border - 1..=border + 1 {
            requests.push(request(tokens(length, length as u32, vocab), 3, PLAIN, length as u64));
        }
    }
    let completions = engine.generate(&requests);
    let sequences: Vec<Vec<u32>> = requests.iter().zip(&completions).map(|(r, c)| whole(r, c)).collect();
    let one_pass = engine.score(&sequences);
    for ((request, completion), scores) in requests.iter().zip(&completions).zip(&one_pass) {
        let what = format!("drawn after a prompt of {}", request.prompt.len());
        assert_same_bits(&completion.logprobs, &scores[request.prompt.len() - 1..], &what);
    }
    let mut chunked = Engine::new(thin, DType::F32, 2, Limits { rows: 100, ..limits });
    for (chunked, scores) in chunked.score(&sequences).iter().zip(&one_pass) {
        assert_same_bits(chunked, scores, "chunks of 100");
    }
    for (packed, scores) in packed_score(thin, DType::F32, &sequences).iter().zip(&one_pass) {
        assert_same_bits(packed, scores, "packed");
    }
}

/// Nine requests that differ in everything; together they need three times the pages of [`CROWDED`].
fn crowd(vocab: u32) -> Vec<Request> {
    let shapes = [(1, 70), (200, 5), (3, 90), (65, 1), (64, 64), (63, 12), (130, 33), (17, 41), (129, 7)];
    let policies = [PLAIN, GREEDY, CUT];
    let each = |(i, &(prompt, new)): (usize, &(usize, usize))| {
        request(tokens(prompt, 40 + i as u32, vocab), new, policies[i % 3], i as u64)
    };
    shapes.iter().enumerate().map(each).collect()
}

/// Few rows, so that prompts go in by pieces; few places and pages, so that requests wait for others to end.
const CROWDED: Limits = Limits { rows: 37, requests: 4, context: 256, cache_tokens: 512 };

#[test]
fn a_request_alone_equals_the_request_in_a_crowd() {
    for (model, dtype) in MODELS {
        let mut together = Engine::new(model, dtype, 2, CROWDED);
        let requests = crowd(together.net.config.vocab_size);
        let mut order = Vec::new();
        let Engine { queue, net, session } = &mut together;
        let crowd = generate(queue, net, session, &requests, |request, _| {
            order.push(request);
            ControlFlow::Continue(())
        })
        .unwrap();
        let first = |r| order.iter().position(|&o| o == r).unwrap();
        let last = |r| order.iter().rposition(|&o| o == r).unwrap();
        assert!(first(8) > last(1), "the last request was meant to wait for a place");
        assert!(first(4) > first(0) && first(4) < last(2), "requests were meant to join others under way");
        let mut alone = Engine::new(model, dtype, 2, WIDE);
        for (i, (request, completion)) in requests.iter().zip(&crowd).enumerate() {
            let single = alone.generate(std::slice::from_ref(request)).remove(0);
            assert_eq!(single.tokens, completion.tokens, "{dtype}: request {i}");
            assert_same_bits(&single.logprobs, &completion.logprobs, &format!("{dtype}: request {i}"));
            assert_eq!(single.finish, completion.finish);
        }
    }
}

#[test]
fn the_order_of_requests_changes_no_completion() {
    let mut engine = Engine::new(llama, DType::F32, 2, CROWDED);
    let mut requests = crowd(131);
    let forwards = engine.generate(&requests);
    requests.reverse();
    let mut backwards = engine.generate(&requests);
    backwards.reverse();
    assert_eq!(forwards, backwards);
}

#[test]
fn a_session_that_was_used_before_gives_the_same_bits() {
    let mut engine = Engine::new(qwen, DType::F32, 2, CROWDED);
    let requests = crowd(300);
    let before = engine.generate(&requests);
    engine.score(&[tokens(250, 9, 300)]);
    assert_eq!(engine.generate(&requests), before);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for (model, dtype) in MODELS {
        let run = |threads| {
            let mut engine = Engine::new(model, dtype, threads, CROWDED);
            let completions = engine.generate(&crowd(engine.net.config.vocab_size));
            let scores = engine.score(&[tokens(250, 5, engine.net.config.vocab_size)]);
            (completions, bits(&scores[0]))
        };
        let one = run(1);
        for threads in [2, 3] {
            assert!(run(threads) == one, "{dtype}: {threads} threads give other bits than one");
        }
    }
}

#[test]
fn draws_depend_on_seed_sample_and_position_alone() {
    let mut engine = Engine::new(llama, DType::F32, 2, CROWDED);
    let prompt = tokens(20, 3, 131);
    let draw = |engine: &mut Engine, seed, sample, company: usize| {
        let mut requests: Vec<Request> = crowd(131).into_iter().take(company).collect();
        requests.push(Request { sample, ..request(prompt.clone(), 40, PLAIN, seed) });
        engine.generate(&requests).pop().unwrap()
    };
    let first = draw(&mut engine, 5, 0, 0);
    for company in [1, 4, 9] {
        assert_eq!(draw(&mut engine, 5, 0, company), first);
    }
    for (seed, sample) in [(5, 1), (6, 0), (5 + (1 << 32), 0)] {
        assert_ne!(draw(&mut engine, seed, sample, 0).tokens, first.tokens, "seed {seed}, sample {sample}");
    }
    // The same seed continues alike from where another request's prompt ended.
    let mut longer = prompt.clone();
    longer.extend(&first.tokens[..13]);
    let rest = engine.generate(&[request(longer, 27, PLAIN, 5)]).remove(0);
    assert_eq!(rest.tokens, first.tokens[13..]);
    assert_same_bits(&rest.logprobs, &first.logprobs[13..], "the rest of a continuation");
}

#[test]
fn the_likeliest_token_needs_no_seed() {
    let mut engine = Engine::new(llama, DType::F32, 2, WIDE);
    let greedy = |engine: &mut Engine, sampling, seed| {
        engine.generate(&[request(tokens(9, 2, 131), 30, sampling, seed)]).remove(0)
    };
    let first = greedy(&mut engine, GREEDY, 1);
    assert_eq!(greedy(&mut engine, GREEDY, 2), first);
    assert_eq!(greedy(&mut engine, Sampling { top_k: 1, ..PLAIN }, 3), first, "top_k = 1");
    assert_eq!(greedy(&mut engine, Sampling { top_p: 1e-6, ..PLAIN }, 4), first, "a tiny top_p");
}

#[test]
fn a_continuation_ends_at_its_length_its_stop_token_or_the_context() {
    let mut engine = Engine::new(llama, DType::F32, 2, WIDE);
    let free = request(tokens(9, 2, 131), 30, PLAIN, 8);
    let all = engine.generate(std::slice::from_ref(&free)).remove(0);
    assert_eq!((all.tokens.len(), all.finish), (30, FinishReason::Length));

    let stop = all.tokens[11];
    let end = all.tokens.iter().position(|&t| t == stop).unwrap();
    let stopped = engine.generate(&[Request { stop_tokens: vec![stop], ..free.clone() }]).remove(0);
    assert_eq!((stopped.tokens.as_slice(), stopped.finish), (&all.tokens[..=end], FinishReason::Stop));

    let none = Request { max_new_tokens: 0, ..free.clone() };
    let empty = Completion {
        tokens: vec![],
        logprobs: vec![],
        sampled_logprobs: vec![],
        versions: vec![],
        supports: None,
        finish: FinishReason::Length,
    };
    assert_eq!(
        engine.generate(&[none.clone(), free.clone(), none]),
        [empty.clone(), all.clone(), empty.clone()]
    );

    let context = WIDE.context as usize;
    let full = request(tokens(context, 4, 131), 0, GREEDY, 0);
    assert_eq!(engine.generate(&[full]), [empty]);
    let nearly_full = request(tokens(context - 1, 4, 131), usize::MAX, GREEDY, 0);
    let last = engine.generate(&[nearly_full]).remove(0);
    assert_eq!((last.tokens.len(), last.finish), (1, FinishReason::Length));

    let Engine { queue, net, session } = &mut engine;
    let mut seen = Vec::new();
    let told = generate(queue, net, session, &[free.clone(), free], |request, token| {
        seen.push((request, token));
        let fourth = seen.iter().filter(|(of, _)| *of == 1).count() == 4;
        if request == 1 && fourth { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    let seen_of = |r| seen.iter().filter(|(of, _)| *of == r).map(|(_, t)| *t).collect::<Vec<_>>();
    assert_eq!((&told[0].tokens, &told[1].tokens), (&seen_of(0), &seen_of(1)));
    assert_eq!(told[0], all);
    assert_eq!((told[1].tokens.as_slice(), told[1].finish), (&all.tokens[..4], FinishReason::Stop));
}

#[test]
fn requests_that_make_no_sense_are_refused_before_anything_runs() {
    let mut engine = Engine::new(llama, DType::F32, 1, WIDE);
    let good = request(tokens(9, 2, 131), 3, PLAIN, 8);
    let mut refused = |bad: Request| {
        let Engine { queue, net, session } = &mut engine;
        let outcome = generate(queue, net, session, &[good.clone(), bad], |_, _| panic!("something ran"));
        let error = outcome.unwrap_err();
        assert_eq!(error.request(), Some(1));
        error.to_string()
    };
    assert_eq!(
        refused(Request { prompt: vec![], ..good.clone() }),
        "the prompt is empty; give at least one token (for example the bos token)"
    );
    assert_eq!(
        refused(Request { prompt: vec![130, 131], ..good.clone() }),
        "token 131 at position 1 is not in the model's vocabulary of 131; \
         does the tokenizer belong to this model?"
    );
    assert_eq!(
        refused(Request { prompt: tokens(400, 1, 131), ..good.clone() }),
        "the prompt of 400 tokens fills the context of 400; shorten the prompt"
    );
    assert_eq!(
        refused(Request { support: true, ..good.clone() }),
        "this session does not tell what draws could have been; allocate it with support"
    );
    let with = |sampling| Request { sampling, ..good.clone() };
    for temperature in [-0.5, f32::NAN, f32::INFINITY] {
        let error = refused(with(Sampling { temperature, ..PLAIN }));
        assert_eq!(error, format!("temperature is {temperature}; expected 0 or more"));
    }
    for top_p in [0.0, 1.5, f32::NAN] {
        let error = refused(with(Sampling { top_p, ..PLAIN }));
        assert_eq!(error, format!("top_p is {top_p}; expected more than 0, at most 1"));
    }
    for min_p in [-0.5, 1.0, f32::NAN] {
        let error = refused(with(Sampling { min_p, ..PLAIN }));
        assert_eq!(error, format!("min_p is {min_p}; expected 0 or more, less than 1"));
    }
}

#[test]
fn sequences_to_score_are_checked_and_may_be_short_or_full() {
    let mut engine = Engine::new(llama, DType::F32, 1, WIDE);
    let lengths: Vec<usize> =
        [0, 1, 2, 400].iter().map(|&n| tokens(n, 1, 131)).map(|s| engine.score(&[s])[0].len()).collect();
    assert_eq!(lengths, [0, 0, 1, 399]);
    let Engine { queue, net, session } = &mut engine;
    let mut refused =
        |bad| score(queue, net, session, &[bad], |_, _| panic!("something ran")).unwrap_err().to_string();
    assert!(
        refused(tokens(401, 1, 131))
            .contains("401 tokens do not fit the context of 400; shorten the sequence")
    );
    // The last token is only a label, and yet it must be in the vocabulary.
    assert!(
        refused(vec![0, 500]).contains("token 500 at position 1 is not in the model's vocabulary of 131")
    );
    assert_eq!(engine.score(&[]), Vec::<Vec<f32>>::new());
}

#[test]
fn greedy_continuations_equal_those_of_transformers() {
    for model in ["llama2_f16", "llama3_gqa", "llama_tied", "qwen2_bias"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden").join(model);
        let golden: Value =
            serde_json::from_slice(&std::fs::read(path.join("golden.json")).unwrap()).unwrap();
        let list = |key: &str| serde_json::from_value::<Vec<u32>>(golden["generate"][key].clone()).unwrap();
        let dir = ModelDir::open(&path).unwrap();
        let limits = Limits { rows: 5, requests: 1, context: 64, cache_tokens: 64 };
        let mut queue = open(DeviceKind::Cpu, Some(2)).unwrap();
        let net = Net::allocate(&mut queue, dir.config().clone(), DType::F32, 64).unwrap();
        let session = Session::allocate(&mut queue, &net, limits).unwrap();
        queue.seal();
        net.load(&mut queue, dir.weights(), None).unwrap();
        let expected = list("tokens");
        let mut engine = Engine { queue, net, session };
        let got = engine.generate(&[request(list("prompt"), expected.len(), GREEDY, 0)]).remove(0);
        assert_eq!(got.tokens, expected, "{model}");
    }
}
