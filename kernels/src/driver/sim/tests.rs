//! Streams, events, captures and host accesses over copies and fills; kernels join in `tests/driver.rs`.

use super::*;
use proptest::prelude::*;

fn driver(seed: u64, checks: bool) -> SimDriver {
    let gpu = Config { seed, threads: 1, checks, ..Config::default() };
    SimDriver::new(SimConfig { gpu, seed, memory: 1 << 30, forgotten_wait: None })
}

/// Two streams, an event, and a device buffer of 64 bytes.
struct Two {
    driver: SimDriver,
    a: Stream,
    b: Stream,
    event: Event,
    at: u64,
}

fn two(seed: u64, checks: bool) -> Two {
    let mut driver = driver(seed, checks);
    let (a, b) = (driver.create_stream("a").unwrap(), driver.create_stream("b").unwrap());
    let event = driver.create_event().unwrap();
    let at = driver.allocate("buffer", 64).unwrap();
    Two { driver, a, b, event, at }
}

fn capture_error<T: std::fmt::Debug>(outcome: Result<T, DriverError>) -> CaptureError {
    match outcome {
        Err(DriverError::Capture { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn work_behind_an_event_sees_what_was_before_it_for_every_seed() {
    for seed in 0..50 {
        let Two { mut driver, a, b, event, at } = two(seed, true);
        let host = driver.allocate_host("host", 64).unwrap();
        driver.fill(a, at, 1, 64).unwrap();
        driver.fill(a, at, 2, 64).unwrap();
        driver.record(event, a).unwrap();
        driver.wait(b, event).unwrap();
        driver.copy_out(b, host, 0, at, 64).unwrap();
        driver.synchronize_stream(b).unwrap();
        let mut bytes = [0; 64];
        driver.read_host(host, 0, &mut bytes).unwrap();
        assert_eq!(bytes, [2; 64], "seed {seed}");
    }
}

#[test]
fn a_missing_event_is_reported_for_every_seed_with_both_pieces_of_work() {
    for seed in 0..50 {
        let Two { mut driver, a, b, at, .. } = two(seed, true);
        let outcome = driver
            .fill(a, at, 1, 64)
            .and_then(|()| driver.fill(b, at + 63, 2, 1))
            .and_then(|()| driver.synchronize());
        let error = outcome.unwrap_err();
        assert!(matches!(error, DriverError::Race { bytes: 1, .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("fill of 64 bytes on stream `a`"), "{text}");
        assert!(text.contains("fill of 1 bytes on stream `b`"), "{text}");
        assert!(matches!(driver.synchronize(), Err(DriverError::Poisoned { .. })));
    }
}

#[test]
fn a_missing_event_changes_values_for_some_seed() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let Two { mut driver, a, b, at, .. } = two(seed, false);
        driver.fill(a, at, 1, 64).unwrap();
        driver.fill(b, at, 2, 64).unwrap();
        driver.synchronize().unwrap();
        let mut byte = [0];
        driver.read(at, &mut byte).unwrap();
        seen.insert(byte[0]);
    }
    assert_eq!(seen, BTreeSet::from([1, 2]));
}

#[test]
fn an_event_that_was_never_recorded_holds_nothing_back() {
    let Two { mut driver, a, event, at, .. } = two(1, true);
    driver.wait(a, event).unwrap();
    assert!(driver.query(event).unwrap());
    driver.synchronize_event(event).unwrap();
    driver.fill(a, at, 1, 64).unwrap();
    driver.synchronize().unwrap();
}

#[test]
fn asking_an_event_again_and_again_comes_to_an_end_and_then_orders_the_host() {
    let Two { mut driver, a, event, at, .. } = two(3, true);
    let host = driver.allocate_host("host", 64).unwrap();
    for _ in 0..20 {
        driver.fill(a, at, 7, 64).unwrap();
    }
    driver.copy_out(a, host, 0, at, 64).unwrap();
    driver.record(event, a).unwrap();
    let asked = (0..100).find(|_| driver.query(event).unwrap());
    assert!(asked.is_some());
    driver.read_host(host, 0, &mut [0; 64]).unwrap();
}

#[test]
fn the_host_may_not_touch_bytes_that_a_copy_still_uses() {
    for seed in 0..20 {
        let Two { mut driver, a, at, .. } = two(seed, true);
        let host = driver.allocate_host("staging", 128).unwrap();
        driver.write_host(host, 0, &[1; 128]).unwrap();
        driver.copy_in(a, at, host, 0, 64).unwrap();
        driver.write_host(host, 64, &[2; 64]).unwrap();
        driver.read_host(host, 0, &mut [0; 64]).unwrap();
        let error = driver.write_host(host, 60, &[3; 8]).unwrap_err().to_string();
        assert!(
            error.contains("copy_in of 64 bytes on stream `a`") && error.contains("write_host"),
            "{error}"
        );
        assert!(error.contains("`staging`"), "{error}");

        let Two { mut driver, a, at, event, .. } = two(seed, true);
        let host = driver.allocate_host("result", 64).unwrap();
        driver.fill(a, at, 1, 64).unwrap();
        driver.record(event, a).unwrap();
        driver.copy_out(a, host, 0, at, 64).unwrap();
        driver.synchronize_event(event).unwrap();
        let error = driver.read_host(host, 0, &mut [0; 1]).unwrap_err();
        assert!(matches!(error, DriverError::Race { .. }), "waited for too little: {error}");
    }
}

#[test]
fn a_synchronous_copy_waits_for_no_stream() {
    for seed in 0..20 {
        let Two { mut driver, a, at, .. } = two(seed, true);
        driver.fill(a, at, 1, 64).unwrap();
        let outcome = driver.write(at, &[2; 4]).and_then(|()| driver.synchronize());
        assert!(matches!(outcome, Err(DriverError::Race { .. })), "seed {seed}");
        let Two { mut driver, a, at, .. } = two(seed, true);
        driver.fill(a, at, 1, 64).unwrap();
        driver.synchronize_stream(a).unwrap();
        driver.write(at, &[2; 4]).unwrap();
    }
}

#[test]
fn page_locked_bytes_that_nobody_wrote_are_not_copied() {
    let Two { mut driver, a, at, .. } = two(0, true);
    let host = driver.allocate_host("staging", 64).unwrap();
    driver.write_host(host, 0, &[1; 60]).unwrap();
    let error = driver.copy_in(a, at, host, 0, 64).and_then(|()| driver.synchronize()).unwrap_err();
    assert!(matches!(error, DriverError::UnwrittenHost { offset: 60, .. }), "{error}");
}

#[test]
fn wrong_ranges_and_handles_are_refused_at_the_call() {
    let Two { mut driver, a, at, .. } = two(0, true);
    let host = driver.allocate_host("host", 64).unwrap();
    let invalid = |outcome| matches!(outcome, Err(DriverError::InvalidValue { .. }));
    assert!(invalid(driver.fill(a, at + 1, 0, 64)));
    assert!(invalid(driver.fill(a, at - 1, 0, 1)));
    assert!(invalid(driver.copy(a, at, u64::MAX - 3, 64)));
    assert!(invalid(driver.copy_in(a, at, host, 1, 64)));
    assert!(invalid(driver.copy_in(a, at, host, u64::MAX, 64)));
    assert!(invalid(driver.write_host(host, 63, &[0; 2])));
    assert!(invalid(driver.free(at + 256)));
    assert!(invalid(driver.allocate("nothing", 0).map(drop)));
    assert!(matches!(driver.allocate("all", 1 << 40), Err(DriverError::OutOfMemory { .. })));
    assert!(matches!(driver.fill(Stream(9), at, 0, 1), Err(DriverError::InvalidHandle { .. })));
    assert!(matches!(driver.wait(a, Event(9)), Err(DriverError::InvalidHandle { .. })));
    driver.fill(a, at, 0, 64).unwrap();
    driver.synchronize().unwrap();
}

#[test]
fn free_memory_is_what_allocations_leave_and_freed_bytes_have_no_history() {
    let Two { mut driver, a, at, .. } = two(5, true);
    driver.fill(a, at, 0, 64).unwrap();
    driver.free(at).unwrap();
    let info = driver.memory().unwrap();
    assert_eq!((info.free, info.total), (1 << 30, 1 << 30));
    assert!(matches!(driver.fill(a, at, 0, 64), Err(DriverError::InvalidValue { .. })));
}

#[test]
fn a_capture_runs_nothing_and_its_graph_runs_as_often_as_launched() {
    for seed in 0..20 {
        let Two { mut driver, a, b, event, at } = two(seed, true);
        let joined = driver.create_event().unwrap();
        let host = driver.allocate_host("host", 64).unwrap();
        driver.write_host(host, 0, &[5; 64]).unwrap();
        driver.begin_capture(a).unwrap();
        driver.copy_in(a, at, host, 0, 64).unwrap();
        driver.record(event, a).unwrap();
        driver.wait(b, event).unwrap();
        driver.fill(b, at + 32, 9, 32).unwrap();
        driver.fill(a, at, 8, 16).unwrap();
        driver.record(joined, b).unwrap();
        driver.wait(a, joined).unwrap();
        let graph = driver.end_capture(a).unwrap();
        let exec = driver.instantiate(graph).unwrap();
        // Nothing has run, so the host may still write; and bytes are read when the graph runs.
        driver.write_host(host, 0, &[6; 64]).unwrap();
        for value in [6u8, 7] {
            driver.write_host(host, 0, &[value; 64]).unwrap();
            driver.launch_graph(exec, a).unwrap();
            driver.synchronize_stream(a).unwrap();
            let mut bytes = [0; 64];
            driver.read(at, &mut bytes).unwrap();
            assert_eq!((bytes[0], bytes[20], bytes[40]), (8, value, 9), "seed {seed}");
        }
        // Two launches of one graph are ordered, whatever their streams.
        driver.launch_graph(exec, a).unwrap();
        driver.launch_graph(exec, b).unwrap();
        driver.synchronize().unwrap();
    }
}

#[test]
fn unordered_nodes_of_a_graph_race() {
    for seed in 0..20 {
        let Two { mut driver, a, b, event, at } = two(seed, true);
        let joined = driver.create_event().unwrap();
        driver.begin_capture(a).unwrap();
        driver.record(event, a).unwrap();
        driver.wait(b, event).unwrap();
        driver.fill(b, at, 9, 32).unwrap();
        driver.fill(a, at + 31, 8, 16).unwrap();
        driver.record(joined, b).unwrap();
        driver.wait(a, joined).unwrap();
        let graph = driver.end_capture(a).unwrap();
        let exec = driver.instantiate(graph).unwrap();
        let outcome = driver.launch_graph(exec, a).and_then(|()| driver.synchronize());
        assert!(matches!(outcome, Err(DriverError::Race { bytes: 1, .. })), "seed {seed}");
    }
}

#[test]
fn what_cuda_forbids_in_a_capture_is_refused_and_loses_it() {
    type Call = fn(&mut Two) -> Result<(), DriverError>;
    let calls: [(&str, Call); 7] = [
        ("synchronize", |t| t.driver.synchronize()),
        ("synchronize_stream", |t| t.driver.synchronize_stream(t.a)),
        ("allocate", |t| t.driver.allocate("late", 64).map(drop)),
        ("allocate_host", |t| t.driver.allocate_host("late", 64).map(drop)),
        ("free", |t| t.driver.free(t.at)),
        ("write", |t| t.driver.write(t.at, &[0])),
        ("read", |t| t.driver.read(t.at, &mut [0])),
    ];
    for (name, call) in calls {
        let mut t = two(0, true);
        t.driver.fill(t.a, t.at, 0, 64).unwrap();
        t.driver.begin_capture(t.a).unwrap();
        assert_eq!(capture_error(call(&mut t)), CaptureError::Unsupported, "{name}");
        let lost = CaptureError::Invalidated { why: format!("by {name}") };
        assert_eq!(capture_error(t.driver.fill(t.a, t.at, 0, 64)), lost);
        assert_eq!(capture_error(t.driver.end_capture(t.a)), lost);
        t.driver.synchronize().unwrap();
    }
}

#[test]
fn captures_keep_to_themselves() {
    let Two { mut driver, a, b, event, at } = two(0, true);
    let outside = driver.create_event().unwrap();
    driver.record(outside, b).unwrap();
    assert_eq!(capture_error(driver.end_capture(a)), CaptureError::NotCapturing);
    driver.begin_capture(a).unwrap();
    assert_eq!(capture_error(driver.begin_capture(a)), CaptureError::AlreadyCapturing);
    assert_eq!(capture_error(driver.wait(a, outside)), CaptureError::Isolation);
    assert!(matches!(capture_error(driver.end_capture(a)), CaptureError::Invalidated { .. }));

    driver.begin_capture(a).unwrap();
    driver.fill(a, at, 0, 1).unwrap();
    driver.record(event, a).unwrap();
    assert_eq!(capture_error(driver.query(event)), CaptureError::CapturedEvent);
    assert!(matches!(capture_error(driver.end_capture(a)), CaptureError::Invalidated { .. }));
    assert_eq!(capture_error(driver.wait(b, event)), CaptureError::CapturedEvent);

    driver.begin_capture(a).unwrap();
    driver.begin_capture(b).unwrap();
    driver.record(event, a).unwrap();
    assert_eq!(capture_error(driver.wait(b, event)), CaptureError::Merge);
    assert!(driver.end_capture(b).is_err());
    driver.end_capture(a).unwrap();

    driver.begin_capture(a).unwrap();
    driver.fill(a, at, 0, 1).unwrap();
    driver.record(event, a).unwrap();
    driver.wait(b, event).unwrap();
    assert_eq!(capture_error(driver.end_capture(b)), CaptureError::Unmatched);
    driver.fill(b, at, 0, 1).unwrap();
    assert_eq!(capture_error(driver.end_capture(a)), CaptureError::Unjoined { stream: "b".into() });
    driver.fill(b, at, 0, 1).unwrap();
    driver.synchronize().unwrap();
}

/// One call of a random program over three streams, three events and 16 bytes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Fill { stream: usize, at: u64, bytes: u64 },
    Record { stream: usize, event: usize },
    Wait { stream: usize, event: usize },
    Synchronize { stream: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3usize, 0..16u64, 1..4u64)
            .prop_map(|(stream, at, bytes)| Step::Fill { stream, at, bytes: bytes.min(16 - at) }),
        2 => (0..3usize, 0..3usize).prop_map(|(stream, event)| Step::Record { stream, event }),
        2 => (0..3usize, 0..3usize).prop_map(|(stream, event)| Step::Wait { stream, event }),
        1 => (0..3usize).prop_map(|stream| Step::Synchronize { stream }),
    ]
}

proptest! {
    /// Against the definition: fills are nodes of a graph of all paths; two that overlap race unless there is
    /// a path. Without a race the bytes are those of the order of the calls.
    #[test]
    fn races_are_overlaps_without_a_path(steps in prop::collection::vec(step(), 1..40), seed: u64) {
        let mut driver = driver(seed, true);
        let at = driver.allocate("buffer", 16).unwrap();
        let streams: Vec<Stream> = (0..3).map(|_| driver.create_stream("s").unwrap()).collect();
        let events: Vec<Event> = (0..3).map(|_| driver.create_event().unwrap()).collect();
        let mut fills: Vec<(std::ops::Range<u64>, BTreeSet<usize>)> = Vec::new();
        let (mut before, mut recorded) = (vec![BTreeSet::new(); 3], vec![BTreeSet::new(); 3]);
        let (mut host, mut bytes) = (BTreeSet::new(), [0u8; 16]);
        driver.write(at, &bytes).unwrap();
        let (mut expected, mut outcome) = (false, Ok(()));
        for step in steps {
            outcome = outcome.and_then(|()| match step {
                Step::Fill { stream, at: first, bytes } => {
                    driver.fill(streams[stream], at + first, fills.len() as u8 + 1, bytes)
                }
                Step::Record { stream, event } => driver.record(events[event], streams[stream]),
                Step::Wait { stream, event } => driver.wait(streams[stream], events[event]),
                Step::Synchronize { stream } => driver.synchronize_stream(streams[stream]),
            });
            match step {
                Step::Fill { stream, at: first, bytes: length } => {
                    let (range, number) = (first..first + length, fills.len());
                    before[stream].extend(host.iter().copied());
                    expected |= fills.iter().enumerate().any(|(earlier, (other, _))| {
                        other.start < range.end && range.start < other.end && !before[stream].contains(&earlier)
                    });
                    bytes[first as usize..(first + length) as usize].fill(number as u8 + 1);
                    fills.push((range, before[stream].clone()));
                    before[stream].insert(number);
                }
                Step::Record { stream, event } => recorded[event] = before[stream].clone(),
                Step::Wait { stream, event } => before[stream].extend(recorded[event].iter().copied()),
                Step::Synchronize { stream } => host.extend(before[stream].iter().copied()),
            }
        }
        let outcome = outcome.and_then(|()| driver.synchronize());
        prop_assert_eq!(matches!(outcome, Err(DriverError::Race { .. })), expected, "{:?}", outcome);
        if !expected {
            let mut got = [0; 16];
            driver.read(at, &mut got).unwrap();
            prop_assert_eq!(got, bytes);
        }
    }
}
