use std::collections::{BTreeMap, BTreeSet};

use model::{AlertState, Severity};
use proptest::prelude::*;

use super::*;
use crate::test_alert;

fn wishes(batch_max: usize) -> Wishes {
    Wishes {
        matchers: vec![Matcher::try_from("severity=~\"warning|critical\"".to_owned()).unwrap()],
        inhibit_rules: vec![],
        send_resolved: true,
        give_up_after_ms: 1_000,
        resend_ms: None,
        batch_max,
    }
}

fn outbox(wishes: Wishes) -> Outbox {
    Outbox::new(wishes, Arc::default())
}

fn record(offset: i64, alert: &Alert) -> Record {
    Record { offset, timestamp_ms: offset, payload: serde_json::to_vec(alert).unwrap(), ..Record::default() }
}

fn firing(fingerprint: &str, version: u32, severity: Severity) -> Alert {
    Alert { severity, ..test_alert(fingerprint, version, AlertState::Firing) }
}

fn nobody(_: &Alert) -> bool {
    false
}

fn told(batch: &Option<Batch>) -> Vec<String> {
    batch.iter().flat_map(|batch| batch.notices.iter().map(Notice::id)).collect()
}

fn failed() -> Outcome {
    Outcome::Failed { reason: "down".to_owned(), retry_after_ms: None }
}

/// Tells all there is, with one outcome.
fn tell_all(outbox: &mut Outbox, is_silenced: &dyn Fn(&Alert) -> bool) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(batch) = outbox.next(0, is_silenced) {
        outbox.settle(&batch, &Outcome::Accepted, 0);
        all.extend(told(&Some(batch)));
    }
    all
}

#[test]
fn the_offset_follows_what_was_accepted_and_nothing_else() {
    let mut outbox = outbox(wishes(1));
    assert_eq!(
        outbox.assigned(0, None, 0).map(|position| position.offset),
        Some(0),
        "a new topic is read from now on"
    );
    for (offset, alert) in
        [firing("a", 1, Severity::Warning), firing("b", 1, Severity::Info)].iter().enumerate()
    {
        outbox.on_record(record(offset as i64, alert));
    }
    let batch = outbox.next(0, &nobody).unwrap();
    assert_eq!(outbox.positions(), [], "nothing is accepted");
    outbox.settle(&batch, &failed(), 0);
    assert_eq!((outbox.positions(), told(&outbox.next(0, &nobody))), (vec![], vec!["a/1".to_owned()]));
    outbox.settle(&batch, &Outcome::Accepted, 0);
    assert_eq!(outbox.positions()[0].1.offset, 1);
    assert!(outbox.next(0, &nobody).is_none(), "the other is not severe enough");
    assert_eq!(outbox.positions()[0].1, Position { offset: 2, metadata: String::new() });
    assert_eq!(outbox.positions(), [], "once");
}

#[test]
fn alerts_are_read_as_json_and_as_protobuf() {
    let mut outbox = outbox(wishes(8));
    outbox.assigned(0, None, 0);
    let protobuf = alerts::Encoding::Protobuf;
    let headers = vec![(alerts::CONTENT_TYPE.to_owned(), protobuf.content_type().as_bytes().to_vec())];
    let payload = protobuf.encode(&firing("a", 1, Severity::Warning));
    outbox.on_record(Record { headers, payload, ..Record::default() });
    outbox.on_record(record(1, &firing("b", 1, Severity::Warning)));
    assert_eq!(tell_all(&mut outbox, &nobody), ["a/1", "b/1"]);
}

#[test]
fn what_becomes_severe_is_told_and_so_is_its_end_however_severe_that_is() {
    let mut outbox = outbox(wishes(8));
    outbox.assigned(0, None, 0);
    let mut end = test_alert("a", 4, AlertState::Resolved);
    end.severity = Severity::Info;
    let alerts = [
        firing("a", 1, Severity::Info),
        firing("a", 2, Severity::Critical),
        firing("a", 3, Severity::Info),
        end,
        test_alert("b", 2, AlertState::Resolved),
    ];
    for (offset, alert) in alerts.iter().enumerate() {
        outbox.on_record(record(offset as i64, alert));
    }
    let first = outbox.next(0, &nobody).unwrap();
    assert_eq!((told(&Some(first.clone())), first.notices[0].former.len()), (vec!["a/2".to_owned()], 0));
    outbox.settle(&first, &Outcome::Accepted, 0);
    let second = outbox.next(0, &nobody).unwrap();
    assert_eq!(second.notices[0].former, [Severity::Critical]);
    outbox.settle(&second, &Outcome::Accepted, 0);
    assert_eq!(
        tell_all(&mut outbox, &nobody),
        ["a/4", "b/2"],
        "the beginning of b may be too long ago to be kept"
    );
}

