use super::*;
use crate::simd::Isa;
use proptest::prelude::*;
use std::sync::Mutex;

/// Values whose sums round: no two orders of addition agree.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * (1 << (state % 4)) as f32
        })
        .collect()
}

/// The definition, word for word.
fn defined(x: &[f32], w: &[f32]) -> f32 {
    let block = |(x, w): (&[f32], &[f32])| x.iter().zip(w).fold(0.0f32, |sum, (&x, &w)| x.mul_add(w, sum));
    let mut blocks = x.chunks(256).zip(w.chunks(256)).map(block);
    let first = blocks.next().unwrap_or(0.0);
    blocks.fold(first, |sum, block| sum + block)
}

fn collect(m: usize, n: usize, run: impl FnOnce(&(dyn Fn(Tile<'_>) + Sync))) -> Vec<u32> {
    let out = Mutex::new(vec![None; m * n]);
    run(&|tile: Tile<'_>| {
        let mut out = out.lock().unwrap();
        for i in 0..tile.rows {
            for j in 0..tile.cols {
                let place = &mut out[(tile.row0 + i) * n + tile.col0 + j];
                assert!(place.is_none(), "an output handed out twice");
                *place = Some(tile.data[i * tile.stride + j].to_bits());
            }
        }
    });
    out.into_inner().unwrap().into_iter().map(|v| v.expect("an output left out")).collect()
}

/// Forward products of x with f32 and bf16 weights hold to the definition on every instruction set.
fn holds(m: usize, n: usize, k: usize, multiple: usize, threads: usize) {
    let (x, w) = (numbers(m * (k + 3), 1), numbers(n * k, 2));
    let halves: Vec<bf16> = w.iter().map(|&v| bf16::from_f32(v)).collect();
    let widened: Vec<f32> = halves.iter().map(|v| v.to_f32()).collect();
    let expected = |w: &[f32]| -> Vec<u32> {
        let w = &w;
        (0..m)
            .flat_map(|i| {
                let x = &x[i * (k + 3)..][..k];
                (0..n).map(move |j| defined(x, &w[j * k..][..k]).to_bits())
            })
            .collect()
    };
    let (single, half) = (expected(&w), expected(&widened));
    let x = Matrix::new(&x, m, k, k + 3);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for isa in Isa::available() {
        let run = |weight| {
            pool.install(|| {
                Isa::force(isa, || {
                    collect(m, n, |take| {
                        forward(x, weight, multiple, |tile| {
                            assert!(tile.col0 % multiple == 0);
                            assert!(tile.cols % multiple == 0 || tile.col0 + tile.cols == n);
                            take(tile);
                        });
                    })
                })
            })
        };
        assert!(run(Weight::F32(Matrix::new(&w, n, k, k))) == single, "{isa:?} f32 {m}x{n}x{k}");
        assert!(run(Weight::Bf16(Matrix::new(&halves, n, k, k))) == half, "{isa:?} bf16 {m}x{n}x{k}");
    }
}

#[test]
fn every_path_holds_to_the_definition() {
    // In place, narrow and wide; several chunks of packed columns; tiles that heads must not be cut by.
    for (m, n, k) in [(1, 200, 600), (3, 70, 256), (5, 129, 257), (96, 64, 512), (97, 300, 700), (200, 40, 9)]
    {
        holds(m, n, k, 1, 2);
    }
    holds(130, 240, 300, 24, 3);
    holds(100, 3000, 1500, 8, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_shape_holds_to_the_definition(
        m in 1usize..120, n in 1usize..90, k in 1usize..600, multiple in 1usize..40, threads in 1usize..4,
    ) {
        holds(m, n, k, multiple, threads);
    }
}

#[test]
fn a_row_alone_equals_the_row_in_a_crowd() {
    let (m, n, k) = (150, 80, 520);
    let (x, w) = (numbers(m * k, 1), numbers(n * k, 2));
    let weight = Weight::F32(Matrix::new(&w, n, k, k));
    let all = collect(m, n, |take| forward(Matrix::new(&x, m, k, k), weight, 1, take));
    for row in [0, 1, 77, 149] {
        let alone = Matrix::new(&x[row * k..][..k], 1, k, k);
        let alone = collect(1, n, |take| forward(alone, weight, 1, take));
        assert!(alone == all[row * n..][..n]);
    }
}

/// Largest error of a gradient against f64, in units of the sum of magnitudes.
fn gradients_are_right(m: usize, n: usize, k: usize) {
    let (dy, w, x) = (numbers(m * (n + 2), 1), numbers(n * k, 2), numbers(m * (k + 1), 3));
    let halves: Vec<bf16> = w.iter().map(|&v| bf16::from_f32(v)).collect();
    let widened: Vec<f32> = halves.iter().map(|v| v.to_f32()).collect();
    let close = |got: f32, terms: &mut dyn Iterator<Item = f64>| {
        let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
        assert!((f64::from(got) - sum).abs() <= 4e-7 * size + 1e-30, "{got} against {sum} ({m}x{n}x{k})");
    };
    let of = |v: &[f32], i: usize| f64::from(v[i]);
    let dy_matrix = Matrix::new(&dy, m, n, n + 2);
    for (weight, values) in
        [(Weight::F32(Matrix::new(&w, n, k, k)), &w), (Weight::Bf16(Matrix::new(&halves, n, k, k)), &widened)]
    {
        let mut dx = vec![f32::NAN; m * k];
        input_gradient(dy_matrix, weight, MatrixMut::new(&mut dx, m, k, k));
        for i in 0..m {
            for j in (0..k).step_by(7) {
                close(dx[i * k + j], &mut (0..n).map(|t| of(&dy, i * (n + 2) + t) * of(values, t * k + j)));
            }
        }
    }
    let x_matrix = Matrix::new(&x, m, k, k + 1);
    for accumulate in [false, true] {
        let before = numbers(n * k, 4);
        let mut dw = before.clone();
        weight_gradient(dy_matrix, x_matrix, &mut dw, accumulate);
        for i in 0..n {
            for j in (0..k).step_by(5) {
                let terms = (0..m).map(|t| of(&dy, t * (n + 2) + i) * of(&x, t * (k + 1) + j));
                let start = if accumulate { of(&before, i * k + j) } else { 0.0 };
                close(dw[i * k + j], &mut terms.chain([start]));
            }
        }
    }
}

#[test]
fn gradients_agree_with_f64() {
    for (m, n, k) in [(1, 1, 1), (1, 50, 70), (7, 33, 20), (300, 130, 65), (530, 100, 300)] {
        for isa in Isa::available() {
            Isa::force(isa, || gradients_are_right(m, n, k));
        }
    }
}

#[test]
fn gradients_do_not_depend_on_threads() {
    let (m, n, k) = (400, 150, 170);
    let (dy, w, x) = (numbers(m * n, 1), numbers(n * k, 2), numbers(m * k, 3));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let dy = Matrix::new(&dy, m, n, n);
            let (mut dx, mut dw) = (vec![0.0; m * k], vec![0.0; n * k]);
            input_gradient(dy, Weight::F32(Matrix::new(&w, n, k, k)), MatrixMut::new(&mut dx, m, k, k));
            weight_gradient(dy, Matrix::new(&x, m, k, k), &mut dw, false);
            (dx, dw)
        })
    };
    assert!(run(1) == run(2) && run(2) == run(3));
}
