//! Kernels through the driver: launches as work of streams and graphs, and what is refused before they run.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use octo_kernels::Launch;
use octo_kernels::driver::{Driver, DriverError, Function, SimConfig, SimDriver, Stream};

/// `add(values, value, count)`: each thread below `count` adds `value` to its element.
const ADD: &str = r"
.version 8.4
.target sm_80
.address_size 64

.visible .entry add(
    .param .align 8 .b8 add_param_0[16]
)
.maxntid 256, 1, 1
{
    .reg .pred %p<2>;
    .reg .b32 %r<6>;
    .reg .b64 %rd<5>;

    ld.param.u64 %rd1, [add_param_0];
    ld.param.u32 %r1, [add_param_0+8];
    ld.param.u32 %r2, [add_param_0+12];
    mov.u32 %r3, %tid.x;
    setp.ge.u32 %p1, %r3, %r2;
    @%p1 bra $L__BB0_2;
    cvta.to.global.u64 %rd2, %rd1;
    mul.wide.u32 %rd3, %r3, 4;
    add.s64 %rd4, %rd2, %rd3;
    ld.global.u32 %r4, [%rd4];
    add.s32 %r5, %r4, %r1;
    st.global.u32 [%rd4], %r5;
$L__BB0_2:
    ret;
}
";

struct Device {
    driver: SimDriver,
    add: Function,
    a: Stream,
    b: Stream,
    at: u64,
}

/// A device with 64 numbers that are 1.
fn device(seed: u64) -> Device {
    let mut driver = SimDriver::new(SimConfig { seed, ..SimConfig::new(Some(1)) });
    let module = driver.load("add.ptx", ADD).unwrap();
    let add = driver.function(module, "add").unwrap();
    let (a, b) = (driver.create_stream("a").unwrap(), driver.create_stream("b").unwrap());
    let at = driver.allocate("numbers", 256).unwrap();
    driver.write(at, &1u32.to_le_bytes().repeat(64)).unwrap();
    Device { driver, add, a, b, at }
}

fn add(at: u64, value: u32, count: u32) -> Launch {
    let mut arguments = at.to_le_bytes().to_vec();
    arguments.extend([value, count].map(u32::to_le_bytes).concat());
    Launch {
        entry: "add".into(),
        grid: [1, 1, 1],
        block: [64, 1, 1],
        shared_bytes: 0,
        cooperative: false,
        arguments,
    }
}

fn numbers(driver: &mut SimDriver, at: u64) -> Vec<u32> {
    let mut bytes = [0; 256];
    driver.read(at, &mut bytes).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|&b| u32::from_le_bytes(b)).collect()
}

#[test]
fn launches_of_a_stream_run_in_order_for_every_seed() {
    for seed in 0..10 {
        let Device { mut driver, add: function, a, at, .. } = device(seed);
        for value in [1, 10, 100] {
            driver.launch(a, function, &add(at, value, 40)).unwrap();
        }
        driver.synchronize_stream(a).unwrap();
        let numbers = numbers(&mut driver, at);
        assert!(numbers[..40].iter().all(|&n| n == 112) && numbers[40..].iter().all(|&n| n == 1));
    }
}

#[test]
fn a_graph_keeps_the_arguments_of_its_capture() {
    let Device { mut driver, add: function, a, at, .. } = device(1);
    let mut launch = add(at, 5, 64);
    driver.begin_capture(a).unwrap();
    driver.launch(a, function, &launch).unwrap();
    launch.arguments.fill(0xff);
    let graph = driver.end_capture(a).unwrap();
    let exec = driver.instantiate(graph).unwrap();
    assert_eq!(numbers(&mut driver, at), [1; 64], "a capture runs nothing");
    for _ in 0..3 {
        driver.launch_graph(exec, a).unwrap();
    }
    driver.synchronize_stream(a).unwrap();
    assert_eq!(numbers(&mut driver, at), [16; 64]);
}

