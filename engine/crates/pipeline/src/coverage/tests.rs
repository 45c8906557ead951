use hashbrown::HashMap;
use proptest::prelude::*;

use super::*;

const STEP_MS: i64 = 10_000;

/// Series with what their detectors say, and a ledger of them.
struct Rig {
    table: SeriesTable,
    /// By slot: none if nobody watches the series.
    left: HashMap<u32, Option<u32>>,
    coverage: Coverage,
    now_ms: i64,
    told: Vec<ServiceCoverage>,
}

impl Rig {
    fn new() -> Self {
        let (table, coverage) = (SeriesTable::with_limit(1 << 20), Coverage::default());
        Self { table, left: HashMap::new(), coverage, now_ms: 1_700_000_000_000, told: Vec::new() }
    }

    fn add(&mut self, service: &str, metric: &str, left: Option<u32>) -> u32 {
        let labels = Labels::of(service, metric);
        let slot = self.table.slot_for(labels.id(), self.now_ms, true, || labels.clone());
        let (slot, _) = slot.expect("there is room");
        self.left.insert(slot, left);
        slot
    }

    fn remove(&mut self, slots: &[u32]) {
        self.coverage.forget(slots);
        self.table.remove(slots);
    }

    fn refuse(&mut self, service: &str, metric: &str) {
        let labels = Labels::of(service, metric);
        self.coverage.refuse(labels.id(), || labels);
    }

    /// Event time goes on at once.
    fn jump(&mut self, ms: i64) {
        self.now_ms += ms;
        let Self { left, coverage, table, now_ms, told, .. } = self;
        coverage.advance(*now_ms, table, |slot| left.get(&slot).copied().flatten(), told);
    }

    /// Event time goes on step by step.
    fn pass(&mut self, ms: i64) {
        (0..ms / STEP_MS).for_each(|_| self.jump(STEP_MS));
    }

    fn restart(&mut self) {
        let section = self.coverage.state();
        self.coverage = Coverage::default();
        self.coverage.restore(std::slice::from_ref(&section)).expect("it can be read");
        assert_eq!(self.coverage.state(), section);
    }

    /// What was told since the last call, the newest of each service.
    fn take(&mut self) -> BTreeMap<String, ServiceCoverage> {
        self.told.drain(..).map(|coverage| (coverage.service.clone(), coverage)).collect()
    }
}

fn counts(coverage: &ServiceCoverage) -> [u64; 5] {
    SeriesState::ALL.map(|state| coverage.count(state))
}

#[test]
fn a_series_is_told_of_early_while_it_learns_and_once_it_is_modelled() {
    let mut rig = Rig::new();
    let slot = rig.add("cart", "cpu", Some(30));
    rig.pass(3 * MINUTE_MS);
    assert!(rig.take().is_empty());
    rig.pass(2 * MINUTE_MS);
    let told = &rig.take()["cart"];
    assert_eq!(counts(told), [0, 1, 0, 0, 0]);
    let listed = ListedSeries { metric: "cpu".to_owned(), points_left: Some(30), ready_ms: None };
    assert_eq!((told.learning.listed.as_slice(), told.ready_ms), (&[listed][..], None));
    // A point in five minutes.
    for left in (10..30).rev() {
        rig.left.insert(slot, Some(left));
        rig.pass(5 * MINUTE_MS);
    }
    assert!(rig.take().is_empty(), "that it needs fewer points is no change");
    let now = rig.coverage.now(rig.now_ms, &rig.table, |_| Some(10));
    let ready_ms = now[0].ready_ms.expect("it is known by now") - rig.now_ms;
    assert!((45 * MINUTE_MS..55 * MINUTE_MS).contains(&ready_ms), "{ready_ms}");
    rig.left.insert(slot, Some(0));
    rig.pass(2 * HOUR_MS);
    assert_eq!(counts(&rig.take()["cart"]), [1, 0, 0, 0, 0]);
    assert_eq!(rig.coverage.counts(), [1, 0, 0, 0, 0]);
    assert!(rig.coverage.learning.is_empty());
}

