//! Requests that come, go, share pages and make room for each other: each completion is what it would be alone.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_infer::{
    Completion, Event, FinishReason, Limits, Request, RequestId, Rollout, Sampling, Session, generate,
};
use octo_model::{ModelConfig, Net};
use octo_ops::{DType, Precision, support};
use octo_queue::{DeviceKind, Event as Asked, Queue, open, record};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0 };
const PLAIN: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 };
const CUT: Sampling = Sampling { temperature: 1.3, top_k: 40, top_p: 0.9, min_p: 0.01 };
const VOCAB: u32 = 72;

/// Room for all at once.
const WIDE: Limits = Limits { rows: 256, requests: 16, context: 256, cache_tokens: 4096 };
/// Room for a few: requests wait for places, prompts go in by pieces, and pages run out.
const NARROW: Limits = Limits { rows: 19, requests: 5, context: 256, cache_tokens: 384 };

struct Engine {
    queue: Queue,
    net: Net,
    session: Session,
}

impl Engine {
    fn on(queue: Queue, dtype: DType, limits: Limits) -> Engine {
        let mut queue = queue;
        let config = json!({
            "model_type": "llama", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCAB,
            "max_position_embeddings": 4096, "initializer_range": 0.4,
        });
        let config = ModelConfig::from_value(config, "test").unwrap();
        let net = Net::allocate(&mut queue, config, dtype, limits.context).unwrap();
        let session = Session::allocate_with_support(&mut queue, &net, limits).unwrap();
        queue.seal();
        net.randomise(&mut queue, 11, None).unwrap();
        Engine { queue, net, session }
    }

    fn cpu(limits: Limits, pipelined: bool) -> Engine {
        let mut engine = Engine::on(open(DeviceKind::Cpu, Some(2)).unwrap(), DType::F32, limits);
        engine.session.set_pipelined(pipelined);
        engine
    }

    fn generate(&mut self, requests: &[Request]) -> Vec<Completion> {
        let Engine { queue, net, session } = self;
        generate(queue, net, session, requests, |_, _| ControlFlow::Continue(())).unwrap()
    }

    /// Each request with nobody else in the cache.
    fn one_by_one(&mut self, requests: &[Request]) -> Vec<Completion> {
        requests.iter().map(|request| self.generate(std::slice::from_ref(request)).remove(0)).collect()
    }
}

fn tokens(length: usize, salt: u32) -> Vec<u32> {
    let mut state = salt.wrapping_mul(0x9e37_79b9).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % VOCAB
    };
    (0..length).map(|_| next()).collect()
}

fn request(prompt: Vec<u32>, max_new_tokens: usize, sampling: Sampling, seed: u64) -> Request {
    // Passes are mixed in this too.
    let support = sampling != GREEDY;
    Request { prompt, max_new_tokens, sampling, seed, sample: 0, stop_tokens: vec![], support }
}

/// Groups of several samples: prompts within a page, of whole pages, and of pages and a piece.
fn groups() -> Vec<Request> {
    let shapes = [(3, 9, 4), (64, 40, 3), (70, 70, 6), (128, 1, 2), (130, 20, 5), (1, 100, 3)];
    let policies = [PLAIN, CUT, GREEDY];
    let group = |(g, &(prompt, new, samples)): (usize, &(usize, usize, u32))| {
        let shared = request(tokens(prompt, g as u32), new, policies[g % 3], g as u64);
        (0..samples).map(move |sample| Request { sample, ..shared.clone() })
    };
    shapes.iter().enumerate().flat_map(group).collect()
}

#[test]
fn samples_that_share_pages_draw_what_each_draws_alone() {
    let requests = groups();
    let alone = Engine::cpu(WIDE, false).one_by_one(&requests);
    for limits in [WIDE, NARROW, Limits { rows: 3, ..WIDE }, Limits { requests: 2, ..NARROW }] {
        for pipelined in [false, true] {
            let together = Engine::cpu(limits, pipelined).generate(&requests);
            for (i, (together, alone)) in together.iter().zip(&alone).enumerate() {
                assert_eq!(together, alone, "request {i}, {limits:?}, pipelined: {pipelined}");
            }
        }
    }
}

