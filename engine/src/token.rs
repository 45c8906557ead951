//! Tokens that clients must send, out of the files that the configuration names.

use std::path::Path;

use anyhow::Context;
use receivers::Token;

/// The token of a file, if one is named; `key` is where.
pub(crate) fn read(key: &str, path: Option<&Path>) -> anyhow::Result<Option<Token>> {
    let Some(path) = path else { return Ok(None) };
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("{key}: cannot read {shown}"))?;
    let token = Token::new(&text);
    Ok(Some(token.with_context(|| format!("{key}: {shown} is empty; write a token into it"))?))
}