#[test]
fn what_comes_too_seldom_or_not_at_all_is_too_sparse() {
    let mut rig = Rig::new();
    let seldom = rig.add("cart", "seldom", Some(400));
    let often = rig.add("cart", "often", Some(400));
    rig.add("cart", "never", Some(3));
    for hour in 1..=3 {
        // A point an hour would take two weeks.
        rig.left.insert(seldom, Some(400 - hour));
        rig.left.insert(often, Some(400 - 60 * hour));
        rig.pass(HOUR_MS);
    }
    let told = &rig.take()["cart"];
    assert_eq!(counts(told), [0, 1, 2, 0, 0]);
    assert_eq!(told.learning.listed[0].metric, "often");
    assert!(told.too_sparse.listed.iter().all(|series| series.ready_ms.is_none()));
    // A detector begins anew: so does what is known of its rate.
    rig.left.insert(seldom, Some(401));
    rig.pass(90 * MINUTE_MS);
    assert_eq!(counts(&rig.take()["cart"]), [0, 2, 1, 0, 0]);
}

#[test]
fn what_nobody_watches_and_what_has_no_room_is_told_of_by_signal() {
    let mut rig = Rig::new();
    rig.add("cart", "cpu", Some(0));
    rig.add("cart", "queue", None);
    rig.add("cart", "calls.rate", None);
    rig.add("cart", "logs.rate", Some(0));
    for _ in 0..3 {
        rig.refuse("cart", "disk");
        rig.refuse("web", "spans.rate");
        rig.refuse("cart", "cpu");
    }
    rig.pass(5 * MINUTE_MS);
    let told = rig.take();
    assert_eq!(counts(&told["cart"]), [2, 0, 0, 2, 1], "cpu has found room");
    let signals = told["cart"].signals.named().map(|(name, signal)| (name, signal.series, signal.unwatched));
    assert_eq!(signals, [("metrics", 3, 1), ("spans", 0, 0), ("calls", 1, 1), ("logs", 1, 0)]);
    assert_eq!(counts(&told["web"]), [0, 0, 0, 0, 1]);
    assert_eq!(told["web"].refused.listed[0].metric, "spans.rate");
    // Nothing is refused any more, and nothing is left of the other.
    rig.pass(10 * MINUTE_MS);
    let told = rig.take();
    assert_eq!(counts(&told["cart"]), [2, 0, 0, 2, 0]);
    assert_eq!((told["web"].series(), told["web"].time_ms > 0), (0, true));
    rig.pass(3 * HOUR_MS);
    assert!(rig.take().is_empty(), "that is told once");
}

#[test]
fn a_service_without_series_is_told_of_once_and_a_slot_begins_anew() {
    let mut rig = Rig::new();
    let slot = rig.add("cart", "cpu", Some(9));
    rig.add("web", "cpu", Some(0));
    rig.pass(5 * MINUTE_MS);
    assert_eq!(rig.take().len(), 2);
    rig.remove(&[slot]);
    assert_eq!(rig.add("stock", "cpu", Some(7)), slot);
    rig.pass(10 * MINUTE_MS);
    let told = rig.take();
    assert_eq!(told.keys().collect::<Vec<_>>(), ["cart", "stock"]);
    assert_eq!(told["cart"].series(), 0);
    assert_eq!(told["stock"].learning.listed[0].ready_ms, None, "of the other's points nothing follows");
}

