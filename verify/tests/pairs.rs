//! Verdicts against generated pairs with known truth.

#[path = "../examples/pairs/generator/mod.rs"]
mod generator;

use octo_verify::{Config, Verdict, verify};
use std::collections::BTreeMap;

/// Pairs tested; forms take turns, so that each has about two hundred.
const PAIRS: u64 = 7_000;

#[test]
fn strict_says_the_truth_on_every_form() {
    let mut wrong: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for pair in generator::pairs(PAIRS, 7) {
        let outcome = verify(&pair.gold, &pair.answer, &Config::default());
        if (outcome.verdict == Verdict::Equal) != pair.equal {
            wrong.entry(pair.form).or_default().push(format!(
                "{:?} {:?}: {:?} of {:?} ({}), but truth is {}",
                pair.gold, pair.answer, outcome.verdict, outcome.answer, outcome.why, pair.equal
            ));
        }
    }
    let report: String = wrong
        .iter()
        .map(|(form, list)| {
            format!("{form}: {} wrong\n  {}\n", list.len(), list[..list.len().min(4)].join("\n  "))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{report}");
}

#[test]
fn a_pair_depends_on_its_number_and_the_seed_alone() {
    let few: Vec<_> = generator::pairs(70, 3).map(|p| (p.gold, p.answer)).collect();
    let more: Vec<_> = generator::pairs(140, 3).map(|p| (p.gold, p.answer)).collect();
    assert_eq!(few, more[..70]);
    let other: Vec<_> = generator::pairs(70, 4).map(|p| (p.gold, p.answer)).collect();
    assert_ne!(few, other);
}

#[test]
fn equal_and_unequal_pairs_are_balanced() {
    let equal = generator::pairs(7_000, 1).filter(|pair| pair.equal).count();
    assert!((3_000..4_000).contains(&equal), "{equal}");
}
