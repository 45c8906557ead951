use model::Labels;

use super::*;

const WEEK: i64 = 7 * 86_400_000;

fn settings(pages_per_week: f64, per: Option<&str>) -> BudgetSettings {
    BudgetSettings { pages_per_week, per: per.map(str::to_owned), services: BTreeMap::new() }
}

fn uniform(i: u64) -> f64 {
    let mut mixed = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
}

fn anomaly(service: &str, team: &str, series: u64, time_ms: i64, rarity: f64) -> Anomaly {
    Anomaly {
        id: String::new(),
        labels: Labels::of(service, &format!("metric_{series}")).with("team", team),
        service: service.to_owned(),
        metric: format!("metric_{series}"),
        detector: "ensemble".to_owned(),
        time_ms,
        value: 9.0,
        expected: 1.0,
        lower: 0.0,
        upper: 2.0,
        // A detector that finds one in so many has odds of as many.
        anomaly_score: 1.0 / (1.0 + rarity),
        severity: Severity::Warning,
        summary: String::new(),
        amended: false,
        exemplar_trace_ids: Vec::new(),
    }
}

fn incident(id: u64, service: &str, opened_ms: i64, state: IncidentState) -> Incident {
    Incident {
        incident: format!("inc-{id}"),
        version: 1,
        state,
        severity: Severity::Critical,
        title: String::new(),
        opened_ms,
        updated_ms: opened_ms + MINUTE_MS,
        resolved_ms: None,
        services: vec![service.to_owned()],
        root_causes: Vec::new(),
        changes: Vec::new(),
        anomalies: 2,
        exemplar_trace_ids: Vec::new(),
        split_from: None,
        merged_into: None,
        amended: false,
    }
}

/// As detectors find it without a fault: odds with a tail of exponent 2, at least 1.
fn rarity(common: f64, own: f64) -> f64 {
    (common * own).sqrt()
}

/// One incident of `series` series from begin to end; whether it paged at its begin, and later.
fn go_through(
    budget: &mut Budget,
    id: u64,
    (service, team): (&str, &str),
    at_ms: i64,
    p_values: &[f64],
) -> bool {
    budget.advance(at_ms);
    for (series, p_value) in p_values.iter().enumerate() {
        budget.observe(&anomaly(service, team, series as u64, at_ms, *p_value));
    }
    let pages = budget.decide(&incident(id, service, at_ms, IncidentState::Open)).pages;
    let over = budget.decide(&incident(id, service, at_ms, IncidentState::Resolved));
    assert!(over.pages || !pages, "a page stays one");
    budget.advance(at_ms + 2 * RECENT_MS);
    over.pages
}

/// Pages of each week, with so many incidents a week. What series say of them depends on each other and on the week.
fn pages_by_week(budget: &mut Budget, weeks: i64, per_week: i64) -> Vec<usize> {
    let mut pages = vec![0; weeks as usize];
    for i in 0..weeks * per_week {
        let at_ms = i * WEEK / per_week;
        let common = uniform(i as u64);
        let series = 1 + (5.0 * uniform(i as u64 + 500_000)) as u64;
        let p_values: Vec<f64> =
            (0..series).map(|series| rarity(common, uniform(1_000_000 + 10 * i as u64 + series))).collect();
        let is_page = go_through(budget, i as u64, ("cart", "shop"), at_ms, &p_values);
        pages[(at_ms / WEEK) as usize] += usize::from(is_page);
    }
    pages
}

#[test]
fn pages_without_faults_are_as_many_as_the_budget_has() {
    for (pages_per_week, per_week) in [(3.0, 20), (3.0, 300), (3.0, 5000), (0.5, 300), (10.0, 100)] {
        let mut budget = Budget::new(&settings(pages_per_week, None));
        // So that there are some dozens of pages.
        let weeks = (60.0 / pages_per_week) as i64;
        let pages = pages_by_week(&mut budget, weeks, per_week);
        let mean = pages.iter().sum::<usize>() as f64 / weeks as f64;
        assert!(
            (0.5 * pages_per_week..2.0 * pages_per_week).contains(&mean),
            "{pages_per_week} of {per_week}: {mean} {pages:?}"
        );
        assert_eq!(budget.pages() as usize, pages.iter().sum::<usize>());
        assert_eq!(budget.pages() + budget.withheld(), (weeks * per_week) as u64);
    }
}

#[test]
fn a_strong_fault_pages_among_many_weak_ones_and_so_do_several_in_a_week() {
    let mut budget = Budget::new(&settings(3.0, None));
    pages_by_week(&mut budget, 4, 1000);
    for fault in 0..6 {
        let at_ms = 4 * WEEK + fault * WEEK / 7;
        let id = 900_000 + fault as u64;
        assert!(go_through(&mut budget, id, ("cart", "shop"), at_ms, &[1e-5; 5]), "fault {fault}");
    }
}

