//! Recipes: TOML with spans, defaults, suggestions.
