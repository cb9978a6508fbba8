//! A run in one line of text.

use crate::Run;
use crate::number::{count, short};

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const COLUMNS: usize = 24;

/// How a run's loss went: from, a small curve of blocks, to; then its last held-out losses, steps and tokens.
/// None where no loss was read.
#[must_use]
pub fn summary(run: &Run) -> Option<String> {
    let losses: Vec<f64> = run.fields.get("lm_loss")?.iter().map(|(_, v)| *v).collect();
    let (first, last) = (losses.first()?, losses.last()?);
    let mut line = format!("{}  loss {} {} {}", run.name, short(*first), curve(&losses), short(*last));
    for (field, values) in run.fields.iter().filter(|(field, _)| field.starts_with("val_loss/")) {
        if let (Some(set), Some((_, value))) = (field.strip_prefix("val_loss/"), values.last()) {
            line += &format!("  {set} {}", short(*value));
        }
    }
    line += &format!("  step {}", count(run.last_step()));
    if let Some(tokens) = run.last_tokens() {
        line += &format!(", {} tokens", count(tokens));
    }
    Some(line)
}

/// Means of equal parts, as bars.
fn curve(values: &[f64]) -> String {
    let columns = COLUMNS.min(values.len());
    let means: Vec<f64> = (0..columns)
        .map(|c| {
            let part = &values[c * values.len() / columns..(c + 1) * values.len() / columns];
            part.iter().map(|v| v / part.len() as f64).sum()
        })
        .collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let bar = |mean: &f64| {
        let place = if high > low { (mean / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0) } else { 0.0 };
        BARS[((place * 7.0).round() as usize).min(7)]
    };
    means.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_loss_is_a_falling_curve() {
        let values = (0..48).map(|i| (i, 8.0 - i as f64 / 8.0)).collect();
        let mut run = Run { name: "a".into(), steps: (1..=48).collect(), ..Run::default() };
        run.tokens = vec![20_000.0; 48];
        run.fields.insert("lm_loss".into(), values);
        run.fields.insert("val_loss/math".into(), vec![(3, 2.5)]);
        let line = summary(&run).unwrap();
        assert_eq!(line, "a  loss 8 ██▇▇▇▆▆▆▆▅▅▅▄▄▄▃▃▃▃▂▂▂▁▁ 2.125  math 2.5  step 48, 20k tokens");
        assert_eq!(summary(&Run::default()), None);
        assert_eq!(curve(&[3.0]), "▁");
        assert_eq!(curve(&[f64::MAX, -1.0]), "█▁");
    }
}
