//! A scene as SVG: one file, text as text, nothing fetched.

use crate::Theme;
use crate::colours::{DARK, LIGHT, LINES, Palette};
use crate::scene::{Anchor, Ink, Scene, Shape};
use std::fmt::Write;

/// Writes a scene as SVG. Without a theme it follows the reader's: colours are custom properties, which
/// `prefers-color-scheme: dark` sets anew; a viewer that knows neither shows the light ones.
#[must_use]
pub fn svg(scene: &Scene, theme: Option<Theme>) -> String {
    let mut out = String::new();
    let (width, height) = (scene.width.ceil(), scene.height.ceil());
    let base = theme.map_or(&LIGHT, Theme::palette);
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"octo\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"'Noto Sans',system-ui,sans-serif\">\n\
         <title>{}</title>\n<style>\n.octo{{{}}}",
        escaped(&scene.description),
        properties(base),
    );
    if theme.is_none() {
        let _ = writeln!(out, "@media (prefers-color-scheme:dark){{.octo{{{}}}}}", properties(&DARK));
    }
    let _ = writeln!(
        out,
        ".octo path{{fill:none;stroke-linejoin:round;stroke-linecap:round}}\n</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"{}\" style=\"fill:var(--page)\"/>",
        base.page.hex()
    );
    for shape in &scene.shapes {
        draw(&mut out, shape, base);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, shape: &Shape, base: &Palette) {
    // The plain attribute is for viewers without custom properties.
    let paint = |attribute: &str, ink: Ink| {
        format!("{attribute}=\"{}\" style=\"{attribute}:var(--{})\"", base.of(ink).hex(), property(ink))
    };
    let _ = match shape {
        Shape::Line { points, ink, width, opacity, dash } => {
            let mut path = String::new();
            for (i, (x, y)) in points.iter().enumerate() {
                let _ = write!(path, "{}{} {}", if i == 0 { 'M' } else { 'L' }, place(*x), place(*y));
            }
            let mut more = String::new();
            if *opacity < 1.0 {
                let _ = write!(more, " stroke-opacity=\"{opacity}\"");
            }
            if !dash.is_empty() {
                let lengths: Vec<String> = dash.iter().map(f64::to_string).collect();
                let _ = write!(more, " stroke-dasharray=\"{}\"", lengths.join(" "));
            }
            writeln!(out, "<path d=\"{path}\" {} stroke-width=\"{width}\"{more}/>", paint("stroke", *ink))
        }
        Shape::Dot { x, y, radius, ink } => {
            let (x, y) = (place(*x), place(*y));
            writeln!(out, "<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" {}/>", paint("fill", *ink))
        }
        Shape::Square { x, y, side, ink } => {
            let (x, y) = (place(*x), place(*y));
            let paint = paint("fill", *ink);
            writeln!(out, "<rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" rx=\"2\" {paint}/>")
        }
        Shape::Text { x, y, size, anchor, bold, ink, text } => {
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            let weight = if *bold { " font-weight=\"700\"" } else { "" };
            writeln!(
                out,
                "<text x=\"{}\" y=\"{}\" font-size=\"{size}\"{anchor}{weight} {}>{}</text>",
                place(*x),
                place(*y),
                paint("fill", *ink),
                escaped(text)
            )
        }
    };
}

/// A tenth of a pixel is enough.
fn place(v: f64) -> String {
    let text = format!("{v:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn property(ink: Ink) -> String {
    match ink {
        Ink::Text => "text".to_owned(),
        Ink::Muted => "muted".to_owned(),
        Ink::Grid => "grid".to_owned(),
        Ink::Axis => "axis".to_owned(),
        Ink::Line(i) => format!("line{}", i % LINES),
    }
}

fn properties(palette: &Palette) -> String {
    let lines = (0..LINES).map(Ink::Line);
    let inks = [Ink::Text, Ink::Muted, Ink::Grid, Ink::Axis].into_iter().chain(lines);
    let page = format!("--page:{}", palette.page.hex());
    let rest = inks.map(|ink| format!("--{}:{}", property(ink), palette.of(ink).hex()));
    std::iter::once(page).chain(rest).collect::<Vec<_>>().join(";")
}

/// Text for XML, which has no place for control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(text: &str) -> Scene {
        let line = Shape::Line {
            points: vec![(0.0, 0.04), (10.25, 5.0)],
            ink: Ink::Line(1),
            width: 1.5,
            opacity: 0.3,
            dash: &[4.0, 2.0],
        };
        let word = Shape::Text {
            x: 1.0,
            y: 2.0,
            size: 12.0,
            anchor: Anchor::End,
            bold: true,
            ink: Ink::Text,
            text: text.to_owned(),
        };
        Scene { width: 99.5, height: 50.0, description: "a".to_owned(), shapes: vec![line, word] }
    }

    #[test]
    fn it_follows_the_reader_unless_told_otherwise() {
        let both = svg(&scene("x"), None);
        assert!(both.contains("@media (prefers-color-scheme:dark)"));
        assert!(both.contains("viewBox=\"0 0 100 50\""), "{both}");
        assert!(both.contains("<path d=\"M0 0L10.2 5\""), "{both}");
        let dark = svg(&scene("x"), Some(Theme::Dark));
        assert!(!dark.contains("@media") && dark.contains(&format!("--page:{}", DARK.page.hex())));
    }

    #[test]
    fn a_name_cannot_break_out_of_its_text() {
        let text = svg(&scene("</text><script>\"&\u{7}"), None);
        assert!(text.contains(">&lt;/text&gt;&lt;script&gt;\"&amp;\u{fffd}</text>"), "{text}");
    }

    #[test]
    fn nothing_is_fetched() {
        let text = svg(&scene("x"), None);
        let addresses: Vec<_> = text.match_indices("://").collect();
        assert_eq!(addresses.len(), 1, "the name space is the only address");
        assert!(!text.contains("href") && !text.contains("@import") && !text.contains("url("));
    }
}
