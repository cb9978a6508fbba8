//! Wrong indices of fragments: no access is wrong, the values are. Against the plain product in f64, of small integers, so
//! that every sum is exact.

use crate::device::Device;
use crate::on::{NARROW, norm, product, some};
use crate::plant::*;
use crate::problem::{EXACT, bf16, dot, matrix};
use octo_kernels::Launch;
use octo_ops::View;
use octo_ptx::{Binary, Kernel, Operand, Operation};

/// b lies by rows, and ldmatrix transposes it.
const TRANSPOSING: &str = "linear_backward_input_sm80_nn_64x64x64_s4";
const M: u32 = 16;
const N: u32 = 64;
const K: u32 = 128;

type Plant = fn(&mut Kernel);
type Setup = fn(&mut Device) -> (Launch, View);

const RESIDUAL: Setup = |device| product(device, NARROW, M, N, K);
const BACKWARD: Setup = |device| product(device, TRANSPOSING, M, N, K);

/// Elements that differ from Σₖ a·b (+ the residual), which is exact in f32.
fn wrong(setup: Setup, plant: Plant) -> usize {
    let mut device = Device::with(0, plant);
    let (launch, out) = setup(&mut device);
    device.launch(&launch).unwrap();
    let residual = launch.entry == NARROW;
    let rows = device.read(&out);
    let places = (0..M).flat_map(|i| (0..N).map(move |j| (i, j)));
    let (a, b) = (matrix(EXACT.a, M, K), matrix(EXACT.b, N, K));
    let added = |i, j| if residual { f64::from((EXACT.extra)(i, j)) } else { 0.0 };
    let truth = |i: u32, j: u32| dot(&a[i as usize], &b[j as usize]).0 + added(i, j);
    places.filter(|&(i, j)| rows[i as usize][j as usize] != bf16(truth(i, j))).count()
}

fn is_mma(operation: &Operation) -> bool {
    matches!(operation, Operation::Mma { .. })
}

/// Changes every mma alike.
fn every_mma(kernel: &mut Kernel, change: impl Fn(&mut Operation)) {
    kernel.body.iter_mut().map(|line| &mut line.operation).filter(|line| is_mma(line)).for_each(change);
}

#[test]
fn a_wrong_fragment_index_shows_in_the_values() {
    assert_eq!((wrong(RESIDUAL, |_| {}), wrong(BACKWARD, |_| {})), (0, 0));
    let faults: [(&str, Setup, Plant); 9] = [
        ("rows g and g + 8 of a swapped", RESIDUAL, |kernel| {
            every_mma(kernel, |mma| {
                let Operation::Mma { a, .. } = mma else { unreachable!() };
                a.swap(0, 1);
                a.swap(2, 3);
            });
        }),
        ("terms of a swapped", RESIDUAL, |kernel| {
            every_mma(kernel, |mma| {
                let Operation::Mma { a, .. } = mma else { unreachable!() };
                a.swap(1, 2);
            });
        }),
        ("terms of b swapped", RESIDUAL, |kernel| {
            every_mma(kernel, |mma| {
                let Operation::Mma { b, .. } = mma else { unreachable!() };
                b.swap(0, 1);
            });
        }),
        ("one mma takes the neighbour's columns", RESIDUAL, |kernel| {
            let (first, second) = (find(kernel, 0, 0, is_mma), find(kernel, 0, 1, is_mma));
            let Operation::Mma { b, .. } = kernel.body[second].operation.clone() else { unreachable!() };
            let Operation::Mma { b: taken, .. } = &mut kernel.body[first].operation else { unreachable!() };
            *taken = b;
        }),
        ("sums of one mma in another's place", RESIDUAL, |kernel| {
            every_mma(kernel, |mma| {
                let Operation::Mma { c, d, .. } = mma else { unreachable!() };
                d.swap(1, 2);
                c.swap(1, 2);
            });
            // The last of all puts them back for one half alone.
            let last = kernel.body.iter().rposition(|line| is_mma(&line.operation)).unwrap();
            let Operation::Mma { c, d, .. } = &mut kernel.body[last].operation else { unreachable!() };
            d.swap(0, 3);
            c.swap(0, 3);
        }),
        ("matrices of ldmatrix in another order", RESIDUAL, |kernel| {
            let at = find(kernel, 0, 1, is_load_matrix);
            let Operation::LoadMatrix { d, .. } = &mut kernel.body[at].operation else { unreachable!() };
            d.swap(1, 2);
        }),
        ("the chunks' permutation left out where they are read", RESIDUAL, |kernel| {
            // Step 1 reads at its address xor 32.
            constant(kernel, 0, Binary::Xor, 32, 0);
        }),
        ("b is not transposed", BACKWARD, |kernel| {
            for line in &mut kernel.body {
                if let Operation::LoadMatrix { transpose, .. } = &mut line.operation {
                    *transpose = false;
                }
            }
        }),
        ("a is transposed", RESIDUAL, |kernel| {
            let at = find(kernel, 0, 0, is_load_matrix);
            let Operation::LoadMatrix { transpose, .. } = &mut kernel.body[at].operation else {
                unreachable!()
            };
            *transpose = true;
        }),
    ];
    for (name, setup, plant) in faults {
        let wrong = wrong(setup, plant);
        assert!(wrong >= (N * M / 8) as usize, "{name}: {wrong} of {} elements differ", N * M);
    }
}

#[test]
fn a_wrong_partner_in_a_sum_over_lanes_shows_in_the_values() {
    let off = |plant| {
        let mut device = Device::with(0, plant);
        let (launch, y) = norm(&mut device, 2, 1024, 1024, false);
        device.launch(&launch).unwrap();
        let rows = device.read(&y);
        let worst = |i: u32| {
            let squares: f64 = (0..1024).map(|j| f64::from(some(i, j)).powi(2)).sum();
            let rstd = 1.0 / (squares / 1024.0 + 1e-5).sqrt();
            let error = |j: u32| {
                let truth = f64::from(some(i, j)) * rstd * f64::from(some(0, j));
                (f64::from(rows[i as usize][j as usize]) - truth).abs() / truth.abs().max(1e-3)
            };
            (0..1024).map(error).fold(0.0, f64::max)
        };
        worst(0).max(worst(1))
    };
    // Half a unit in the last place of a bf16.
    assert!(off(|_| {}) <= f64::powi(2.0, -8));
    let partner_8_again: Plant = |kernel| {
        let at = find(kernel, 0, 0, |line| matches!(line, Operation::Shuffle { .. }));
        let Operation::Shuffle { b, .. } = &mut kernel.body[at].operation else { unreachable!() };
        *b = Operand::Immediate(8);
    };
    assert!(off(partner_8_again) > f64::powi(2.0, -8));
}
