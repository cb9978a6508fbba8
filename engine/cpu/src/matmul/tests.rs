//! The products against their definition, bit for bit, and the gradients against f64.

use super::*;
use crate::simd::Isa;
use proptest::prelude::*;
use std::sync::Mutex;

/// The definition, word for word: one output from `terms` pairs.
fn defined(terms: usize, left: impl Fn(usize) -> f32, right: impl Fn(usize) -> f32) -> f32 {
    let mut total = 0.0;
    for block in (0..terms).step_by(256) {
        let mut chain = 0.0f32;
        for k in block..terms.min(block + 256) {
            chain = left(k).mul_add(right(k), chain);
        }
        total = if block == 0 { chain } else { total + chain };
    }
    total
}

/// Numbers of either sign and mixed magnitude, the same for the same seed.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..count).map(|_| (next() as i32 as f32) * 2f32.powi(-31 - (next() % 8) as i32)).collect()
}

fn halves(numbers: &[f32]) -> Vec<bf16> {
    numbers.iter().map(|&x| bf16::from_f32(x)).collect()
}

fn forward_all(x: Matrix, weight: Weight, column_multiple: usize) -> Vec<f32> {
    let (rows, cols) = (x.rows(), weight.outputs());
    let out = Mutex::new(vec![f32::NAN; rows * cols]);
    forward(x, weight, column_multiple, &|mut tile: Tile| {
        assert_eq!(tile.col0 % column_multiple, 0);
        assert!(tile.cols % column_multiple == 0 || tile.col0 + tile.cols == cols);
        let mut out = out.lock().unwrap();
        for r in 0..tile.rows {
            let at = (tile.row0 + r) * cols + tile.col0;
            assert!(out[at..at + tile.cols].iter().all(|y| y.is_nan()), "an output is handed out once");
            out[at..at + tile.cols].copy_from_slice(tile.row(r));
        }
    });
    out.into_inner().unwrap()
}

