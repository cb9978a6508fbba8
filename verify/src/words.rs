//! Words that mean something: functions, separators, units.

/// Functions written as words, in LaTeX or not.
const FUNCTIONS: [&str; 30] = [
    "sqrt", "cbrt", "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "asin", "acos",
    "atan", "sinh", "cosh", "tanh", "log", "ln", "lg", "exp", "abs", "floor", "ceil", "max", "min", "gcd",
    "lcm", "det", "mod",
];

/// Words that separate answers.
const SEPARATORS: [&str; 2] = ["and", "or"];

/// Units and counted things that may stand behind a number. Two known units of one kind that differ make answers differ.
const UNITS: [(&str, &str); 74] = [
    ("cm", "cm"),
    ("centimeter", "cm"),
    ("centimeters", "cm"),
    ("centimetre", "cm"),
    ("centimetres", "cm"),
    ("mm", "mm"),
    ("millimeters", "mm"),
    ("km", "km"),
    ("kilometers", "km"),
    ("kilometer", "km"),
    ("meter", "m"),
    ("meters", "m"),
    ("metre", "m"),
    ("metres", "m"),
    ("inch", "in"),
    ("inches", "in"),
    ("foot", "ft"),
    ("feet", "ft"),
    ("ft", "ft"),
    ("yard", "yd"),
    ("yards", "yd"),
    ("mile", "mi"),
    ("miles", "mi"),
    ("mph", "mph"),
    ("kmh", "km/h"),
    ("second", "s"),
    ("seconds", "s"),
    ("sec", "s"),
    ("secs", "s"),
    ("minute", "min"),
    ("minutes", "min"),
    ("mins", "min"),
    ("hour", "h"),
    ("hours", "h"),
    ("hr", "h"),
    ("hrs", "h"),
    ("day", "day"),
    ("days", "day"),
    ("week", "week"),
    ("weeks", "week"),
    ("month", "month"),
    ("months", "month"),
    ("year", "year"),
    ("years", "year"),
    ("yr", "year"),
    ("cent", "cent"),
    ("cents", "cent"),
    ("dollar", "dollar"),
    ("dollars", "dollar"),
    ("usd", "dollar"),
    ("euro", "euro"),
    ("euros", "euro"),
    ("pound", "lb"),
    ("pounds", "lb"),
    ("lb", "lb"),
    ("lbs", "lb"),
    ("ounce", "oz"),
    ("ounces", "oz"),
    ("oz", "oz"),
    ("gram", "g"),
    ("grams", "g"),
    ("kg", "kg"),
    ("kilograms", "kg"),
    ("kilogram", "kg"),
    ("liter", "l"),
    ("liters", "l"),
    ("litre", "l"),
    ("litres", "l"),
    ("ml", "ml"),
    ("gallon", "gal"),
    ("gallons", "gal"),
    ("quart", "qt"),
    ("quarts", "qt"),
    ("joules", "J"),
];

/// Whether a word is a function.
pub(crate) fn function(word: &str) -> bool {
    FUNCTIONS.contains(&word)
}

/// Whether a word separates answers.
pub(crate) fn separator(word: &str) -> bool {
    SEPARATORS.contains(&word)
}

/// The unit that a word names.
pub(crate) fn unit(word: &str) -> Option<&'static str> {
    UNITS.iter().find(|(name, _)| *name == word).map(|(_, unit)| *unit)
}

/// The power of ten that a word names.
pub(crate) fn magnitude(word: &str) -> Option<usize> {
    Some(match word {
        "hundred" => 2,
        "thousand" => 3,
        "million" => 6,
        "billion" => 9,
        "trillion" => 12,
        _ => return None,
    })
}

/// Whether a short run of letters is a word, not letters that are multiplied.
pub(crate) fn known(word: &str) -> bool {
    function(word)
        || separator(word)
        || unit(word).is_some()
        || matches!(
            word,
            "pi" | "yes"
                | "no"
                | "none"
                | "true"
                | "false"
                | "per"
                | "the"
                | "of"
                | "is"
                | "sq"
                | "odd"
                | "all"
                | "not"
                | "to"
        )
}