#[test]
fn one_bad_alert_does_not_take_its_batch_along() {
    let mut outbox = outbox(wishes(8));
    outbox.assigned(0, None, 0);
    for (offset, name) in ["a", "b", "c"].iter().enumerate() {
        outbox.on_record(record(offset as i64, &firing(name, 1, Severity::Warning)));
    }
    let (mut accepted, mut dead) = (Vec::new(), Vec::new());
    while let Some(batch) = outbox.next(0, &nobody) {
        let is_bad = batch.notices.iter().any(|notice| notice.alert.fingerprint == "b");
        let outcome = if is_bad { Outcome::Refused("HTTP 400".to_owned()) } else { Outcome::Accepted };
        dead.extend(outbox.settle(&batch, &outcome, 0));
        if !is_bad {
            accepted.extend(told(&Some(batch)));
        }
    }
    assert_eq!(accepted, ["a/1", "c/1"]);
    assert_eq!((dead.len(), dead[0].record.offset, dead[0].reason.as_str()), (1, 1, "HTTP 400"));
    assert_eq!(outbox.positions()[0].1.offset, 3);
}

#[test]
fn old_alerts_are_given_up_only_after_a_try() {
    let mut outbox = outbox(wishes(1));
    outbox.assigned(0, None, 0);
    outbox.on_record(record(0, &firing("a", 1, Severity::Warning)));
    let batch = outbox.next(5_000, &nobody).unwrap();
    assert_eq!(outbox.settle(&batch, &failed(), 999), []);
    let batch = outbox.next(5_000, &nobody).unwrap();
    let dead = outbox.settle(&batch, &failed(), 1_000);
    assert!(dead[0].reason.contains("too old") && dead[0].reason.contains("down"), "{}", dead[0].reason);
    assert_eq!(outbox.positions()[0].1.offset, 1);
}

#[test]
fn a_new_receiver_is_told_of_what_fires_and_not_of_what_is_over() {
    let mut outbox = outbox(wishes(8));
    let first = outbox.assigned(0, None, 4).unwrap();
    assert_eq!(first.offset, 4);
    let alerts = [
        firing("a", 1, Severity::Warning),
        firing("b", 1, Severity::Warning),
        test_alert("a", 2, AlertState::Resolved),
        firing("c", 1, Severity::Info),
    ];
    for (offset, alert) in alerts.iter().enumerate() {
        outbox.on_record(record(offset as i64, alert));
        assert!(outbox.next(0, &nobody).is_none(), "the past is not read yet");
    }
    outbox.ended(0);
    assert_eq!(tell_all(&mut outbox, &nobody), ["b/1"]);
    assert_eq!(outbox.positions()[0].1, Position { offset: 4, metadata: String::new() });
}

#[test]
fn after_a_restart_only_what_was_not_told_is_told() {
    let mut before = outbox(wishes(8));
    before.assigned(0, None, 0);
    let alerts = [firing("aa", 1, Severity::Warning), firing("bb", 1, Severity::Warning)];
    let is_silenced = |alert: &Alert| alert.fingerprint == "bb";
    alerts.iter().enumerate().for_each(|(offset, alert)| before.on_record(record(offset as i64, alert)));
    assert_eq!(tell_all(&mut before, &is_silenced), ["aa/1"]);
    let (_, position) = before.positions().pop().unwrap();
    assert_eq!(position, Position { offset: 2, metadata: "held=bb".to_owned() });

    let mut heard = outbox(wishes(8));
    heard.assigned(0, None, 0);
    heard.on_record(record(0, &firing("aa", 1, Severity::Warning)));
    tell_all(&mut heard, &nobody);
    heard.on_record(record(1, &firing("aa", 2, Severity::Warning)));
    tell_all(&mut heard, &|_| true);
    assert_eq!(heard.positions()[0].1.metadata, "held=aa+", "an earlier version was told");

    for (is_over, expected) in [(false, vec![]), (true, vec!["bb/1"])] {
        let mut after = outbox(wishes(8));
        assert_eq!(after.assigned(0, Some(position.clone()), 2), None);
        alerts.iter().enumerate().for_each(|(offset, alert)| after.on_record(record(offset as i64, alert)));
        after.ended(0);
        assert_eq!(tell_all(&mut after, &|alert| !is_over && is_silenced(alert)), expected);
        assert_eq!(after.positions().len(), usize::from(is_over), "what was held back is noted");
    }
}

