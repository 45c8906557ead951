//! What happens inside a span changed: calls or log lines that follow each other in a new way, or no longer.
//!
//! The sequence of a span is its start, its child spans and log lines by time, and its end, which is another if the span failed and
//! none of its children has. Each transition is
//! compared with its usual share by a Poisson log-likelihood ratio, both for more and for fewer.

use std::collections::{BTreeMap, BTreeSet};

use model::Evidence;

use super::counter::AsUsual;
use super::{Finding, Findings, View};
use crate::collector::FAILURE;
use crate::symbols::Symbol;

const BEFORE_MIN: f64 = 6.0;
const SINCE_MIN: f64 = 3.0;
const RATIO_MIN: f64 = 1.5;
/// Share of the counts that is put down to drift.
const DRIFT: f64 = 0.02;
const ERROR_BOOST: f64 = 1.5;
/// OpenTelemetry's lowest error severity.
const ERROR_SEVERITY: u8 = 17;
/// A change right after a call speaks mostly against the one that was called.
const CALLEE_SHARE: f64 = 0.7;
const STRONGEST: usize = 3;
const BUCKETS_PER_BIN: i64 = 6;
const BINS_MIN: usize = 3;

type Transition = (Symbol, Symbol, Symbol);

struct Changed {
    ratio: f64,
    evidence: Evidence,
}

pub(super) fn rank(view: &View<'_>) -> Findings {
    let occurrences = |transitions: &BTreeMap<Transition, f32>| {
        let mut counts: BTreeMap<(Symbol, Symbol), f64> = BTreeMap::new();
        for (&(operation, from, _), &count) in transitions {
            *counts.entry((operation, from)).or_default() += f64::from(count);
        }
        counts
    };
    let before_occurrences = occurrences(&view.before.transitions);
    let since_occurrences = occurrences(&view.since.transitions);
    let mut seen_in: BTreeMap<Symbol, BTreeSet<Symbol>> = BTreeMap::new();
    for &(operation, _, to) in view.before.transitions.keys() {
        if let Some(&service) = view.store.operation_service.get(&operation) {
            seen_in.entry(to).or_default().insert(service);
        }
    }
    let candidates: BTreeSet<Transition> =
        view.before.transitions.keys().chain(view.since.transitions.keys()).copied().collect();
    let mut own: BTreeMap<Symbol, Vec<Changed>> = BTreeMap::new();
    let mut calls: BTreeMap<(Symbol, Symbol), Vec<Changed>> = BTreeMap::new();
    for transition in candidates {
        let (operation, from, to) = transition;
        let Some(&service) = view.store.operation_service.get(&operation) else { continue };
        let before_total = before_occurrences.get(&(operation, from)).copied().unwrap_or(0.0);
        let since_total = since_occurrences.get(&(operation, from)).copied().unwrap_or(0.0);
        if before_total < BEFORE_MIN || since_total < SINCE_MIN {
            continue;
        }
        let count_of =
            |counts: &BTreeMap<Transition, f32>| f64::from(counts.get(&transition).copied().unwrap_or(0.0));
        let (before, since) = (count_of(&view.before.transitions), count_of(&view.since.transitions));
        let usual_share = (before + 0.5) / (before_total + 1.0);
        let expected = usual_share * since_total;
        let mut ratio = log_likelihood_ratio(since, expected);
        if ratio < RATIO_MIN {
            continue;
        }
        ratio = (ratio - DRIFT * expected.max(since)) / over_dispersion(view, transition, usual_share);
        if since > expected {
            let is_failure = view.name(to) == FAILURE;
            let elsewhere =
                seen_in.get(&to).map_or(0, |services| services.iter().filter(|&&s| s != service).count());
            // Services fail each for themselves.
            ratio /= if is_failure { 1.0 } else { 1.0 + elsewhere as f64 };
            if is_failure || is_error_log(view.name(to)) {
                ratio *= ERROR_BOOST;
            }
        }
        if ratio <= 0.0 {
            continue;
        }
        let name = view.name(operation);
        let operation_name = name.split_once('|').map_or(name, |(_, operation)| operation);
        let (from_name, to_name) = (readable(view.name(from)), readable(view.name(to)));
        let (share_before, share_since) = (before / before_total, since / since_total);
        let evidence = Evidence {
            kind: "structure".to_owned(),
            summary: format!(
                "in {operation_name}, {from_name} is followed by {to_name} in {:.0} % of cases ({since:.0} of {since_total:.0}), usually {:.0} %",
                100.0 * share_since,
                100.0 * share_before
            ),
            score: ratio,
            subject: format!("{operation_name}: {to_name}"),
            baseline: Some(share_before),
            observed: Some(share_since),
        };
        let changed = Changed { ratio, evidence };
        // A call that failed and left no span at the other side is like one that is followed by something new. One that went well before
        // a failure has no part in it.
        let callee = if view.name(to) == FAILURE {
            view.client_operations.get(&operation).copied().flatten()
        } else {
            called(view, from)
        };
        match callee.filter(|&callee| callee != service) {
            Some(callee) => calls.entry((service, callee)).or_default().push(changed),
            None => own.entry(service).or_default().push(changed),
        }
    }
    let mut findings = Findings::new();
    for (service, changed) in own {
        add(findings.entry(service).or_default(), changed, 1.0);
    }
    let mut calls: Vec<_> = calls.into_iter().collect();
    calls.sort_by_key(|((caller, callee), _)| (view.name(*caller), view.name(*callee)));
    for ((caller, callee), changed) in calls {
        if view.is_explained(caller) {
            continue;
        }
        let copies =
            changed.iter().map(|c| Changed { ratio: c.ratio, evidence: c.evidence.clone() }).collect();
        add(findings.entry(callee).or_default(), copies, CALLEE_SHARE);
        add(findings.entry(caller).or_default(), changed, 1.0 - CALLEE_SHARE);
    }
    findings
}

