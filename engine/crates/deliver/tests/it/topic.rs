//! A topic in memory, and the log of one group on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use foreshock_deliver::{AlertLog, Event, LogError, OpenLog, Position, Record};
use model::{Alert, AlertState, Severity};

#[derive(Default)]
struct State {
    records: Vec<Record>,
    committed: BTreeMap<String, Position>,
    dead: Vec<(Record, String)>,
}

/// Shared by those who hold a clone.
#[derive(Clone, Default)]
pub struct Topic(Arc<Mutex<State>>);

impl Topic {
    pub fn write(&self, alert: &Alert) {
        let payload = serde_json::to_vec(alert).expect("plain data");
        let records = &mut self.0.lock().unwrap().records;
        let offset = records.len() as i64;
        let timestamp_ms = now_ms();
        records.push(Record { offset, timestamp_ms, payload, ..Record::default() });
    }

    pub fn committed(&self, group: &str) -> Option<Position> {
        self.0.lock().unwrap().committed.get(group).cloned()
    }

    pub fn dead(&self) -> Vec<(Record, String)> {
        self.0.lock().unwrap().dead.clone()
    }

    pub fn open(&self, group: &str) -> OpenLog {
        let (topic, group) = (self.clone(), group.to_owned());
        Box::new(move || {
            let log = MemoryLog {
                topic: topic.clone(),
                group: group.clone(),
                next: None,
                is_paused: false,
                has_ended: false,
            };
            Ok(Box::new(log))
        })
    }
}

fn now_ms() -> i64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_millis() as i64
}

struct MemoryLog {
    topic: Topic,
    group: String,
    next: Option<usize>,
    is_paused: bool,
    has_ended: bool,
}

impl MemoryLog {
    fn event(&mut self) -> Option<Event> {
        let state = self.topic.0.lock().unwrap();
        let Some(next) = self.next else {
            self.next = Some(0);
            let committed = state.committed.get(&self.group).cloned();
            return Some(Event::Assigned {
                partition: 0,
                committed,
                begin: 0,
                end: state.records.len() as i64,
            });
        };
        if self.is_paused {
            return None;
        }
        if let Some(record) = state.records.get(next) {
            self.next = Some(next + 1);
            self.has_ended = false;
            return Some(Event::Record(record.clone()));
        }
        (!std::mem::replace(&mut self.has_ended, true)).then_some(Event::End { partition: 0 })
    }
}

impl AlertLog for MemoryLog {
    fn next(&mut self, timeout: Duration) -> Result<Option<Event>, LogError> {
        let until = Instant::now() + timeout;
        loop {
            let event = self.event();
            if event.is_some() || Instant::now() >= until {
                return Ok(event);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn commit(&mut self, _partition: i32, position: &Position, _wait: bool) -> Result<(), LogError> {
        self.topic.0.lock().unwrap().committed.insert(self.group.clone(), position.clone());
        Ok(())
    }

    fn pause(&mut self, _partition: i32, is_paused: bool) -> Result<(), LogError> {
        self.is_paused = is_paused;
        Ok(())
    }

    fn dead_letter(&mut self, record: &Record, reason: &str) -> Result<(), LogError> {
        self.topic.0.lock().unwrap().dead.push((record.clone(), reason.to_owned()));
        Ok(())
    }
}

pub fn alert(fingerprint: &str, version: u32, state: AlertState) -> Alert {
    let text = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    Alert {
        fingerprint: fingerprint.to_owned(),
        state,
        severity: Severity::Critical,
        labels: text(&[("alertname", "ForeshockIncident"), ("service", "cart"), ("severity", "critical")]),
        annotations: text(&[("summary", "cart is slow")]),
        starts_ms: 1_000,
        ends_ms: (state == AlertState::Resolved).then_some(2_000),
        incident: fingerprint.to_owned(),
        incident_version: version,
    }
}

pub fn firing(fingerprint: &str, version: u32) -> Alert {
    alert(fingerprint, version, AlertState::Firing)
}
