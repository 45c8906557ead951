//! Breaks two unrelated services of the simulated shop at once, and single services whose callers suffer with them: how many
//! incidents come of it, those that were merged into others not counted, and whether each names its cause first.
//!
//! `cargo run --release -p foreshock --example two_faults -- FIRST_SEED COUNT`

use std::collections::BTreeMap;

use foreshock::demo::{incidents, play};
use model::Incident;
use shop::{Fault, FaultKind, Scenario, ShopConfig};

const START_MS: i64 = 1_767_600_000_000;
const MINUTE_MS: i64 = 60_000;
const FAULT_START_MS: i64 = START_MS + 20 * MINUTE_MS;
const FAULT_END_MS: i64 = FAULT_START_MS + 6 * MINUTE_MS;

/// Pairs of which neither service calls the other, directly or over others.
const UNRELATED: &[(&str, &str)] = &[
    ("orders-db", "catalog-db"),
    ("orders-db", "ad"),
    ("orders-db", "shipping"),
    ("orders-db", "currency"),
    ("orders-db", "recommendation"),
    ("orders-db", "inventory"),
    ("orders-db", "product-catalog"),
    ("orders-db", "cart"),
    ("catalog-db", "payment"),
    ("catalog-db", "ad"),
    ("catalog-db", "shipping"),
    ("catalog-db", "currency"),
    ("catalog-db", "user"),
    ("payment", "ad"),
    ("payment", "recommendation"),
    ("payment", "product-catalog"),
    ("payment", "inventory"),
    ("payment", "cart"),
    ("payment", "shipping"),
    ("payment", "currency"),
    ("payment", "user"),
    ("inventory", "ad"),
    ("inventory", "shipping"),
    ("inventory", "currency"),
    ("inventory", "recommendation"),
    ("inventory", "product-catalog"),
    ("inventory", "user"),
    ("shipping", "ad"),
    ("shipping", "recommendation"),
    ("shipping", "product-catalog"),
    ("shipping", "currency"),
    ("shipping", "user"),
    ("shipping", "cart"),
    ("currency", "ad"),
    ("currency", "recommendation"),
    ("currency", "product-catalog"),
    ("currency", "user"),
    ("currency", "cart"),
    ("user", "ad"),
    ("user", "recommendation"),
    ("user", "product-catalog"),
    ("user", "cart"),
    ("ad", "recommendation"),
    ("ad", "product-catalog"),
    ("ad", "cart"),
    ("ad", "checkout"),
    ("recommendation", "checkout"),
    ("recommendation", "cart"),
];
const ALONE: &[&str] = &[
    "orders-db",
    "catalog-db",
    "product-catalog",
    "payment",
    "inventory",
    "shipping",
    "currency",
    "user",
    "cart",
    "checkout",
    "recommendation",
    "ad",
];

fn kinds(service: &str) -> &'static [FaultKind] {
    use FaultKind::{ErrorsAfterDeploy, MemoryLeakWithCpuPressure, SlowDatabase};
    match service {
        "orders-db" | "catalog-db" => &[SlowDatabase],
        // What calls them does without them.
        "recommendation" | "ad" => &[MemoryLeakWithCpuPressure],
        _ => &[ErrorsAfterDeploy, MemoryLeakWithCpuPressure],
    }
}

fn play_faults(seed: u64, faults: &[(&str, FaultKind)]) -> Vec<Incident> {
    let fault = |(service, kind): &(&str, FaultKind)| Fault {
        service: (*service).to_owned(),
        kind: *kind,
        start_ms: FAULT_START_MS,
        end_ms: FAULT_END_MS,
        strength: 1.0,
    };
    let faults = faults.iter().map(fault).collect();
    let scenario =
        Scenario { config: ShopConfig::new(seed, START_MS), faults, end_ms: FAULT_END_MS + 8 * MINUTE_MS };
    let mut last: BTreeMap<(i64, String), Incident> = BTreeMap::new();
    for version in incidents(&play(&scenario, None)) {
        last.insert((version.opened_ms, version.incident.clone()), version);
    }
    // One that was merged has ended and says where it went.
    last.into_values().filter(|incident| incident.merged_into.is_none()).collect()
}

fn print(what: &str, seed: u64, is_right: bool, incidents: &[Incident]) {
    println!(
        "{} {what} seed {seed}: {} incidents",
        if is_right { "ok   " } else { "WRONG" },
        incidents.len()
    );
    for incident in incidents.iter().filter(|_| !is_right) {
        let at_s = (incident.opened_ms - FAULT_START_MS) / 1000;
        let causes: Vec<String> = incident
            .root_causes
            .iter()
            .take(4)
            .map(|cause| format!("{} {:.2}", cause.service, cause.score))
            .collect();
        println!(
            "  {} at {at_s} s: [{}] on {}",
            incident.incident,
            causes.join(", "),
            incident.services.join(" ")
        );
    }
}

/// Whether each of the services is the first cause of an incident, and there are no others.
fn is_right(incidents: &[Incident], services: &[&str]) -> bool {
    let mut first: Vec<&str> = incidents
        .iter()
        .filter_map(|incident| incident.root_causes.first())
        .map(|cause| cause.service.as_str())
        .collect();
    let mut services = services.to_vec();
    first.sort_unstable();
    services.sort_unstable();
    first == services && incidents.len() == services.len()
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (first, count) = (arguments.next().unwrap_or(1_u64), arguments.next().unwrap_or(1));
    // Only every so-many-th, for a quick look.
    let every: u64 = arguments.next().unwrap_or(1);
    let (mut pairs, mut singles, mut at) = ((0, 0), (0, 0), 0);
    for seed in first..first + count {
        for (a, b) in UNRELATED {
            for (i, kind_a) in kinds(a).iter().enumerate() {
                // Two of the four combinations: each kind of each service once.
                let kind_b = kinds(b)[(i + seed as usize) % kinds(b).len()];
                at += 1;
                if at % every != 0 {
                    continue;
                }
                let incidents = play_faults(seed, &[(a, *kind_a), (b, kind_b)]);
                let right = is_right(&incidents, &[a, b]);
                print(&format!("{a} {kind_a:?} and {b} {kind_b:?}"), seed, right, &incidents);
                pairs = (pairs.0 + usize::from(right), pairs.1 + 1);
            }
        }
        for service in ALONE {
            for kind in kinds(service) {
                at += 1;
                if at % every != 0 {
                    continue;
                }
                let incidents = play_faults(seed, &[(service, *kind)]);
                let right = is_right(&incidents, &[service]);
                print(&format!("{service} {kind:?} alone"), seed, right, &incidents);
                singles = (singles.0 + usize::from(right), singles.1 + 1);
            }
        }
    }
    println!("two faults, two incidents, each with its cause: {} of {}", pairs.0, pairs.1);
    println!("one fault, one incident with its cause: {} of {}", singles.0, singles.1);
}
