//! Runs as a figure: a panel a metric, a line a run.

use crate::decimate::decimate;
use crate::layout::{Area, GAP, MARGIN, WIDTH, flow, panels};
use crate::number::short;
use crate::scale::Scale;
use crate::scene::{Anchor, Ink, Scene, Shape};
use crate::smooth::smooth;
use crate::{Metric, ReportError, Run, colours, font};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

const MOST_RUNS: usize = 64;
const MOST_PANELS: usize = 30;
const MOST_LINES: usize = 64;

const TITLE: f64 = 20.0;
const HEADING: f64 = 14.0;
const LABEL: f64 = 12.0;
const LEGEND: f64 = 13.0;

/// Dashes of lines that share a colour, in the order in which they are taken.
const DASHES: [&[f64]; 4] = [&[], &[6.0, 4.0], &[1.5, 3.5], &[9.0, 3.5, 1.5, 3.5]];

/// What all panels have in common from left to right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum X {
    /// Optimizer steps.
    #[default]
    Steps,
    /// Tokens trained on.
    Tokens,
}

/// How a figure is to be drawn.
#[derive(Clone, Debug)]
pub struct Options {
    /// One panel each, in this order.
    pub metrics: Vec<Metric>,
    /// Whether metrics that no run has are left out instead of refused.
    pub leave_out: bool,
    /// Steps over which noisy metrics are averaged, 1 for none; None for a fiftieth of the longest run.
    pub smooth: Option<usize>,
    /// From left to right.
    pub x: X,
    /// Which steps are drawn.
    pub steps: RangeInclusive<u64>,
    /// Above everything.
    pub title: Option<String>,
    /// Names of the metrics whose axis is logarithmic.
    pub log_y: BTreeSet<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            metrics: Metric::usual(),
            leave_out: true,
            smooth: None,
            x: X::Steps,
            steps: 0..=u64::MAX,
            title: None,
            log_y: BTreeSet::new(),
        }
    }
}

/// What one panel shows.
struct Panel<'a> {
    metric: &'a Metric,
    log: bool,
    /// Names of a family's lines; one that is empty for a single field.
    lines: Vec<String>,
    curves: Vec<Curve>,
}

/// One run's line in a panel.
struct Curve {
    run: usize,
    line: usize,
    points: Vec<(f64, f64)>,
    /// Whether it is measured at few of the run's steps.
    sparse: bool,
    /// The mean that runs along, where the metric is noisy.
    mean: Option<Vec<(f64, f64)>>,
}

/// Lays out the figure of some runs, which were read with the same metrics.
///
/// # Errors
/// [`ReportError::NoMetric`], [`ReportError::TooMany`], and [`ReportError::Nothing`] where no run has any of
/// the metrics within the steps asked for.
pub fn figure(runs: &[Run], options: &Options) -> Result<Scene, ReportError> {
    at_most("runs", runs.len(), MOST_RUNS)?;
    at_most("metrics", options.metrics.len(), MOST_PANELS)?;
    if options.x == X::Tokens && !runs.iter().any(|run| run.tokens.iter().any(|t| t.is_finite())) {
        let (metric, present) = ("consumed_tokens".to_owned(), present(runs));
        return Err(ReportError::NoMetric { metric, present });
    }
    let mut shown = Vec::new();
    for metric in &options.metrics {
        match Panel::of(metric, runs, options)? {
            Some(panel) => shown.push(panel),
            None if options.leave_out => {}
            None => {
                let (metric, present) = (metric.name().to_owned(), present(runs));
                return Err(ReportError::NoMetric { metric, present });
            }
        }
    }
    let points = || shown.iter().flat_map(|p| &p.curves).flat_map(|c| &c.points);
    let x = Scale::exact(points().map(|p| p.0))
        .ok_or(ReportError::Nothing("no run has a value of any of these metrics in these steps"))?;
    let mut drawing = Drawing { shapes: Vec::new(), x, unit: options.x };
    let mut top = MARGIN;
    if let Some(title) = &options.title {
        let room = WIDTH - 2.0 * MARGIN;
        // The bold face is about a tenth wider.
        let title = font::fit(title, TITLE * 1.12, room);
        drawing.text((MARGIN, top + TITLE), TITLE, Anchor::Start, true, Ink::Text, title);
        top += TITLE + 16.0;
    }
    top = drawing.legend(runs, top);
    let areas = panels(shown.len(), top);
    for (panel, area) in shown.iter().zip(&areas) {
        drawing.panel(panel, *area);
    }
    let bottom = areas.last().map_or(top, Area::bottom);
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let titles: Vec<&str> = shown.iter().map(|panel| panel.metric.title()).collect();
    Ok(Scene {
        width: WIDTH,
        height: bottom + MARGIN,
        description: format!("{} of {}", titles.join(", "), names.join(", ")),
        shapes: drawing.shapes,
    })
}

