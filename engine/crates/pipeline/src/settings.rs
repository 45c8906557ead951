//! What the analysis can be told. The field docs are the user's documentation.

use std::collections::BTreeMap;
use std::path::PathBuf;

use detectors::Calendar;
use model::Matcher;
pub use model::{Size, Span};
use serde::Deserialize;

/// How telemetry is analysed.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnalysisSettings {
    /// Spans and logs are counted over steps of this length.
    pub step: Span,
    /// How much older than the newest record a record may be and still count for its step.
    pub allowed_lateness: Span,
    /// Series that are modelled at the most; further ones are refused and counted.
    pub series_max: usize,
    /// What the series of a partition may take in memory by what their detectors say at the most. When it is used up, those that
    /// have been idle for the longest, ten minutes at least, make room; further ones are refused and counted.
    pub series_memory: Size,
    /// What those take on disk, and in snapshots; beyond, those that have been idle for the longest are forgotten and counted.
    pub series_disk: Size,
    /// Where that is; by default where the system has temporary files.
    pub series_disk_folder: Option<PathBuf>,
    /// A series without a point for this long is forgotten.
    pub series_idle: Span,
    /// Keys (service, operation, edge, template) that are counted in a step at the most.
    pub step_keys_max: usize,
    /// What a missing point of a series means; the first whose matchers hold counts, and `alert` without one.
    pub on_missing: Vec<MissingRule>,
    /// Pages a week in place of thresholds. It stands beside how alerts are written.
    #[serde(skip)]
    pub budget: Option<BudgetSettings>,
    /// By whose clock series have their days; the first whose matchers hold counts. They stand beside the analysis.
    #[serde(skip)]
    pub calendars: Vec<SeriesCalendar>,
}

impl Default for AnalysisSettings {
    fn default() -> Self {
        Self {
            step: Span::from_ms(10_000),
            allowed_lateness: Span::from_ms(5_000),
            series_max: 1_000_000,
            series_memory: Size::from_bytes(1 << 30),
            series_disk: Size::from_bytes(256 << 20),
            series_disk_folder: None,
            series_idle: Span::from_ms(24 * 3_600_000),
            step_keys_max: 100_000,
            on_missing: Vec::new(),
            budget: None,
            calendars: Vec::new(),
        }
    }
}

impl AnalysisSettings {
    /// What is wrong with the values, in words that name the key.
    pub fn validate(&self) -> Result<(), String> {
        let positive = [("step", self.step), ("series_idle", self.series_idle)];
        for (key, span) in positive {
            if span.ms() <= 0 {
                return Err(format!("{key} must be longer than 0s"));
            }
        }
        if self.step.ms() > 60_000 {
            return Err(
                "step must be at most 1m: a source that tells less often how far it has come passes for gone"
                    .to_owned(),
            );
        }
        if self.series_max == 0 || self.series_max > u32::MAX as usize {
            return Err(format!("series_max must be from 1 to {}", u32::MAX));
        }
        if self.series_memory.bytes() < 1 << 20 {
            return Err("series_memory must be at least 1MiB".to_owned());
        }
        if let Some(folder) = &self.series_disk_folder
            && !folder.is_dir()
        {
            return Err(format!("series_disk_folder: there is no folder {}", folder.display()));
        }
        if self.step_keys_max == 0 {
            return Err("step_keys_max must be at least 1".to_owned());
        }
        if self.on_missing.iter().rev().skip(1).any(|rule| rule.matchers.is_empty()) {
            return Err("on_missing: what comes after a rule without match never counts".to_owned());
        }
        Ok(())
    }
}

/// What a missing point of some series means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingRule {
    /// All must hold.
    #[serde(default, rename = "match")]
    pub matchers: Vec<Matcher>,
    pub policy: MissingPolicy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingPolicy {
    /// The series may be gone, which a `series_gone` that watches it tells of.
    Alert,
    /// The value is what it was.
    Hold,
    /// The value is zero.
    Zero,
    /// Nothing.
    Skip,
}

/// Days and holidays of some series.
#[derive(Clone, Debug)]
pub struct SeriesCalendar {
    /// Stands in the state: what was learned by a calendar of another name is not taken for this one's.
    pub name: String,
    /// All must hold.
    pub matchers: Vec<Matcher>,
    pub calendar: Calendar,
}

/// How many pages there may be without a fault.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetSettings {
    pub pages_per_week: f64,
    /// A label of series, such as `team`: each of its values has a budget of its own. Without it there is one for all.
    #[serde(default)]
    pub per: Option<String>,
    /// Which value of that label services have whose series do not have it.
    #[serde(default)]
    pub services: BTreeMap<String, String>,
}