/// Adds the strongest of the changes to what is known.
fn add(finding: &mut Finding, mut changed: Vec<Changed>, share: f64) {
    changed.sort_by(|a, b| {
        b.ratio.total_cmp(&a.ratio).then_with(|| a.evidence.subject.cmp(&b.evidence.subject))
    });
    for Changed { ratio, mut evidence } in changed.into_iter().take(STRONGEST) {
        finding.strength += share * ratio;
        evidence.score = share * ratio;
        finding.evidence.push(evidence);
    }
}

/// Of a count whose expectation is `expected`; >= 0 on both sides.
pub(super) fn log_likelihood_ratio(count: f64, expected: f64) -> f64 {
    if count <= 0.0 { expected } else { count * (count / expected).ln() - (count - expected) }
}

/// How much more than Poisson the counts of one minute scattered before the trigger, at least 1.
fn over_dispersion(view: &View<'_>, transition: Transition, share: f64) -> f64 {
    let (operation, from, _) = transition;
    let mut bins: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (bucket, stats) in view.store.recent.range(..view.first_bucket) {
        let span = (operation, from, Symbol::MIN)..=(operation, from, Symbol::MAX);
        let total: f32 = stats.transitions.range(span).map(|entry| entry.1).sum();
        if total > 0.0 {
            let bin = bins.entry(bucket.div_euclid(BUCKETS_PER_BIN)).or_default();
            bin.0 += f64::from(stats.transitions.get(&transition).copied().unwrap_or(0.0));
            bin.1 += f64::from(total);
        }
    }
    if bins.len() < BINS_MIN {
        return 1.0;
    }
    let chi: f64 = bins.values().map(|(k, n)| (k - share * n).powi(2) / (share * n + 0.5)).sum();
    (chi / (bins.len() - 1) as f64).max(1.0)
}

/// The service that event `from` called, when it is a span of a client operation.
pub(crate) fn called(view: &View<'_>, from: Symbol) -> Option<Symbol> {
    let operation = view.store.symbols.find(view.name(from).strip_prefix('>')?)?;
    view.client_operations.get(&operation).copied().flatten()
}

fn is_error_log(event: &str) -> bool {
    let severity = event.strip_prefix("L:").and_then(|rest| rest.split_once(':'));
    severity
        .and_then(|(severity, _)| severity.parse::<u8>().ok())
        .is_some_and(|severity| severity >= ERROR_SEVERITY)
}

fn readable(event: &str) -> String {
    match event {
        "^" => "the start".to_owned(),
        "$" => "the end".to_owned(),
        FAILURE => "a failure of its own".to_owned(),
        call if call.starts_with('>') => format!("span `{}`", call[1..].replacen('|', " ", 1)),
        log => format!("log `{}`", log.splitn(3, ':').nth(2).unwrap_or(log)),
    }
}

pub(super) fn as_usual(view: &View<'_>, service: Symbol) -> Option<AsUsual> {
    let is_own = |operation: &Symbol| view.store.operation_service.get(operation) == Some(&service);
    let spans = |stats: &BTreeMap<Symbol, crate::statistics::OperationStats>| -> f64 {
        let own = stats.iter().filter(|(operation, _)| is_own(operation));
        super::sum(own.map(|(_, stats)| f64::from(stats.spans)))
    };
    let (before, since) = (spans(&view.before.operations), spans(&view.since.operations));
    (before >= BEFORE_MIN && since >= SINCE_MIN).then(|| AsUsual {
        summary: format!("calls and log lines follow each other as usual inside its {since:.0} spans"),
        subject: view.name(service).to_owned(),
        count: since,
        usual: None,
        now: None,
    })
}