fn at_most(what: &'static str, count: usize, most: usize) -> Result<(), ReportError> {
    if count > most { Err(ReportError::TooMany { what, count, most }) } else { Ok(()) }
}

/// The fields that could be drawn.
fn present(runs: &[Run]) -> String {
    let names: BTreeSet<&str> = runs.iter().flat_map(|run| run.names.iter().map(String::as_str)).collect();
    names.into_iter().filter(|name| *name != "step").take(60).collect::<Vec<_>>().join(", ")
}

impl<'a> Panel<'a> {
    /// None where no run has the metric.
    fn of(metric: &'a Metric, runs: &[Run], options: &Options) -> Result<Option<Panel<'a>>, ReportError> {
        let names = |run: &Run| -> Vec<(String, String)> {
            let named = |f: &String| metric.line_of(f).map(|line| (line.to_owned(), f.clone()));
            run.fields.keys().filter_map(named).collect()
        };
        let lines: BTreeSet<String> = runs.iter().flat_map(names).map(|(line, _)| line).collect();
        let lines: Vec<String> = lines.into_iter().collect();
        at_most("fields of one metric", lines.len(), MOST_LINES)?;
        let log = options.log_y.contains(metric.name());
        let window = options.smooth.unwrap_or(runs.iter().map(|r| r.steps.len()).max().unwrap_or(0) / 50);
        let mut curves = Vec::new();
        for (index, run) in runs.iter().enumerate() {
            for (line, field) in names(run) {
                let points = points_of(run, &run.fields[&field], options, log);
                if !points.is_empty() {
                    let mean = (metric.noisy() && window > 1).then(|| smooth(&points, window));
                    let line = lines.iter().position(|l| *l == line).unwrap_or(0);
                    let sparse = points.len() == 1 || run.fields[&field].len() * 2 <= run.steps.len();
                    curves.push(Curve { run: index, line, points, sparse, mean });
                }
            }
        }
        Ok((!curves.is_empty()).then_some(Panel { metric, log, lines, curves }))
    }
}

fn points_of(run: &Run, values: &[(usize, f64)], options: &Options, log: bool) -> Vec<(f64, f64)> {
    let point = |(at, value): &(usize, f64)| {
        let step = *run.steps.get(*at)?;
        let x = match options.x {
            X::Steps => step as f64,
            X::Tokens => *run.tokens.get(*at)?,
        };
        let drawn = options.steps.contains(&step) && x.is_finite() && (!log || *value > 0.0);
        drawn.then_some((x, *value))
    };
    values.iter().filter_map(point).collect()
}

/// The figure while it is drawn.
struct Drawing {
    shapes: Vec<Shape>,
    x: Scale,
    unit: X,
}

impl Drawing {
    fn text(
        &mut self,
        (x, y): (f64, f64),
        size: f64,
        anchor: Anchor,
        bold: bool,
        ink: Ink,
        text: impl Into<String>,
    ) {
        self.shapes.push(Shape::Text { x, y, size, anchor, bold, ink, text: text.into() });
    }

