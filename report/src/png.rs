//! A scene as PNG.

use crate::scene::{Anchor, Scene, Shape};
use crate::{ReportError, Theme, font};
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Rect, Stroke, StrokeDash, Transform,
};

/// Pixels of the picture to one of the scene, so that it is sharp on a dense screen and in a document.
const DENSITY: f32 = 2.0;

/// Draws a scene in one theme and encodes it as PNG, twice as many pixels across as the scene says.
///
/// # Errors
/// [`ReportError::Picture`] where there is no memory for it.
pub fn png(scene: &Scene, theme: Theme) -> Result<Vec<u8>, ReportError> {
    let pixels = |length: f64| (length.ceil() * f64::from(DENSITY)) as u32;
    let (width, height) = (pixels(scene.width), pixels(scene.height));
    let failed = |why: String| ReportError::Picture { width, height, why };
    let mut picture = Pixmap::new(width, height).ok_or_else(|| failed("it is too large".to_owned()))?;
    let palette = theme.palette();
    let colour = |rgb: crate::colours::Rgb, opacity: f64| {
        let [r, g, b] = rgb.0;
        Color::from_rgba8(r, g, b, (opacity * 255.0).round() as u8)
    };
    picture.fill(colour(palette.page, 1.0));
    let dense = Transform::from_scale(DENSITY, DENSITY);
    for shape in &scene.shapes {
        let mut path = PathBuilder::new();
        let (ink, opacity, stroke) = match shape {
            Shape::Line { points, ink, width, opacity, dash } => {
                for (i, (x, y)) in points.iter().enumerate() {
                    let (x, y) = (*x as f32, *y as f32);
                    if i == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
                }
                let dash = StrokeDash::new(dash.iter().map(|d| *d as f32).collect(), 0.0);
                let (line_cap, line_join) = (LineCap::Round, LineJoin::Round);
                let stroke = Stroke { width: *width as f32, dash, line_cap, line_join, ..Stroke::default() };
                (*ink, *opacity, Some(stroke))
            }
            Shape::Dot { x, y, radius, ink } => {
                path.push_circle(*x as f32, *y as f32, *radius as f32);
                (*ink, 1.0, None)
            }
            Shape::Square { x, y, side, ink } => {
                if let Some(rect) = Rect::from_xywh(*x as f32, *y as f32, *side as f32, *side as f32) {
                    path.push_rect(rect);
                }
                (*ink, 1.0, None)
            }
            Shape::Text { x, y, size, anchor, bold, ink, text } => {
                let back = match anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => 0.5,
                    Anchor::End => 1.0,
                };
                let start = x - back * font::width(text, *size, *bold);
                font::outline(text, (start, *y), *size, *bold, &mut path);
                (*ink, 1.0, None)
            }
        };
        // None: nothing to see, such as a space.
        let Some(path) = path.finish() else { continue };
        let mut paint = Paint { anti_alias: true, ..Paint::default() };
        paint.set_color(colour(palette.of(ink), opacity));
        match stroke {
            Some(stroke) => picture.stroke_path(&path, &paint, &stroke, dense, None),
            None => picture.fill_path(&path, &paint, FillRule::Winding, dense, None),
        }
    }
    picture.encode_png().map_err(|e| failed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colours::{DARK, LIGHT};
    use crate::scene::Ink;

    /// The picture's size and the colour of each pixel asked for.
    fn pixels(scene: &Scene, theme: Theme, at: &[(u32, u32)]) -> (u32, u32, Vec<[u8; 3]>) {
        let picture = Pixmap::decode_png(&png(scene, theme).unwrap()).unwrap();
        let colour = |(x, y): &(u32, u32)| {
            let c = picture.pixel(*x, *y).unwrap();
            [c.red(), c.green(), c.blue()]
        };
        (picture.width(), picture.height(), at.iter().map(colour).collect())
    }

    #[test]
    fn shapes_have_their_colours_in_both_themes() {
        let square = Shape::Square { x: 10.0, y: 10.0, side: 10.0, ink: Ink::Line(2) };
        let line = Shape::Line {
            points: vec![(0.0, 30.0), (50.0, 30.0)],
            ink: Ink::Text,
            width: 4.0,
            opacity: 1.0,
            dash: &[],
        };
        let scene =
            Scene { width: 50.0, height: 40.0, description: String::new(), shapes: vec![square, line] };
        for (theme, palette) in [(Theme::Light, &LIGHT), (Theme::Dark, &DARK)] {
            let (width, height, found) = pixels(&scene, theme, &[(0, 0), (30, 30), (50, 60)]);
            assert_eq!((width, height), (100, 80));
            assert_eq!(found, [palette.page.0, palette.of(Ink::Line(2)).0, palette.of(Ink::Text).0]);
        }
    }

    #[test]
    fn text_is_drawn_where_its_anchor_says() {
        let text = |anchor| {
            let (x, ink) = (50.0, Ink::Text);
            let word = Shape::Text { x, y: 20.0, size: 20.0, anchor, bold: true, ink, text: "HHH".into() };
            let scene = Scene { width: 100.0, height: 30.0, description: String::new(), shapes: vec![word] };
            let picture = Pixmap::decode_png(&png(&scene, Theme::Light).unwrap()).unwrap();
            let inked = |x: u32| (0..60).any(|y| picture.pixel(x, y).unwrap().red() < 128);
            ((0..100).any(inked), (100..200).any(inked))
        };
        assert_eq!(text(Anchor::Start), (false, true));
        assert_eq!(text(Anchor::End), (true, false));
        assert_eq!(text(Anchor::Middle), (true, true));
    }
}