/// Runs `f` on pools of one, two and three threads and on every instruction set of the processor.
fn everywhere(f: impl Fn() -> Vec<f32> + Sync) -> Vec<Vec<f32>> {
    let mut results = Vec::new();
    for threads in 1..=3 {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for isa in Isa::available() {
            results.push(pool.install(|| Isa::force(isa, &f)));
        }
    }
    results
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn forward_has_the_defined_bits_on_every_path(
        rows in prop_oneof![1usize..9, 9usize..40, 90usize..110],
        cols in 1usize..100,
        terms in prop_oneof![0usize..40, 240usize..280, 500usize..800],
        column_multiple in prop_oneof![Just(1), Just(16), 1usize..70],
        gaps in (0usize..5, 0usize..5),
        seed: u64,
    ) {
        let (x_stride, w_stride) = (terms + gaps.0, terms + gaps.1);
        let x = numbers(rows * x_stride, seed);
        let w = numbers(cols * w_stride, seed ^ 1);
        let half = halves(&w);
        let x_at = |r: usize, k: usize| x[r * x_stride + k];
        let expected = |w_at: &dyn Fn(usize, usize) -> f32| -> Vec<u32> {
            (0..rows * cols)
                .map(|i| defined(terms, |k| x_at(i / cols, k), |k| w_at(i % cols, k)).to_bits())
                .collect()
        };
        let single = expected(&|c, k| w[c * w_stride + k]);
        let widened = expected(&|c, k| half[c * w_stride + k].to_f32());
        let x = Matrix::new(&x, rows, terms, x_stride);
        let w = Weight::F32(Matrix::new(&w, cols, terms, w_stride));
        let half = Weight::Bf16(Matrix::new(&half, cols, terms, w_stride));
        for y in everywhere(|| forward_all(x, w, column_multiple)) {
            prop_assert_eq!(bits(&y), single.clone());
        }
        for y in everywhere(|| forward_all(x, half, column_multiple)) {
            prop_assert_eq!(bits(&y), widened.clone());
        }
    }

    #[test]
    fn gradients_are_near_the_exact_ones_and_the_same_everywhere(
        rows in prop_oneof![1usize..9, 90usize..110, 250usize..300],
        outputs in prop_oneof![1usize..40, 90usize..110],
        inputs in 1usize..60,
        gap in 0usize..5,
        accumulate: bool,
        seed: u64,
    ) {
        let (x, w) = (numbers(rows * (inputs + gap), seed), numbers(outputs * inputs, seed ^ 1));
        let (dy, old) = (numbers(rows * (outputs + gap), seed ^ 2), numbers(rows.max(outputs) * inputs, seed ^ 3));
        let half = halves(&w);
        let x_view = Matrix::new(&x, rows, inputs, inputs + gap);
        let dy_view = Matrix::new(&dy, rows, outputs, outputs + gap);
        let x = |r: usize, k: usize| x[r * (inputs + gap) + k] as f64;
        let dy = |r: usize, n: usize| dy[r * (outputs + gap) + n] as f64;

        let near = |got: &[f32], exact: &dyn Fn(usize) -> (f64, f64)| {
            got.iter().enumerate().all(|(i, &got)| {
                let (sum, magnitude) = exact(i);
                let before = if accumulate { old[i] as f64 } else { 0.0 };
                (got as f64 - sum - before).abs() <= 1e-5 * (magnitude + before.abs())
            })
        };
        let sums = |terms: &mut dyn Iterator<Item = f64>| {
            terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
        };
        let single = Weight::F32(Matrix::new(&w, outputs, inputs, inputs));
        let widened = Weight::Bf16(Matrix::new(&half, outputs, inputs, inputs));
        for weight in [single, widened] {
            let all = everywhere(|| {
                let mut dx = old[..rows * inputs].to_vec();
                input_gradient(dy_view, weight, &mut MatrixMut::new(&mut dx, rows, inputs, inputs), accumulate);
                dx
            });
            let w = |n: usize, k: usize| match weight {
                Weight::F32(w) => w.row(n)[k] as f64,
                Weight::Bf16(w) => w.row(n)[k].to_f64(),
            };
            let exact = |i: usize| sums(&mut (0..outputs).map(|n| dy(i / inputs, n) * w(n, i % inputs)));
            prop_assert!(near(&all[0], &exact));
            prop_assert!(all.iter().all(|dx| bits(dx) == bits(&all[0])));
        }
        let all = everywhere(|| {
            let mut dw = old[..outputs * inputs].to_vec();
            weight_gradient(dy_view, x_view, &mut MatrixMut::new(&mut dw, outputs, inputs, inputs), accumulate);
            dw
        });
        let exact = |i: usize| sums(&mut (0..rows).map(|r| dy(r, i / inputs) * x(r, i % inputs)));
        prop_assert!(near(&all[0], &exact));
        prop_assert!(all.iter().all(|dw| bits(dw) == bits(&all[0])));
    }
}

#[test]
fn a_row_alone_equals_the_row_in_a_crowd() {
    let (rows, cols, terms) = (200, 300, 600);
    let x = numbers(rows * terms, 5);
    let w = halves(&numbers(cols * terms, 6));
    let w = Weight::Bf16(Matrix::new(&w, cols, terms, terms));
    let crowd = forward_all(Matrix::new(&x, rows, terms, terms), w, 1);
    for (first, count) in [(0, 1), (150, 2), (199, 1), (3, 17), (40, 100)] {
        let few = forward_all(Matrix::new(&x[first * terms..], count, terms, terms), w, 16);
        assert_eq!(bits(&few), bits(&crowd[first * cols..(first + count) * cols]));
    }
}

#[test]
fn wide_outputs_are_packed_in_several_goes() {
    // 1100 columns of 4000 terms exceed the packing budget; rows exceed one tile.
    let (rows, cols, terms) = (100, 1100, 4000);
    let (x, w) = (numbers(rows * terms, 7), numbers(cols * terms, 8));
    let y = forward_all(
        Matrix::new(&x, rows, terms, terms),
        Weight::F32(Matrix::new(&w, cols, terms, terms)),
        24,
    );
    for i in (0..rows * cols).step_by(997) {
        let (r, c) = (i / cols, i % cols);
        let expected = defined(terms, |k| x[r * terms + k], |k| w[c * terms + k]);
        assert_eq!(y[i].to_bits(), expected.to_bits(), "row {r}, column {c}");
    }
}
