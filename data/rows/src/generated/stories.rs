//! The stories of the word problems.
//!
//! Each draws its numbers so that every result is a small whole number of at least 2, which keeps plurals
//! right, and works the problem out in sentences with one step each.

use super::draw::Draw;

/// A problem, and what it is with names and things aside: the numbers of its question, in order.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub question: String,
    pub answer: String,
    pub key: Vec<u64>,
}

type Story = fn(&mut Draw) -> Problem;

/// All stories; the place of one in this list is part of what decides its problems' split.
pub(super) const STORIES: [Story; 18] = [
    more,
    fewer,
    boxes,
    shared,
    gained_and_lost,
    loose_and_bags,
    broken,
    change,
    divided_and_eaten,
    together,
    times_as_many,
    bus,
    two_shelves,
    book,
    savings,
    bakery,
    market,
    difference,
];

const SHE: [&str; 6] = ["Anna", "Mia", "Lucy", "Nora", "Ruth", "Emma"];
const HE: [&str; 6] = ["Tom", "Ben", "Sam", "Max", "Leo", "Jack"];
const THINGS: [&str; 12] = [
    "apples", "marbles", "pencils", "stickers", "books", "coins", "shells", "cards", "stamps", "stones",
    "buttons", "beads",
];

struct Person {
    name: &'static str,
    pronoun: &'static str,
}

fn person(draw: &mut Draw) -> Person {
    if draw.below(2) == 0 {
        Person { name: draw.pick(&SHE), pronoun: "She" }
    } else {
        Person { name: draw.pick(&HE), pronoun: "He" }
    }
}

fn two_names(draw: &mut Draw) -> (&'static str, &'static str) {
    let all: Vec<&str> = SHE.iter().chain(&HE).copied().collect();
    draw.pick_two(&all)
}

fn problem(key: &[u64], question: String, steps: &[String], result: u64) -> Problem {
    Problem { question, answer: format!("{} The answer is {result}.", steps.join(" ")), key: key.to_vec() }
}

fn more(draw: &mut Draw) -> Problem {
    let (Person { name, pronoun }, things) = (person(draw), draw.pick(&THINGS));
    let (a, b) = (draw.number(3, 30), draw.number(2, 20));
    let verb = draw.pick(&["buys", "finds", "gets"]);
    let c = a + b;
    problem(
        &[a, b],
        format!(
            "{name} has {a} {things}. {pronoun} {verb} {b} more. How many {things} does {name} have now?"
        ),
        &[format!(
            "{name} {verb} {b} more, so {pronoun_l} has {a} + {b} = {c} {things}.",
            pronoun_l = lower(pronoun)
        )],
        c,
    )
}

fn fewer(draw: &mut Draw) -> Problem {
    let (Person { name, pronoun }, things) = (person(draw), draw.pick(&THINGS));
    let (b, c) = (draw.number(2, 15), draw.number(2, 20));
    let verb = draw.pick(&["loses", "sells", "gives away"]);
    let a = b + c;
    problem(
        &[a, b],
        format!("{name} has {a} {things}. {pronoun} {verb} {b} of them. How many {things} are left?"),
        &[format!("{name} {verb} {b}, so there are {a} - {b} = {c} {things} left.")],
        c,
    )
}

fn boxes(draw: &mut Draw) -> Problem {
    let (container, things) = (draw.pick(&["boxes", "bags", "jars"]), draw.pick(&THINGS));
    let (a, b) = (draw.number(2, 9), draw.number(2, 12));
    let c = a * b;
    problem(
        &[a, b],
        format!("There are {a} {container} with {b} {things} in each. How many {things} are there in all?"),
        &[format!("The {container} hold {a} * {b} = {c} {things} in all.")],
        c,
    )
}

fn shared(draw: &mut Draw) -> Problem {
    let (Person { name, .. }, things) = (person(draw), draw.pick(&THINGS));
    let (b, c) = (draw.number(2, 9), draw.number(2, 10));
    let a = b * c;
    problem(
        &[a, b],
        format!(
            "{name} shares {a} {things} equally among {b} friends. How many {things} does each friend get?"
        ),
        &[format!("Each of the friends gets {a} / {b} = {c} {things}.")],
        c,
    )
}

fn gained_and_lost(draw: &mut Draw) -> Problem {
    let (Person { name, pronoun }, things) = (person(draw), draw.pick(&THINGS));
    let (a, b) = (draw.number(3, 20), draw.number(2, 15));
    let c = draw.number(2, (a + b - 2).min(15));
    let (d, e) = (a + b, a + b - c);
    problem(
        &[a, b, c],
        format!(
            "{name} has {a} {things}. {pronoun} finds {b} more and then gives away {c}. \
             How many {things} does {name} have now?"
        ),
        &[
            format!("After finding more, {name} has {a} + {b} = {d} {things}."),
            format!("After giving some away, {name} has {d} - {c} = {e} {things}."),
        ],
        e,
    )
}

