//! What a line is drawn in, on a light page and on a dark one.

use crate::scene::Ink;

/// A light or a dark page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// Dark ink on white.
    #[default]
    Light,
    /// Light ink on near black.
    Dark,
}

impl Theme {
    pub(crate) fn palette(self) -> &'static Palette {
        match self {
            Theme::Light => &LIGHT,
            Theme::Dark => &DARK,
        }
    }
}

/// Red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rgb(pub [u8; 3]);

impl Rgb {
    pub fn hex(self) -> String {
        let [r, g, b] = self.0;
        format!("#{r:02x}{g:02x}{b:02x}")
    }
}

/// Colours of lines before they come round again, then dashed.
pub(crate) const LINES: usize = 6;

/// What everything is drawn in.
pub(crate) struct Palette {
    pub page: Rgb,
    text: Rgb,
    muted: Rgb,
    grid: Rgb,
    axis: Rgb,
    /// Told apart by readers with any of the usual colour deficiencies, and each clear of the page: tests hold
    /// both. The same place has the same hue in both themes. The first few are the furthest apart.
    lines: [Rgb; LINES],
}

impl Palette {
    pub fn of(&self, ink: Ink) -> Rgb {
        match ink {
            Ink::Text => self.text,
            Ink::Muted => self.muted,
            Ink::Grid => self.grid,
            Ink::Axis => self.axis,
            Ink::Line(i) => self.lines[i % LINES],
        }
    }
}

const fn rgb(hex: u32) -> Rgb {
    Rgb([(hex >> 16) as u8, (hex >> 8) as u8, hex as u8])
}

pub(crate) const LIGHT: Palette = Palette {
    page: rgb(0xffffff),
    text: rgb(0x1c2024),
    muted: rgb(0x5c646d),
    grid: rgb(0xe4e7ea),
    axis: rgb(0x9aa2ab),
    lines: [rgb(0x0072b2), rgb(0xd55e00), rgb(0x439b87), rgb(0x813565), rgb(0x6e4109), rgb(0x332a88)],
};

pub(crate) const DARK: Palette = Palette {
    page: rgb(0x14171a),
    text: rgb(0xe6e9ec),
    muted: rgb(0xa0a8b0),
    grid: rgb(0x2a2f35),
    axis: rgb(0x5f6872),
    lines: [rgb(0x4aa8e8), rgb(0xf5853f), rgb(0x91e8d2), rgb(0xa0509c), rgb(0x7a6a10), rgb(0x5e53e3)],
};

#[cfg(test)]
mod tests {
    use super::*;

    type Vec3 = [f64; 3];

    /// What colours become for readers who lack one kind of cone (Machado, Oliveira and Fernandes 2009,
    /// severity 1), in linear light; the first changes nothing.
    const EYES: [(&str, [Vec3; 3]); 4] = [
        ("all cones", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        (
            "no red cones",
            [
                [0.152286, 1.052583, -0.204868],
                [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998],
            ],
        ),
        (
            "no green cones",
            [
                [0.367322, 0.860646, -0.227968],
                [0.280085, 0.672501, 0.047413],
                [-0.011820, 0.042940, 0.968881],
            ],
        ),
        (
            "no blue cones",
            [
                [1.255528, -0.076749, -0.178779],
                [-0.078411, 0.930809, 0.147602],
                [0.004733, 0.691367, 0.303900],
            ],
        ),
    ];

    fn linear(colour: Rgb) -> Vec3 {
        colour.0.map(|c| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        })
    }

    fn times(m: &[Vec3; 3], v: Vec3) -> Vec3 {
        m.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
    }

    /// Oklab (Ottosson 2020): a space in which distances are what an eye sees.
    fn oklab(linear: Vec3) -> Vec3 {
        let cones = [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ];
        let lab = [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ];
        times(&lab, times(&cones, linear).map(|v| v.max(0.0).cbrt()))
    }

    fn distance(a: Rgb, b: Rgb, eye: &[Vec3; 3]) -> f64 {
        let [a, b] = [a, b].map(|c| oklab(times(eye, linear(c)).map(|v| v.clamp(0.0, 1.0))));
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }

    /// Contrast of the Web Content Accessibility Guidelines.
    fn contrast(a: Rgb, b: Rgb) -> f64 {
        let [a, b] = [a, b].map(|c| {
            let [r, g, b] = linear(c);
            0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05
        });
        a.max(b) / a.min(b)
    }

    #[test]
    fn everything_is_clear_of_its_page() {
        for palette in [&LIGHT, &DARK] {
            for (ink, least) in [(Ink::Text, 7.0), (Ink::Muted, 4.5)] {
                assert!(contrast(palette.of(ink), palette.page) >= least, "{ink:?}");
            }
            for line in palette.lines {
                assert!(contrast(line, palette.page) >= 3.0, "{}", line.hex());
            }
        }
    }

    #[test]
    fn lines_differ_for_every_eye() {
        for palette in [&LIGHT, &DARK] {
            for (eye, matrix) in &EYES {
                for (i, a) in palette.lines.iter().enumerate() {
                    for b in &palette.lines[..i] {
                        // Blue cones are lacking in one reader of ten thousand, who gets less.
                        let least = match (*eye, i) {
                            ("no blue cones", _) => 0.04,
                            (_, 0..=2) => 0.13,
                            _ => 0.09,
                        };
                        let found = distance(*a, *b, matrix);
                        assert!(found >= least, "{eye}: {} and {} are {found:.3} apart", a.hex(), b.hex());
                    }
                }
            }
        }
    }
}