#[test]
fn everything_is_told_again_once_a_day_and_rough_numbers_do_not_change() {
    let mut rig = Rig::new();
    for i in 0..33 {
        rig.add("cart", &format!("cpu_{i}"), Some(0));
    }
    rig.pass(15 * MINUTE_MS);
    assert_eq!(rig.take().len(), 1);
    rig.add("cart", "one_more", Some(0));
    rig.pass(25 * HOUR_MS);
    assert_eq!(rig.told.len(), 1, "for the day");
    assert_eq!(rig.take()["cart"].modelled, 34);
    assert_eq!([0, 7, 15, 16, 17, 33, 1_000, u64::MAX].map(rough), [0, 7, 15, 16, 16, 32, 960, 15 << 60]);
}

#[test]
fn labels_without_end_are_cut() {
    let mut rig = Rig::new();
    let name = "ä".repeat(10_000);
    rig.add("cart", &format!("a{name}"), None);
    rig.refuse("cart", &name);
    rig.pass(5 * MINUTE_MS);
    let told = &rig.take()["cart"];
    for listed in [&told.unwatched.listed[0], &told.refused.listed[0]] {
        assert!((250..=260).contains(&listed.metric.len()) && listed.metric.ends_with('…'), "{listed:?}");
    }
}

#[test]
fn what_was_read_at_once_is_told_at_once() {
    let mut rig = Rig::new();
    rig.coverage.begin(rig.now_ms);
    rig.add("cart", "cpu", Some(0));
    // As where the sources hold half an hour and no more.
    rig.jump(30 * MINUTE_MS);
    assert_eq!(counts(&rig.take()["cart"]), [1, 0, 0, 0, 0]);
    rig.add("web", "cpu", Some(0));
    rig.jump(59 * MINUTE_MS);
    assert!(rig.take().is_empty(), "the next is an hour later");
    rig.jump(MINUTE_MS);
    assert_eq!(rig.take().into_keys().collect::<Vec<_>>(), ["web"]);
    rig.add("stock", "cpu", Some(0));
    rig.jump(HOUR_MS);
    assert!(rig.take().contains_key("stock"), "a point an hour is enough");
}

#[test]
fn bounds_hold_and_are_told() {
    let mut rig = Rig::new();
    for i in 0..SERVICES_MAX + 10 {
        rig.add(&format!("service_{i:06}"), "cpu", Some(0));
    }
    for i in 0..30 {
        rig.add("service_000000", &format!("queue_{i}"), None);
    }
    let refuse = |rig: &mut Rig| {
        (0..REFUSED_MAX + 5).for_each(|i| rig.refuse("service_000001", &format!("disk_{i}")));
    };
    refuse(&mut rig);
    rig.pass(4 * MINUTE_MS);
    let mut told_max = 0;
    for step in 0..60 {
        if step == 20 {
            refuse(&mut rig);
        }
        let before = rig.told.len();
        rig.jump(STEP_MS);
        told_max = told_max.max(rig.told.len() - before);
    }
    assert_eq!(told_max, TOLD_MAX, "in a step");
    let told = rig.take();
    assert_eq!(told.len(), SERVICES_MAX);
    let first = &told["service_000000"].unwatched;
    assert_eq!((first.series, first.listed.len()), (30, LISTED_MAX));
    let second = &told["service_000001"];
    assert_eq!((second.refused.series, second.refused_more), (REFUSED_MAX as u64, true));
    assert!(!told["service_000000"].refused_more);
    assert_eq!(rig.coverage.counts()[0], SERVICES_MAX as u64 + 10, "they are counted all the same");
    // One that was told of is not left out for one that is new to a slot before.
    rig.remove(&[5]);
    rig.add("new", "cpu", Some(0));
    rig.add("service_000005", "cpu", Some(0));
    rig.pass(90 * MINUTE_MS);
    assert!(rig.take().values().all(|coverage| coverage.series() > 0));
}

