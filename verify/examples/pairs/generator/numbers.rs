//! Forms that are one number, with what people put around it.

use super::value::{Value, decimal, shift};
use super::{Draft, Random, Surface, either};
use Surface::{Math, Plain};

/// A whole number with about so many digits at most, never 0.
fn whole(random: &mut Random, digits: u32) -> i64 {
    let length = random.between(1, i64::from(digits)) as u32;
    random.between(10i64.pow(length - 1), 10i64.pow(length) - 1)
}

/// A number that is easily taken for it.
fn near_integer(random: &mut Random, n: &i64) -> i64 {
    match random.below(5) {
        0 => -n,
        1 => n * 10,
        2 if n.abs() > 9 => n / 10,
        _ => n + random.sign() * 10i64.pow(random.below(3) as u32),
    }
}

pub fn integers(random: &mut Random) -> Draft {
    let n = whole(random, 9) * if random.below(4) == 0 { -1 } else { 1 };
    either(random, &n, near_integer, |random, n| match random.below(8) {
        0 => Plain(n.to_string()),
        1 => Math(format!("{n}.0")),
        2 => Math(format!("{}", n).replace('-', "−")),
        3 => Math(format!("{} + {}", n - 7, 7)),
        4 => {
            let k = [7, 5, 4, 3, 2].into_iter().find(|k| n % k == 0).unwrap_or(1);
            Math(format!("{} \\cdot {k}", n / k))
        }
        5 => Math(format!("\\text{{{n}}}")),
        _ => Math(n.to_string()),
    })
}

pub fn decimals(random: &mut Random) -> Draft {
    let places = random.between(1, 4) as u32;
    let digits = random.between(10, 99_999) * random.sign();
    let near = |random: &mut Random, &(digits, places): &(i64, u32)| match random.below(4) {
        0 => (-digits, places),
        1 => (digits * 10, places),
        2 => (digits + random.sign(), places),
        _ => (digits + random.sign() * 10i64.pow(places), places),
    };
    either(random, &(digits, places), near, |random, &(digits, places)| {
        let text = shift(digits, places);
        match random.below(6) {
            0 => Plain(text),
            // Without the zero before the point.
            1 if digits.abs() < 10i64.pow(places) => Math(text.replacen('0', "", 1)),
            2 => Math(format!("{text}0")),
            3 => Math(Value::fraction(digits, 10i64.pow(places)).plain()),
            _ => Math(text),
        }
    })
}

/// Groups of three from the right.
fn grouped(n: i64, separator: &str) -> String {
    let digits = n.abs().to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text += separator;
        }
        text.push(digit);
    }
    if n < 0 { format!("-{text}") } else { text }
}

pub fn thousands(random: &mut Random) -> Draft {
    let length = random.between(4, 9) as u32;
    let n = random.between(10i64.pow(length - 1), 10i64.pow(length) - 1);
    let near = |random: &mut Random, n: &i64| match random.below(3) {
        // The first group is lost.
        0 => n % 10i64.pow((n.to_string().len() as u32 - 1) / 3 * 3),
        _ => near_integer(random, n),
    };
    either(random, &n, near, |random, &n| match random.below(7) {
        0 => Plain(grouped(n, ",")),
        1 => Math(grouped(n, ",")),
        2 => Math(grouped(n, "{,}")),
        3 => Math(grouped(n, "\\,")),
        4 => Math(grouped(n, ",\\!")),
        5 => Plain(grouped(n, " ")),
        _ => Math(n.to_string()),
    })
}

pub fn decimal_comma(random: &mut Random) -> Draft {
    // Three digits behind a comma would be thousands.
    let places = *random.pick(&[1, 2, 2, 4]);
    let digits = random.between(10i64.pow(places), 10i64.pow(places + 2));
    let near = |random: &mut Random, &(digits, places): &(i64, u32)| match random.below(3) {
        0 => (digits * 10i64.pow(places), places),
        1 => (digits + random.sign(), places),
        _ => (digits + 10i64.pow(places), places),
    };
    let mut draft = either(random, &(digits, places), near, |random, &(digits, places)| {
        let text = shift(digits, places);
        match random.below(3) {
            0 => Math(text.replace('.', ",")),
            1 => Plain(text.replace('.', ",")),
            _ => Math(text.replace('.', "{,}")),
        }
    });
    // One side has a point: two commas would say nothing about how they are read.
    let pointed = |surface: Surface| match surface {
        Math(text) => Math(text.replace("{,}", ".").replace(',', ".")),
        Plain(text) => Plain(text.replace(',', ".")),
        whole => whole,
    };
    if random.coin() {
        draft.gold = pointed(draft.gold);
    } else {
        draft.answer = pointed(draft.answer);
    }
    draft
}