fn loose_and_bags(draw: &mut Draw) -> Problem {
    let (Person { name, pronoun }, things) = (person(draw), draw.pick(&THINGS));
    let (a, b, c) = (draw.number(3, 20), draw.number(2, 6), draw.number(2, 9));
    let d = b * c;
    let e = a + d;
    problem(
        &[a, b, c],
        format!(
            "{name} has {a} {things}. {pronoun} buys {b} bags with {c} {things} in each. \
             How many {things} does {name} have now?"
        ),
        &[
            format!("The bags hold {b} * {c} = {d} {things}."),
            format!("Together that makes {a} + {d} = {e} {things}."),
        ],
        e,
    )
}

fn broken(draw: &mut Draw) -> Problem {
    let (things, verb) =
        draw.pick(&[("eggs", "break"), ("cups", "break"), ("pears", "go bad"), ("plums", "go bad")]);
    let (a, b) = (draw.number(2, 8), draw.number(3, 10));
    let d = a * b;
    let c = draw.number(2, (d - 2).min(12));
    let e = d - c;
    problem(
        &[a, b, c],
        format!(
            "A shop gets {a} boxes with {b} {things} in each. Then {c} of the {things} {verb}. \
             How many good {things} are left?"
        ),
        &[
            format!("The shop gets {a} * {b} = {d} {things}."),
            format!("After some {verb}, there are {d} - {c} = {e} good {things} left."),
        ],
        e,
    )
}

fn change(draw: &mut Draw) -> Problem {
    let (Person { name, pronoun }, things) = (person(draw), draw.pick(&["pens", "cakes", "toys", "hats"]));
    let (a, b, e) = (draw.number(2, 6), draw.number(2, 9), draw.number(2, 15));
    let d = a * b;
    let c = d + e;
    problem(
        &[a, b, c],
        format!(
            "{name} buys {a} {things} for {b} dollars each. {pronoun} pays with {c} dollars. \
             How many dollars does {name} get back?"
        ),
        &[
            format!("The {things} cost {a} * {b} = {d} dollars."),
            format!("{name} gets back {c} - {d} = {e} dollars."),
        ],
        e,
    )
}

fn divided_and_eaten(draw: &mut Draw) -> Problem {
    let (Person { name, pronoun }, things) =
        (person(draw), draw.pick(&["cookies", "grapes", "nuts", "sweets"]));
    let (b, d) = (draw.number(2, 6), draw.number(4, 12));
    let a = b * d;
    let c = draw.number(2, d - 2);
    let e = d - c;
    problem(
        &[a, b, c],
        format!(
            "{name} puts {a} {things} equally into {b} bowls. {pronoun} eats {c} {things} from the first bowl. \
             How many {things} are left in the first bowl?"
        ),
        &[
            format!("Each bowl holds {a} / {b} = {d} {things}."),
            format!("In the first bowl there are {d} - {c} = {e} {things} left."),
        ],
        e,
    )
}

fn together(draw: &mut Draw) -> Problem {
    let ((first, second), things) = (two_names(draw), draw.pick(&THINGS));
    let (a, b) = (draw.number(3, 20), draw.number(2, 12));
    let c = a + b;
    let d = a + c;
    problem(
        &[a, b],
        format!(
            "{first} has {a} {things}. {second} has {b} more {things} than {first}. \
             How many {things} do they have together?"
        ),
        &[
            format!("{second} has {a} + {b} = {c} {things}."),
            format!("Together they have {a} + {c} = {d} {things}."),
        ],
        d,
    )
}

fn times_as_many(draw: &mut Draw) -> Problem {
    let ((first, second), things) = (two_names(draw), draw.pick(&THINGS));
    let (a, b) = (draw.number(2, 12), draw.number(2, 5));
    let c = a * b;
    let d = a + c;
    problem(
        &[a, b],
        format!(
            "{first} has {a} {things}. {second} has {b} times as many {things} as {first}. \
             How many {things} do they have together?"
        ),
        &[
            format!("{second} has {a} * {b} = {c} {things}."),
            format!("Together they have {a} + {c} = {d} {things}."),
        ],
        d,
    )
}

fn bus(draw: &mut Draw) -> Problem {
    let (vehicle, b) = (draw.pick(&["bus", "train", "ship"]), draw.number(2, 12));
    let (d, c) = (draw.number(2, 18), draw.number(2, 15));
    let a = b + d;
    let e = d + c;
    problem(
        &[a, b, c],
        format!(
            "There are {a} people on a {vehicle}. At the first stop {b} people get off and {c} people get on. \
             How many people are on the {vehicle} now?"
        ),
        &[
            format!("After some get off, there are {a} - {b} = {d} people."),
            format!("After others get on, there are {d} + {c} = {e} people."),
        ],
        e,
    )
}