    fn stroke(&mut self, points: Vec<(f64, f64)>, ink: Ink, width: f64) {
        self.shapes.push(Shape::Line { points, ink, width, opacity: 1.0, dash: &[] });
    }

    /// A short piece of line, as it is drawn in the panels, and a name, one after the other. Returns where the
    /// next thing may begin.
    fn legend(&mut self, runs: &[Run], top: f64) -> f64 {
        let room = WIDTH - 2.0 * MARGIN;
        let names: Vec<String> = runs.iter().map(|run| font::fit(&run.name, LEGEND, room / 2.0)).collect();
        let (places, lines) = flow(&names, LEGEND, room, 32.0, 24.0);
        for (i, (name, (left, line))) in names.iter().zip(places).enumerate() {
            let (x, y) = (MARGIN + left, top + LEGEND + 22.0 * line as f64);
            let sample = vec![(x, y - 4.5), (x + 24.0, y - 4.5)];
            let dash = DASHES[i / colours::LINES % DASHES.len()];
            self.shapes.push(Shape::Line {
                points: sample,
                ink: Ink::Line(i),
                width: 2.5,
                opacity: 1.0,
                dash,
            });
            self.text((x + 32.0, y), LEGEND, Anchor::Start, false, Ink::Text, name);
        }
        top + 22.0 * lines as f64 + 14.0
    }

    fn panel(&mut self, panel: &Panel<'_>, area: Area) {
        let ys = panel.curves.iter().flat_map(|c| &c.points).map(|p| p.1);
        let Some(y) = Scale::roomy(ys, panel.log) else { return };
        let top = area.top + self.heading(panel, area) + 12.0;
        let bottom = area.bottom() - 38.0;
        let ticks = y.ticks(((bottom - top) / 34.0) as usize, false);
        let widest = ticks.iter().map(|t| font::width(&t.label, LABEL, false)).fold(0.0, f64::max);
        let left = area.left + (widest * 1.05 + 8.0).max(28.0);
        let plot = Area { left, top, width: area.right() - left - 8.0, height: bottom - top };
        for tick in ticks {
            let at = plot.bottom() - y.place(tick.value) * plot.height;
            self.stroke(vec![(plot.left, at), (plot.right(), at)], Ink::Grid, 1.0);
            self.text((plot.left - 8.0, at + 4.0), LABEL, Anchor::End, false, Ink::Muted, tick.label);
        }
        self.bottom(plot);
        self.curves(panel, plot, y);
    }

    /// The panel's name; beside it where each run stands; below it a family's names. Returns its height.
    fn heading(&mut self, panel: &Panel<'_>, area: Area) -> f64 {
        let mut title = panel.metric.title().to_owned();
        if let [line] = &panel.lines[..]
            && !title.contains(line.as_str())
        {
            title = if title.ends_with('*') { title.replace('*', line) } else { format!("{title}: {line}") };
        }
        let base = area.top + HEADING;
        let title = font::fit(&title, HEADING * 1.12, area.width * 0.8);
        let taken = font::width(&title, HEADING, true) * 1.08;
        self.text((area.left, base), HEADING, Anchor::Start, true, Ink::Text, title);
        if panel.lines.len() == 1 {
            self.last_values(panel, area, taken);
            return HEADING + 4.0;
        }
        let names: Vec<String> = panel.lines.iter().map(|l| font::fit(l, LABEL, area.width / 2.0)).collect();
        let (places, lines) = flow(&names, LABEL, area.width, 30.0, 16.0);
        for (i, (name, (left, line))) in names.iter().zip(places).enumerate() {
            let (x, y) = (area.left + left, base + 22.0 + 18.0 * line as f64);
            let (points, dash) = (vec![(x, y - 4.0), (x + 24.0, y - 4.0)], DASHES[i % DASHES.len()]);
            self.shapes.push(Shape::Line { points, ink: Ink::Muted, width: 2.0, opacity: 1.0, dash });
            self.text((x + 30.0, y), LABEL, Anchor::Start, false, Ink::Muted, name);
        }
        HEADING + 8.0 + 18.0 * lines as f64
    }