#[test]
fn too_many_that_are_held_back_are_noted_as_all() {
    let mut outbox = outbox(wishes(8));
    outbox.assigned(0, None, 0);
    for offset in 0..200 {
        outbox.on_record(record(offset, &firing(&format!("{offset:016x}"), 1, Severity::Warning)));
    }
    assert!(outbox.next(0, &|_| true).is_none());
    assert_eq!(outbox.positions()[0].1, Position { offset: 200, metadata: "held=*".to_owned() });
}

#[test]
fn a_silence_keeps_back_news_but_neither_repetitions_nor_ends() {
    let mut outbox = outbox(Wishes { resend_ms: Some(60), ..wishes(8) });
    outbox.assigned(0, None, 0);
    outbox.on_record(record(0, &firing("a", 1, Severity::Warning)));
    assert_eq!(tell_all(&mut outbox, &nobody), ["a/1"]);
    outbox.on_record(record(1, &firing("a", 2, Severity::Critical)));
    assert!(outbox.next(59, &|_| true).is_none());
    let again = outbox.next(60, &|_| true).unwrap();
    assert!(again.is_repetition());
    assert_eq!(
        (told(&Some(again.clone())), again.notices[0].alert.severity),
        (vec!["a/1".to_owned()], Severity::Warning)
    );
    outbox.settle(&again, &Outcome::Accepted, 60);
    assert!(outbox.next(119, &|_| true).is_none());
    outbox.on_record(record(2, &test_alert("a", 3, AlertState::Resolved)));
    assert_eq!(
        told(&outbox.next(119, &|_| true)),
        ["a/3"],
        "otherwise somebody would look after what is over"
    );
}

#[test]
fn what_is_not_for_this_process_any_more_is_forgotten() {
    let mut outbox = outbox(wishes(1));
    outbox.assigned(0, None, 0);
    outbox.on_record(record(0, &firing("a", 1, Severity::Warning)));
    let batch = outbox.next(0, &nobody).unwrap();
    outbox.revoked(0);
    outbox.assigned(0, Some(Position { offset: 0, metadata: String::new() }), 1);
    outbox.on_record(record(0, &firing("a", 1, Severity::Warning)));
    outbox.settle(&batch, &Outcome::Accepted, 0);
    assert_eq!(outbox.positions(), [], "that answer was to a request of before");
    assert_eq!(told(&outbox.next(0, &nobody)), ["a/1"]);
}

#[test]
fn records_beyond_the_bound_stay_on_the_topic() {
    let mut outbox = outbox(wishes(64));
    outbox.assigned(0, None, 0);
    for offset in 0..WAITING_MAX as i64 {
        assert!(!outbox.is_full(0));
        outbox.on_record(record(offset, &firing("a", offset as u32, Severity::Warning)));
    }
    assert!(outbox.is_full(0) && !outbox.has_room(0));
    tell_all(&mut outbox, &nobody);
    assert!(outbox.has_room(0));
    outbox.on_record(Record { offset: 1_000, payload: vec![b' '; WAITING_BYTES_MAX], ..Record::default() });
    assert!(outbox.is_full(0), "large ones also by their bytes");
}

#[test]
fn too_many_that_fire_are_forgotten_oldest_first_and_counted() {
    let mut outbox = outbox(wishes(1_000));
    outbox.assigned(0, None, 0);
    for offset in 0..=FIRING_MAX as i64 {
        let mut alert = firing(&offset.to_string(), 1, Severity::Warning);
        alert.starts_ms = -offset;
        outbox.on_record(record(offset, &alert));
        if outbox.is_full(0) {
            tell_all(&mut outbox, &nobody);
        }
    }
    tell_all(&mut outbox, &nobody);
    assert_eq!(outbox.counters.values().forgotten, 1);
    outbox.measure();
    assert_eq!(outbox.counters.values().firing, FIRING_MAX as u64);
}