#[test]
fn kernels_of_two_streams_race_where_they_touch_the_same_bytes_and_only_there() {
    for seed in 0..10 {
        let Device { mut driver, add: function, a, b, at } = device(seed);
        driver.launch(a, function, &add(at, 1, 32)).unwrap();
        driver.launch(b, function, &add(at + 128, 1, 32)).unwrap();
        driver.synchronize().unwrap();
        let outcome = driver
            .launch(a, function, &add(at, 1, 33))
            .and_then(|()| driver.launch(b, function, &add(at + 128, 1, 32)))
            .and_then(|()| driver.synchronize());
        let error = outcome.unwrap_err();
        assert!(matches!(error, DriverError::Race { bytes: 4, .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("kernel add on stream `a`") && text.contains("kernel add on stream `b`"),
            "{text}"
        );
    }
}

#[test]
fn a_fault_names_the_kernel_and_ends_the_device() {
    let Device { mut driver, add: function, a, at, .. } = device(0);
    let outcome = driver.launch(a, function, &add(at + 4, 1, 64)).and_then(|()| driver.synchronize_stream(a));
    let error = outcome.unwrap_err();
    assert!(matches!(error, DriverError::Fault { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("kernel add on stream `a`") && text.contains("numbers"), "{text}");
    assert!(matches!(driver.launch(a, function, &add(at, 1, 1)), Err(DriverError::Poisoned { .. })));
}

#[test]
fn memory_that_nothing_wrote_is_not_read() {
    let Device { mut driver, add: function, a, .. } = device(0);
    let fresh = driver.allocate("fresh", 256).unwrap();
    let outcome = driver.launch(a, function, &add(fresh, 1, 1)).and_then(|()| driver.synchronize());
    assert!(outcome.unwrap_err().to_string().contains("fresh"));
}

#[test]
fn launches_that_no_device_takes_are_refused_at_the_call() {
    let Device { mut driver, add: function, a, at, .. } = device(0);
    let good = add(at, 1, 64);
    let refused = |driver: &mut SimDriver, launch: Launch| driver.launch(a, function, &launch).unwrap_err();
    let error = refused(&mut driver, Launch { grid: [1, 65536, 1], ..good.clone() });
    assert!(matches!(error, DriverError::InvalidValue { .. }), "{error}");
    let error = refused(&mut driver, Launch { block: [0, 1, 1], ..good.clone() });
    assert!(matches!(error, DriverError::InvalidValue { .. }), "{error}");
    let error = refused(&mut driver, Launch { block: [257, 1, 1], ..good.clone() });
    assert!(error.to_string().contains("maxntid"), "{error}");
    let error = refused(&mut driver, Launch { shared_bytes: 48 * 1024 + 1, ..good.clone() });
    assert!(error.to_string().contains("allow_shared"), "{error}");
    let error = refused(&mut driver, Launch { arguments: good.arguments[..12].to_vec(), ..good.clone() });
    assert!(matches!(error, DriverError::InvalidValue { .. }), "{error}");
    driver.allow_shared(function, 163 * 1024).unwrap();
    assert!(driver.allow_shared(function, 163 * 1024 + 1).is_err());
    driver.launch(a, function, &Launch { shared_bytes: 163 * 1024, ..good }).unwrap();
    driver.synchronize().unwrap();
}

#[test]
fn a_loaded_kernel_says_what_it_needs() {
    let Device { driver, add, .. } = device(0);
    let attributes = driver.attributes(add).unwrap();
    assert_eq!((attributes.max_threads, attributes.shared_bytes, attributes.local_bytes), (256, 0, 0));
}

#[test]
fn what_cannot_be_loaded_says_why() {
    let Device { mut driver, .. } = device(0);
    let text = ADD.replace("add.s32 %r5", "mystery.s32 %r5");
    let error = driver.load("broken.ptx", &text).unwrap_err();
    assert!(matches!(error, DriverError::InvalidPtx { .. }), "{error}");
    assert!(error.to_string().contains("mystery"), "{error}");
    let module = driver.load("add.ptx", ADD).unwrap();
    let error = driver.function(module, "subtract").unwrap_err();
    assert!(matches!(error, DriverError::NotFound { .. }), "{error}");
}
