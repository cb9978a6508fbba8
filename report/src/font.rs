//! The one font: Noto Sans, carried along, so that a picture is the same on every machine.

use std::sync::OnceLock;
use ttf_parser::{Face, OutlineBuilder};

/// How wide a text is, in pixels. In an SVG a viewer's own font may stand in, which differs by some percent.
pub(crate) fn width(text: &str, size: f64, bold: bool) -> f64 {
    let mut width = 0.0;
    glyphs(text, size, bold, |_, advance| width += advance);
    width
}

/// Draws the outlines of a text from a place on its baseline on.
pub(crate) fn outline(
    text: &str,
    (x, y): (f64, f64),
    size: f64,
    bold: bool,
    path: &mut tiny_skia::PathBuilder,
) {
    let Some(face) = face(bold) else { return };
    let scale = size / f64::from(face.units_per_em());
    let mut at = x;
    glyphs(text, size, bold, |glyph, advance| {
        let mut pen = Pen { path: &mut *path, x: at as f32, y: y as f32, scale: scale as f32 };
        face.outline_glyph(glyph, &mut pen);
        at += advance;
    });
}

/// Cuts the middle out of a text that is too wide: names of runs differ at their ends.
pub(crate) fn fit(text: &str, size: f64, room: f64) -> String {
    let letters: Vec<char> = text.chars().collect();
    let cut = |kept: usize| -> String {
        let head = letters[..kept.div_ceil(2)].iter();
        head.chain(&['…']).chain(&letters[letters.len() - kept / 2..]).collect()
    };
    if width(text, size, false) <= room {
        return text.to_owned();
    }
    // More than this is never narrow enough to be read.
    let most = letters.len().min(200);
    (0..most).rev().map(cut).find(|text| width(text, size, false) <= room).unwrap_or_default()
}

fn glyphs(text: &str, size: f64, bold: bool, mut each: impl FnMut(ttf_parser::GlyphId, f64)) {
    let Some(face) = face(bold) else { return };
    let scale = size / f64::from(face.units_per_em());
    for letter in text.chars() {
        // A letter that the font lacks is its empty box.
        let glyph = face.glyph_index(letter).unwrap_or(ttf_parser::GlyphId(0));
        each(glyph, f64::from(face.glyph_hor_advance(glyph).unwrap_or(0)) * scale);
    }
}

fn face(bold: bool) -> Option<&'static Face<'static>> {
    static FACES: OnceLock<[Option<Face<'static>>; 2]> = OnceLock::new();
    let parse = |bytes| Face::parse(bytes, 0).ok();
    FACES.get_or_init(|| [parse(notosans::REGULAR_TTF), parse(notosans::BOLD_TTF)])[usize::from(bold)]
        .as_ref()
}

/// Puts an outline in the font's units, y up, onto the picture, y down.
struct Pen<'a> {
    path: &'a mut tiny_skia::PathBuilder,
    x: f32,
    y: f32,
    scale: f32,
}

impl Pen<'_> {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, self.y - y * self.scale)
    }
}

impl OutlineBuilder for Pen<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_faces_are_there_and_have_widths() {
        assert!(face(false).is_some() && face(true).is_some());
        assert!(width("mm", 10.0, false) > 2.0 * width("ii", 10.0, false));
        assert_eq!(width("ab", 20.0, true), 2.0 * width("ab", 10.0, true));
        assert!(width("日本", 10.0, false) > 0.0, "an empty box has a width");
    }

    #[test]
    fn a_long_name_keeps_both_ends() {
        let cut = fit("llama-3.2-1b-stable-web-pro-max-lr3e-4", 13.0, 150.0);
        assert!(cut.starts_with("llama") && cut.ends_with("lr3e-4") && cut.contains('…'), "{cut}");
        assert!(width(&cut, 13.0, false) <= 150.0);
        assert_eq!(fit("short", 13.0, 150.0), "short");
        assert_eq!(fit("short", 13.0, 1.0), "");
        assert!(fit(&"長".repeat(1_000_000), 13.0, 150.0).chars().count() < 20);
    }
}