#[test]
fn a_group_fits_where_its_samples_apart_would_not() {
    let shared = request(tokens(190, 1), 20, PLAIN, 1);
    let limits = Limits { rows: 256, requests: 8, context: 256, cache_tokens: 13 * 64 };
    let mut engine = Engine::cpu(limits, false);
    let mut rollout = Rollout::new(&mut engine.session);
    for sample in 0..8 {
        rollout.submit(Request { sample, ..shared.clone() }).unwrap();
    }
    let mut most = 0;
    while !rollout.is_idle() {
        rollout.step(&mut engine.queue, &engine.net).unwrap();
        most = most.max(rollout.load().pages_used);
    }
    // Two whole pages of the prompt, and of each sample its copy of the third and a fourth: five fit into 13 pages at
    // once. Apart, three would.
    assert_eq!((most, rollout.load().pages_used), (2 + 2 * 5, 0));
}

/// Steps until idle; completions by id.
fn drain(rollout: &mut Rollout<'_>, queue: &mut Queue, net: &Net) -> BTreeMap<RequestId, Completion> {
    let mut done = BTreeMap::new();
    while !rollout.is_idle() {
        done.extend(finished(rollout.step(queue, net).unwrap()));
    }
    done
}

fn finished(events: Vec<Event>) -> impl Iterator<Item = (RequestId, Completion)> {
    events.into_iter().filter_map(|event| match event {
        Event::Finished { id, completion } => Some((id, completion)),
        Event::Token { .. } => None,
    })
}

#[test]
fn requests_join_and_are_cancelled_between_any_two_steps() {
    let requests = groups();
    let alone = Engine::cpu(WIDE, false).one_by_one(&requests);
    for pipelined in [false, true] {
        let Engine { mut queue, net, mut session } = Engine::cpu(NARROW, pipelined);
        let mut rollout = Rollout::new(&mut session);
        let (mut done, mut cancelled) = (BTreeMap::new(), BTreeMap::new());
        for (i, request) in requests.iter().enumerate() {
            assert_eq!(rollout.submit(request.clone()).unwrap(), RequestId(i as u64));
            for _ in 0..i % 4 {
                done.extend(finished(rollout.step(&mut queue, &net).unwrap()));
            }
            let other = RequestId((i as u64 * 7) % (i as u64 + 1));
            if i % 3 == 2
                && let Some(part) = rollout.cancel(other)
            {
                cancelled.insert(other, part);
            }
        }
        done.extend(drain(&mut rollout, &mut queue, &net));
        assert!(cancelled.len() > 2 && done.len() + cancelled.len() == requests.len());
        for (id, completion) in &done {
            assert_eq!(completion, &alone[id.0 as usize], "{id:?}, pipelined: {pipelined}");
        }
        for (id, part) in &cancelled {
            let whole = &alone[id.0 as usize];
            assert!(whole.tokens.starts_with(&part.tokens) && part.finish == FinishReason::Stop);
            assert!(!done.contains_key(id), "{id:?} was cancelled");
        }
        assert_eq!(rollout.load().pages_used, 0);
    }
}

#[test]
fn an_update_of_the_weights_in_the_middle_uses_nothing_cached_before() {
    let requests = groups();
    let expected = Engine::cpu(WIDE, false).generate(&requests);
    for pipelined in [false, true] {
        let Engine { mut queue, net, mut session } = Engine::cpu(WIDE, pipelined);
        // What another model cached must leave no trace: the update brings the weights of the expectation.
        net.randomise(&mut queue, 12, None).unwrap();
        let mut rollout = Rollout::new(&mut session);
        for request in &requests {
            rollout.submit(request.clone()).unwrap();
        }
        // One pass of the first prompts' rows, in which nothing is drawn: the limit of rows is below their sum.
        let early = rollout.step(&mut queue, &net).unwrap();
        let late = rollout.advance_version(&mut queue).unwrap();
        net.randomise(&mut queue, 11, None).unwrap();
        let begun: HashSet<RequestId> = early.iter().chain(&late).map(event_id).collect();
        let mut done: BTreeMap<_, _> = finished(early).chain(finished(late)).collect();
        assert!(!begun.is_empty() && begun.len() < requests.len());
        done.extend(drain(&mut rollout, &mut queue, &net));
        assert_eq!((done.len(), rollout.load().version), (requests.len(), 1));
        for (id, completion) in done {
            let (versions, completion) = versions_apart(completion);
            assert_eq!(versions.len(), completion.tokens.len());
            if begun.contains(&id) {
                // What was drawn before the update, then the rest.
                assert!(versions[0] == 0 && versions.is_sorted(), "{id:?}: {versions:?}");
                assert!(versions.len() == 1 || versions.ends_with(&[1]), "{id:?}: {versions:?}");
            } else {
                assert!(versions.iter().all(|&version| version == 1), "{id:?}: {versions:?}");
                let expected = versions_apart(expected[id.0 as usize].clone()).1;
                assert_eq!(completion, expected, "{id:?}, pipelined: {pipelined}");
            }
        }
    }
}

