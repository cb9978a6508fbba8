//! Pictures of runs.
//!
//! This crate answers: what do one or several runs look like? It reads their `metrics.jsonl` ([`read`]), lays
//! out a figure with a panel a metric ([`figure`]) and writes that as SVG ([`svg`]) or PNG ([`png`]); and it
//! says in one line how a run's loss went ([`summary`]). Equal input gives equal bytes: no clock, no system
//! font, no thread has a say.
//!
//! It does not know how a run is made or what is good; it writes no file and prints nothing.
//!
//! Read first: `figure.rs`, which turns runs into shapes; then `scene.rs`, the few shapes there are, which
//! `svg.rs` and `png.rs` draw.

mod colours;
mod decimate;
mod error;
mod figure;
mod font;
mod layout;
mod metric;
mod number;
mod png;
mod read;
mod scale;
mod scene;
mod smooth;
mod spark;
mod svg;

pub use colours::Theme;
pub use error::ReportError;
pub use figure::{Options, X, figure};
pub use metric::Metric;
pub use png::png;
pub use read::{Run, distinct_names, read};
pub use scene::Scene;
pub use spark::summary;
pub use svg::svg;