    /// Each run's last value, right of the panel's name where there is room for all.
    fn last_values(&mut self, panel: &Panel<'_>, area: Area, taken: f64) {
        let last = |c: &Curve| short(c.mean.as_ref().unwrap_or(&c.points).last().map_or(f64::NAN, |p| p.1));
        let values: Vec<(usize, String)> = panel.curves.iter().map(|c| (c.run, last(c))).collect();
        let width = |text: &str| 14.0 + font::width(text, LABEL, false) * 1.05 + 12.0;
        let all: f64 = values.iter().map(|(_, text)| width(text)).sum();
        if all > area.width - taken - GAP {
            return;
        }
        let mut x = area.right() - 8.0 - all + 12.0;
        for (run, text) in values {
            let base = area.top + HEADING;
            let wide = width(&text);
            self.shapes.push(Shape::Square { x, y: base - 9.5, side: 9.0, ink: Ink::Line(run) });
            self.text((x + 14.0, base), LABEL, Anchor::Start, false, Ink::Muted, text);
            x += wide;
        }
    }

    /// The axis that all panels share.
    fn bottom(&mut self, plot: Area) {
        let (x, y) = (self.x, plot.bottom());
        self.stroke(vec![(plot.left, y), (plot.right(), y)], Ink::Axis, 1.0);
        for tick in x.ticks((plot.width / 62.0) as usize, true) {
            let at = plot.left + x.place(tick.value) * plot.width;
            self.stroke(vec![(at, y), (at, y + 4.0)], Ink::Axis, 1.0);
            self.text((at, y + 17.0), LABEL, Anchor::Middle, false, Ink::Muted, tick.label);
        }
        let name = match self.unit {
            X::Steps => "steps",
            X::Tokens => "tokens",
        };
        let middle = plot.left + plot.width / 2.0;
        self.text((middle, y + 34.0), LABEL, Anchor::Middle, false, Ink::Muted, name);
    }

    fn curves(&mut self, panel: &Panel<'_>, plot: Area, y: Scale) {
        let x = self.x;
        let placed = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            let at = |(px, py): &(f64, f64)| {
                (plot.left + x.place(*px) * plot.width, plot.bottom() - y.place(*py) * plot.height)
            };
            let points: Vec<(f64, f64)> = points.iter().map(at).collect();
            decimate(&points, plot.left, plot.right(), plot.width as usize)
        };
        // All that is faint first, so that it hides no mean.
        for curve in panel.curves.iter().filter(|c| c.mean.is_some()) {
            let (points, ink) = (placed(&curve.points), Ink::Line(curve.run));
            self.shapes.push(Shape::Line { points, ink, width: 1.0, opacity: 0.3, dash: &[] });
        }
        for curve in &panel.curves {
            let points = placed(curve.mean.as_ref().unwrap_or(&curve.points));
            let (ink, again) = (Ink::Line(curve.run), curve.run / colours::LINES);
            let dash = DASHES[if panel.lines.len() > 1 { curve.line } else { again } % DASHES.len()];
            // Where measured values are far apart, each is shown; a single one is no line at all.
            if curve.sparse && (curve.points.len() as f64) < plot.width / 24.0 {
                for (x, y) in &points {
                    self.shapes.push(Shape::Dot { x: *x, y: *y, radius: 2.5, ink });
                }
            }
            self.shapes.push(Shape::Line { points, ink, width: 1.8, opacity: 1.0, dash });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Theme, png, svg};
    use proptest::prelude::*;

