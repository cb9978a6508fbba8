//! How long does it take to score 10,000 responses? Two thirds word problems with plain numbers, a third mathematics in LaTeX;
//! by modes `strict` and `octothinker`, on two threads.
//!
//! ```sh
//! cargo bench -p octo-eval --bench scoring
//! ```
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use octo_eval::{Catalogue, Item, Items, Response, Score, Task};
use serde_json::Map;
use std::hint::black_box;

const RESPONSES: usize = 10_000;

/// The gold answer of item i, and what its response says: right, or another's.
fn gold(task: &str, i: usize) -> (String, String) {
    let value = |i: usize| match (task, i % 4) {
        ("gsm8k", _) => (i * 37 % 5000).to_string(),
        (_, 0) => format!("\\frac{{{}}}{{{}}}", i % 19 + 1, i % 7 + 2),
        (_, 1) => format!("{}\\sqrt{{{}}}", i % 5 + 2, i % 11 + 2),
        (_, 2) => format!("({}, {})", i % 13, i % 17),
        _ => format!("x^2 + {}x - {}", i % 9 + 1, i % 23 + 1),
    };
    (value(i), value(if i.is_multiple_of(3) { i + 4 } else { i }))
}

fn part(name: &str, count: usize) -> (Task, Items, Vec<Vec<Response>>) {
    let task = Catalogue::default().tasks(&[name.to_owned()]).unwrap().remove(0);
    let mut items = Vec::new();
    let mut responses = Vec::new();
    for index in 0..count {
        let (gold, said) = gold(name, index);
        let steps: String =
            (0..index % 9 + 2).map(|s| format!("Then ${s}x + {index} = {}$ follows.\n", s * 7)).collect();
        let end = match name {
            "gsm8k" => format!("The answer is {said}."),
            _ => format!("Final Answer: The final answer is ${said}$. I hope it is correct."),
        };
        responses.push(vec![Response { text: steps + &end, tokens: None, finish: None }]);
        let (doc, question, choices) = (Map::new(), String::new(), Vec::new());
        let (id, prompt) = (index.to_string(), String::new());
        items.push(Item { index, id, doc, prompt, gold: vec![gold], question, choices });
    }
    let items =
        Items { found: count, items, file: String::new(), shots: 0, examples: None, own_examples: false };
    (task, items, responses)
}

fn scoring(c: &mut Criterion) {
    let parts = [part("gsm8k", RESPONSES * 2 / 3), part("math500", RESPONSES - RESPONSES * 2 / 3)];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let mut group = c.benchmark_group("eval");
    group.sample_size(10);
    group.bench_function("10000 responses, two modes, two threads", |b| {
        b.iter(|| {
            pool.install(|| {
                for (task, items, responses) in &parts {
                    black_box(Score::of(task, items, responses).unwrap());
                }
            });
        });
    });
    group.finish();
}

criterion_group!(benches, scoring);
criterion_main!(benches);