#[test]
fn what_is_no_alert_is_passed_over_and_counted() {
    let mut outbox = outbox(wishes(1));
    outbox.assigned(0, None, 0);
    outbox.on_record(Record { payload: b"nonsense".to_vec(), ..Record::default() });
    assert!(outbox.next(0, &nobody).is_none());
    assert_eq!((outbox.positions()[0].1.offset, outbox.counters.values().unreadable), (1, 1));
}

/// Alerts of `a0` hold back all others while they are critical.
fn inhibiting(batch_max: usize) -> Wishes {
    let rule =
        r#"{"source_matchers": ["severity=critical", "alertname=a0"], "target_matchers": ["alertname!=a0"]}"#;
    Wishes { inhibit_rules: vec![serde_json::from_str(rule).unwrap()], ..wishes(batch_max) }
}

fn named(name: &str, version: u32, severity: Severity, state: AlertState) -> Alert {
    let mut alert = Alert { severity, ..test_alert(name, version, state) };
    alert.labels.insert("alertname".to_owned(), name.to_owned());
    alert
}

#[test]
fn what_another_alert_holds_back_is_told_at_its_end_if_it_still_fires() {
    for batch_max in [1, 8] {
        let mut outbox = outbox(inhibiting(batch_max));
        outbox.assigned(0, None, 0);
        let (firing, over) = (AlertState::Firing, AlertState::Resolved);
        let alerts = [
            named("a1", 1, Severity::Warning, firing),
            named("a0", 1, Severity::Critical, firing),
            named("a2", 1, Severity::Warning, firing),
            named("a3", 1, Severity::Warning, firing),
            named("a1", 2, Severity::Critical, firing),
            named("a3", 2, Severity::Warning, over),
            named("a1", 3, Severity::Critical, over),
        ];
        for (offset, alert) in alerts.iter().enumerate() {
            outbox.on_record(record(offset as i64, alert));
        }
        assert_eq!(
            tell_all(&mut outbox, &nobody),
            ["a1/1", "a0/1", "a1/3"],
            "the end of what was told is told"
        );
        assert_eq!(outbox.positions()[0].1.metadata, "held=a2");
        assert_eq!((outbox.counters.values().inhibited, outbox.counters.values().silenced), (3, 0));
        // Another process knows the same from the records before.
        let mut after = Outbox::new(inhibiting(batch_max), Arc::default());
        after.assigned(0, Some(Position { offset: 7, metadata: "held=a2".to_owned() }), 7);
        alerts.iter().enumerate().for_each(|(offset, alert)| after.on_record(record(offset as i64, alert)));
        after.ended(0);
        for outbox in [&mut outbox, &mut after] {
            assert_eq!(tell_all(outbox, &nobody), [""; 0]);
            outbox.on_record(record(7, &named("a0", 2, Severity::Critical, over)));
            assert_eq!(tell_all(outbox, &nobody), ["a0/2", "a2/1"]);
        }
    }
}

/// One thing that may happen.
#[derive(Clone, Debug)]
enum Step {
    Write(usize, Severity, bool),
    Read(usize),
    /// The receiver is asked and answers, or does not.
    Tell(bool),
    Commit,
    /// The process dies; what was not committed is done again.
    Crash,
    Silence(usize, bool),
}

