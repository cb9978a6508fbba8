//! Batches of several sources.

use crate::{
    BatchOptions, Batches, IGNORED_LABEL, MixturePart, Order, SequenceOrigin, ShardsError, TokenSource,
    TokenizedSource,
};
use proptest::prelude::*;
use std::sync::Arc;

/// Sources of very different sizes, each with tokens of its own: token / 1000 is the source.
fn sources() -> impl Strategy<Value = Vec<(Vec<usize>, f64, u64)>> {
    let lengths = prop_oneof![
        proptest::collection::vec(1usize..9, 4..8),
        proptest::collection::vec(1usize..9, 60..90),
    ];
    let share = prop_oneof![Just(0.5), Just(0.3), Just(0.01), 0.02f64..1.0];
    proptest::collection::vec((lengths, share, 0u64..60), 1..5)
}

fn mixture(sources: &[(Vec<usize>, f64, u64)]) -> Vec<MixturePart> {
    let each = |(number, (lengths, share, first_position)): (usize, &(Vec<usize>, f64, u64))| {
        let mut next = 1000 * number as u32;
        let document = |&length: &usize| {
            next += length as u32;
            (next - length as u32..next).collect()
        };
        let documents: Vec<Vec<u32>> = lengths.iter().map(document).collect();
        MixturePart {
            name: format!("s{number}"),
            source: Arc::new(TokenSource::Memory(TokenizedSource::of(&documents))),
            share: *share,
            first_position: *first_position,
        }
    };
    sources.iter().enumerate().map(each).collect()
}

/// Batches of sequences of three tokens.
fn options(sequences: usize, micro: usize, order: Order) -> BatchOptions {
    BatchOptions {
        sequence_length: 3,
        batch_tokens: 3 * sequences,
        micro_batch_tokens: 3 * micro,
        order,
        seed: 5,
        document_mask: true,
    }
}

/// What a batch says of one sequence: its origin, ids, labels and positions.
type Sequence = (SequenceOrigin, Vec<u32>, Vec<i32>, Vec<u32>);