fn event_id(event: &Event) -> RequestId {
    match event {
        Event::Token { id, .. } | Event::Finished { id, .. } => *id,
    }
}

#[test]
fn an_update_that_changes_nothing_changes_no_bit() {
    let requests = groups();
    let expected = Engine::cpu(WIDE, false).generate(&requests);
    let Engine { mut queue, net, mut session } = Engine::cpu(NARROW, true);
    let mut rollout = Rollout::new(&mut session);
    for request in &requests {
        rollout.submit(request.clone()).unwrap();
    }
    let mut done = BTreeMap::new();
    for step in 0.. {
        if rollout.is_idle() {
            break;
        }
        done.extend(finished(rollout.step(&mut queue, &net).unwrap()));
        if step % 40 == 11 {
            done.extend(finished(rollout.advance_version(&mut queue).unwrap()));
        }
    }
    let apart = |completion| versions_apart(completion).1;
    assert!(done.into_values().map(apart).eq(expected.into_iter().map(apart)));
}

/// Versions of the weights, and the rest of a completion.
fn versions_apart(mut completion: Completion) -> (Vec<u64>, Completion) {
    (std::mem::take(&mut completion.versions), completion)
}

#[test]
fn a_thousand_identical_greedy_requests_in_mixed_traffic_have_one_output() {
    let same = request(tokens(33, 5), 12, GREEDY, 0);
    // Others of all kinds come in between, and break the thousand into many groups.
    let mut requests = Vec::new();
    for i in 0..1000 {
        requests.push((true, Request { seed: i, ..same.clone() }));
        if i % 5 == 0 {
            let other = request(tokens(1 + i as usize % 90, i as u32), 1 + i as usize % 23, CUT, i);
            requests.push((false, other));
        }
    }
    let limits = Limits { rows: 64, requests: 24, context: 128, cache_tokens: 24 * 64 };
    for pipelined in [false, true] {
        let mut engine = Engine::cpu(limits, pipelined);
        let all: Vec<Request> = requests.iter().map(|(_, request)| request.clone()).collect();
        let completions = engine.generate(&all);
        let outputs: HashSet<(Vec<u32>, Vec<u32>)> = requests
            .iter()
            .zip(&completions)
            .filter(|((same, _), _)| *same)
            .map(|(_, c)| (c.tokens.clone(), c.logprobs.iter().map(|l| l.to_bits()).collect()))
            .collect();
        assert_eq!(outputs.len(), 1, "pipelined: {pipelined}");
    }
}

#[test]
fn stop_tokens_end_a_pipelined_request_where_they_end_any() {
    let free = Engine::cpu(WIDE, false).generate(&groups());
    let stop = free[4].tokens[7];
    let requests: Vec<Request> =
        groups().into_iter().map(|request| Request { stop_tokens: vec![stop, 5], ..request }).collect();
    let expected = Engine::cpu(WIDE, false).generate(&requests);
    assert!(expected.iter().filter(|c| c.finish == FinishReason::Stop).count() > 3);
    for limits in [WIDE, NARROW] {
        assert_eq!(Engine::cpu(limits, true).generate(&requests), expected);
    }
}

#[test]
fn both_log_probabilities_come_back() {
    let mut engine = Engine::cpu(WIDE, false);
    let completion =
        |engine: &mut Engine, sampling| engine.generate(&[request(tokens(9, 3), 30, sampling, 4)]).remove(0);
    let plain = completion(&mut engine, PLAIN);
    let difference = plain.logprobs.iter().zip(&plain.sampled_logprobs).map(|(a, b)| (a - b).abs());
    assert!(difference.fold(0.0, f32::max) < 1e-5, "nothing is cut, so both are the model's");
    let cut = completion(&mut engine, CUT);
    assert_eq!(cut.sampled_logprobs.len(), 30);
    assert!(cut.sampled_logprobs.iter().zip(&cut.logprobs).any(|(sampled, raw)| sampled - raw > 0.1));
    assert!(completion(&mut engine, GREEDY).sampled_logprobs.iter().all(|&l| l == 0.0));
}