pub fn fractions(random: &mut Random) -> Draft {
    let n = random.between(1, 99) * random.sign();
    let value = Value::fraction(n, random.between(2, 60));
    either(random, &value, Value::near, |random, value| match (value, random.below(6)) {
        (Value::Fraction(n, d), 0) => Plain(format!("{n}/{d}")),
        (Value::Fraction(n, d), 1) => Math(format!("{n} \\div {d}")),
        _ => Math(value.math(random)),
    })
}

pub fn mixed(random: &mut Random) -> Draft {
    let d = random.between(2, 12);
    let n = random.between(1, d - 1);
    let value = (random.between(1, 19), n, d);
    let near = |random: &mut Random, &(whole, n, d): &(i64, i64, i64)| match random.below(3) {
        0 => (whole + 1, n, d),
        1 => (whole, n, d + 1),
        // The whole part written before the numerator, not added.
        _ => (0, whole * 10 + n, if d == 10 { 11 } else { d }),
    };
    either(random, &value, near, |random, &(whole, n, d)| {
        let top = whole * d + n;
        let style = if whole == 0 { 5 } else { random.below(8) };
        match style {
            0 => Plain(format!("{whole} {n}/{d}")),
            1 if n < 10 && d < 10 => Math(format!("{whole}\\frac{n}{d}")),
            2 => Math(format!("{whole}\\tfrac{{{n}}}{{{d}}}")),
            3 => Math(format!("{whole} \\frac{{{n}}}{{{d}}}")),
            4 => Math(decimal(top, d).unwrap_or_else(|| format!("\\frac{{{top}}}{{{d}}}"))),
            5 => Math(format!("\\frac{{{top}}}{{{d}}}")),
            6 => Math(format!("{whole}+\\frac{{{n}}}{{{d}}}")),
            _ => Math(format!("{whole}\\dfrac{{{n}}}{{{d}}}")),
        }
    })
}

pub fn percent(random: &mut Random) -> Draft {
    // In tenths of a percent.
    let tenths = if random.coin() { random.between(1, 99) * 10 } else { random.between(5, 2000) };
    let equal = random.coin();
    let signed = |random: &mut Random, tenths: i64| {
        let text = if tenths % 10 == 0 { (tenths / 10).to_string() } else { shift(tenths, 1) };
        match random.below(4) {
            0 => Plain(format!("{text}%")),
            1 => Plain(format!("{text} percent")),
            _ => Math(format!("{text}\\%")),
        }
    };
    let number = |random: &mut Random, tenths: i64| match random.below(3) {
        0 => Math(Value::fraction(tenths, 1000).plain()),
        _ => Math(shift(tenths, 3)),
    };
    let gold = signed(random, tenths);
    let other = if equal { tenths } else { tenths + random.sign() * *random.pick(&[1, 10, 100]) };
    // A percentage without its sign is another number.
    let answer = match random.below(3) {
        _ if other == 0 => number(random, 1),
        0 if !equal => Math(shift(tenths, 1)),
        1 => number(random, other),
        _ => signed(random, other),
    };
    if random.coin() { Draft { gold, answer, equal } } else { Draft { gold: answer, answer: gold, equal } }
}

const UNITS: [(&str, &str); 10] = [
    ("cm", "centimeters"),
    ("km", "kilometers"),
    ("kg", "kilograms"),
    ("ft", "feet"),
    ("hours", "hours"),
    ("minutes", "minutes"),
    ("days", "days"),
    ("inches", "inches"),
    ("miles", "miles"),
    ("mm", "millimeters"),
];

const THINGS: [&str; 8] = ["apples", "students", "marbles", "books", "ways", "points", "boxes", "tickets"];