#[test]
fn a_burst_of_noise_pages_little_more_than_any_other() {
    let mut budget = Budget::new(&settings(3.0, None));
    pages_by_week(&mut budget, 6, 50);
    // An hour with a thousand incidents of the usual kind.
    let pages = (0..1000_u64).filter(|i| {
        let common = uniform(*i + 9_000_000);
        let p_values = [1, 2, 3].map(|series| rarity(common, uniform(4 * i + series + 8_000_000)));
        go_through(&mut budget, 500_000 + i, ("cart", "shop"), 6 * WEEK + *i as i64 * 3_600, &p_values)
    });
    let pages = pages.count();
    assert!(pages <= 6, "{pages}");
}

#[test]
fn what_is_stranger_from_some_day_on_becomes_usual() {
    let mut budget = Budget::new(&settings(3.0, None));
    pages_by_week(&mut budget, 6, 300);
    let strange = |budget: &mut Budget, week: i64| {
        let pages = (0..300).filter(|i| {
            let id = (1_000 * week + i) as u64;
            let p_value = 0.1 * rarity(uniform(id), uniform(id + 3_000_000));
            let at_ms = week * WEEK + i * WEEK / 300;
            go_through(budget, 700_000 + id, ("cart", "shop"), at_ms, &[p_value; 4])
        });
        pages.count()
    };
    let pages: Vec<usize> = (6..12).map(|week| strange(&mut budget, week)).collect();
    assert!(pages[0] > 3 && pages[0] < 40 && pages[5] <= 6, "{pages:?}");
}

#[test]
fn an_incident_that_becomes_stranger_pages_later() {
    let mut budget = Budget::new(&settings(1.0, None));
    pages_by_week(&mut budget, 4, 200);
    let at_ms = 4 * WEEK;
    budget.observe(&anomaly("cart", "shop", 0, at_ms, 0.5));
    let open = incident(1_000_000, "cart", at_ms, IncidentState::Open);
    let decision = budget.decide(&open);
    assert!(!decision.pages && decision.reason.starts_with("does not page"), "{}", decision.reason);
    assert_eq!(decision.severity(Severity::Critical), Severity::Info);
    assert!(budget.advance(at_ms) && !budget.is_due(&open));
    assert!(!budget.advance(at_ms), "nothing new");
    (0..6).for_each(|series| budget.observe(&anomaly("cart", "shop", series, at_ms + 1, 1e-5)));
    assert!(budget.advance(at_ms) && budget.is_due(&open));
    let decision = budget.decide(&incident(1_000_000, "cart", at_ms, IncidentState::Updated));
    assert!(decision.pages && decision.reason.contains("1 pages a week allows"), "{}", decision.reason);
    assert_eq!(decision.severity(Severity::Info), Severity::Warning);
    assert!(!budget.is_due(&open), "once");
}

#[test]
fn what_was_looked_at_between_two_versions_is_what_an_incident_came_to() {
    let mut budget = Budget::new(&settings(3.0, None));
    let at_ms = 100 * HOUR_MS;
    budget.observe(&anomaly("web", "", 0, at_ms, 0.5));
    budget.decide(&incident(1, "web", at_ms, IncidentState::Open));
    budget.observe(&anomaly("web", "", 1, at_ms + MINUTE_MS, 1e-6));
    budget.is_due(&incident(1, "web", at_ms, IncidentState::Open));
    let most = budget.state.tests["inc-1"].strangeness;
    // Its series have calmed down by its end.
    budget.advance(at_ms + 3 * HOUR_MS);
    let over = incident(1, "web", at_ms, IncidentState::Resolved);
    assert!(budget.strangeness(&over) < 0.9 * most);
    budget.decide(&over);
    let before = &budget.state.scopes[""].before;
    assert_eq!((before.total(), before.counted_p_value(0.9 * most)), (1.0, 1.0));
}

#[test]
fn each_scope_has_a_budget_of_its_own() {
    let mut given = settings(2.0, Some("team"));
    given.services.insert("gateway".to_owned(), "network".to_owned());
    let mut budget = Budget::new(&given);
    pages_by_week(&mut budget, 3, 500);
    // The noise of one team takes nothing from the others, known by a label or by the configuration.
    assert!(go_through(&mut budget, 1_000_000, ("ads", "ads"), 3 * WEEK, &[1e-3; 4]));
    assert!(go_through(&mut budget, 1_000_001, ("gateway", ""), 3 * WEEK, &[1e-3; 4]));
    let scopes: Vec<&String> = budget.state.scopes.keys().collect();
    assert_eq!(scopes, ["ads", "network", "shop"]);
    assert!(budget.reason("ads", 0.5, 0.1, false).contains("for team ads"));
}

/// How strange an incident of some series is, each of which is so rare at that time.
fn strangeness(budget: &mut Budget, service: &str, at_ms: i64, rarity: f64) -> f64 {
    budget.advance(at_ms);
    (0..4).for_each(|series| budget.observe(&anomaly(service, "shop", series, at_ms, rarity)));
    budget.strangeness(&incident(0, service, at_ms, IncidentState::Open))
}

