//! The whole state of an analysis, and taking it up.

use model::StateSection;

use super::{Analysis, Raw};
use crate::state::{self, InvalidState};

const DERIVE: &str = "derive";
const TEMPLATES: &str = "templates";
const CORRELATOR: &str = "correlator";
const GROUPER: &str = "grouper";
const ALERTS: &str = "alerts";

impl Analysis {
    /// The state between two records. Equal states give equal bytes.
    pub fn snapshot(&self) -> Vec<StateSection> {
        let mut raw: Vec<(&model::SeriesId, &(Raw, i64))> = self.raw.iter().collect();
        raw.sort_unstable_by_key(|(id, _)| **id);
        let derive = (&self.watermark, raw, self.raw_over_limit, &self.steps, &self.calls);
        let mut sections = vec![
            StateSection { name: DERIVE.to_owned(), bytes: state::encode(&derive) },
            StateSection { name: TEMPLATES.to_owned(), bytes: self.templates.snapshot() },
            StateSection { name: CORRELATOR.to_owned(), bytes: state::encode(&self.correlator) },
            // Incidents leave out fields that they do not have, which only a format with names can tell.
            StateSection {
                name: GROUPER.to_owned(),
                bytes: serde_json::to_vec(&self.grouper).expect("plain data, and memory does not fail"),
            },
            StateSection { name: ALERTS.to_owned(), bytes: state::encode(&self.alerts) },
        ];
        sections.extend(self.detect.state());
        sections
    }

    /// Takes up a state, under the settings and bounds of today (log templates keep those that they were mined with). What these have changed, detectors or the length of a step,
    /// begins anew; detectors that cannot be read are returned. After an error the analysis is in no defined state.
    pub fn restore(&mut self, sections: &[StateSection]) -> Result<Vec<InvalidState>, InvalidState> {
        let (watermark, raw, raw_over_limit, steps, calls): (_, Vec<_>, _, _, _) =
            state::section(sections, DERIVE)?;
        self.raw = raw.into_iter().collect();
        self.raw_over_limit = raw_over_limit;
        self.watermark.restore(&watermark);
        self.steps.restore(steps);
        self.calls.restore(calls);
        self.templates.restore(sections, TEMPLATES)?;
        self.correlator.restore(state::section(sections, CORRELATOR)?);
        let grouper = serde_json::from_slice(state::bytes_of(sections, GROUPER)?);
        self.grouper.restore(grouper.map_err(|error| InvalidState::new(GROUPER, error))?);
        self.alerts = state::section(sections, ALERTS)?;
        self.detect.restore(sections)
    }
}