/// The sequences of the first steps.
fn stream(batches: &Batches, steps: u64) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for batch in (0..steps).flat_map(|step| batches.step(step).unwrap()) {
        for (i, origin) in batch.origins.iter().enumerate() {
            let tokens = 3 * i..3 * i + 3;
            sequences.push((
                *origin,
                batch.ids[tokens.clone()].to_vec(),
                batch.labels[tokens.clone()].to_vec(),
                batch.positions[tokens].to_vec(),
            ));
        }
    }
    sequences
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Sequential), Just(Order::Shuffled)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn each_source_of_a_mixture_is_read_as_it_is_alone(sources in sources(), order in order()) {
        let parts = mixture(&sources);
        let mixed = stream(&Batches::new(parts.clone(), options(4, 2, order)).unwrap(), 60);
        for (number, part) in parts.into_iter().enumerate() {
            let of_it: Vec<&Sequence> = mixed.iter().filter(|(origin, ..)| origin.source == number).collect();
            let alone = stream(&Batches::new(vec![part], options(1, 1, order)).unwrap(), of_it.len() as u64);
            for (mixed, alone) in of_it.into_iter().zip(alone) {
                prop_assert_eq!(mixed.0, SequenceOrigin { source: number, ..alone.0 });
                prop_assert_eq!((&mixed.1, &mixed.2, &mixed.3), (&alone.1, &alone.2, &alone.3));
                prop_assert!(mixed.1.iter().all(|&id| id / 1000 == number as u32));
            }
        }
    }

    #[test]
    fn the_stream_does_not_depend_on_batches_micro_batches_or_where_a_run_starts_again(
        sources in sources(), order in order(), restart in 0u64..30,
    ) {
        let parts = mixture(&sources);
        let of = |sequences, micro, steps| {
            stream(&Batches::new(parts.clone(), options(sequences, micro, order)).unwrap(), steps)
        };
        let whole = of(12, 12, 10);
        prop_assert_eq!(&of(12, 3, 10), &whole);
        prop_assert_eq!(&of(4, 2, 30), &whole);
        prop_assert_eq!(&of(1, 1, 120), &whole);
        // Made anew, as after a kill, and asked for later steps at once.
        let batches = Batches::new(parts.clone(), options(4, 2, order)).unwrap();
        let from_there = batches.step(restart).unwrap();
        let origins: Vec<SequenceOrigin> = from_there.into_iter().flat_map(|batch| batch.origins).collect();
        let expected: Vec<SequenceOrigin> =
            of(4, 2, restart + 1).split_off(restart as usize * 4).into_iter().map(|(origin, ..)| origin).collect();
        prop_assert_eq!(origins, expected);
    }

    #[test]
    fn a_later_stage_goes_on_where_the_last_one_stopped(
        sources in sources(), order in order(), steps in 0u64..40, other in 0.05f64..1.0,
    ) {
        let parts = mixture(&sources);
        let first = Batches::new(parts.clone(), options(4, 4, order)).unwrap();
        let taken = first.positions(steps);
        let later: Vec<MixturePart> = parts.iter().zip(&taken).map(|(part, &first_position)| {
            MixturePart { first_position, share: part.share + other, ..part.clone() }
        }).collect();
        let second = Batches::new(later, options(2, 1, order)).unwrap();
        let both: Vec<Sequence> = stream(&first, steps).into_iter().chain(stream(&second, 40)).collect();
        for (number, part) in parts.iter().enumerate() {
            // No window is left out and none is read twice within an epoch.
            let windows: Vec<(u64, u64)> = both.iter()
                .filter(|(origin, ..)| origin.source == number)
                .map(|(origin, ..)| (origin.epoch, origin.window)).collect();
            let alone = Batches::new(vec![part.clone()], options(1, 1, order)).unwrap();
            let expected: Vec<(u64, u64)> = stream(&alone, windows.len() as u64).into_iter()
                .map(|(origin, ..)| (origin.epoch, origin.window)).collect();
            prop_assert_eq!(windows, expected);
            prop_assert_eq!(taken[number], part.first_position + stream(&first, steps).iter()
                .filter(|(origin, ..)| origin.source == number).count() as u64);
        }
    }

    #[test]
    fn shares_hold_within_one_window_after_every_step(sources in sources()) {
        let parts = mixture(&sources);
        let sum: f64 = parts.iter().map(|part| part.share).sum();
        let batches = Batches::new(parts.clone(), options(4, 4, Order::Shuffled)).unwrap();
        for step in 0..80u64 {
            for (part, position) in parts.iter().zip(batches.positions(step)) {
                let ought = part.share / sum * (4 * step) as f64;
                let given = (position - part.first_position) as f64;
                prop_assert!((ought - given).abs() < 1.00001, "{ought} {given}");
            }
        }
        let tokens: f64 = batches.passes(20).iter().zip(&parts)
            .map(|(passes, part)| passes * part.source.tokens() as f64).sum();
        prop_assert!((tokens - 240.0).abs() < 1e-6);
    }

    #[test]
    fn nothing_crosses_from_one_document_or_source_to_another(sources in sources(), step in 0u64..50) {
        let parts = mixture(&sources);
        let batches = Batches::new(parts.clone(), options(6, 6, Order::Shuffled)).unwrap();
        let batch = batches.batch(step, 0).unwrap();
        let document = |id: u32| {
            let source = &parts[id as usize / 1000].source;
            (id / 1000, source.document_at(u64::from(id % 1000)).unwrap())
        };
        for cut in batch.cu_seqlens.windows(2) {
            let piece = cut[0] as usize..cut[1] as usize;
            for i in piece.clone() {
                prop_assert_eq!(document(batch.ids[i]), document(batch.ids[piece.start]));
                prop_assert_eq!(batch.positions[i] as usize, i - piece.start);
                if batch.labels[i] != IGNORED_LABEL {
                    prop_assert_eq!(document(batch.labels[i] as u32), document(batch.ids[i]));
                    prop_assert_eq!(batch.labels[i] as u32, batch.ids[i] + 1);
                }
            }
            let origin = &batch.origins[piece.start / 3];
            let place = batches.document(origin, piece.start % 3).unwrap();
            let (source, number) = document(batch.ids[piece.start]);
            prop_assert_eq!(place, parts[source as usize].source.origin(number));
        }
    }
}

#[test]
fn a_source_that_is_too_small_or_a_share_that_is_none_is_named() {
    let parts = mixture(&[(vec![9, 9], 0.5, 0), (vec![2, 1], 0.5, 0)]);
    let error = Batches::new(parts.clone(), options(4, 2, Order::Shuffled)).unwrap_err().to_string();
    assert!(
        error.starts_with("source `s1`: 3 tokens in 2 documents are too few for one sequence"),
        "{error}"
    );
    let none = vec![parts[0].clone(), MixturePart { share: 0.0, ..parts[1].clone() }];
    let error = Batches::new(none, options(4, 2, Order::Shuffled)).unwrap_err().to_string();
    assert!(error.starts_with("source `s1`: a share of 0 is not positive"), "{error}");
    let error = Batches::new(Vec::new(), options(4, 2, Order::Shuffled)).unwrap_err();
    assert!(matches!(error, ShardsError::EmptyMixture));
}
