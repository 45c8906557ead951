//! Which detectors watch which series, as configured.

use detectors::series_gone::SeriesGone;
use detectors::{DetectorBank, DetectorSpec, Point, Slot, Verdict};
use model::Matcher;

use crate::settings::{DetectorSettings, SeriesCalendar};
use crate::silence::Rule;

/// A detector that cannot be made as configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDetector {
    #[error("detector kind {kind:?} is unknown; there are {known}")]
    Unknown { kind: String, known: String },
    #[error("detector {name}: {reason}")]
    Parameters { name: String, reason: String },
}

/// A configured detector and what it watches.
pub(crate) struct Watch {
    pub name: String,
    /// The series of which calendar it watches, by its place in the settings; `None` for those of no calendar. All, if the detector knows no
    /// days.
    pub calendar: Option<Option<usize>>,
    /// What its states are known by: the name, with that of the calendar.
    pub key: String,
    pub matchers: Vec<Matcher>,
    pub bank: Box<dyn DetectorBank>,
    /// By slot: whether the matchers hold for the series.
    pub watched: Vec<bool>,
    pub slots: Vec<Slot>,
    pub points: Vec<Point>,
    /// Positions among the gathered points.
    pub rows: Vec<usize>,
    pub verdicts: Vec<Option<Verdict>>,
    /// The part of a snapshot that is complete, until all are.
    pub written: Option<Vec<u8>>,
}

/// A detector that knows days has one part for the series of each calendar, and one for those of none.
pub(crate) fn watches(
    settings: &DetectorSettings,
    calendars: &[SeriesCalendar],
) -> Result<Vec<Watch>, InvalidDetector> {
    let spec = detectors::DETECTORS.iter().find(|spec| spec.name == settings.kind).ok_or_else(|| {
        let known = detectors::DETECTORS.iter().map(|spec| spec.name).chain([SeriesGone::NAME]);
        let known: Vec<&str> = known.collect();
        InvalidDetector::Unknown { kind: settings.kind.clone(), known: known.join(", ") }
    })?;
    if !spec.knows_days || calendars.is_empty() {
        return Ok(vec![watch(settings, spec, None)?]);
    }
    let numbers = (0..calendars.len()).map(Some).chain([None]);
    numbers
        .map(|number| {
            let mut watch = watch(settings, spec, number.map(|number| &calendars[number]))?;
            watch.calendar = Some(number);
            Ok(watch)
        })
        .collect()
}

fn watch(
    settings: &DetectorSettings,
    spec: &DetectorSpec,
    calendar: Option<&SeriesCalendar>,
) -> Result<Watch, InvalidDetector> {
    let name = settings.name.clone().unwrap_or_else(|| settings.kind.clone());
    let mut parameters = settings.parameters.clone();
    let mut key = name.clone();
    if let Some(SeriesCalendar { name, calendar, .. }) = calendar {
        let calendar = serde_json::to_value(calendar).expect("plain data, and memory does not fail");
        parameters.insert("calendar".to_owned(), calendar);
        key = format!("{key}@{name}");
    }
    let bank = (spec.build)(serde_json::Value::Object(parameters))
        .map_err(|error| InvalidDetector::Parameters { name: name.clone(), reason: error.to_string() })?;
    let (watched, slots, points, rows, verdicts) = (vec![], vec![], vec![], vec![], vec![]);
    let (matchers, written, calendar) = (settings.matchers.clone(), None, None);
    Ok(Watch { name, calendar, key, matchers, bank, watched, slots, points, rows, verdicts, written })
}

pub(crate) fn rule(settings: &DetectorSettings) -> Result<Rule, InvalidDetector> {
    let name = settings.name.clone().unwrap_or_else(|| settings.kind.clone());
    Rule::new(settings).map_err(|error| InvalidDetector::Parameters { name, reason: error.to_string() })
}

/// How many points it takes until a detector judges the series of a slot; none if no detector watches it.
pub(crate) fn points_left(watches: &[Watch], slot: u32) -> Option<u32> {
    let mut least = None;
    for watch in watches {
        if least == Some(0) {
            break;
        }
        if watch.watched.get(slot as usize) == Some(&true) {
            let left = watch.bank.points_left(Slot(slot));
            least = Some(least.map_or(left, |least: u32| least.min(left)));
        }
    }
    least
}
