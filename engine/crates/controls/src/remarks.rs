//! All remarks, as they were read from their topic.

use std::collections::BTreeMap;

use crate::remark::{InvalidRemark, NewRemark, Remark};

/// Remarks of one incident.
pub const REMARKS_MAX: usize = 100;
/// Of all incidents; beyond, the oldest are deleted.
pub const REMARKS_TOTAL_MAX: usize = 50_000;
/// Remarks are kept for so long.
const KEPT_MS: i64 = 365 * 86_400_000;
const KEY_PREFIX: &str = "remark/";

/// Why a remark was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemarkRefused {
    #[error(transparent)]
    Invalid(#[from] InvalidRemark),
    #[error("incident {0} has {REMARKS_MAX} remarks already")]
    TooMany(String),
    #[error("incident {incident} has no remark {remark:?}")]
    Unknown { incident: String, remark: String },
}

#[derive(Default)]
pub struct Remarks {
    /// By incident, then by id.
    by_incident: BTreeMap<String, BTreeMap<String, Remark>>,
    total: usize,
    unreadable: u64,
}

impl Remarks {
    /// The key of a remark on its topic.
    pub fn key(remark: &Remark) -> String {
        format!("{KEY_PREFIX}{}/{}", remark.incident, remark.id)
    }

    /// Takes one record of the topic; one without a payload deletes. Records of other kinds are not looked at.
    pub fn on_record(&mut self, key: &[u8], payload: &[u8]) {
        let Some(place) = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(KEY_PREFIX)) else {
            return;
        };
        let Some((incident, id)) = place.split_once('/') else {
            self.unreadable += 1;
            return;
        };
        if payload.is_empty() {
            self.remove(incident, id);
            return;
        }
        let remark: Option<Remark> = serde_json::from_slice(payload).ok();
        let remark = remark.filter(|remark: &Remark| {
            remark.incident == incident && remark.id == id && remark.validate().is_ok()
        });
        match remark {
            // What others wrote may go beyond what this process would take.
            Some(remark) if self.total < 2 * REMARKS_TOTAL_MAX => {
                let of_incident = self.by_incident.entry(incident.to_owned()).or_default();
                self.total += usize::from(of_incident.insert(id.to_owned(), remark).is_none());
            }
            _ => self.unreadable += 1,
        }
    }

    fn remove(&mut self, incident: &str, id: &str) {
        let Some(of_incident) = self.by_incident.get_mut(incident) else { return };
        self.total -= usize::from(of_incident.remove(id).is_some());
        if of_incident.is_empty() {
            self.by_incident.remove(incident);
        }
    }

    /// Those of an incident, the oldest first; also those that were taken back.
    pub fn of(&self, incident: &str) -> Vec<&Remark> {
        let mut found: Vec<&Remark> =
            self.by_incident.get(incident).into_iter().flat_map(BTreeMap::values).collect();
        found.sort_by(|a, b| (a.time_ms, &a.id).cmp(&(b.time_ms, &b.id)));
        found
    }

    /// The record of a new remark, which counts once it was read from the topic.
    pub fn add(&self, new: NewRemark, now_ms: i64) -> Result<Remark, RemarkRefused> {
        let remark = Remark::new(new, now_ms)?;
        if self.by_incident.get(&remark.incident).is_some_and(|of_incident| of_incident.len() >= REMARKS_MAX)
        {
            return Err(RemarkRefused::TooMany(remark.incident));
        }
        Ok(remark)
    }

    /// The record of a remark that somebody takes back.
    pub fn undo(&self, incident: &str, id: &str, author: &str, now_ms: i64) -> Result<Remark, RemarkRefused> {
        let unknown = || RemarkRefused::Unknown { incident: incident.to_owned(), remark: id.to_owned() };
        let remark = self.get(incident, id).cloned().ok_or_else(unknown)?;
        Ok(remark.undo(author, now_ms)?)
    }

    pub fn get(&self, incident: &str, id: &str) -> Option<&Remark> {
        self.by_incident.get(incident)?.get(id)
    }

    /// The keys of those that are too old, or too many, and can be deleted.
    pub fn stale(&self, now_ms: i64) -> Vec<String> {
        let mut all: Vec<&Remark> = self.by_incident.values().flat_map(BTreeMap::values).collect();
        all.sort_by_key(|remark| remark.time_ms);
        let too_many = all.len().saturating_sub(REMARKS_TOTAL_MAX);
        let oldest_ms = now_ms.saturating_sub(KEPT_MS);
        let stale = all.iter().enumerate().filter(|(i, remark)| *i < too_many || remark.time_ms < oldest_ms);
        stale.map(|(_, remark)| Self::key(remark)).collect()
    }

    /// Records that are no remarks although their key says so.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remark::{RemarkKind, new_remark};

    fn write(remarks: &mut Remarks, remark: &Remark) {
        remarks.on_record(Remarks::key(remark).as_bytes(), &serde_json::to_vec(remark).unwrap());
    }

    #[test]
    fn remarks_are_read_back_in_their_order_and_can_be_taken_back() {
        let mut remarks = Remarks::default();
        let second = remarks.add(new_remark("i", RemarkKind::Noise), 2).unwrap();
        let first = remarks.add(new_remark("i", RemarkKind::Acknowledged), 1).unwrap();
        assert!(remarks.of("i").is_empty(), "they were not read from their topic yet");
        [&second, &first].iter().for_each(|remark| write(&mut remarks, remark));
        assert_eq!(remarks.of("i"), [&first, &second]);
        let undone = remarks.undo("i", &second.id, "bob", 3).unwrap().undo("eve", 4).unwrap();
        assert_eq!(undone.undone, Some(crate::remark::Undone { author: "bob".to_owned(), time_ms: 3 }));
        write(&mut remarks, &undone);
        assert_eq!(remarks.of("i"), [&first, &undone]);
        assert!(matches!(remarks.undo("i", "x", "bob", 3), Err(RemarkRefused::Unknown { .. })));
    }

    #[test]
    fn bounds_and_age() {
        let mut remarks = Remarks::default();
        for time_ms in 0..REMARKS_MAX as i64 {
            let remark = remarks.add(new_remark("i", RemarkKind::Right), time_ms).unwrap();
            write(&mut remarks, &remark);
        }
        let refused = remarks.add(new_remark("i", RemarkKind::Right), 100);
        assert_eq!(refused, Err(RemarkRefused::TooMany("i".to_owned())));
        assert_eq!(remarks.stale(KEPT_MS).len(), 0);
        let stale = remarks.stale(KEPT_MS + 3);
        assert_eq!(stale.len(), 3);
        stale.iter().for_each(|key| remarks.on_record(key.as_bytes(), b""));
        assert_eq!((remarks.of("i").len(), remarks.total), (REMARKS_MAX - 3, REMARKS_MAX - 3));
        remarks.on_record(b"remark/i", b"{}");
        remarks.on_record(b"remark/i/x", b"{}");
        assert_eq!(remarks.unreadable(), 2);
    }
}