impl BudgetSettings {
    /// What is wrong with the values, in words that name the key.
    pub fn validate(&self) -> Result<(), String> {
        if !(0.01..=10_000.0).contains(&self.pages_per_week) {
            return Err("pages_per_week must be from 0.01 to 10000".to_owned());
        }
        if self.per.as_ref().is_some_and(String::is_empty) {
            return Err("per must be the name of a label, such as team".to_owned());
        }
        if self.per.is_none() && !self.services.is_empty() {
            return Err("services goes together with per: team, or another label".to_owned());
        }
        Ok(())
    }
}

/// One detector, and the series that it watches.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorSettings {
    /// Stands in the anomalies; the kind if it is not given.
    #[serde(default)]
    pub name: Option<String>,
    /// One of the detectors in the list, such as `ewma` or `ensemble`, or `series_gone`.
    pub kind: String,
    /// The series must satisfy all of these matchers; without any, every series is watched.
    #[serde(default, rename = "match")]
    pub matchers: Vec<Matcher>,
    /// The detector's own parameters.
    #[serde(default)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn analysis(json: &str) -> Result<AnalysisSettings, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn spans_have_units() {
        let settings = analysis(r#"{"step": "1m", "allowed_lateness": "250ms"}"#).unwrap();
        assert_eq!((settings.step.ms(), settings.allowed_lateness.ms()), (60_000, 250));
        for text in ["10", "s", "-1s", "1w", "", "99999999999999999d"] {
            let message = analysis(&format!(r#"{{"step": {text:?}}}"#)).unwrap_err();
            assert!(message.contains("30s"), "{message}");
        }
    }

    #[test]
    fn a_budget_says_what_is_wrong_with_it() {
        let budget = |json: &str| -> Result<(), String> {
            let settings: BudgetSettings = serde_json::from_str(json).map_err(|error| error.to_string())?;
            settings.validate()
        };
        assert_eq!(budget(r#"{"pages_per_week": 3, "per": "team", "services": {"cart": "shop"}}"#), Ok(()));
        for (json, part) in [
            (r#"{"pages_per_week": 0}"#, "from 0.01"),
            (r#"{"pages_per_week": 3, "per": ""}"#, "label"),
            (r#"{"pages_per_week": 3, "services": {"cart": "shop"}}"#, "per: team"),
            (r#"{"per": "team"}"#, "pages_per_week"),
        ] {
            let message = budget(json).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn sizes_have_units() {
        let settings = analysis(r#"{"series_memory": "3GiB"}"#).unwrap();
        assert_eq!(settings.series_memory.bytes(), 3 << 30);
        for text in ["10", "GiB", "-1GiB", "1GB", "", "99999999999999999GiB"] {
            let message = analysis(&format!(r#"{{"series_memory": {text:?}}}"#)).unwrap_err();
            assert!(message.contains("64MiB"), "{message}");
        }
        let small = analysis(r#"{"series_memory": "512KiB"}"#).unwrap();
        assert!(small.validate().unwrap_err().contains("series_memory"));
    }

    #[test]
    fn unknown_keys_and_useless_values_are_errors() {
        assert!(analysis(r#"{"stepp": "1m"}"#).unwrap_err().contains("stepp"));
        assert!(analysis(r#"{"step": "0s"}"#).unwrap().validate().unwrap_err().contains("step"));
        assert!(analysis(r#"{"step": "5m"}"#).unwrap().validate().unwrap_err().contains("at most 1m"));
        assert!(analysis(r#"{"series_max": 0}"#).unwrap().validate().unwrap_err().contains("series_max"));
        let unreached = r#"{"on_missing": [{"policy": "hold"}, {"match": ["a=b"], "policy": "zero"}]}"#;
        assert!(analysis(unreached).unwrap().validate().unwrap_err().contains("on_missing"));
        let unknown = analysis(r#"{"on_missing": [{"policy": "nil"}]}"#).unwrap_err();
        assert!(["alert", "hold", "zero", "skip"].iter().all(|policy| unknown.contains(policy)), "{unknown}");
        let folder = analysis(r#"{"series_disk_folder": "/nowhere/at/all"}"#).unwrap();
        assert!(folder.validate().unwrap_err().contains("/nowhere/at/all"));
        assert_eq!(AnalysisSettings::default().validate(), Ok(()));
    }
}