pub fn units(random: &mut Random) -> Draft {
    let value = Value::fraction(random.between(1, 500), *random.pick(&[1, 1, 1, 2, 4]));
    let number = |value: &Value| match *value {
        Value::Fraction(n, d) => decimal(n, d).unwrap_or_else(|| format!("{n}/{d}")),
        _ => value.plain(),
    };
    if random.below(3) == 0 {
        let things = *random.pick(&THINGS);
        return either(random, &value, Value::near, |random, value| match random.below(3) {
            0 => Plain(format!("{} {things}", number(value))),
            1 => Math(format!("{}\\text{{ {things}}}", value.plain())),
            _ => Math(value.plain()),
        });
    }
    let unit = random.below(UNITS.len() as u64) as usize;
    let squared = unit < 2 && random.coin();
    // One near miss in four has another unit.
    let near = |random: &mut Random, &(value, unit): &(Value, usize)| match random.below(4) {
        0 => (value, (unit + 1) % UNITS.len()),
        _ => (Value::near(random, &value), unit),
    };
    let bare = random.coin();
    let mut draft = either(random, &(value, unit), near, |random, &(value, unit)| {
        let (short, long) = UNITS[unit];
        if squared {
            return Math(format!("{}\\text{{ {short}}}^2", value.plain()));
        }
        match random.below(5) {
            0 => Plain(format!("{} {long}", number(&value))),
            1 => Plain(format!("{} {short}", number(&value))),
            2 => Math(format!("{}\\ \\mathrm{{{short}}}", value.plain())),
            3 => Math(format!("{} \\text{{ {long}}}", value.plain())),
            _ => Math(format!("{}\\text{{ {short}}}", value.plain())),
        }
    });
    if bare && draft.equal {
        draft.answer = Math(value.math(random));
    }
    draft
}

pub fn currency(random: &mut Random) -> Draft {
    let cents = random.between(1, 5000) * if random.coin() { 100 } else { 5 };
    let near = |random: &mut Random, &cents: &i64| match random.below(3) {
        0 => cents * 10,
        1 => cents + random.sign() * 5 + if cents == 5 { 5 } else { 0 },
        _ => cents + 100,
    };
    either(random, &cents, near, |random, &cents| {
        let text = if cents % 100 == 0 { (cents / 100).to_string() } else { shift(cents, 2) };
        match random.below(6) {
            0 => Math(format!("\\${text}")),
            1 => Math(format!("\\${}", shift(cents, 2))),
            2 => Plain(format!("{text} dollars")),
            3 => Math(format!("{text} \\text{{ dollars}}")),
            4 => Plain(format!("${text}")),
            _ => Math(text),
        }
    })
}

pub fn degrees(random: &mut Random) -> Draft {
    if random.below(4) == 0 {
        let (angle, values): (i64, [&str; 2]) = *random.pick(&[
            (30, ["\\frac12", "0.5"]),
            (45, ["\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}"]),
            (60, ["\\frac{\\sqrt{3}}{2}", "\\sqrt{3}/2"]),
            (90, ["1", "1.0"]),
        ]);
        let equal = random.coin();
        let shown = if equal { angle } else { angle + 15 };
        let gold = Math((*random.pick(&values)).into());
        let answer = match random.below(3) {
            0 => Math(format!("\\cos({}^\\circ)", 90 - shown)),
            1 => Math(format!("\\sin {shown}^{{\\circ}}")),
            _ => Math(format!("\\sin({shown}^\\circ)")),
        };
        return Draft { gold, answer, equal };
    }
    let angle = Value::fraction(random.between(1, 720), *random.pick(&[1, 1, 2]));
    let near = |random: &mut Random, angle: &Value| match *angle {
        Value::Fraction(n, d) => Value::fraction(n + random.between(1, 9), d),
        other => Value::near(random, &other),
    };
    either(random, &angle, near, |random, angle| {
        let text = match *angle {
            Value::Fraction(n, d) => decimal(n, d).unwrap_or_default(),
            _ => angle.plain(),
        };
        match random.below(6) {
            0 => Math(format!("{text}^{{\\circ}}")),
            1 => Plain(format!("{text}°")),
            2 => Plain(format!("{text} degrees")),
            3 => Math(format!("{text}\\text{{ degrees}}")),
            4 => Math(text),
            _ => Math(format!("{text}^\\circ")),
        }
    })
}

