//! The `octo-engine` command.
fn main() {}
