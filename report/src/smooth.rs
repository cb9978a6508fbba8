//! A mean that runs along with a line.

/// Replaces each y by the mean of `window` points around it. Where fewer are before it, as many as before are
/// taken after it, so that a steep start is not flattened; at the end, which is flat, the points before it do.
pub(crate) fn smooth(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let half = window / 2;
    let mut sums = Vec::with_capacity(points.len() + 1);
    let mut sum = 0.0;
    sums.push(sum);
    for (_, y) in points {
        sum += y;
        sums.push(sum);
    }
    let mean = |i: usize| {
        let reach = half.min(i);
        let (from, to) = (i - reach, (i + reach + 1).min(points.len()));
        (sums[to] - sums[from]) / (to - from) as f64
    };
    points.iter().enumerate().map(|(i, (x, _))| (*x, mean(i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_mean_of_its_neighbours(ys in prop::collection::vec(-100.0..100.0, 1..60), window in 1usize..30) {
            let points: Vec<(f64, f64)> = ys.iter().enumerate().map(|(i, y)| (i as f64, *y)).collect();
            let smoothed = smooth(&points, window);
            prop_assert_eq!(smoothed.len(), points.len());
            for (i, (x, y)) in smoothed.iter().enumerate() {
                prop_assert_eq!(*x, i as f64);
                let reach = (window / 2).min(i);
                let near = &ys[i - reach..(i + reach + 1).min(ys.len())];
                let mean = near.iter().sum::<f64>() / near.len() as f64;
                prop_assert!((y - mean).abs() < 1e-9);
            }
        }

        #[test]
        fn a_straight_start_stays_where_it_is(slope in -5.0..5.0f64) {
            let points: Vec<(f64, f64)> = (0..100).map(|i| (f64::from(i), slope * f64::from(i))).collect();
            for (a, b) in smooth(&points, 21).iter().zip(&points).take(90) {
                prop_assert!((a.1 - b.1).abs() < 1e-9);
            }
        }
    }
}