pub fn number_words(random: &mut Random) -> Draft {
    let (word, zeros) = *random.pick(&[("thousand", 3u32), ("million", 6), ("billion", 9)]);
    let tenths = if random.coin() { random.between(1, 40) * 10 } else { random.between(11, 99) };
    let near = |random: &mut Random, &(tenths, word, zeros): &(i64, &'static str, u32)| match random.below(3)
    {
        0 if word == "million" => (tenths, "billion", 9),
        0 => (tenths, "million", 6),
        1 => (tenths * 10, word, zeros),
        _ => (tenths + 1, word, zeros),
    };
    either(random, &(tenths, word, zeros), near, |random, &(tenths, word, zeros)| {
        let text = if tenths % 10 == 0 { (tenths / 10).to_string() } else { shift(tenths, 1) };
        match random.below(5) {
            0 => Plain(format!("{text} {word}")),
            1 => Math(format!("{text}\\text{{ {word}}}")),
            2 => Math(format!("{text} \\times 10^{zeros}")),
            3 => Plain(grouped(tenths * 10i64.pow(zeros - 1), ",")),
            _ => Math((tenths * 10i64.pow(zeros - 1)).to_string()),
        }
    })
}

pub fn scientific(random: &mut Random) -> Draft {
    let mantissa = if random.coin() { random.between(1, 9) * 10 } else { random.between(11, 99) };
    let exponent = random.nonzero(-6, 9);
    let near = |random: &mut Random, &(mantissa, exponent): &(i64, i64)| match random.below(3) {
        0 => (mantissa, exponent + random.sign()),
        1 => (mantissa, -exponent),
        _ => (mantissa + if mantissa % 10 == 9 { -1 } else { 1 }, exponent),
    };
    either(random, &(mantissa, exponent), near, |random, &(mantissa, exponent)| {
        let text = if mantissa % 10 == 0 { (mantissa / 10).to_string() } else { shift(mantissa, 1) };
        match random.below(6) {
            0 => Math(format!("{text} \\cdot 10^{{{exponent}}}")),
            1 => Plain(format!("{text}e{exponent}")),
            2 => Plain(format!("{text}E{exponent:+}")),
            3 if exponent > 0 => Math((mantissa * 10i64.pow(exponent as u32) / 10).to_string()),
            3 => Math(shift(mantissa, (1 - exponent) as u32)),
            4 => Plain(format!("{text} x 10^{exponent}")),
            _ => Math(format!("{text} \\times 10^{{{exponent}}}")),
        }
    })
}

pub fn ratios(random: &mut Random) -> Draft {
    if random.coin() {
        let time = (random.between(1, 12), random.between(0, 59));
        let near = |random: &mut Random, &(hours, minutes): &(i64, i64)| match random.below(2) {
            0 => (hours % 12 + 1, minutes),
            _ => (hours, (minutes + random.between(1, 29)) % 60),
        };
        return either(random, &time, near, |random, &(hours, minutes)| match random.below(3) {
            0 => Plain(format!("{hours}:{minutes:02}")),
            1 => Math(format!("{hours}{{:}}{minutes:02}")),
            _ => Math(format!("{hours}:{minutes:02}")),
        });
    }
    let (a, b) = (random.between(1, 40), random.between(1, 40));
    let common = super::value::gcd(a, b);
    let near = |random: &mut Random, &(a, b): &(i64, i64)| match random.below(2) {
        0 if a != b => (b, a),
        _ => (a + b, b),
    };
    either(random, &(a / common, b / common), near, |random, &(a, b)| match random.below(4) {
        0 => Plain(format!("{a}:{b}")),
        1 => Math(format!("{} : {}", 3 * a, 3 * b)),
        2 => Plain(format!("{a} to {b}")),
        _ => Math(format!("{a}:{b}")),
    })
}

pub fn bases(random: &mut Random) -> Draft {
    let base = *random.pick(&[2, 3, 5, 7, 8]);
    let digits: String = (0..random.between(3, 7))
        .map(|i| char::from(b'0' + random.between(i64::from(i == 0), base - 1) as u8))
        .collect();
    let near = |random: &mut Random, (digits, base): &(String, i64)| match random.below(2) {
        0 => (digits.clone(), base + 1),
        _ => (format!("{digits}{}", random.between(0, base - 1)), *base),
    };
    either(random, &(digits, base), near, |random, (digits, base)| match random.below(3) {
        0 => Math(format!("{digits}_{{{base}}}")),
        1 => Plain(format!("{digits}_{base}")),
        _ => Math(format!("{digits}_{base}")),
    })
}
