use model::{IncidentState, RootCause};
use proptest::prelude::*;

use super::*;

const NOW_MS: i64 = 1_767_600_000_000;

fn incident(id: &str, services: &[&str], causes: &[(&str, f64)]) -> Incident {
    let cause = |(service, score): &(&str, f64)| RootCause {
        service: (*service).to_owned(),
        score: *score,
        ..RootCause::default()
    };
    Incident {
        incident: id.to_owned(),
        version: 1,
        state: IncidentState::Open,
        severity: Severity::Critical,
        title: "slow".to_owned(),
        opened_ms: NOW_MS,
        updated_ms: NOW_MS,
        resolved_ms: None,
        services: services.iter().map(|service| (*service).to_owned()).collect(),
        root_causes: causes.iter().map(cause).collect(),
        changes: vec![],
        anomalies: 3,
        exemplar_trace_ids: Vec::new(),
        split_from: None,
        merged_into: None,
        amended: false,
    }
}

fn usual(id: &str) -> Incident {
    incident(id, &["cart", "db", "web"], &[("web", 3.0), ("db", 2.0), ("cart", 1.0)])
}

fn remark(id: &str, of: &str, judgement: Judgement, cause: Option<&str>) -> Remark {
    Remark {
        id: id.to_owned(),
        incident: of.to_owned(),
        judgement,
        cause: cause.map(str::to_owned),
        time_ms: NOW_MS,
        is_undone: false,
    }
}

fn applied(feedback: &Feedback, mut incident: Incident) -> Incident {
    feedback.clone().apply(&mut incident);
    incident
}

fn first(incident: &Incident) -> &str {
    &incident.root_causes[0].service
}

#[test]
fn without_a_word_nothing_changes() {
    let mut feedback = Feedback::default();
    feedback.apply(&mut usual("a"));
    assert_eq!(applied(&feedback, usual("b")), usual("b"));
    feedback.on_remark(&remark("1", "unknown", Judgement::Noise, None));
    assert_eq!(applied(&feedback, usual("b")), usual("b"), "nobody knows what it was about");
}

#[test]
fn noise_damps_what_is_alike_fades_and_is_undone() {
    let mut feedback = Feedback::default();
    feedback.apply(&mut usual("a"));
    let said = remark("1", "a", Judgement::Noise, None);
    feedback.on_remark(&said);
    let damped = applied(&feedback, usual("b"));
    assert_eq!(damped.severity, Severity::Warning);
    assert!(damped.title.contains("was critical") && damped.title.contains("1 remarks"), "{}", damped.title);
    // Another cause, or mostly other services, are another problem.
    let other = incident("b", &["cart", "db", "web"], &[("db", 3.0), ("web", 2.0)]);
    assert_eq!(applied(&feedback, other).severity, Severity::Critical);
    let wider = incident("b", &["ad", "cart", "db", "mail", "pay", "user", "web"], &[("web", 3.0)]);
    assert_eq!(applied(&feedback, wider).severity, Severity::Critical);
    // After half its time it counts half, and then no more.
    let later = |days: i64| Incident { opened_ms: NOW_MS + days * 86_400_000, ..usual("b") };
    assert_eq!(applied(&feedback, later(29)).severity, Severity::Warning);
    assert_eq!(applied(&feedback, later(31)).severity, Severity::Critical);
    // Said more often, it is only worth knowing; somebody who takes it for real counts against it.
    let mut often = feedback.clone();
    often.on_remark(&remark("2", "a", Judgement::Expected, None));
    assert_eq!(applied(&often, usual("b")).severity, Severity::Info);
    often.on_remark(&remark("3", "a", Judgement::Right, None));
    assert_eq!(applied(&often, usual("b")).severity, Severity::Warning);
    feedback.on_remark(&Remark { is_undone: true, ..said });
    assert_eq!(applied(&feedback, usual("b")), usual("b"));
}

#[test]
fn the_cause_that_was_moves_up_in_bounds() {
    let mut feedback = Feedback::default();
    feedback.apply(&mut usual("a"));
    let said = remark("1", "a", Judgement::WrongCause, Some("db"));
    feedback.on_remark(&said);
    let moved = applied(&feedback, usual("b"));
    assert_eq!(first(&moved), "db");
    assert_eq!((moved.root_causes[0].score, moved.root_causes[1].score), (3.0, 2.0));
    assert!(moved.root_causes[0].evidence[0].summary.contains("x 1.50"), "{moved:?}");
    let clear = incident("b", &["cart", "db", "web"], &[("web", 9.0), ("db", 2.0)]);
    for i in 0..100 {
        feedback.on_remark(&remark(&format!("{i}"), "a", Judgement::WrongCause, Some("db")));
    }
    assert_eq!(first(&applied(&feedback, clear)), "web", "however often it is said");
    for i in 0..100 {
        let undone = remark(&format!("{i}"), "a", Judgement::WrongCause, Some("db"));
        feedback.on_remark(&Remark { is_undone: true, ..undone });
    }
    assert_eq!(applied(&feedback, usual("b")), usual("b"));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut feedback = Feedback::default();
    for i in 0..INCIDENTS_MAX as i64 + 10 {
        feedback.apply(&mut Incident { opened_ms: NOW_MS + i, ..usual(&i.to_string()) });
    }
    assert_eq!(feedback.incidents.len(), INCIDENTS_MAX);
    assert!(!feedback.incidents.contains_key("9") && feedback.incidents.contains_key("10"));
    for i in 0..SAID_MAX as i64 + 10 {
        let said = remark(&i.to_string(), "100", Judgement::Noise, None);
        feedback.on_remark(&Remark { time_ms: i, ..said });
    }
    assert_eq!(feedback.said.len(), SAID_MAX);
    assert!(!feedback.said.contains_key("9") && feedback.said.contains_key("10"));
}

proptest! {
    #[test]
    fn scores_stay_in_bounds_and_undoing_all_undoes_all(
        said in prop::collection::vec((0..4_usize, 0..3_usize, 0..90_i64), 0..20),
        scores in prop::collection::vec(0.0..10.0_f64, 3),
    ) {
        let mut feedback = Feedback::default();
        feedback.apply(&mut usual("a"));
        let before = feedback.clone();
        let services = ["cart", "db", "web"];
        let remarks: Vec<Remark> = said.iter().enumerate().map(|(i, (judgement, cause, days))| {
            let judgement =
                [Judgement::Expected, Judgement::Noise, Judgement::Right, Judgement::WrongCause][*judgement];
            let cause = (judgement == Judgement::WrongCause).then_some(services[*cause]);
            Remark { time_ms: NOW_MS - days * 86_400_000, ..remark(&i.to_string(), "a", judgement, cause) }
        }).collect();
        remarks.iter().for_each(|remark| feedback.on_remark(remark));
        let mut causes: Vec<(&str, f64)> = services.into_iter().zip(scores).collect();
        causes.sort_by(|a, b| b.1.total_cmp(&a.1));
        let moved = applied(&feedback, incident("b", &services, &causes));
        for (service, score) in causes {
            let found = moved.root_causes.iter().find(|cause| cause.service == service).unwrap().score;
            prop_assert!(found <= score * FACTOR_MAX * 1.000_001 && found * FACTOR_MAX * 1.000_001 >= score);
        }
        prop_assert!(moved.root_causes.is_sorted_by(|a, b| a.score >= b.score));
        for remark in remarks {
            feedback.on_remark(&Remark { is_undone: true, ..remark });
        }
        prop_assert_eq!(feedback, before);
    }
}
