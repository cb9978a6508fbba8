//! Inputs that mean harm: towers, depth, length, what never closes.

/// Each of them, at most a megabyte long.
pub fn hostile() -> Vec<String> {
    let mut list: Vec<String> = [
        "5^{5^{5^{5^5}}}",
        "9^{9^{9^9}}!",
        "((((((((((x+1)^{99})^{99})^{99})^{99})^{99})^{99})^{99})^{99})^{99})",
        "100000000!",
        "20000! + 19999! + 19998! + 19997! + 19996!",
        "\\binom{20000}{9999}",
        "\\sqrt[99999]{2}",
        "2^{99999999999999999999}",
        "\\sin(10^{400})",
        "e^{e^{e^{e^e}}}",
        "0.000000000000000000000000000000001^{-4000}",
        "1e400",
        "1e99999999999",
        "(x+y+z+w)^{4000}",
        "x^{x^{x^{x^x}}}",
        "\\frac{1}{1-\\frac{1}{1-\\frac{1}{1-\\frac{1}{1-x}}}}",
        "\\log_{1.0000001} 99999999",
        "1,\u{feff}2\u{202e}3",
        "\u{1d7d8}\u{0661}½⅓²³∞√−×",
    ]
    .map(String::from)
    .to_vec();
    for (unit, times) in [
        ("{", 4000),
        ("(", 4000),
        ("\\frac{1}{1+", 300),
        ("\\sqrt{2+", 400),
        ("\\sqrt{2+", 62),
        ("|", 4000),
        ("-", 4000),
        ("1,", 2000),
        ("x+", 2000),
        ("\\sin ", 800),
        ("\\{1,2\\}\\cup", 300),
        ("x<1 or ", 500),
        ("2^", 2000),
        ("x!", 2000),
        ("\\pm 1", 800),
        ("\\begin{pmatrix}", 250),
        ("1&", 2000),
        ("\\boxed{", 140_000),
        ("\\boxed{1} ", 100_000),
        ("$", 1_000_000),
        ("answer is ", 100_000),
        ("</think>", 125_000),
        ("\\left(", 160_000),
        ("\\(", 400_000),
        ("\\[ ", 300_000),
        ("$x ", 300_000),
        ("é", 500_000),
        ("\\text{", 160_000),
        ("final answer is 1. ", 50_000),
    ] {
        list.push(unit.repeat(times));
        let closed: String = unit
            .chars()
            .rev()
            .filter_map(|c| match c {
                '{' => Some('}'),
                '(' => Some(')'),
                _ => None,
            })
            .collect();
        list.push(format!("{}2{}", unit.repeat(times.min(2000)), closed.repeat(times.min(2000))));
    }
    // Sums, products and sets in which every element has to be looked at.
    list.push((1..300).map(|n| format!("\\sqrt{{{n}}}")).collect::<Vec<_>>().join("+"));
    list.push((1..64).map(|n| format!("\\sin({n}x)")).collect::<Vec<_>>().join(","));
    list.push(format!("({})^{{200}}", (1..100).map(|n| format!("x_{{{n}}}")).collect::<Vec<_>>().join("+")));
    list
}
