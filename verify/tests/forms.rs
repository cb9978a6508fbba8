//! Pairs with known truth, one test a form.

use octo_verify::{Config, Verdict, verify};

fn check(equal: &[(&str, &str)], different: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (pairs, wanted) in [(equal, Verdict::Equal), (different, Verdict::NotEqual)] {
        for (gold, answer) in pairs {
            let outcome = verify(gold, answer, &Config::default());
            if outcome.verdict != wanted {
                wrong.push(format!(
                    "{gold:?} {answer:?}: {:?} ({}), not {wanted:?}",
                    outcome.verdict, outcome.why
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn integers_and_decimals() {
    check(
        &[
            ("42", "42"),
            ("42", "42.0"),
            ("1,234", "1234"),
            ("1 234", "1234"),
            ("1{,}234", "$1234$"),
            ("-7", "−7"),
            ("0.5", ".5"),
            ("1000000", "10^6"),
            ("$18", "18"),
            ("3.14", "3.14159"),
            ("0.\\overline{3}", "1/3"),
            ("5", "5 apples"),
            ("72", "\\text{72}"),
        ],
        &[
            ("42", "43"),
            ("42", "-42"),
            ("1,234", "234"),
            ("0.5", "0.48"),
            ("100000", "100009"),
            ("0.0004", "0.0009"),
            ("50", "0.5"),
        ],
    );
}

#[test]
fn fractions_and_mixed_numbers() {
    check(
        &[
            ("\\frac12", "1/2"),
            ("\\frac{1}{2}", "0.5"),
            ("\\dfrac{3}{4}", "\\frac{6}{8}"),
            ("1\\frac34", "7/4"),
            ("1 3/4", "1.75"),
            ("-\\frac{1}{3}", "\\frac{-1}{3}"),
            ("3½", "3.5"),
            ("2/3", "0.6666667"),
        ],
        &[("\\frac12", "1/3"), ("1/3", "0.33"), ("1\\frac34", "13/4"), ("7/3", "3/7")],
    );
}

#[test]
fn percent_units_and_degrees() {
    check(
        &[
            ("10\\%", "0.1"),
            ("10%", "10%"),
            ("5\\text{ cm}", "5"),
            ("30^\\circ", "30"),
            ("12 \\text{ m/s}", "12"),
            ("5 inches", "5\\text{ in}"),
            ("\\$32.50", "32.50"),
            ("16\\text{ cm}^2", "16"),
            ("\\sin 30^\\circ", "1/2"),
        ],
        &[("10\\%", "10"), ("5 cm", "5 km"), ("30^\\circ", "31")],
    );
}

#[test]
fn closed_forms() {
    check(
        &[
            ("2\\sqrt{3}", "\\sqrt{12}"),
            ("\\frac{\\sqrt2}{2}", "\\frac{1}{\\sqrt{2}}"),
            ("\\pi", "pi"),
            ("2\\pi", "6.283185307"),
            ("\\sqrt{2+\\sqrt3}", "\\frac{\\sqrt6+\\sqrt2}{2}"),
            ("\\sqrt[3]{2+\\sqrt5}+\\sqrt[3]{2-\\sqrt5}", "1"),
            ("\\ln 8", "3\\ln2"),
            ("\\log_2 8", "3"),
            ("e^2", "\\mathrm{e}^{2}"),
            ("8^{2/3}", "4"),
            ("5!", "120"),
            ("\\binom{5}{2}", "10"),
            ("3\\times10^5", "300000"),
            ("\\frac{1}{2004!}", "1/2004!"),
            ("2^{2005}\\cdot 2", "2^{2006}"),
            ("1+i", "i+1"),
            ("\\sqrt{-4}", "2i"),
            ("\\arctan 1", "\\frac{\\pi}{4}"),
            ("\\sin\\frac{\\pi}{6}", "0.5"),
            ("|-3|", "3"),
            ("\\cos^2 1+\\sin^2 1", "1"),
        ],
        &[
            ("2\\sqrt3", "\\sqrt{13}"),
            ("4", "4\\sqrt{2}"),
            ("\\frac{1}{2004!}", "\\frac{1}{2006!}"),
            ("\\frac{1}{2^{99}}", "\\frac{1}{2^{98}}"),
            ("\\frac{2^{2005}+1}{3\\cdot2^{2006}}", "\\frac{1}{3\\cdot2^{2006}}"),
            ("1-\\frac{1}{\\mathrm{e}}", "1+\\frac1{\\mathrm{e}}"),
            ("\\pi", "3"),
            ("1+e^{-100}", "1"),
            ("10^{10^{10}}", "10^{10^{11}}"),
        ],
    );
}

#[test]
fn expressions() {
    check(
        &[
            ("(x+1)^2", "x^2+2x+1"),
            ("\\frac{x^2-1}{x-1}", "x+1"),
            ("a+b", "b+a"),
            ("\\sec^2 x", "1+\\tan^2 x"),
            ("\\sqrt{\\frac1n}", "\\frac{1}{\\sqrt n}"),
            ("2^n\\cdot 2", "2^{n+1}"),
            ("\\sin 2x", "2\\sin x\\cos x"),
            ("x^{1/2}", "\\sqrt{x}"),
            ("\\frac{n(n+1)}{2}", "\\binom{n+1}{2}"),
            ("xy", "yx"),
        ],
        &[
            ("x+1", "x+2"),
            ("x", "y"),
            ("(x+1)^2", "x^2+1"),
            ("\\sqrt{x^2}", "x"),
            ("2^n", "3^n"),
            ("\\sin x", "\\cos x"),
        ],
    );
}

#[test]
fn tuples_sets_and_lists() {
    check(
        &[
            ("(1,2)", "(1, 2)"),
            ("\\left(\\frac12, -3\\right)", "(0.5,-3)"),
            ("\\{1,2\\}", "\\{2,1\\}"),
            ("1,2", "2, 1"),
            ("1 \\text{ and } 2", "\\{2,1\\}"),
            ("x=1 or x=2", "1, 2"),
            ("\\pm 2", "-2, 2"),
            ("2\\pm\\sqrt3", "2-\\sqrt3, 2+\\sqrt3"),
            ("(3,-1,2)", "(3,-1,2)"),
            ("x = 1, y = 2", "y=2, x=1"),
            ("{1,2}", "\\{1,2\\}"),
        ],
        &[
            ("(1,2)", "(2,1)"),
            ("\\{1,2\\}", "\\{1,3\\}"),
            ("1,2", "1,2,3"),
            ("(1,2)", "(1,2,3)"),
            ("\\pm 2", "2"),
            ("1,2,\\ldots,n", "1,3,5,\\ldots,2n-1"),
            ("x=1, y=2", "x=2, y=1"),
        ],
    );
}

#[test]
fn intervals_unions_and_inequalities() {
    check(
        &[
            ("[1,2)", "[1, 2)"),
            ("(-\\infty,3)", "x<3"),
            ("x\\ge 2", "[2,\\infty)"),
            ("1<x\\le3", "(1,3]"),
            ("(-\\infty,1)\\cup(2,\\infty)", "x<1 or x>2"),
            ("[0,1]\\cup[1,2]", "[0,2]"),
            ("x\\neq 1", "(-\\infty,1)\\cup(1,\\infty)"),
            ("\\mathbb{R}\\setminus\\{1\\}", "x \\ne 1"),
            ("2x<6", "x<3"),
            ("-x<3", "x>-3"),
            ("x\\in[1,2]", "[1,2]"),
            ("\\{x : x > 2\\}", "(2,\\infty)"),
            ("(0,1)", "0<x<1"),
            ("3 > x", "x < 3"),
        ],
        &[
            ("[1,2)", "[1,2]"),
            ("(1,3)", "x<3"),
            ("x>2", "x\\ge2"),
            ("(-\\infty,1)\\cup(2,\\infty)", "(1,2)"),
            ("x<3", "x>3"),
        ],
    );
}

#[test]
fn equations() {
    check(
        &[
            ("x=5", "5"),
            ("5", "x=5"),
            ("y=2x+1", "2x-y+1=0"),
            ("2x+4y-3=0", "y=-\\frac{x}{2}+\\frac34"),
            ("x^2+y^2=4", "y^2=4-x^2"),
            ("f(x)=x^2", "x^2"),
            ("a=b+c", "b+c=a"),
        ],
        &[("x=5", "y=5"), ("3x-y+13=0", "3x+4y+14=0"), ("y=2x", "y=3x"), ("x=5", "x=6")],
    );
}

#[test]
fn matrices_ratios_and_words() {
    check(
        &[
            ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{bmatrix}1 & 2 \\\\ 3 & 4\\end{bmatrix}"),
            ("7:32", "7 : 32"),
            ("7:32", "14:64"),
            ("12:00", "12:00"),
            ("\\text{Evelyn}", "evelyn"),
            ("B", "(B)"),
            ("\\text{(A)}", "A"),
            ("yes", "Yes."),
            ("1011_2", "1011_{2}"),
            ("\\text{Monday}", "Monday"),
        ],
        &[
            ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}2\\\\1\\end{pmatrix}"),
            ("1:2:3", "1:4:9"),
            ("12:00", "1:00"),
            ("yes", "no"),
            ("A", "B"),
        ],
    );
}

#[test]
fn answers_are_found_in_responses() {
    check(
        &[
            ("18", "She makes 9 * 2 = $18 a day. The answer is 18."),
            ("\\frac12", "Thus $x = \\frac{1}{2}$."),
            ("5", "…so the final answer is $\\boxed{5}$."),
            ("3", "#### 3"),
            ("(1,2)", "Hence the point is $\\boxed{(1, 2)}$, as claimed."),
        ],
        &[("18", "The answer is 19."), ("5", "\\boxed{6} (not 5)")],
    );
}

#[test]
fn nothing_hangs_and_nothing_is_expanded() {
    for text in [
        "5^{5^{5^{5^5}}}",
        "9^{9^{9^9}}!",
        "((((((((((x+1)^{99})^{99})^{99})^{99}",
        "100000000!",
        "\\sqrt[99999]{2}",
        "2^{99999999999999999999}",
    ] {
        let outcome = verify("1", text, &Config::default());
        assert_ne!(outcome.verdict, Verdict::Equal, "{text}");
    }
    assert_eq!(verify("1", &"(".repeat(3000), &Config::default()).verdict, Verdict::Unparsed);
}
