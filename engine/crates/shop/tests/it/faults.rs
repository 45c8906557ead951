//! Each fault shows in the telemetry of the service that it is injected at.

use std::collections::BTreeSet;

use foreshock_shop::{Fault, FaultKind, InvalidFault, Scenario, Shop, ShopConfig};

use crate::read::{MINUTE_MS, START_MS, Telemetry, mean, median, read};

const FAULT_MS: i64 = START_MS + 10 * MINUTE_MS;
const END_MS: i64 = FAULT_MS + 5 * MINUTE_MS;

fn telemetry(service: &str, kind: FaultKind) -> Telemetry {
    let mut shop = Shop::new(ShopConfig::new(7, START_MS));
    let fault =
        Fault { service: service.to_owned(), kind, start_ms: FAULT_MS, end_ms: END_MS, strength: 1.0 };
    shop.inject(&fault).expect("a valid fault");
    read(&shop.step(END_MS + 5 * MINUTE_MS))
}

fn duration_ms(telemetry: &Telemetry, service: &str, from_ms: i64, to_ms: i64) -> f64 {
    let spans = telemetry.served(service, from_ms, to_ms);
    median(spans.iter().map(|span| span.duration_ms()).collect())
}

fn level(telemetry: &Telemetry, service: &str, metric: &str, from_ms: i64, to_ms: i64) -> f64 {
    let points = telemetry.points(service, metric).into_iter();
    mean(
        &points
            .filter(|(time_ms, _)| (from_ms..to_ms).contains(time_ms))
            .map(|(_, value)| value)
            .collect::<Vec<_>>(),
    )
}

#[test]
fn a_slow_database_takes_ten_times_as_long_within_seconds() {
    for database in ["orders-db", "catalog-db"] {
        let telemetry = telemetry(database, FaultKind::SlowDatabase);
        let before = duration_ms(&telemetry, database, START_MS, FAULT_MS);
        let first = duration_ms(&telemetry, database, FAULT_MS + 5_000, FAULT_MS + 20_000);
        let during = duration_ms(&telemetry, database, FAULT_MS + 5_000, END_MS);
        let after = duration_ms(&telemetry, database, END_MS + 10_000, END_MS + 5 * MINUTE_MS);
        assert!((5.0..15.0).contains(&(first / before)), "{before} ms, then {first} ms");
        assert!((7.0..13.0).contains(&(during / before)), "{before} ms, then {during} ms");
        assert!((0.7..1.4).contains(&(after / before)), "{before} ms, afterwards {after} ms");
        let slow =
            telemetry.logs.iter().filter(|log| log.severity == "WARN" && log.body.starts_with("slow query"));
        let slow: Vec<_> = slow.map(|log| (log.service.as_str(), log.time_ns / 1_000_000)).collect();
        let expected = FAULT_MS as u64..END_MS as u64 + 10_000;
        let inside = slow.iter().filter(|(service, time)| *service == database && expected.contains(time));
        assert!(inside.count() > 100 && slow.len() < 3_000);
        let frontend = duration_ms(&telemetry, "frontend", FAULT_MS + 5_000, END_MS);
        assert!(frontend > 1.1 * duration_ms(&telemetry, "frontend", START_MS, FAULT_MS), "callers wait");
        let currency = duration_ms(&telemetry, "currency", FAULT_MS, END_MS);
        assert!((0.9..1.1).contains(&(currency / duration_ms(&telemetry, "currency", START_MS, FAULT_MS))));
    }
}

