//! What the engine has said, as its services show it: read back from the output topics, so that only what was committed
//! is ever shown.
//!
//! Bounded: the newest [`INCIDENTS_MAX`] incidents, and the newest records of each kind; older ones stay in the topics.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use deliver::{InhibitRule, Inhibitor};
use model::{Alert, Anomaly, Incident, ServiceCoverage};
use tokio::sync::broadcast;

use crate::ledger::Ledger;

pub const INCIDENTS_MAX: usize = 10_000;
pub const VERSIONS_MAX: usize = 20_000;
pub const ANOMALIES_MAX: usize = 100_000;
pub const ALERTS_MAX: usize = 20_000;
/// Messages that a slow watcher may lag behind.
const LAG_MAX: usize = 4_096;

/// A value and where its record lies.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    pub partition: i32,
    pub offset: i64,
    pub value: T,
}

/// How far a watcher has come: the last offset of each partition. Its text is the resume token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(BTreeMap<i32, i64>);

impl Cursor {
    /// Whether the record comes after what was seen.
    pub fn is_news<T>(&self, placed: &Placed<T>) -> bool {
        self.0.get(&placed.partition).is_none_or(|seen| placed.offset > *seen)
    }

    pub fn pass<T>(&mut self, placed: &Placed<T>) {
        self.0.insert(placed.partition, placed.offset);
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (partition, offset)) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "," };
            write!(f, "{separator}{partition}:{offset}")?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let place = |part: &str| {
            let (partition, offset) = part.split_once(':')?;
            Some((partition.parse().ok()?, offset.parse().ok()?))
        };
        text.split(',').map(|part| place(part).ok_or(())).collect::<Result<_, _>>().map(Self)
    }
}

/// The newest records of one topic, and those who wait for more.
struct Log<T> {
    kept: VecDeque<Placed<T>>,
    kept_max: usize,
    watchers: broadcast::Sender<Placed<T>>,
}

impl<T: Clone> Log<T> {
    fn new(kept_max: usize) -> Self {
        Self { kept: VecDeque::new(), kept_max, watchers: broadcast::channel(LAG_MAX).0 }
    }

    fn push(&mut self, placed: Placed<T>) {
        if self.kept.len() == self.kept_max {
            self.kept.pop_front();
        }
        self.kept.push_back(placed.clone());
        // Without watchers there is nobody to tell.
        let _ = self.watchers.send(placed);
    }

    /// What was kept after the cursor (nothing without one), and what comes from now on.
    fn watch(&self, cursor: Option<&Cursor>) -> Watch<T> {
        let kept = self.kept.iter().filter(|placed| cursor.is_some_and(|cursor| cursor.is_news(placed)));
        Watch { backlog: kept.cloned().collect(), receiver: self.watchers.subscribe() }
    }
}

pub struct Watch<T> {
    pub backlog: Vec<Placed<T>>,
    pub receiver: broadcast::Receiver<Placed<T>>,
}

struct State {
    /// The newest version of each incident, by id.
    incidents: BTreeMap<String, Incident>,
    /// The newest alert of each of them.
    newest_alerts: BTreeMap<String, Alert>,
    inhibitor: Inhibitor,
    versions: Log<Incident>,
    anomalies: VecDeque<Anomaly>,
    alerts: Log<Alert>,
    ledger: Ledger,
    unreadable: u64,
}

pub struct View {
    state: Mutex<State>,
}

impl Default for View {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl View {
    pub fn new(inhibit_rules: Vec<InhibitRule>) -> Self {
        let state = State {
            incidents: BTreeMap::new(),
            newest_alerts: BTreeMap::new(),
            inhibitor: Inhibitor::new(inhibit_rules),
            versions: Log::new(VERSIONS_MAX),
            anomalies: VecDeque::new(),
            alerts: Log::new(ALERTS_MAX),
            ledger: Ledger::default(),
            unreadable: 0,
        };
        Self { state: Mutex::new(state) }
    }

    /// No code that holds the lock panics between two changes that belong together.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one record of the incidents topic.
    pub fn on_incident(&self, partition: i32, offset: i64, payload: &[u8]) {
        let mut state = self.state();
        let Ok(value) = serde_json::from_slice::<Incident>(payload) else {
            state.unreadable += 1;
            return;
        };
        state.incidents.insert(value.incident.clone(), value.clone());
        if state.incidents.len() > INCIDENTS_MAX {
            let oldest =
                state.incidents.values().min_by_key(|incident| (incident.opened_ms, &incident.incident));
            if let Some(oldest) = oldest.map(|incident| incident.incident.clone()) {
                state.incidents.remove(&oldest);
                state.newest_alerts.remove(&oldest);
            }
        }
        state.versions.push(Placed { partition, offset, value });
    }

    pub fn on_anomaly(&self, payload: &[u8]) {
        let mut state = self.state();
        match serde_json::from_slice(payload) {
            Ok(anomaly) => {
                if state.anomalies.len() == ANOMALIES_MAX {
                    state.anomalies.pop_front();
                }
                state.anomalies.push_back(anomaly);
            }
            Err(_) => state.unreadable += 1,
        }
    }