fn steps(with_silences: bool) -> impl Strategy<Value = Vec<Step>> {
    let severity = prop_oneof![Just(Severity::Info), Just(Severity::Warning), Just(Severity::Critical)];
    let step = prop_oneof![
        4 => (0..4_usize, severity, any::<bool>()).prop_map(|(of, severity, ends)| Step::Write(of, severity, ends)),
        4 => (1..4_usize).prop_map(Step::Read),
        6 => any::<bool>().prop_map(Step::Tell),
        2 => Just(Step::Commit),
        1 => Just(Step::Crash),
        u32::from(with_silences) => (0..4_usize, any::<bool>()).prop_map(|(of, holds)| Step::Silence(of, holds)),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A topic, a receiver and the process between them.
struct World {
    topic: Vec<Alert>,
    committed: Option<Position>,
    read: usize,
    outbox: Outbox,
    wishes: Wishes,
    silenced: BTreeSet<String>,
    /// What the receiver heard, in its order; a crash stands between.
    heard: Vec<Option<(String, u32)>>,
    buried: BTreeSet<(String, u32)>,
}

impl World {
    fn new(wishes: Wishes) -> Self {
        let mut world = Self {
            topic: vec![],
            committed: None,
            read: 0,
            outbox: outbox(wishes.clone()),
            wishes,
            silenced: BTreeSet::new(),
            heard: vec![],
            buried: BTreeSet::new(),
        };
        world.start();
        world
    }

    fn start(&mut self) {
        self.outbox = outbox(self.wishes.clone());
        self.read = 0;
        let first = self.outbox.assigned(0, self.committed.clone(), self.topic.len() as i64);
        self.committed = self.committed.take().or(first);
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Write(of, severity, ends) => {
                let name = format!("a{of}");
                let before = self.topic.iter().rev().find(|alert| alert.fingerprint == name);
                let version = before.map_or(1, |before| before.incident_version + 1);
                let fires = before.is_some_and(|before| before.state == AlertState::Firing);
                let state = if fires && *ends { AlertState::Resolved } else { AlertState::Firing };
                self.topic.push(named(&name, version, *severity, state));
            }
            Step::Read(n) => {
                for _ in 0..*n {
                    match self.topic.get(self.read) {
                        Some(alert) => self.outbox.on_record(record(self.read as i64, alert)),
                        None => self.outbox.ended(0),
                    }
                    self.read = (self.read + 1).min(self.topic.len());
                }
            }
            Step::Tell(answers) => {
                let silenced = self.silenced.clone();
                let batch = self.outbox.next(0, &|alert| silenced.contains(&alert.fingerprint));
                let Some(batch) = batch else { return };
                if batch.is_release() {
                    self.take(&Step::Commit);
                }
                // Every seventh version is one that the receiver cannot bear.
                let is_bad = batch.notices.iter().any(|notice| notice.alert.incident_version % 7 == 0);
                let outcome = match (answers, is_bad) {
                    (false, _) => failed(),
                    (true, true) => Outcome::Refused("bad".to_owned()),
                    (true, false) => Outcome::Accepted,
                };
                if outcome == Outcome::Accepted {
                    let ids = batch
                        .notices
                        .iter()
                        .map(|n| Some((n.alert.fingerprint.clone(), n.alert.incident_version)));
                    self.heard.extend(ids);
                }
                for letter in self.outbox.settle(&batch, &outcome, 0) {
                    let alert: Alert = serde_json::from_slice(&letter.record.payload).unwrap();
                    self.buried.insert((alert.fingerprint, alert.incident_version));
                }
            }
            Step::Commit => {
                for (_, position) in self.outbox.positions() {
                    self.committed = Some(position);
                }
            }
            Step::Crash => {
                self.heard.push(None);
                self.start();
            }
            Step::Silence(of, holds) => {
                let name = format!("a{of}");
                if *holds {
                    self.silenced.insert(name)
                } else {
                    self.silenced.remove(&name)
                };
            }
        }
    }

    /// All is well at last.
    fn settle(&mut self) {
        self.silenced.clear();
        for _ in 0..self.topic.len() * 3 + 3 {
            self.take(&Step::Read(2));
            self.take(&Step::Tell(true));
        }
    }

    /// Whether a receiver wants a record, by what was written before.
    fn wanted(&self) -> Vec<(String, u32)> {
        let mut open = BTreeSet::new();
        let mut wanted = Vec::new();
        for alert in &self.topic {
            let id = (alert.fingerprint.clone(), alert.incident_version);
            let is_wanted = alert.severity != Severity::Info || open.contains(&alert.fingerprint);
            if alert.state == AlertState::Resolved {
                if is_wanted && open.remove(&alert.fingerprint) {
                    wanted.push(id);
                }
            } else if is_wanted {
                // One that could not be told opens nothing.
                if alert.incident_version % 7 != 0 {
                    open.insert(alert.fingerprint.clone());
                }
                if alert.severity != Severity::Info || open.contains(&alert.fingerprint) {
                    wanted.push(id);
                }
            }
        }
        wanted
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_alert_is_delivered_at_least_once_and_in_order_whatever_fails(steps in steps(false), batch_max in 1..4_usize) {
        let mut world = World::new(wishes(batch_max));
        steps.iter().for_each(|step| world.take(step));
        world.settle();
        let heard: BTreeSet<(String, u32)> = world.heard.iter().flatten().cloned().collect();
        for id in world.wanted() {
            prop_assert!(heard.contains(&id) || world.buried.contains(&id), "{id:?} is lost");
        }
        // Between two crashes no version comes after a later one; a crash goes back, but never over a gap.
        let mut last: BTreeMap<&String, u32> = BTreeMap::new();
        let mut furthest: BTreeMap<&String, u32> = BTreeMap::new();
        for step in &world.heard {
            let Some((name, version)) = step else { last.clear(); continue };
            prop_assert!(last.insert(name, *version).is_none_or(|before| before < *version));
            let so_far = furthest.get(name).copied().unwrap_or(0);
            let skipped = (so_far + 1..*version).find(|v| {
                let id = (name.clone(), *v);
                world.wanted().contains(&id) && !world.buried.contains(&id)
            });
            prop_assert_eq!(skipped, None, "before {} {}", name, version);
            furthest.insert(name, so_far.max(*version));
        }
    }

    #[test]
    fn after_all_silences_the_receiver_knows_what_fires_and_what_is_over(steps in steps(true), batch_max in 1..4_usize, inhibits in any::<bool>()) {
        let mut world = World::new(if inhibits { inhibiting(batch_max) } else { wishes(batch_max) });
        steps.iter().for_each(|step| world.take(step));
        if inhibits {
            // The end of what holds others back.
            let last = world.topic.iter().rev().find(|alert| alert.fingerprint == "a0");
            if let Some(version) = last.filter(|last| last.state == AlertState::Firing).map(|last| last.incident_version) {
                world.topic.push(named("a0", version + 1, Severity::Critical, AlertState::Resolved));
            }
        }
        world.settle();
        for name in ["a0", "a1", "a2", "a3"] {
            let last = world.topic.iter().rev().find(|alert| alert.fingerprint == name);
            let Some(last) = last else { continue };
            let heard = world.heard.iter().flatten().filter(|(of, _)| of == name).map(|(_, version)| *version).max();
            let is_buried = world.buried.contains(&(name.to_owned(), last.incident_version));
            // A refusal of what was held back is only counted.
            if is_buried || last.incident_version % 7 == 0 {
                continue;
            }
            match last.state {
                AlertState::Firing if last.severity != Severity::Info => {
                    prop_assert_eq!(heard, Some(last.incident_version), "{} fires and is not known", name);
                }
                AlertState::Firing => {}
                AlertState::Resolved => {
                    let is_open = heard.is_some_and(|version| {
                        let began = world.topic.iter().rev().filter(|alert| alert.fingerprint == name);
                        let last_end = began.skip(1).find(|alert| alert.state == AlertState::Resolved);
                        last_end.is_none_or(|end| version > end.incident_version) && version < last.incident_version
                    });
                    prop_assert!(!is_open, "{} is over and nobody was told", name);
                }
            }
        }
    }

    #[test]
    fn what_is_held_back_by_another_depends_on_the_records_alone(steps in steps(false), batch_max in 1..4_usize) {
        let mut world = World::new(inhibiting(batch_max));
        steps.iter().for_each(|step| world.take(step));
        world.settle();
        let mut expected = Inhibitor::new(world.wishes.inhibit_rules.clone());
        let mut held = BTreeSet::new();
        for alert in &world.topic {
            if alert.state == AlertState::Firing && expected.is_inhibited(alert) {
                held.insert((alert.fingerprint.clone(), alert.incident_version));
            }
            expected.observe(0, alert);
        }
        // Held versions are told only once the other has ended, and then only the newest of those that fire.
        let a0_ends = world.topic.iter().any(|alert| alert.fingerprint == "a0" && (alert.state == AlertState::Resolved || alert.severity != Severity::Critical));
        for id in world.heard.iter().flatten() {
            prop_assert!(a0_ends || !held.contains(id), "{:?} was told while another holds it back", id);
        }
    }
}
