//! `bench --compare A B`: ratios of two files of results.

use crate::io::{LineWriter, say};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// One figure of a file.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    value: f64,
    unit: String,
    /// Whether less is better: a time.
    time: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    case: &'a str,
    unit: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<f64>,
    /// How many times as fast b is; absent where a case is in one file alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
}

/// Prints and writes the ratios of two files.
pub fn run(a: &Path, b: &Path, mut lines: LineWriter) -> Result<()> {
    let [a, b] = [read(a)?, read(b)?];
    say(&format!("{:52} {:>12} {:>12} {:>9}  b is so many times as fast", "case", "a", "b", "ratio"))?;
    for (case, [a, b]) in joined(&a, &b) {
        let ratio = a.zip(b).and_then(|(a, b)| ratio(a, b));
        let unit = a.or(b).map_or("", |figure| figure.unit.as_str());
        let shown = |figure: Option<&Figure>| figure.map_or("missing".into(), |f| format!("{:.4}", f.value));
        let times = ratio.map_or("-".into(), |ratio| format!("{ratio:.3}"));
        say(&format!("{case:52} {:>12} {:>12} {times:>9}  {unit}", shown(a), shown(b)))?;
        lines.write(&Line { case, unit, a: a.map(|f| f.value), b: b.map(|f| f.value), ratio })?;
    }
    Ok(())
}

type Figures = BTreeMap<String, Figure>;

/// Every case of either file.
fn joined<'f>(a: &'f Figures, b: &'f Figures) -> BTreeMap<&'f str, [Option<&'f Figure>; 2]> {
    let names = a.keys().chain(b.keys());
    names.map(|name| (name.as_str(), [a.get(name), b.get(name)])).collect()
}

/// How many times as fast b is; `None` of figures in different units.
fn ratio(a: &Figure, b: &Figure) -> Option<f64> {
    let comparable = a.unit == b.unit && a.time == b.time && a.value > 0.0 && b.value > 0.0;
    comparable.then(|| if a.time { a.value / b.value } else { b.value / a.value })
}

fn read(path: &Path) -> Result<Figures> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let figures =
        figures(&text).with_context(|| format!("{} holds no results of a bench", path.display()))?;
    if figures.is_empty() {
        bail!("{} holds no results of a bench: neither lines with `case` nor `rows`", path.display());
    }
    Ok(figures)
}

/// The figures of either kind of file: one object with `rows` of several sides each, or lines with a `case` each.
fn figures(text: &str) -> Result<Figures> {
    if let Ok(Value::Object(whole)) = serde_json::from_str::<Value>(text)
        && let Some(Value::Array(rows)) = whole.get("rows")
    {
        return Ok(rows.iter().flat_map(sides).collect());
    }
    let mut figures = Figures::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row: Value = serde_json::from_str(line).with_context(|| format!("line {}", number + 1))?;
        figures.extend(swept(&row));
        figures.extend(measured(&row));
    }
    Ok(figures)
}

/// A row of benches/results: a rate of each side.
fn sides(row: &Value) -> Vec<(String, Figure)> {
    let (what, unit) = (row["what"].as_str().unwrap_or_default(), row["unit"].as_str().unwrap_or_default());
    let Some(sides) = row["sides"].as_object() else { return Vec::new() };
    let rate = |(side, figures): (&String, &Value)| {
        let figure = Figure { value: figures["median"].as_f64()?, unit: unit.into(), time: false };
        Some((format!("{what} ({side})"), figure))
    };
    sides.iter().filter_map(rate).collect()
}