    /// As JSON or protobuf, by the content type.
    pub fn on_alert(&self, partition: i32, offset: i64, content_type: Option<&str>, payload: &[u8]) {
        let mut state = self.state();
        let Some(value) = alerts::decode(content_type, payload) else {
            state.unreadable += 1;
            return;
        };
        // An alert may be read before its incident is, so that there may be some more.
        let State { incidents, newest_alerts, inhibitor, .. } = &mut *state;
        if newest_alerts.len() >= 2 * INCIDENTS_MAX {
            newest_alerts.retain(|incident, _| incidents.contains_key(incident));
        }
        newest_alerts.insert(value.incident.clone(), value.clone());
        inhibitor.observe(partition, &value);
        state.alerts.push(Placed { partition, offset, value });
    }

    /// Takes one record of the coverage topic.
    pub fn on_coverage(&self, payload: &[u8]) {
        let mut state = self.state();
        match serde_json::from_slice(payload) {
            Ok(coverage) => state.ledger.take(coverage),
            Err(_) => state.unreadable += 1,
        }
    }

    /// What is watched of each service, by name.
    pub fn coverage(&self) -> Vec<ServiceCoverage> {
        self.state().ledger.services()
    }

    /// Records of coverage that are not shown, since there are too many.
    pub fn coverage_left_out(&self) -> u64 {
        self.state().ledger.left_out()
    }

    /// The newest version of the incidents that `keep` says, most recently opened first.
    pub fn incidents(&self, keep: impl Fn(&Incident) -> bool) -> Vec<Incident> {
        let mut found: Vec<Incident> =
            self.state().incidents.values().filter(|incident| keep(incident)).cloned().collect();
        found.sort_by(|a, b| b.opened_ms.cmp(&a.opened_ms).then_with(|| a.incident.cmp(&b.incident)));
        found
    }

    pub fn incident(&self, id: &str) -> Option<Incident> {
        self.state().incidents.get(id).cloned()
    }

    /// The newest alert of an incident.
    pub fn newest_alert(&self, incident: &str) -> Option<Alert> {
        self.state().newest_alerts.get(incident).cloned()
    }

    /// The incidents whose alerts hold this one back by the rules of inhibition, while both fire.
    pub fn inhibiting(&self, alert: &Alert) -> Vec<String> {
        if alert.state == model::AlertState::Resolved {
            return Vec::new();
        }
        self.state().inhibitor.inhibiting(alert)
    }

    /// Newest first.
    pub fn anomalies(&self, keep: impl Fn(&Anomaly) -> bool) -> Vec<Anomaly> {
        self.state().anomalies.iter().rev().filter(|anomaly| keep(anomaly)).cloned().collect()
    }

    pub fn watch_incidents(&self, cursor: Option<&Cursor>) -> Watch<Incident> {
        self.state().versions.watch(cursor)
    }

    pub fn watch_alerts(&self, cursor: Option<&Cursor>) -> Watch<Alert> {
        self.state().alerts.watch(cursor)
    }

    pub fn open_incidents(&self) -> usize {
        let is_open = |incident: &&Incident| incident.state != model::IncidentState::Resolved;
        self.state().incidents.values().filter(is_open).count()
    }

    /// Records of the output topics that are not what the engine writes.
    pub fn unreadable(&self) -> u64 {
        self.state().unreadable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_is_read_as_the_stages_write_it_and_nothing_else() {
        let view = View::default();
        let (service, source) = ("cart".to_owned(), "samples/0".to_owned());
        let coverage = ServiceCoverage { service, source, modelled: 3, ..ServiceCoverage::default() };
        view.on_coverage(&pipeline::events::coverage(&coverage).payload);
        view.on_coverage(b"nonsense");
        view.on_coverage(b"");
        assert_eq!((view.coverage(), view.unreadable()), (vec![coverage], 2));
    }

    #[test]
    fn cursors_read_back_and_tell_what_is_new() {
        let placed = |partition, offset| Placed { partition, offset, value: () };
        let mut cursor = Cursor::default();
        cursor.pass(&placed(0, 12));
        cursor.pass(&placed(3, 5));
        assert_eq!(cursor.to_string(), "0:12,3:5");
        assert_eq!("0:12,3:5".parse(), Ok(cursor.clone()));
        assert!(
            !cursor.is_news(&placed(0, 12))
                && cursor.is_news(&placed(0, 13))
                && cursor.is_news(&placed(1, 0))
        );
        for text in ["", "x", "0", "0:", "0:1,"] {
            assert_eq!(text.parse::<Cursor>(), Err(()), "{text:?}");
        }
    }

    #[test]
    fn a_watcher_resumes_without_gap_or_repetition() {
        let view = View::default();
        let alert = |n: u32| {
            let json = serde_json::json!({
                "fingerprint": n.to_string(), "state": "firing", "labels": {}, "annotations": {},
                "starts_ms": n, "incident": "i", "incident_version": 1,
            });
            view.on_alert(0, i64::from(n), None, &serde_json::to_vec(&json).unwrap());
        };
        (0..5).for_each(alert);
        let mut watch = view.watch_alerts(Some(&"0:2".parse().unwrap()));
        alert(5);
        view.on_alert(0, 6, None, b"nonsense");
        let backlog: Vec<i64> = watch.backlog.iter().map(|placed| placed.offset).collect();
        assert_eq!(backlog, [3, 4]);
        assert_eq!(watch.receiver.try_recv().unwrap().offset, 5);
        assert_eq!((view.unreadable(), view.watch_alerts(None).backlog.len()), (1, 0));
    }
}