#[test]
fn supports_come_back_to_those_that_want_them() {
    let mut engine = Engine::cpu(WIDE, true);
    let wanting = |sampling| Request { support: true, ..request(tokens(9, 3), 30, sampling, 4) };
    let narrow = Sampling { top_k: 2, ..PLAIN };
    // All in one pass, and one beside them that does not want any.
    let mut requests: Vec<Request> = [PLAIN, CUT, narrow, GREEDY].map(wanting).to_vec();
    requests.push(Request { support: false, ..wanting(CUT) });
    let done = engine.generate(&requests);
    let counts = |of: usize| -> Vec<u32> {
        let supports = done[of].supports.as_ref().unwrap();
        assert_eq!(supports.len(), 30);
        let mut row = vec![0; support::words(VOCAB) as usize];
        for (draw, &token) in done[of].tokens.iter().enumerate() {
            supports.write(draw, &mut row);
            assert!(support::has(&row, token as usize), "token {draw} could not have been drawn");
        }
        (0..30).map(|draw| supports.count(draw)).collect()
    };
    assert_eq!(counts(0), [VOCAB; 30]);
    assert!(counts(1).iter().all(|&count| (1..=40).contains(&count)));
    assert_eq!((counts(2), counts(3)), (vec![2; 30], vec![1; 30]));
    assert_eq!(done[4].supports, None);
    assert_eq!((&done[4].tokens, &done[4].sampled_logprobs), (&done[1].tokens, &done[1].sampled_logprobs));
    // Whatever else is in the pass, they are the same.
    assert_eq!(engine.one_by_one(&requests), done);
}

/// Few rows: every instruction is simulated.
fn simulated() -> Vec<Request> {
    let shared = request(tokens(5, 1), 4, PLAIN, 7);
    let mut requests: Vec<Request> = (0..3).map(|sample| Request { sample, ..shared.clone() }).collect();
    requests.push(request(tokens(63, 2), 3, CUT, 8));
    requests
}

#[test]
fn replayed_and_eager_passes_give_the_same_bits_on_a_simulated_gpu() {
    let limits = Limits { rows: 40, requests: 4, context: 128, cache_tokens: 512 };
    let run = |pipelined| {
        let mut engine = Engine::on(open(DeviceKind::Sim, Some(2)).unwrap(), DType::Bf16, limits);
        engine.session.set_pipelined(pipelined);
        engine.generate(&simulated())
    };
    let eager = run(false);
    assert_eq!(eager.iter().map(|c| c.tokens.len()).collect::<Vec<_>>(), [4, 4, 4, 3]);
    assert_eq!(run(true), eager);
}

#[test]
fn a_pass_of_decoding_is_one_copy_one_program_and_one_readback() {
    // Supports come home with the tokens.
    for sampling in [GREEDY, CUT] {
        decoding_is_one_copy_one_program_and_one_readback(sampling);
    }
}

fn decoding_is_one_copy_one_program_and_one_readback(sampling: Sampling) {
    let (queue, recording) = record(Precision::CUDA);
    let limits = Limits { rows: 64, requests: 16, context: 128, cache_tokens: 16 * 128 };
    let mut engine = Engine::on(queue, DType::Bf16, limits);
    let Engine { queue, net, session } = &mut engine;
    let mut rollout = Rollout::new(session);
    for i in 0..13 {
        rollout.submit(request(tokens(3, i), 60, sampling, 0)).unwrap();
    }
    (0..3).for_each(|_| drop(rollout.step(queue, net).unwrap()));
    let before = recording.events().len();
    rollout.step(queue, net).unwrap();
    let asked = recording.events().split_off(before);
    assert!(
        matches!(
            asked.as_slice(),
            [Asked::Upload(_), Asked::Replay(_), Asked::BeginReadback(_), Asked::FinishReadback]
        ),
        "{asked:?}"
    );
    let captured = recording.events().iter().filter(|event| matches!(event, Asked::Capture(_))).count();
    assert_eq!(captured, 1, "thirteen requests are filled up to one size");
}