/// A line of `--sweep`: each kernel of the case, and the case itself by the fastest.
fn swept(row: &Value) -> Vec<(String, Figure)> {
    let (Some(case), Some(kernels)) = (row["case"].as_str(), row["kernels"].as_array()) else {
        return Vec::new();
    };
    let unit = if row["predicted"] == true { PREDICTED } else { MEASURED };
    let figure = |kernel: &Value| {
        let (entry, value) = (kernel[0].as_str()?, kernel[1].as_f64()?);
        Some((format!("{case} ({entry})"), Figure { value, unit: unit.into(), time: true }))
    };
    let mut figures: Vec<_> = kernels.iter().filter_map(figure).collect();
    let fastest = figures.first().map(|(_, figure)| (case.to_owned(), figure.clone()));
    figures.extend(fastest);
    figures
}

const MEASURED: &str = "µs";
const PREDICTED: &str = "µs, predicted";

/// A line of `--output`: the median of what was measured, else what was predicted; `peer` tells lines of one case apart.
fn measured(row: &Value) -> Option<(String, Figure)> {
    let mut case = row["case"].as_str()?.to_owned();
    if let Some(peer) = row["peer"].as_str() {
        case += &format!(" ({peer})");
    }
    let samples: Vec<f64> =
        row["microseconds"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let mut sorted = samples;
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied();
    let value = median.or_else(|| row["predicted"]["microseconds"].as_f64())?;
    let unit = if median.is_some() { MEASURED } else { PREDICTED };
    Some((case, Figure { value, unit: unit.into(), time: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = r#"{"case": "x/1b", "microseconds": [3.0, 1.0, 2.0], "flops": 1}
{"case": "only a", "microseconds": [1.0]}
{"case": "p", "predicted": {"microseconds": 8.0}}
"#;
    const B: &str = r#"{"case": "x/1b", "microseconds": [4.0]}
{"case": "p", "predicted": {"microseconds": 4.0}}
{"case": "x/1b", "peer": "torch", "microseconds": [5.0]}
"#;

    #[test]
    fn ratios_say_how_many_times_as_fast_b_is_and_missing_rows_stay() {
        let [a, b] = [A, B].map(|text| figures(text).unwrap());
        let joined = joined(&a, &b);
        let of = |case: &str| joined[case][0].zip(joined[case][1]).and_then(|(a, b)| ratio(a, b));
        assert_eq!((of("x/1b"), of("p")), (Some(0.5), Some(2.0)));
        assert!(joined["only a"][1].is_none() && joined["x/1b (torch)"][0].is_none());
        assert_eq!(joined.len(), 4);
    }

    #[test]
    fn sweeps_are_compared_kernel_by_kernel_and_by_the_fastest() {
        let line = |predicted: bool, kernels: &str| {
            figures(&format!(
                r#"{{"case": "c", "kernel": "k", "predicted": {predicted}, "kernels": [{kernels}]}}"#
            ))
            .unwrap()
        };
        let [a, b] =
            [r#"["x", 2.0], ["y", 4.0]"#, r#"["y", 1.0], ["x", 2.0]"#].map(|kernels| line(false, kernels));
        let of = |name: &str| ratio(&a[name], &b[name]);
        assert_eq!([of("c"), of("c (x)"), of("c (y)")], [Some(2.0), Some(1.0), Some(4.0)]);
        assert_eq!(ratio(&a["c"], &line(true, r#"["x", 1.0]"#)["c"]), None);
    }

    #[test]
    fn rates_of_sides_are_better_when_more() {
        let file = |rate: f64| {
            format!(
                r#"{{"rows": [{{"what": "w", "unit": "GB/s", "sides": {{"ours": {{"median": {rate}}}}}}}]}}"#
            )
        };
        let [a, b] = [2.0, 3.0].map(|rate| figures(&file(rate)).unwrap());
        assert_eq!(ratio(&a["w (ours)"], &b["w (ours)"]), Some(1.5));
    }

    #[test]
    fn a_measured_time_is_not_compared_with_a_predicted_one() {
        let [a, b] = [A, B].map(|text| figures(text).unwrap());
        assert_eq!(ratio(&a["x/1b"], &b["p"]), None);
        assert!(figures("{\"case\"").is_err());
    }
}