#[test]
fn calls_wait_for_a_saturated_service_and_some_are_refused() {
    let start_ms = START_MS + 5_000;
    let run = |requests_per_second| {
        let mut shop = Shop::new(ShopConfig { requests_per_second, ..ShopConfig::new(7, START_MS) });
        let kind = FaultKind::SlowDatabase;
        let fault = Fault {
            service: "catalog-db".to_owned(),
            kind,
            start_ms,
            end_ms: start_ms + 20_000,
            strength: 1.0,
        };
        shop.inject(&fault).expect("a valid fault");
        read(&shop.step(START_MS + 40_000))
    };
    let refused = |telemetry: &Telemetry| {
        let logs = telemetry.logs.iter().filter(|log| log.body.starts_with("call refused"));
        logs.filter(|log| log.service == "catalog-db" && log.severity == "ERROR").count()
    };
    let (few, many) = (run(4.0), run(400.0));
    assert!(refused(&few) == 0 && refused(&many) > 100);
    let during =
        |telemetry: &Telemetry| duration_ms(telemetry, "catalog-db", start_ms + 10_000, start_ms + 20_000);
    assert!(during(&many) > 3.0 * during(&few), "{} ms, then {} ms", during(&few), during(&many));
    let later_ms = START_MS + 35_000;
    assert!(duration_ms(&many, "catalog-db", later_ms, later_ms + 5_000) < 15.0, "the queue is gone");
}

#[test]
fn after_a_faulty_deploy_calls_fail_with_logs_and_so_do_the_callers() {
    let service = "payment";
    let telemetry = telemetry(service, FaultKind::ErrorsAfterDeploy);
    let failing = |service: &str, from_ms: i64, to_ms: i64| {
        let spans = telemetry.served(service, from_ms, to_ms);
        spans.iter().filter(|span| span.failed).count() as f64 / spans.len() as f64
    };
    let during = failing(service, FAULT_MS + 4_000, END_MS);
    assert!((0.15..0.58).contains(&during), "{during} of the calls fail");
    assert!(failing(service, START_MS, FAULT_MS) < 0.02);
    assert!(failing(service, END_MS + 5_000, END_MS + 5 * MINUTE_MS) < 0.03);
    for caller in ["checkout", "frontend"] {
        let before = failing(caller, START_MS, FAULT_MS);
        assert!(failing(caller, FAULT_MS + 4_000, END_MS) > before + 0.02, "{caller}");
    }
    let errors = |from_ms: i64, to_ms: i64| {
        let inside = |time_ns: u64| (from_ms..to_ms).contains(&((time_ns / 1_000_000) as i64));
        let logs = telemetry.logs.iter().filter(|log| log.service == service && log.severity == "ERROR");
        logs.filter(|log| inside(log.time_ns)).count()
    };
    assert!(errors(FAULT_MS, END_MS) > 25 && errors(START_MS, FAULT_MS) < 10);

    let deploys: Vec<i64> = telemetry
        .events
        .iter()
        .filter(|(_, event)| event["data"]["service"] == service)
        .map(|(time_ms, _)| *time_ms)
        .collect();
    assert_eq!(deploys, [FAULT_MS, END_MS], "the faulty deploy, and that which rolls it back");
}

#[test]
fn a_leak_fills_the_memory_and_the_cpu_and_then_the_work_waits() {
    for service in ["cart", "recommendation"] {
        let telemetry = telemetry(service, FaultKind::MemoryLeakWithCpuPressure);
        let memory = |from_ms, to_ms| level(&telemetry, service, "memory.usage", from_ms, to_ms);
        let cpu = |from_ms, to_ms| level(&telemetry, service, "cpu.utilization", from_ms, to_ms);
        let full_ms = FAULT_MS + 2 * MINUTE_MS;
        assert!(memory(full_ms, END_MS) > 2.0 * memory(START_MS, FAULT_MS));
        assert!(cpu(START_MS, FAULT_MS) < 0.5 && cpu(full_ms, END_MS) > 0.95);
        let points = telemetry.points(service, "memory.usage");
        let climb = points.iter().filter(|(time_ms, _)| (FAULT_MS..FAULT_MS + MINUTE_MS).contains(time_ms));
        assert!(climb.is_sorted_by(|a, b| a.1 < b.1 || a.0 == FAULT_MS), "it climbs");

        let before = duration_ms(&telemetry, service, START_MS, FAULT_MS);
        let during = duration_ms(&telemetry, service, full_ms, END_MS);
        let after = duration_ms(&telemetry, service, END_MS + 30_000, END_MS + 5 * MINUTE_MS);
        assert!(during > 3.0 * before, "{service}: {before} ms, then {during} ms");
        assert!((0.7..1.4).contains(&(after / before)), "{service}: {before} ms, afterwards {after} ms");
    }
}

