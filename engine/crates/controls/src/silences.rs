//! All silences, as they were read from their topic.

use std::collections::BTreeMap;

use model::Labels;

use crate::silence::{Compiled, InvalidSilence, NewSilence, Silence};

/// Silences that are not over; no more are taken.
pub const SILENCES_MAX: usize = 10_000;
/// Those that are over are shown for so long, then deleted from the topic.
const KEPT_MS: i64 = 30 * 86_400_000;
const KEY_PREFIX: &str = "silence/";

/// Why a silence was not added or expired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Invalid(#[from] InvalidSilence),
    #[error("there are {SILENCES_MAX} silences that are not over; expire some first")]
    TooMany,
    #[error("there is no silence {0:?}; ListSilences names those there are")]
    Unknown(String),
}

#[derive(Default)]
pub struct Silences {
    by_id: BTreeMap<String, (Silence, Compiled)>,
    unreadable: u64,
}

impl Silences {
    /// The key of a silence on its topic.
    pub fn key(id: &str) -> String {
        format!("{KEY_PREFIX}{id}")
    }

    /// Takes one record of the topic; one without a payload deletes. Records of other kinds are not looked at.
    pub fn on_record(&mut self, key: &[u8], payload: &[u8]) {
        let Some(id) = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(KEY_PREFIX)) else {
            return;
        };
        if payload.is_empty() {
            self.by_id.remove(id);
            return;
        }
        let silence: Option<Silence> = serde_json::from_slice(payload).ok();
        let silence = silence.filter(|silence| silence.id == id);
        match silence.and_then(|silence| silence.compile().ok().map(|compiled| (silence, compiled))) {
            // What others wrote may go beyond what this process would take.
            Some(entry) if self.by_id.len() < 2 * SILENCES_MAX || self.by_id.contains_key(id) => {
                self.by_id.insert(id.to_owned(), entry);
            }
            _ => self.unreadable += 1,
        }
    }

    /// The ids of the silences that hold back an alert with these labels.
    pub fn silencing(&self, labels: &Labels, now_ms: i64) -> Vec<&str> {
        let holding = self.by_id.values().filter(|(silence, compiled)| {
            silence.expired_ms.is_none_or(|expired_ms| now_ms < expired_ms)
                && compiled.matchers.iter().all(|matcher| matcher.matches(labels))
                && compiled.windows.holds(now_ms)
        });
        holding.map(|(silence, _)| silence.id.as_str()).collect()
    }

    pub fn is_silenced(&self, labels: &Labels, now_ms: i64) -> bool {
        !self.silencing(labels, now_ms).is_empty()
    }

    /// The record of a new silence, which holds once it was read from the topic.
    pub fn add(&self, new: NewSilence, now_ms: i64) -> Result<Silence, Refused> {
        let silence = Silence::new(new, now_ms)?;
        let open =
            self.by_id.values().filter(|(silence, compiled)| !is_over(silence, compiled, now_ms)).count();
        if open >= SILENCES_MAX {
            return Err(Refused::TooMany);
        }
        Ok(silence)
    }

    /// The record of a silence that somebody ends.
    pub fn expire(&self, id: &str, author: &str, comment: &str, now_ms: i64) -> Result<Silence, Refused> {
        let silence = self.get(id).cloned().ok_or_else(|| Refused::Unknown(id.to_owned()))?;
        Ok(silence.expired(author, comment, now_ms)?)
    }

    pub fn get(&self, id: &str) -> Option<&Silence> {
        self.by_id.get(id).map(|(silence, _)| silence)
    }

    /// All of them, the one that was added last first; and whether each holds now, and is over.
    pub fn list(&self, now_ms: i64) -> Vec<(&Silence, bool, bool)> {
        let all = self.by_id.values().map(|(silence, compiled)| {
            let is_over = is_over(silence, compiled, now_ms);
            (silence, !is_over && compiled.windows.holds(now_ms), is_over)
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(silence, ..)| {
            (std::cmp::Reverse(silence.changes.first().map(|first| first.time_ms)), silence.id.clone())
        });
        all
    }

    /// The ids of those that have been over for a month and can be deleted.
    pub fn stale(&self, now_ms: i64) -> Vec<String> {
        let then_ms = now_ms.saturating_sub(KEPT_MS);
        let stale = self.by_id.values().filter(|(silence, compiled)| is_over(silence, compiled, then_ms));
        stale.map(|(silence, _)| silence.id.clone()).collect()
    }

    /// Records that are no silences although their key says so.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }
}

fn is_over(silence: &Silence, compiled: &Compiled, now_ms: i64) -> bool {
    silence.expired_ms.is_some_and(|expired_ms| expired_ms <= now_ms) || compiled.windows.is_over(now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::silence::new_silence;

    fn write(silences: &mut Silences, silence: &Silence) {
        silences.on_record(Silences::key(&silence.id).as_bytes(), &serde_json::to_vec(silence).unwrap());
    }

    #[test]
    fn it_holds_back_what_matches_from_start_to_end_or_until_it_is_expired() {
        let mut silences = Silences::default();
        let silence = silences.add(new_silence("service=cart", 100, 200), 0).unwrap();
        let cart = Labels::new([("service", "cart"), ("severity", "critical")]);
        assert!(!silences.is_silenced(&cart, 150), "it was not read from its topic yet");
        write(&mut silences, &silence);
        assert_eq!([99, 100, 199, 200].map(|ms| silences.is_silenced(&cart, ms)), [false, true, true, false]);
        assert!(!silences.is_silenced(&Labels::new([("service", "email")]), 150));
        let expired = silences.expire(&silence.id, "bob", "done", 150).unwrap();
        write(&mut silences, &expired);
        assert_eq!(silences.silencing(&cart, 149), [silence.id.as_str()]);
        assert_eq!([150, 199].map(|ms| silences.is_silenced(&cart, ms)), [false, false]);
        assert_eq!(silences.expire("x", "bob", "", 0), Err(Refused::Unknown("x".to_owned())));
    }

    #[test]
    fn what_is_over_for_long_is_stale_and_a_record_without_payload_deletes() {
        let mut silences = Silences::default();
        let silence = silences.add(new_silence("service=cart", 100, 200), 0).unwrap();
        write(&mut silences, &silence);
        assert_eq!(silences.stale(200 + KEPT_MS - 1), Vec::<String>::new());
        assert_eq!(silences.stale(200 + KEPT_MS), std::slice::from_ref(&silence.id));
        let states: Vec<(bool, bool)> =
            [50, 150, 250].map(|ms| silences.list(ms)[0]).map(|(_, holds, over)| (holds, over)).into();
        assert_eq!(states, [(false, false), (true, false), (false, true)]);
        silences.on_record(Silences::key(&silence.id).as_bytes(), b"");
        assert!(silences.get(&silence.id).is_none());
    }

    #[test]
    fn what_cannot_be_read_silences_nothing_and_is_counted() {
        let mut silences = Silences::default();
        silences.on_record(b"silence/a", b"{");
        let other =
            serde_json::to_vec(&Silence::new(new_silence("service=cart", 100, 200), 0).unwrap()).unwrap();
        silences.on_record(b"silence/a", &other);
        silences.on_record(b"feedback/a", b"of another kind");
        silences.on_record(b"\xff", b"");
        assert_eq!((silences.unreadable(), silences.list(0).len()), (2, 0));
    }
}
