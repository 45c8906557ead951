//! Which incidents are worth a page: a budget of pages a week in place of thresholds.
//!
//! Each incident is a test of the hypothesis that nothing is wrong.
//!
//! - *How strange it is*: each score becomes a p-value, by what the same detector has found in the tenant before, which puts all detectors
//!   on one scale (`detectors::calibration`). Of each series the smallest one counts, and the sum of their logarithms (Fisher (1925)).
//!   As series go together, that sum has no known distribution, so it is compared with those of the incidents that the scope
//!   had before, which gives the p-value of the incident. What is over is compared with by what it came to in the end, so p-values may be
//!   looked at as long as something goes on.
//! - *How strange it must be*: a level that is fixed when the incident opens, by the wealth of its scope. Wealth comes in with time, the
//!   budget for each week, a week's at the most, and a tenth of a page with each page; each test costs its level, whatever it finds. So the pages
//!   expected without any fault are at most the budget for each week, a week's once, and a tenth of all pages, whatever incidents have
//!   to do with each other. This is alpha-investing (Foster, Stine (2008)) with the rewards of LORD++ and a memory that fades, made
//!   for streams without an end (Ramdas, Yang, Wainwright, Jordan (2017), "Online control of the false discovery rate with decaying
//!   memory"; for series: Rebjock et al. (2021), "Online false discovery rate control for anomaly detection in time series").
//!   What there is is shared among as many tests as a week usually has.
//!
//! An incident that does not page is told of all the same, as an alert of severity `info`, and pages when it becomes strange enough.
//! One that was opened by hand is no test and always pages.
//!
//! All follows from the findings and their order. Limits: while a scope has had few incidents, its first ones page as the
//! budget lasts, whatever they are; more faults than the budget has pages in each of many weeks become usual. A scope is known from the labels
//! of anomalies or by the configuration; beyond 256 scopes, further ones share one.

use std::collections::BTreeMap;

use detectors::Calibration;
use detectors::calibration::{self, Resolution};
use model::{Anomaly, Incident, IncidentState, Severity};
use serde::{Deserialize, Serialize};

use crate::settings::BudgetSettings;

const WEEK_MS: f64 = 7.0 * 86_400_000.0;
/// What a page gives back.
const REINVESTED: f64 = 0.1;
/// Series count with what they found in this time; longer incidents keep what they came to.
const RECENT_MS: i64 = 3_600_000;
const SERIES_MAX: usize = 20_000;
const SERVICES_MAX: usize = 20_000;
const SCOPES_MAX: usize = 256;
const DETECTORS_MAX: usize = 256;

/// What is to be done about an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub pages: bool,
    /// Why, in words.
    pub reason: String,
}

impl Decision {
    pub fn severity(&self, incident: Severity) -> Severity {
        if self.pages { incident.max(Severity::Warning) } else { Severity::Info }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Scope {
    /// Pages that may be expected of the tests to come.
    wealth: f64,
    /// Incidents, each counted half after a week.
    tests: f64,
    last_ms: i64,
    /// How strange those were that are over.
    before: Calibration,
}

impl Scope {
    fn new(pages_per_week: f64, now_ms: i64) -> Self {
        let before = Calibration::new(Resolution::Fine);
        Self { wealth: pages_per_week, tests: 0.0, last_ms: now_ms, before }
    }

    /// Begins a test; returns its level.
    fn level(&mut self, pages_per_week: f64, now_ms: i64) -> f64 {
        let weeks = now_ms.saturating_sub(self.last_ms).max(0) as f64 / WEEK_MS;
        // One time from far ahead must not keep wealth from coming in until then.
        self.last_ms = self.last_ms.max(now_ms.min(self.last_ms.saturating_add(WEEK_MS as i64)));
        self.wealth = (self.wealth + weeks * pages_per_week).min(pages_per_week);
        self.tests *= (-weeks).exp2();
        let per_week = std::f64::consts::LN_2 * self.tests;
        let level = (self.wealth / (1.0 + per_week)).clamp(0.0, 1.0);
        self.wealth -= level;
        self.tests += 1.0;
        level
    }
}

/// An open incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Test {
    scope: String,
    level: f64,
    strangeness: f64,
    p_value: f64,
    pages: bool,
}

/// What is known of a service: whose it is, and its series with anomalies of late.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Service {
    scope: String,
    series: BTreeMap<u128, Series>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Series {
    last_ms: i64,
    /// By detector: the most that it found, as odds.
    odds: BTreeMap<String, f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    scopes: BTreeMap<String, Scope>,
    services: BTreeMap<String, Service>,
    /// Series of all services.
    series: usize,
    /// What each detector found in series in which nothing is found any more, the most in each.
    detectors: BTreeMap<String, Calibration>,
    tests: BTreeMap<String, Test>,
    pages: u64,
    withheld: u64,
    /// Whether an anomaly came since open incidents were looked at.
    has_news: bool,
}

#[derive(Clone, Debug)]
pub struct Budget {
    settings: BudgetSettings,
    state: State,
}

impl Budget {
    pub fn new(settings: &BudgetSettings) -> Self {
        Self { settings: settings.clone(), state: State::default() }
    }

