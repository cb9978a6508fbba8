//! Which figures a panel shows.

/// One panel: a field of `metrics.jsonl`, or a family of fields that share a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    name: String,
    field: Field,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Exactly(String),
    /// Every field that begins so, each a line of its own.
    Family(String),
}

/// A metric with a short name of its own.
struct Known {
    name: &'static str,
    field: &'static str,
    title: &'static str,
    /// Whether single steps scatter so that a mean over many says more.
    noisy: bool,
}

const KNOWN: [Known; 11] = [
    Known { name: "loss", field: "lm_loss", title: "loss", noisy: true },
    Known { name: "held_out", field: "val_loss/*", title: "held-out loss", noisy: false },
    Known { name: "lr", field: "lr", title: "learning rate", noisy: false },
    Known { name: "grad_norm", field: "grad_norm", title: "gradient norm", noisy: true },
    Known { name: "tokens_per_sec", field: "tokens_per_sec", title: "tokens/s", noisy: true },
    Known { name: "accuracy", field: "val/test_score/*", title: "held-out score", noisy: false },
    Known {
        name: "correct_length",
        field: "val_response_length/test_length_correct/*",
        title: "tokens of right answers",
        noisy: false,
    },
    Known { name: "score", field: "critic/score/mean", title: "score", noisy: true },
    Known { name: "entropy", field: "actor/entropy", title: "entropy", noisy: true },
    Known { name: "length", field: "response_length/mean", title: "response length", noisy: true },
    // Where a schedule switches, this steps up.
    Known { name: "length_cap", field: "response_length/cap", title: "longest response", noisy: false },
];

impl Metric {
    /// What a name means: one of those of [`Metric::usual`]; else the name of a field, or `prefix/*` for all fields that
    /// begin so.
    #[must_use]
    pub fn named(name: &str) -> Metric {
        let field = KNOWN.iter().find(|k| k.name == name).map_or(name, |k| k.field);
        let field = match field.strip_suffix('*') {
            Some(prefix) if prefix.ends_with('/') => Field::Family(prefix.to_owned()),
            _ => Field::Exactly(field.to_owned()),
        };
        Metric { name: name.to_owned(), field }
    }

    /// Of training `loss`, `held_out`, `lr`, `grad_norm` and `tokens_per_sec`; of RL runs `accuracy`, `correct_length`,
    /// `score`, `entropy`, `length` and `length_cap`.
    #[must_use]
    pub fn usual() -> Vec<Metric> {
        KNOWN.iter().map(|k| Metric::named(k.name)).collect()
    }

    /// The name it was asked for by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn title(&self) -> &str {
        self.known().map_or(&self.name, |k| k.title)
    }

    pub(crate) fn noisy(&self) -> bool {
        self.known().is_none_or(|k| k.noisy)
    }

    /// Which line of the panel a field is: empty for the only one, the rest of the name in a family.
    pub(crate) fn line_of<'f>(&self, field: &'f str) -> Option<&'f str> {
        match &self.field {
            Field::Exactly(name) => (name == field).then_some(""),
            Field::Family(prefix) => field.strip_prefix(prefix.as_str()),
        }
    }

    fn known(&self) -> Option<&'static Known> {
        KNOWN.iter().find(|k| k.name == self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_fields_and_families_are_told_apart() {
        assert_eq!(Metric::named("loss").line_of("lm_loss"), Some(""));
        assert_eq!(Metric::named("loss").line_of("lm_loss/gsm8k"), None);
        assert_eq!(Metric::named("held_out").line_of("val_loss/math"), Some("math"));
        assert_eq!(Metric::named("lm_loss/*").line_of("lm_loss/gsm8k"), Some("gsm8k"));
        assert_eq!(Metric::named("critic/score/mean").line_of("critic/score/mean"), Some(""));
        assert_eq!(Metric::named("accuracy").line_of("val/test_score/math"), Some("math"));
        assert_eq!(Metric::named("mfu").title(), "mfu");
    }
}
