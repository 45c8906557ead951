//! Strings as small numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A string in [`Symbols`].
pub type Symbol = u32;

/// What every string past the limit becomes.
pub const OVERFLOW: Symbol = 0;

/// Interns strings; past `limit` all new ones share [`OVERFLOW`], so that memory stays bounded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Symbols {
    names: Vec<String>,
    index: BTreeMap<String, Symbol>,
    limit: usize,
}

impl Symbols {
    pub fn new(limit: usize) -> Self {
        let overflow = String::from("(other)");
        Self {
            names: vec![overflow.clone()],
            index: BTreeMap::from([(overflow, OVERFLOW)]),
            limit: limit.max(1),
        }
    }

    /// What is known stays known.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
    }

    pub fn intern(&mut self, name: &str) -> Symbol {
        if let Some(&symbol) = self.index.get(name) {
            return symbol;
        }
        if self.names.len() >= self.limit {
            return OVERFLOW;
        }
        let symbol = Symbol::try_from(self.names.len()).unwrap_or(OVERFLOW);
        self.names.push(name.to_owned());
        self.index.insert(name.to_owned(), symbol);
        symbol
    }

    pub fn find(&self, name: &str) -> Option<Symbol> {
        self.index.get(name).copied()
    }

    pub fn name(&self, symbol: Symbol) -> &str {
        self.names.get(symbol as usize).map_or("(other)", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_limit_strings_share_one_symbol() {
        let mut symbols = Symbols::new(2);
        let first = symbols.intern("a");
        assert_eq!(symbols.name(first), "a");
        assert_eq!(symbols.intern("b"), OVERFLOW);
        assert_eq!(symbols.intern("a"), first);
    }
}