    /// Incidents that paged.
    pub fn pages(&self) -> u64 {
        self.state.pages
    }

    /// Incidents that ended without a page.
    pub fn withheld(&self) -> u64 {
        self.state.withheld
    }

    /// Takes a finding in, before it becomes a part of an incident.
    pub fn observe(&mut self, anomaly: &Anomaly) {
        let state = &mut self.state;
        if !state.services.contains_key(&anomaly.service) && state.services.len() >= SERVICES_MAX {
            return;
        }
        let service = state.services.entry(anomaly.service.clone()).or_default();
        if let Some(value) = self.settings.per.as_ref().and_then(|label| anomaly.labels.get(label)) {
            value.clone_into(&mut service.scope);
        }
        let series = anomaly.labels.id().0;
        if !service.series.contains_key(&series) {
            if state.series >= SERIES_MAX {
                return;
            }
            state.series += 1;
        }
        let series = service.series.entry(series).or_default();
        series.last_ms = series.last_ms.max(anomaly.time_ms);
        let odds = calibration::odds(anomaly.anomaly_score);
        match series.odds.get_mut(&anomaly.detector) {
            Some(known) if *known >= odds => {}
            Some(known) => (*known, state.has_news) = (odds, true),
            None => {
                series.odds.insert(anomaly.detector.clone(), odds);
                state.has_news = true;
            }
        }
    }

    /// Event time has come to `now_ms`. Returns whether open incidents may have become stranger.
    pub fn advance(&mut self, now_ms: i64) -> bool {
        let since_ms = now_ms.saturating_sub(RECENT_MS);
        let state = &mut self.state;
        state.series = 0;
        // Whose a service is is remembered as long as there is room.
        let is_crowded = state.services.len() >= SERVICES_MAX;
        let detectors = &mut state.detectors;
        state.services.retain(|_, service| {
            for (_, series) in service.series.extract_if(.., |_, series| series.last_ms < since_ms) {
                for (detector, odds) in series.odds {
                    if detectors.contains_key(&detector) || detectors.len() < DETECTORS_MAX {
                        detectors.entry(detector).or_default().observe(series.last_ms, odds);
                    }
                }
            }
            state.series += service.series.len();
            !service.series.is_empty() || !(is_crowded || service.scope.is_empty())
        });
        std::mem::take(&mut state.has_news)
    }

    /// Whether the incident is one that does not page so far, and now does.
    pub fn is_due(&self, incident: &Incident) -> bool {
        self.state.tests.get(&incident.incident).is_some_and(|test| {
            let strangeness = self.strangeness(incident).max(test.strangeness);
            !test.pages && self.p_value(&test.scope, strangeness) <= test.level
        })
    }

