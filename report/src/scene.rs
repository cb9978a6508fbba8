//! The few shapes a figure is made of.

/// A figure: shapes, the first at the bottom. Lengths are in pixels of a screen of usual density.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Across.
    pub(crate) width: f64,
    /// Down.
    pub(crate) height: f64,
    /// What it shows, for those who cannot see it.
    pub(crate) description: String,
    pub(crate) shapes: Vec<Shape>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Line {
        points: Vec<(f64, f64)>,
        ink: Ink,
        width: f64,
        opacity: f64,
        dash: &'static [f64],
    },
    Dot {
        x: f64,
        y: f64,
        radius: f64,
        ink: Ink,
    },
    Square {
        x: f64,
        y: f64,
        side: f64,
        ink: Ink,
    },
    /// `y` is the baseline.
    Text {
        x: f64,
        y: f64,
        size: f64,
        anchor: Anchor,
        bold: bool,
        ink: Ink,
        text: String,
    },
}

/// What a colour is for; a theme says which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Text,
    Muted,
    Grid,
    Axis,
    /// One of [`crate::colours::LINES`].
    Line(usize),
}

/// Which end of a text stands at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}
