//! A million points in a few hundred columns, none of the extremes lost.

/// Keeps, of the points that fall into one of `columns` columns between `from` and `to`, the first, the lowest,
/// the highest and the last, in their order (M4: Jugel and others, VLDB 2014). What is drawn of the kept ones
/// covers the same pixels, and a spike of a single step stays. `points` ascend in x.
pub(crate) fn decimate(points: &[(f64, f64)], from: f64, to: f64, columns: usize) -> Vec<(f64, f64)> {
    if points.len() <= 2 * columns {
        return points.to_vec();
    }
    let column = |x: f64| ((x - from) / (to - from) * columns as f64) as usize;
    let mut kept = Vec::with_capacity(4 * columns);
    for group in points.chunk_by(|a, b| column(a.0) == column(b.0)) {
        let (mut low, mut high) = (0, 0);
        for (i, (_, y)) in group.iter().enumerate() {
            low = if *y < group[low].1 { i } else { low };
            high = if *y > group[high].1 { i } else { high };
        }
        let mut picked = [0, low.min(high), low.max(high), group.len() - 1].to_vec();
        picked.dedup();
        kept.extend(picked.into_iter().map(|i| group[i]));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_spike_of_one_step_in_a_million_stays() {
        let mut points: Vec<(f64, f64)> = (0..1_000_000).map(|i| (f64::from(i), 2.0)).collect();
        points[654_321].1 = 9.0;
        points[123_456].1 = -9.0;
        let kept = decimate(&points, 0.0, 999_999.0, 500);
        assert!(kept.len() <= 4 * 501, "{}", kept.len());
        assert!(kept.contains(&(654_321.0, 9.0)) && kept.contains(&(123_456.0, -9.0)));
    }

    proptest! {
        #[test]
        fn every_column_keeps_its_ends_and_extremes(ys in prop::collection::vec(-1.0..1.0, 41..400)) {
            let points: Vec<(f64, f64)> = ys.iter().enumerate().map(|(i, y)| (i as f64, *y)).collect();
            let end = points.len() as f64 - 1.0;
            let kept = decimate(&points, 0.0, end, 20);
            prop_assert!(kept.windows(2).all(|w| w[0].0 < w[1].0));
            let column = |x: f64| (x / end * 20.0) as usize;
            for c in 0..=20 {
                let of = |all: &[(f64, f64)]| {
                    let ys: Vec<f64> = all.iter().filter(|p| column(p.0) == c).map(|p| p.1).collect();
                    let low = ys.iter().copied().fold(f64::INFINITY, f64::min);
                    let high = ys.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    (ys.first().copied(), ys.last().copied(), low, high)
                };
                prop_assert_eq!(of(&kept), of(&points));
            }
        }
    }
}