#[test]
fn a_step_looks_at_a_slice_however_far_event_time_goes() {
    let mut rig = Rig::new();
    for i in 0..60_000 {
        rig.add("cart", &format!("cpu_{i}"), Some(1));
    }
    rig.pass(20 * MINUTE_MS);
    let looked_at = |rig: &mut Rig, ms: i64| {
        let slot = |rig: &Rig| rig.coverage.sweep.as_ref().map_or(0, |sweep| sweep.slot);
        let before = slot(rig);
        rig.jump(ms);
        slot(rig).saturating_sub(before)
    };
    for ms in [STEP_MS, 5 * MINUTE_MS, 30 * MINUTE_MS, 5 * HOUR_MS] {
        let expected = (60_000 * ms / HOUR_MS).min(SLICE_MAX as i64);
        let found = i64::from(looked_at(&mut rig, ms));
        assert!((expected - 1..=expected + 1).contains(&found), "{found} after {ms} ms");
    }
    // Data of a point an hour is looked at in some hours nevertheless.
    rig.take();
    (0..30).for_each(|_| rig.jump(HOUR_MS));
    assert!(!rig.take().is_empty());
}

#[test]
fn a_state_from_before_there_was_a_ledger_is_taken_up_and_a_damaged_one_is_refused() {
    let mut rig = Rig::new();
    rig.add("cart", "cpu", Some(5));
    rig.pass(5 * MINUTE_MS);
    let section = rig.coverage.state();
    assert_eq!(Coverage::default().restore(&[]), Ok(()));
    let damaged = StateSection { bytes: section.bytes[..section.bytes.len() - 1].to_vec(), ..section };
    assert!(Coverage::default().restore(&[damaged]).is_err());
}

#[derive(Clone, Debug)]
enum Act {
    Add(u8, u8, Option<u8>),
    Learn(u32, u8),
    Remove(u32),
    Refuse(u8, u8),
    Jump(i64),
    Pass(i64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..4_u8, 0..9_u8, proptest::option::of(0..40_u8)).prop_map(|(s, m, left)| Act::Add(s, m, left)),
        4 => (0..20_u32, 0..10_u8).prop_map(|(slot, points)| Act::Learn(slot, points)),
        1 => (0..20_u32).prop_map(Act::Remove),
        2 => (0..4_u8, 0..20_u8).prop_map(|(s, m)| Act::Refuse(s, m)),
        1 => (0..9_000_i64).prop_map(|seconds| Act::Jump(seconds * 1_000)),
        3 => (0..90_i64).prop_map(|minutes| Act::Pass(minutes * MINUTE_MS)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn restarts_change_nothing_and_counts_add_up(acts in proptest::collection::vec(act(), 1..60)) {
        let (mut whole, mut resumed) = (Rig::new(), Rig::new());
        for act in acts {
            for rig in [&mut whole, &mut resumed] {
                match &act {
                    Act::Add(service, metric, left) => {
                        rig.add(&service.to_string(), &metric.to_string(), left.map(u32::from));
                    }
                    Act::Learn(slot, points) => {
                        if let Some(Some(left)) = rig.left.get_mut(slot) {
                            *left = left.saturating_sub(u32::from(*points));
                        }
                    }
                    Act::Remove(slot) if rig.table.get(*slot).is_some() => rig.remove(&[*slot]),
                    Act::Remove(_) => {}
                    Act::Refuse(service, metric) => rig.refuse(&service.to_string(), &metric.to_string()),
                    Act::Jump(ms) => rig.jump(*ms),
                    Act::Pass(ms) => rig.pass(*ms),
                }
            }
            resumed.restart();
            prop_assert_eq!(&whole.told, &resumed.told);
            for coverage in whole.told.drain(..) {
                let signals = coverage.signals.named().iter().map(|(_, signal)| signal.series).sum::<u64>();
                prop_assert_eq!(coverage.series(), signals);
                for state in SeriesState::ALL {
                    let listed = coverage.of(state).map(|of| of.listed.len());
                    prop_assert!(listed.is_none_or(|listed| listed as u64 <= coverage.count(state)));
                }
            }
            resumed.told.clear();
        }
    }
}