#[test]
fn deploys_are_cloud_events_and_most_are_harmless() {
    let scenario = Scenario::from_seed(11, START_MS);
    let telemetry = read(&scenario.shop().expect("valid faults").step(scenario.end_ms));
    let mut ids = BTreeSet::new();
    let mut harmless = 0;
    for (time_ms, event) in &telemetry.events {
        assert_eq!(event["specversion"], "1.0");
        assert!(event["type"].as_str().expect("a type").contains("deploy"));
        assert!(event["time"].as_str().expect("a time").starts_with("2026-01-01T0"));
        assert!(event["source"].is_string() && ids.insert(event["id"].to_string()));
        let service = event["data"]["service"].as_str().expect("a service");
        let of_fault = scenario.faults.iter().find(|fault| fault.service == service);
        match of_fault.filter(|fault| fault.kind == FaultKind::ErrorsAfterDeploy) {
            Some(fault) if [fault.start_ms, fault.end_ms].contains(time_ms) => {}
            _ => harmless += 1,
        }
        let near = |fault: &&Fault| (fault.start_ms + 1..fault.end_ms).contains(time_ms);
        assert!(of_fault.filter(near).is_none(), "no other deploy of a broken service");
    }
    assert!(harmless >= 5, "{harmless} harmless deploys");
}

#[test]
fn a_scenario_is_three_faults_of_three_kinds_at_three_services() {
    let mut services = BTreeSet::new();
    let mut orders = BTreeSet::new();
    for seed in 0..100 {
        let scenario = Scenario::from_seed(seed, START_MS);
        assert_eq!(scenario, Scenario::from_seed(seed, START_MS));
        assert!(scenario.end_ms <= START_MS + 75 * MINUTE_MS && scenario.shop().is_ok());
        let kinds: Vec<_> = scenario.faults.iter().map(|fault| fault.kind).collect();
        let names: BTreeSet<_> = scenario.faults.iter().map(|fault| fault.service.clone()).collect();
        assert_eq!((kinds.iter().collect::<BTreeSet<_>>().len(), names.len()), (3, 3));
        let mut healthy_ms = START_MS + 10 * MINUTE_MS;
        for fault in &scenario.faults {
            assert!(fault.start_ms >= healthy_ms + 10 * MINUTE_MS);
            assert_eq!(fault.end_ms - fault.start_ms, 5 * MINUTE_MS);
            healthy_ms = fault.end_ms;
        }
        assert!(scenario.end_ms >= healthy_ms + 10 * MINUTE_MS);
        services.extend(names);
        orders.insert(kinds);
    }
    assert!(services.len() >= 10 && orders.len() == 6);
}

#[test]
fn faults_that_make_no_sense_are_refused() {
    let mut shop = Shop::new(ShopConfig::new(1, START_MS));
    let fault = |service: &str, end_ms: i64| Fault {
        service: service.to_owned(),
        kind: FaultKind::SlowDatabase,
        start_ms: START_MS,
        end_ms,
        strength: 1.0,
    };
    assert_eq!(
        shop.inject(&fault("warehouse", END_MS)),
        Err(InvalidFault::UnknownService("warehouse".to_owned()))
    );
    assert_eq!(shop.inject(&fault("cart", START_MS)), Err(InvalidFault::EndsBeforeItStarts));
    shop.step(START_MS + MINUTE_MS);
    assert_eq!(shop.inject(&fault("cart", START_MS + MINUTE_MS)), Err(InvalidFault::EndsBeforeItStarts));
    assert_eq!(shop.inject(&fault("cart", START_MS + 2 * MINUTE_MS)), Ok(()));
}
