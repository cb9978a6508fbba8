//! From `[data]` and `[[validation]]` to what is read.

use std::collections::{BTreeMap, BTreeSet};

use crate::build::{check_name, own_name};
use crate::error::RecipeError;
use crate::recipe::{Data, Generator, OnNonFinite, Origin, Source, Validation};
use crate::section::Section;

/// Sources by name; `None` for one with a mistake in it, which has been reported.
pub(crate) type Sources = BTreeMap<String, Option<Source>>;

/// Reads `[data]` without its sources.
pub(crate) fn data(table: &Section) -> Option<Data> {
    let skip_steps = table.ranges("skip_steps");
    let skips = table.choice("on_nonfinite", |name| match name {
        "stop" => Some(false),
        "skip" => Some(true),
        _ => None,
    });
    let most = table.count("max_skips");
    let on_nonfinite = match (skips?.value, table.has("max_skips")) {
        (false, false) => OnNonFinite::Stop,
        (true, true) => OnNonFinite::Skip { at_most: most?.value },
        (true, false) => {
            let error = RecipeError::Missing {
                key: table.shown("max_skips"),
                expected: "a count of at least 1".to_owned(),
                doc: "How many steps may be skipped before the run stops all the same.",
            };
            table.reading.report(table.spot_of("on_nonfinite"), error);
            return None;
        }
        (false, true) => {
            let reason = "means nothing where on_nonfinite is \"stop\"";
            let advice = "remove it or write on_nonfinite = \"skip\"";
            table.reading.object(table.spot_of("max_skips"), &table.shown("max_skips"), reason, advice);
            return None;
        }
    };
    Some(Data { skip_steps: skip_steps?.value, on_nonfinite })
}

/// Reads `[data.sources]`. What is not `used` need not exist.
pub(crate) fn sources(named: &[(String, Section)], used: &BTreeSet<String>) -> Sources {
    let read = |(name, table): &(String, Section)| {
        check_name(table, table.spot, &table.shown(""), name);
        let restart = table.flag("restart");
        let source = source(table, name.clone(), used.contains(name));
        let source = source.and_then(|source| Some(Source { restart: restart?.value, ..source }));
        (name.clone(), source)
    };
    named.iter().map(read).collect()
}

/// The rows of a source or a validation set.
fn source(table: &Section, name: String, is_used: bool) -> Option<Source> {
    let origin = match table.one_of("path") {
        Some("path") => table.path_if("path", is_used).map(|path| Origin::Path(path.value)),
        Some(_) => table.table_if_present("generated").and_then(|generated| {
            let kind = generated.choice("kind", Generator::from_name);
            let rows = generated.count("rows");
            let seed = generated.count("seed");
            Some(Origin::Generated { kind: kind?.value, rows: rows?.value, seed: seed?.value })
        }),
        None => None,
    };
    let text = table.text("text");
    let filter = table.text("where");
    let add_eos = table.flag("add_eos");
    let add_bos = table.flag("add_bos");
    Some(Source {
        name,
        origin: origin?,
        text: text?.value,
        filter: filter.map(|filter| filter.value),
        add_eos: add_eos?.value,
        add_bos: add_bos.map(|add_bos| add_bos.value),
        restart: false,
    })
}

/// Reads `[[validation]]`.
pub(crate) fn validations(root: &Section, sources: &Sources) -> Option<Vec<Validation>> {
    let mut seen = Vec::new();
    let mut validations = Vec::new();
    for table in root.tables("validation") {
        let name = own_name(&table, &mut seen, "validation set");
        let held_out = source(&table, name.unwrap_or_default(), true);
        if let Some(held_out) = &held_out {
            is_held_out(&table, held_out, sources);
        }
        let every_steps = table.count("every_steps");
        let max_tokens = table.count("max_tokens");
        validations.push((|| {
            Some(Validation {
                source: held_out.filter(|source| !source.name.is_empty())?,
                every_steps: every_steps?.value,
                max_tokens: max_tokens.map(|tokens| tokens.value),
            })
        })());
    }
    validations.into_iter().collect()
}

/// Generated rows are held out only where their seed is not that of a source.
fn is_held_out(table: &Section, held_out: &Source, sources: &Sources) {
    let Origin::Generated { kind, seed, .. } = held_out.origin else { return };
    let same = sources.values().flatten().find(|source| match source.origin {
        Origin::Generated { kind: other, seed: other_seed, .. } => (other, other_seed) == (kind, seed),
        Origin::Path(_) => false,
    });
    if let Some(same) = same {
        let reason = format!("makes the rows of the source `{}`: both have seed {seed}", same.name);
        let spot = table.spot_of("generated");
        table.reading.object(spot, &table.shown("generated"), reason, "give it another seed");
    }
}
