//! The template of each log line, under a name that stays.
//!
//! A template becomes more general as more lines are seen, and two may turn out to be one. What is named after a template (a
//! series, a step inside a span) keeps the text that the template had when it was new; of two that are merged the older
//! one's name goes on.

use std::collections::HashMap;

use model::StateSection;
use templates::TemplateMiner;

use crate::state::{self, InvalidState};

/// Characters of a name.
const NAME_MAX: usize = 120;
/// Names kept; beyond, all are forgotten and given anew from the templates as they are then.
const NAMES_MAX: usize = 65_536;

#[derive(Default)]
pub struct LogTemplates {
    miner: TemplateMiner,
    names: HashMap<u32, String>,
}

impl LogTemplates {
    /// The name of the line's template.
    pub fn observe(&mut self, body: &str) -> &str {
        let id = self.miner.observe(body).template_id;
        // The ids that were merged away do not come again.
        for merge in self.miner.take_merges() {
            self.names.remove(&merge.from);
        }
        if self.names.len() >= NAMES_MAX && !self.names.contains_key(&id) {
            self.names.clear();
        }
        let miner = &self.miner;
        self.names.entry(id).or_insert_with(|| miner.template(id).chars().take(NAME_MAX).collect())
    }
}

impl LogTemplates {
    pub fn snapshot(&self) -> Vec<u8> {
        let mut names: Vec<(&u32, &String)> = self.names.iter().collect();
        names.sort_unstable();
        state::encode(&(&self.miner, names))
    }

    pub fn restore(&mut self, sections: &[StateSection], section: &str) -> Result<(), InvalidState> {
        let (miner, names): (_, Vec<_>) = state::section(sections, section)?;
        (self.miner, self.names) = (miner, names.into_iter().collect());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_keeps_its_name_while_it_becomes_more_general() {
        let mut templates = LogTemplates::default();
        let first = templates.observe("user 17 logged in from 10.0.0.1").to_owned();
        assert_eq!(templates.observe("user 4711 logged in from 10.0.0.2"), first);
        assert!(!first.contains("17"), "{first}");
        assert_ne!(templates.observe("disk /dev/sda1 is full"), first);
    }
}