#[test]
fn a_series_whose_scores_are_always_extreme_hides_no_other() {
    let hour = |budget: &mut Budget, hour: i64, is_loud: bool| {
        let at_ms = hour * HOUR_MS;
        if is_loud {
            strangeness(budget, "errors", at_ms, 1e-3);
        }
        let quiet = format!("quiet-{}", hour % 50);
        strangeness(budget, &quiet, at_ms, 0.2 + 0.6 * uniform(hour as u64));
    };
    let of_fault = |is_loud: bool| {
        let mut budget = Budget::new(&settings(3.0, None));
        (0..500).for_each(|at| hour(&mut budget, at, is_loud));
        strangeness(&mut budget, "cart", 500 * HOUR_MS, 1e-2)
    };
    let [alone, beside] = [false, true].map(of_fault);
    assert!(beside > 0.8 * alone, "{beside} instead of {alone}");
}

#[test]
fn what_returns_at_the_same_hour_of_a_week_says_little() {
    let after = |hours: i64| {
        let mut budget = Budget::new(&settings(3.0, None));
        strangeness(&mut budget, "cart", 0, 0.1);
        strangeness(&mut budget, "cart", hours * HOUR_MS, 0.1)
    };
    let weekly = [167, 168, 169].map(after);
    for other in [100, 128, 166, 170, 190] {
        let other = after(other);
        assert!(weekly.iter().all(|weekly| weekly + 4.0 < other), "{weekly:?} {other}");
    }
}

#[test]
fn by_hand_pages_and_is_no_test() {
    let mut budget = Budget::new(&settings(1.0, None));
    let by_hand = |state| Incident { services: Vec::new(), anomalies: 0, ..incident(1, "", 0, state) };
    assert!(budget.decide(&by_hand(IncidentState::Open)).pages);
    assert!(budget.decide(&by_hand(IncidentState::Resolved)).pages);
    assert_eq!((budget.pages(), budget.withheld()), (0, 0));
}

#[test]
fn it_is_bounded_and_goes_on_from_its_state() {
    let mut budget = Budget::new(&settings(3.0, Some("team")));
    for i in 0..30_000_u64 {
        let name = format!("service-{i}");
        budget.observe(&anomaly(&name, &format!("team-{i}"), 0, 0, 1e-3));
        if i % 50 == 0 {
            budget.decide(&incident(i, &name, 0, IncidentState::Open));
            budget.decide(&incident(i, &name, 0, IncidentState::Resolved));
        }
    }
    assert!(budget.state.services.len() <= SERVICES_MAX && budget.state.series <= SERIES_MAX);
    assert_eq!(budget.state.scopes.len(), SCOPES_MAX);
    let bytes = crate::state::encode(&budget.state());
    let mut restored = Budget::new(&settings(3.0, Some("team")));
    restored.restore(&bytes).unwrap();
    assert_eq!(restored.state, budget.state);
    budget.advance(2 * RECENT_MS);
    budget.advance(2 * WEEK);
    assert_eq!(budget.state.series, 0);
    assert!(restored.restore(&bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn a_state_that_no_budget_leaves_behind_is_refused() {
    let mut budget = Budget::new(&settings(3.0, None));
    pages_by_week(&mut budget, 1, 20);
    budget.observe(&anomaly("cart", "shop", 0, WEEK, 0.5));
    budget.decide(&incident(1, "cart", WEEK, IncidentState::Open));
    let restored = |change: &dyn Fn(&mut State)| {
        let mut state = budget.state.clone();
        change(&mut state);
        Budget::new(&settings(3.0, None)).restore(&crate::state::encode(&state))
    };
    assert_eq!(restored(&|_| {}), Ok(()));
    fn scope(state: &mut State) -> &mut Scope {
        state.scopes.values_mut().next().unwrap()
    }
    fn test(state: &mut State) -> &mut Test {
        state.tests.values_mut().next().unwrap()
    }
    let changes: [&dyn Fn(&mut State); 8] = [
        &|state| scope(state).wealth = f64::NAN,
        &|state| scope(state).wealth = -1.0,
        &|state| scope(state).tests = f64::INFINITY,
        &|state| scope(state).usual_pages = -0.5,
        &|state| test(state).level = 1.5,
        &|state| test(state).strangeness = f64::NAN,
        &|state| state.series += 1,
        &|state| {
            let series = state.services.values_mut().flat_map(|service| service.series.values_mut());
            series.for_each(|series| series.habit = f64::NAN);
        },
    ];
    assert!(changes.into_iter().all(|change| restored(change).is_err()));
}

#[test]
fn in_its_first_days_a_scope_pages_twice_its_budget_at_the_most() {
    let mut budget = Budget::new(&settings(2.0, None));
    let at_ms = |i: i64| i * WEEK / 30;
    let paged: Vec<i64> = (0..60)
        .filter(|i| go_through(&mut budget, *i as u64, ("cart", "shop"), at_ms(*i), &[1e-9; 8]))
        .collect();
    let first = paged.iter().filter(|i| at_ms(**i) < WEEK).count();
    assert!((2..=4).contains(&first), "{paged:?}");
    let withheld = budget.reason("", 1e-9, 0.1, false);
    assert!(withheld.contains("first days"), "{withheld}");
}
