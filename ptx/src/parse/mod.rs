//! Stub.
#[derive(Debug, thiserror::Error)]
#[error("stub")]
/// S.
pub struct ParseError;
/// S.
pub fn parse(_t: &str) -> Result<crate::Module, ParseError> {
    Err(ParseError)
}