    /// What is to be done about a version of an incident. Each must be asked for once, in their order.
    pub fn decide(&mut self, incident: &Incident) -> Decision {
        let id = &incident.incident;
        let is_over = incident.state == IncidentState::Resolved;
        if !self.state.tests.contains_key(id) {
            if is_over || incident.services.is_empty() {
                return Decision { pages: true, reason: "it was opened by hand".to_owned() };
            }
            self.begin(incident);
        }
        let strangeness = self.strangeness(incident);
        let test = &self.state.tests[id];
        let strangeness = strangeness.max(test.strangeness);
        let (scope, level) = (test.scope.clone(), test.level);
        let p_value = self.p_value(&scope, strangeness).min(test.p_value);
        let pages = test.pages || p_value <= level;
        if pages && !test.pages {
            self.state.pages += 1;
            if let Some(scope) = self.state.scopes.get_mut(&scope) {
                scope.wealth += REINVESTED;
            }
        }
        let reason = self.reason(&scope, p_value, level, pages);
        if is_over {
            self.state.tests.remove(id);
            self.state.withheld += u64::from(!pages);
            // One that became a part of another, or that data which came late showed to be none, is none of its own.
            let is_own = incident.merged_into.is_none() && incident.anomalies > 0;
            if let Some(scope) = self.state.scopes.get_mut(&scope).filter(|_| is_own) {
                scope.before.observe(incident.updated_ms, strangeness);
            }
        } else {
            self.state.tests.insert(id.clone(), Test { scope, level, strangeness, p_value, pages });
        }
        Decision { pages, reason }
    }

    fn begin(&mut self, incident: &Incident) {
        let cause = incident.root_causes.first().map(|cause| cause.service.as_str());
        let first = incident.services.first().map(String::as_str);
        let of = |service: &str| {
            let told = self.settings.services.get(service);
            let seen = self.state.services.get(service).map(|service| &service.scope);
            told.or(seen.filter(|scope| !scope.is_empty())).cloned()
        };
        let scope = cause.and_then(of).or_else(|| first.and_then(of)).unwrap_or_default();
        let has_room = self.state.scopes.contains_key(&scope) || self.state.scopes.len() < SCOPES_MAX - 1;
        let scope = if has_room { scope } else { String::new() };
        let (pages_per_week, now_ms) = (self.settings.pages_per_week, incident.updated_ms);
        let entry = self.state.scopes.entry(scope.clone());
        let level = entry.or_insert_with(|| Scope::new(pages_per_week, now_ms)).level(pages_per_week, now_ms);
        let test = Test { scope, level, strangeness: 0.0, p_value: 1.0, pages: false };
        self.state.tests.insert(incident.incident.clone(), test);
    }

    /// Of what its services have found since it began.
    fn strangeness(&self, incident: &Incident) -> f64 {
        let services = incident.services.iter().filter_map(|service| self.state.services.get(service));
        let series = services.flat_map(|service| service.series.values());
        let smallest = |series: &Series| {
            let p_values = series.odds.iter().filter_map(|(detector, odds)| {
                self.state.detectors.get(detector).map(|before| before.p_value(*odds))
            });
            p_values.fold(1.0, f64::min)
        };
        series
            .filter(|series| series.last_ms >= incident.opened_ms)
            .map(|series| -smallest(series).ln())
            .sum()
    }

    fn p_value(&self, scope: &str, strangeness: f64) -> f64 {
        self.state.scopes.get(scope).map_or(1.0, |scope| scope.before.p_value(strangeness))
    }

    fn reason(&self, scope: &str, p_value: f64, level: f64, pages: bool) -> String {
        let whose = match &self.settings.per {
            Some(label) if scope.is_empty() => format!(" for all without a {label}"),
            Some(label) => format!(" for {label} {scope}"),
            None => String::new(),
        };
        let verb = if pages { "pages" } else { "does not page" };
        let per_week = self.settings.pages_per_week;
        format!(
            "{verb}: without a fault one so strange has a chance of {p_value:.2e}, and a budget of {per_week} pages a week{whose} \
             allows {level:.2e}"
        )
    }

    pub(crate) fn state(&self) -> impl Serialize + '_ {
        &self.state
    }

    /// Goes on from what [`state`](Self::state) gave.
    pub(crate) fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let state: State = crate::state::decode(bytes)?;
        let scopes = state.scopes.values().map(|scope| &scope.before);
        if !scopes.chain(state.detectors.values()).all(Calibration::is_sound) {
            return Err("a calibration is none".to_owned());
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
