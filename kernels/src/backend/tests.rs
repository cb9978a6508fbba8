//! Uploads, compute and readbacks beside each other on the simulated driver, which reports a missing wait for every seed.

use super::*;
use crate::driver::{SimConfig, SimDriver};
use octo_ops::{DType, LossSum, StepResult};

fn backend(seed: u64, forgotten_wait: Option<u64>) -> CudaBackend {
    let config = SimConfig { seed, forgotten_wait, ..SimConfig::new(Some(1)) };
    CudaBackend::new("sim", Box::new(SimDriver::new(config))).unwrap()
}

fn view(backend: &mut CudaBackend, name: &str, elements: u32) -> View {
    let buffer = backend.allocate(name, 4 * u64::from(elements)).unwrap();
    View::new(buffer, 0, DType::F32, &[elements])
}

fn floats(value: f32, count: u32) -> Vec<u8> {
    value.to_le_bytes().repeat(count as usize)
}

fn sum(bytes: &[u8]) -> f32 {
    f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

const COUNT: u32 = 64;
const STEPS: u32 = 3;

/// Steps as training makes them: upload inputs, sum them up in a program, read the sum back one step late. Then each pair of
/// streams that may meet at the same bytes does. Gives what was read back.
fn steps(backend: &mut CudaBackend) -> Result<Vec<f32>, BackendError> {
    let [loss, other] = ["loss", "other"].map(|name| view(backend, name, COUNT));
    let result = view(backend, "result", StepResult::WORDS);
    let op = Op::LossSum(LossSum { loss, result, accumulate: false });
    backend.begin_capture()?;
    backend.run(&op)?;
    let program = backend.end_capture()?;
    let (mut sums, mut words) = (Vec::new(), floats(0.0, StepResult::WORDS));
    for step in 0..STEPS {
        backend.upload(&loss, &floats(1.0 + step as f32, COUNT))?;
        backend.replay(program)?;
        if step > 0 {
            backend.finish_readback(Slot(0), &mut words)?;
            sums.push(sum(&words));
        }
        backend.begin_readback(Slot(0), &result)?;
    }
    backend.finish_readback(Slot(0), &mut words)?;
    sums.push(sum(&words));
    let head = View::new(other.buffer, 0, DType::F32, &[StepResult::WORDS]);
    let [first, second] = [other.slice_rows(0, COUNT / 2), other.slice_rows(COUNT / 2, COUNT / 2)];
    let add = |loss, result, accumulate| Op::LossSum(LossSum { loss, result, accumulate });
    // A readback of what was only uploaded, which an upload follows at once.
    let mut whole = floats(0.0, COUNT);
    backend.upload(&other, &floats(5.0, COUNT))?;
    backend.begin_readback(Slot(1), &other)?;
    backend.upload(&other, &floats(6.0, COUNT))?;
    backend.finish_readback(Slot(1), &mut whole)?;
    sums.push(sum(&whole));
    // A slot that is used again before anybody fetched it; what it read is then overwritten by compute and by an upload.
    backend.run(&add(first, result, false))?;
    backend.begin_readback(Slot(2), &other)?;
    backend.run(&op)?;
    backend.begin_readback(Slot(2), &result)?;
    backend.run(&add(loss, head, false))?;
    backend.upload(&second, &floats(7.0, COUNT / 2))?;
    backend.finish_readback(Slot(2), &mut words)?;
    sums.push(sum(&words));
    // Compute overwrites what is being read.
    backend.run(&add(loss, result, true))?;
    backend.begin_readback(Slot(3), &result)?;
    backend.run(&add(second, result, false))?;
    backend.finish_readback(Slot(3), &mut words)?;
    sums.push(sum(&words));
    backend.snapshot(&result, &mut words)?;
    sums.push(sum(&words));
    // An upload over what both compute and a readback still read, neither of which waits for the other.
    backend.upload(&loss, &floats(8.0, COUNT))?;
    backend.run(&op)?;
    backend.begin_readback(Slot(4), &result)?;
    backend.run(&add(result, head, false))?;
    backend.upload(&result, &floats(9.0, StepResult::WORDS))?;
    backend.finish_readback(Slot(4), &mut words)?;
    sums.push(sum(&words));
    backend.snapshot(&result, &mut words)?;
    sums.push(sum(&words));
    backend.wait()?;
    Ok(sums)
}

const SUMS: [f32; 9] = [64.0, 128.0, 192.0, 5.0, 192.0, 384.0, 224.0, 512.0, 9.0];

/// Waits of one stream for another that the steps make.
const WAITS: u64 = 27;

#[test]
fn copies_and_compute_give_what_their_order_says_for_every_seed() {
    for seed in 0..8 {
        assert_eq!(steps(&mut backend(seed, None)).unwrap(), SUMS, "seed {seed}");
    }
}

#[test]
fn each_wait_that_is_forgotten_is_reported_as_a_race() {
    for forgotten in 0..WAITS + 3 {
        match steps(&mut backend(forgotten, Some(forgotten))) {
            Ok(sums) => assert!(forgotten >= WAITS && sums == SUMS, "nothing needs wait {forgotten}"),
            Err(error) => {
                assert!(forgotten < WAITS && error.to_string().starts_with("race between"), "{error}");
            }
        }
    }
}

#[test]
fn an_upload_beside_compute_waits_for_nothing() {
    let mut backend = backend(1, None);
    let [one, two] = ["one", "two"].map(|name| view(&mut backend, name, COUNT));
    let result = view(&mut backend, "result", StepResult::WORDS);
    backend.upload(&one, &floats(1.0, COUNT)).unwrap();
    backend.upload(&two, &floats(1.0, COUNT)).unwrap();
    backend.run(&Op::LossSum(LossSum { loss: one, result, accumulate: false })).unwrap();
    backend.upload(&two, &floats(2.0, COUNT)).unwrap();
    assert!(backend.in_use.meets(&one), "compute is still to be waited for");
    backend.upload(&one.slice_rows(3, 1), &floats(2.0, 1)).unwrap();
    assert!(!backend.in_use.meets(&one));
    backend.wait().unwrap();
}