fn two_shelves(draw: &mut Draw) -> Problem {
    let (place, things) =
        draw.pick(&[("library", "books"), ("shop", "toys"), ("museum", "vases"), ("kitchen", "plates")]);
    let (a, b, c, d) = (draw.number(2, 5), draw.number(2, 9), draw.number(2, 5), draw.number(2, 9));
    let (e, f) = (a * b, c * d);
    let g = e + f;
    problem(
        &[a, b, c, d],
        format!(
            "A {place} has {a} large shelves with {b} {things} each and {c} small shelves with {d} {things} each. \
             How many {things} are there in all?"
        ),
        &[
            format!("The large shelves hold {a} * {b} = {e} {things}."),
            format!("The small shelves hold {c} * {d} = {f} {things}."),
            format!("In all there are {e} + {f} = {g} {things}."),
        ],
        g,
    )
}

fn book(draw: &mut Draw) -> Problem {
    let Person { name, pronoun } = person(draw);
    let (b, c, e) = (draw.number(3, 12), draw.number(2, 7), draw.number(2, 20));
    let d = b * c;
    let a = d + e;
    problem(
        &[a, b, c],
        format!(
            "{name} reads a book with {a} pages. {pronoun} reads {b} pages a day for {c} days. \
             How many pages are left?"
        ),
        &[format!("{name} reads {b} * {c} = {d} pages."), format!("There are {a} - {d} = {e} pages left.")],
        e,
    )
}

fn savings(draw: &mut Draw) -> Problem {
    let (Person { name, pronoun }, thing) = (person(draw), draw.pick(&["game", "ball", "lamp", "kite"]));
    let (a, b) = (draw.number(3, 9), draw.number(2, 6));
    let e = a * b;
    let (c, d) = (draw.number(2, (e - 2).min(12)), draw.number(2, 10));
    let f = e - c;
    let g = f + d;
    problem(
        &[a, b, c, d],
        format!(
            "{name} earns {a} dollars a day for {b} days. {pronoun} spends {c} dollars on a {thing} and then \
             gets {d} dollars as a gift. How many dollars does {name} have now?"
        ),
        &[
            format!("{name} earns {a} * {b} = {e} dollars."),
            format!("After buying the {thing}, {name} has {e} - {c} = {f} dollars."),
            format!("With the gift, {name} has {f} + {d} = {g} dollars."),
        ],
        g,
    )
}

fn bakery(draw: &mut Draw) -> Problem {
    let (Person { name, pronoun }, things) =
        (person(draw), draw.pick(&["cookies", "rolls", "muffins", "buns"]));
    let (a, b, d) = (draw.number(2, 6), draw.number(3, 9), draw.number(2, 5));
    let e = a * b;
    // What is left over must divide evenly, and something must be eaten.
    let most = (e - 2) / d;
    let g = draw.number(most.saturating_sub(3).max(1), most.max(1));
    let f = g * d;
    let c = e - f;
    if c > 12 || g < 2 {
        return bakery(draw);
    }
    problem(
        &[a, b, c, d],
        format!(
            "{name} bakes {a} trays with {b} {things} each. {pronoun} eats {c} {things} and shares the rest \
             equally among {d} friends. How many {things} does each friend get?"
        ),
        &[
            format!("{name} bakes {a} * {b} = {e} {things}."),
            format!("After eating some, there are {e} - {c} = {f} {things}."),
            format!("Each friend gets {f} / {d} = {g} {things}."),
        ],
        g,
    )
}

fn market(draw: &mut Draw) -> Problem {
    let (Person { name, pronoun }, things) =
        (person(draw), draw.pick(&["carrots", "lemons", "onions", "roses"]));
    let (b, d, c) = (draw.number(2, 6), draw.number(2, 9), draw.number(2, 6));
    let a = b * d;
    let e = d * c;
    problem(
        &[a, b, c],
        format!(
            "{name} has {a} {things} and packs {b} into each bag. {pronoun} sells every bag for {c} dollars. \
             How many dollars does {name} get?"
        ),
        &[format!("{name} packs {a} / {b} = {d} bags."), format!("{name} gets {d} * {c} = {e} dollars.")],
        e,
    )
}

fn difference(draw: &mut Draw) -> Problem {
    let ((first, second), things) =
        (two_names(draw), draw.pick(&["apples", "cherries", "flowers", "berries"]));
    let (b, c) = (draw.number(2, 20), draw.number(2, 15));
    let a = b + c;
    problem(
        &[a, b],
        format!(
            "{first} picks {a} {things}. {second} picks {b} {things}. How many more {things} does {first} pick?"
        ),
        &[format!("{first} picks {a} - {b} = {c} more {things}.")],
        c,
    )
}

fn lower(pronoun: &str) -> String {
    pronoun.to_ascii_lowercase()
}