    /// A run with the usual figures at each of its steps, and a held-out loss at every tenth.
    fn run(name: &str, steps: u64) -> Run {
        let mut run = Run { name: name.to_owned(), ..Run::default() };
        for step in 1..=steps {
            let (at, s) = (run.steps.len(), step as f64);
            run.steps.push(step);
            run.tokens.push(s * 1e6);
            let noise = (step * 7919 % 101) as f64 / 100.0;
            let mut add = |field: &str, value: f64| {
                run.fields.entry(field.to_owned()).or_default().push((at, value));
            };
            add("lm_loss", 2.0 + 8.0 / s + noise / 10.0);
            add("lr", 1e-3 * (1.0 - s / steps as f64));
            add("grad_norm", 0.5 + noise);
            add("tokens_per_sec", 4e5 + 1e4 * noise);
            if step % 10 == 0 {
                add("val_loss/web", 2.1 + 8.0 / s);
            }
        }
        run.names = run.fields.keys().cloned().collect();
        run
    }

    fn texts(scene: &Scene) -> Vec<&str> {
        scene
            .shapes
            .iter()
            .filter_map(|shape| match shape {
                Shape::Text { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    fn headings(scene: &Scene) -> Vec<&str> {
        scene
            .shapes
            .iter()
            .filter_map(|shape| match shape {
                Shape::Text { text, bold: true, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    /// The curves of a figure with one panel: all lines but those of the legend and the axes.
    fn curves(scene: &Scene) -> Vec<(&Vec<(f64, f64)>, f64)> {
        scene
            .shapes
            .iter()
            .filter_map(|shape| match shape {
                Shape::Line { points, ink: Ink::Line(_), opacity, width, .. } if *width < 2.0 => {
                    Some((points, *opacity))
                }
                _ => None,
            })
            .collect()
    }

    fn only(metric: &str) -> Options {
        Options { metrics: vec![Metric::named(metric)], leave_out: false, ..Options::default() }
    }

    #[test]
    fn a_panel_a_metric_and_a_legend_entry_a_run() {
        let scene = figure(&[run("a", 200), run("b", 100)], &Options::default()).unwrap();
        let titles = ["loss", "held-out loss: web", "learning rate", "gradient norm", "tokens/s"];
        assert_eq!(headings(&scene), titles);
        assert!(texts(&scene).starts_with(&["a", "b"]));
        assert_eq!(texts(&scene).iter().filter(|t| **t == "steps").count(), 5);
        let titled = Options { title: Some("Both".into()), x: X::Tokens, ..Options::default() };
        let scene = figure(&[run("a", 200)], &titled).unwrap();
        assert_eq!(headings(&scene)[0], "Both");
        assert!(texts(&scene).contains(&"200M") && texts(&scene).contains(&"tokens"));
    }

    #[test]
    fn usual_metrics_that_no_run_has_are_left_out_and_others_refused() {
        let mut short = run("a", 5);
        short.fields.remove("lr");
        assert_eq!(headings(&figure(&[short.clone()], &Options::default()).unwrap()).len(), 3);
        let error = figure(&[short.clone()], &only("mfu")).unwrap_err().to_string();
        assert!(error.contains("no run has `mfu`; there are: grad_norm, lm_loss, lr, "), "{error}");
        short.tokens.fill(f64::NAN);
        let error = figure(&[short.clone()], &Options { x: X::Tokens, ..Options::default() }).unwrap_err();
        assert!(error.to_string().contains("no run has `consumed_tokens`"), "{error}");
        let none = Options { steps: 6..=9, ..Options::default() };
        assert!(matches!(figure(&[short], &none), Err(ReportError::Nothing(_))));
        assert!(matches!(figure(&vec![run("a", 2); 65], &only("loss")), Err(ReportError::TooMany { .. })));
    }

    #[test]
    fn noisy_metrics_have_a_faint_line_and_a_mean_above_it() {
        let scene = figure(&[run("a", 200)], &only("loss")).unwrap();
        assert_eq!(curves(&scene).iter().map(|c| c.1).collect::<Vec<_>>(), [0.3, 1.0]);
        let plain = Options { smooth: Some(1), ..only("loss") };
        assert_eq!(curves(&figure(&[run("a", 200)], &plain).unwrap()).len(), 1);
        assert_eq!(curves(&figure(&[run("a", 200)], &only("lr")).unwrap()).len(), 1);
    }

    #[test]
    fn a_spike_of_one_step_reaches_the_top_of_a_long_run() {
        let mut long = run("a", 100_000);
        long.fields.get_mut("lm_loss").unwrap()[77_777].1 = 30.0;
        let scene = figure(&[long], &only("loss")).unwrap();
        let raw = curves(&scene)[0].0;
        assert!(raw.len() < 5_000, "{}", raw.len());
        let top = raw.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
        let below = raw.iter().map(|p| p.1).filter(|y| *y > top).fold(f64::INFINITY, f64::min);
        assert!(below - top > 100.0, "spike at {top}, the rest from {below} on");
    }

    #[test]
    fn a_family_is_told_apart_by_dashes_and_runs_by_colour() {
        let mut two = [run("a", 40), run("b", 40)];
        for run in &mut two {
            let values = run.fields["val_loss/web"].clone();
            run.fields.insert("val_loss/math".into(), values);
        }
        let scene = figure(&two, &only("held_out")).unwrap();
        assert!(texts(&scene).contains(&"math") && texts(&scene).contains(&"web"));
        let mut styles: Vec<(usize, usize)> = scene
            .shapes
            .iter()
            .filter_map(|s| match s {
                Shape::Line { ink: Ink::Line(run), width, dash, .. } if *width < 2.0 => {
                    Some((*run, dash.len()))
                }
                _ => None,
            })
            .collect();
        styles.dedup();
        assert_eq!(styles, [(0, 0), (0, 2), (1, 0), (1, 2)]);
    }

    #[test]
    fn equal_input_gives_equal_bytes() {
        let make = || figure(&[run("a", 3_000), run("b", 70)], &Options::default()).unwrap();
        assert!(svg(&make(), None) == svg(&make(), None));
        assert!(png(&make(), Theme::Dark).unwrap() == png(&make(), Theme::Dark).unwrap());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_the_values_all_shapes_lie_on_the_page(
            values in prop::collection::vec(
                prop_oneof![-10.0..10.0, -1e299..1e299, Just(0.0), 1e-310..1e-300], 1..40,
            ),
            name in "\\PC{0,80}",
            log in any::<bool>(),
            smooth in 1usize..50,
        ) {
            let mut odd = Run { name, ..Run::default() };
            odd.steps = (1..=values.len() as u64).map(|s| s * s * 1_000_000_007).collect();
            odd.tokens = odd.steps.iter().map(|s| *s as f64).collect();
            odd.fields.insert("lm_loss".into(), values.into_iter().enumerate().collect());
            let mut options = Options { smooth: Some(smooth), title: Some(odd.name.clone()), ..only("loss") };
            if log {
                options.log_y.insert("loss".into());
            }
            match figure(&[odd], &options) {
                Err(error) => prop_assert!(log, "{error}"),
                Ok(scene) => {
                    let inside = |x: f64, y: f64| (0.0..=scene.width).contains(&x) && (0.0..=scene.height).contains(&y);
                    for shape in &scene.shapes {
                        let fine = match shape {
                            Shape::Line { points, .. } => points.iter().all(|(x, y)| inside(*x, *y)),
                            Shape::Dot { x, y, .. } | Shape::Square { x, y, .. } => inside(*x, *y),
                            Shape::Text { x, y, size, anchor, bold, text, .. } => {
                                let width = font::width(text, *size, *bold);
                                let left = match anchor {
                                    Anchor::Start => *x,
                                    Anchor::Middle => x - width / 2.0,
                                    Anchor::End => x - width,
                                };
                                inside(left, y - size) && inside(left + width, *y)
                            }
                        };
                        prop_assert!(fine, "{shape:?}");
                    }
                }
            }
        }
    }
}
