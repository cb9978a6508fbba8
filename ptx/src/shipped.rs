//! Begun.
/// A PTX module.
pub struct Shipped { /// Its file's stem.
 pub name: &'static str, /// Its text.
 pub text: &'static str }
/// Modules.
pub static SM_80: &[Shipped] = &[];
