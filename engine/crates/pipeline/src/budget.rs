//! Which incidents are worth a page: a budget of pages a week in place of thresholds.
//!
//! Each incident is a test of the hypothesis that nothing is wrong.
//!
//! - *How strange it is*: each score is taken against what the same detector finds as a rule in the series, so that one whose scores are
//!   always extreme, such as that of errors which are 0 as a rule, does not make those of all others look usual. That becomes a p-value, by what
//!   the detector has found in the tenant in other hours of series, of which each series has about as many, which puts all detectors on one
//!   scale (`detectors::calibration`). Of each series the smallest one counts, times the chance that the series has an anomaly in an hour at
//!   all: one that has them all the time, or had one a week ago at this hour, says little. The sum of their logarithms (Fisher (1925)) is how
//!   strange an incident is. As series go together, that sum has no known distribution, so it is compared with those of the incidents that the
//!   scope had before, which gives the p-value of the incident. What is over is compared with by the most that it came to, so
//!   p-values may be looked at as long as something goes on.
//! - *While there are few of those*, counting cannot tell one in ten from one in a thousand. So it is pooled (Genest, Zidek (1986),
//!   "Combining probability distributions", logarithmically) with what is expected of such sums: an exponential tail beyond their median, in which some
//!   faults among them change little, and a power law where the median rests on few. It counts for half at fifty incidents. Counts are not
//!   prolonged by a tail: of two estimates the smaller one would page too often.
//! - *How strange it must be*: a level that is fixed when the incident opens, by the wealth of its scope. Wealth comes in with time, the
//!   budget for each week, a week's at the most, and a tenth of a page with each page; each test costs its level, whatever it finds. So the pages
//!   expected without any fault are at most the budget for each week, a week's once, and a tenth of all pages, whatever incidents have
//!   to do with each other. This is alpha-investing (Foster, Stine (2008)) with the rewards of LORD++ and a memory that fades, made
//!   for streams without an end (Ramdas, Yang, Wainwright, Jordan (2017), "Online control of the false discovery rate with decaying
//!   memory"; for series: Rebjock et al. (2021), "Online false discovery rate control for anomaly detection in time series").
//!   What there is is shared among as many tests as a week has of late. What one of seven incidents is like does not page, so where there are few,
//!   wealth is left for those that are strange.
//! - *Faults teach little*: incidents beyond one and a half times the budget that page are not compared with. So a bad week does not make the next fault usual,
//!   while noise that is louder from some day on becomes so.
//!
//! A new scope is expected to have twenty incidents a week, of which half are as strange as two series that are never heard of, so in its first
//! days clear faults page and little else, and twice the budget at the most. What it saw in its first eight days, when nobody knows which series are
//! always strange and what comes each Monday, counts a hundredth from then on.
//!
//! An incident that does not page is told of all the same, as an alert of severity `info`, and pages when it becomes strange enough.
//! One that was opened by hand is no test and always pages.
//!
//! All follows from the findings and their order. Limits: more faults than the budget has pages in each of many weeks become usual, and
//! one that comes at the same hour of each week counts less. In its first weeks a scope with thousands of incidents a week pages less than its
//! budget. Where detectors that know no season find what each Monday brings, it may page each Monday, up to three times the budget in all. A
//! scope is known from the labels of anomalies or by the configuration; beyond 255 scopes, further ones share one.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

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
/// Incidents of a scope are expected to be so many a week until it is known better, which follows with this half-life.
const PRIOR_PER_WEEK: f64 = 20.0;
const RATE_HALF_LIFE_WEEKS: f64 = 3.0 / 7.0;
/// What is expected of the strangeness of incidents before there were any: it counts as many, half of them are stranger.
const PRIOR_INCIDENTS: f64 = 4.0;
const PRIOR_MEDIAN: f64 = 8.0;
/// A scope is new until each hour of the week has come a second time for some, so that it is known what returns.
const LEARNING_DAYS: i64 = 8;
/// What incidents of that time count for later.
const LEARNING_SHARE: f64 = 0.01;
/// As many times the budget the pages of that time are at the most.
const LEARNING_PAGES: f64 = 2.0;
/// What happens more often than this is not worth a page, whatever the budget.
const LEVEL_MAX: f64 = 0.15;
/// The chance that a series has an anomaly in an hour at all.
const SERIES_CHANCE: f64 = 0.05;
/// And in one a week after another: what has a week's course returns as often as not.
const WEEKLY_CHANCE: f64 = 0.5;
const WEEK_HOURS: u32 = 168;
/// As so many hours with odds of 1 does a series begin, and what it found is kept in such a part from each hour to the next.
const USUAL_PRIOR_HOURS: f64 = 1.0;
const USUAL_KEPT: f64 = 0.99;
/// Of how many series a detector is taken to have found something in before: such that twice the odds are half as likely.
const PRIOR_SERIES: f64 = 10.0;
/// From so many incidents on their count says more than what is expected of them.
const COUNTED_HALF: f64 = 50.0;
/// Beyond the median half as many are stranger by each so much of it.
const TAIL_SCALE: f64 = 0.5;
/// As many times the budget the pages are that are taken for usual, and for so many weeks they may be saved.
const USUAL_PAGES: f64 = 1.5;
const USUAL_WEEKS_MAX: f64 = 0.5;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const MINUTE_MS: i64 = 60_000;
const HABIT_HOURS: f64 = 168.0;
/// Series of fewer hours with anomalies are forgotten, a single one after eight days, and of fewer than the other where there is no room.
const HABIT_MIN: f64 = 0.45;
const HABIT_CROWDED: f64 = 4.0;
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
    /// Incidents, each counted half after [`RATE_HALF_LIFE_WEEKS`].
    tests: f64,
    last_ms: i64,
    /// How strange those were that are over.
    before: Calibration,
    /// Pages that may be taken for usual.
    usual_pages: f64,
    /// Until then it is not known which series have a habit of being strange, so incidents are stranger than later.
    learning_until_ms: Option<i64>,
    /// How often the scope may page until then.
    learning_pages: f64,
}

impl Scope {
    fn new(pages_per_week: f64, now_ms: i64) -> Self {
        Self {
            wealth: pages_per_week,
            tests: PRIOR_PER_WEEK * RATE_HALF_LIFE_WEEKS / LN_2,
            last_ms: now_ms,
            before: Calibration::new(Resolution::Fine),
            usual_pages: 1.0,
            learning_until_ms: Some(now_ms.saturating_add(LEARNING_DAYS * DAY_MS)),
            learning_pages: (LEARNING_PAGES * pages_per_week).max(1.0),
        }
    }

    /// Begins a test; returns its level.
    fn level(&mut self, pages_per_week: f64, now_ms: i64) -> f64 {
        let weeks = now_ms.saturating_sub(self.last_ms).max(0) as f64 / WEEK_MS;
        // One time from far ahead must not keep wealth from coming in until then.
        self.last_ms = self.last_ms.max(now_ms.min(self.last_ms.saturating_add(WEEK_MS as i64)));
        self.wealth = (self.wealth + weeks * pages_per_week).min(pages_per_week);
        let usual_per_week = USUAL_PAGES * pages_per_week;
        self.usual_pages =
            (self.usual_pages + weeks * usual_per_week).min((USUAL_WEEKS_MAX * usual_per_week).max(1.0));
        if self.learning_until_ms.take_if(|until_ms| *until_ms <= self.last_ms).is_some() {
            self.before.scale(LEARNING_SHARE);
        }
        self.tests *= (-weeks / RATE_HALF_LIFE_WEEKS).exp2();
        let per_week = LN_2 / RATE_HALF_LIFE_WEEKS * self.tests;
        let level = (self.wealth / (1.0 + per_week)).clamp(0.0, LEVEL_MAX);
        self.wealth -= level;
        self.tests += 1.0;
        level
    }

    fn may_page(&self) -> bool {
        self.learning_until_ms.is_none() || self.learning_pages >= 1.0
    }

    /// An incident pages.
    fn page(&mut self) {
        self.wealth += REINVESTED;
        if self.learning_until_ms.is_some() {
            self.learning_pages -= 1.0;
        }
    }

    /// An incident is over: the next ones are compared with it, too.
    fn learn(&mut self, time_ms: i64, strangeness: f64, paged: bool) {
        if paged && self.usual_pages < 1.0 {
            // More pages than noise would give: a fault, by which no other is measured.
            self.tests = (self.tests - 1.0).max(0.0);
            return;
        }
        self.usual_pages -= f64::from(u8::from(paged));
        self.before.observe(time_ms, strangeness);
    }

    fn is_sound(&self) -> bool {
        [self.wealth, self.tests, self.usual_pages, self.learning_pages].into_iter().all(is_amount)
            && self.before.is_sound()
    }

    /// The chance that an incident is so strange without a fault.
    fn p_value(&self, strangeness: f64) -> f64 {
        let known = self.before.total();
        let weight = known * known / (known * known + COUNTED_HALF * COUNTED_HALF);
        let median = self.before.median_with(PRIOR_INCIDENTS, PRIOR_MEDIAN);
        let shape = PRIOR_INCIDENTS + known;
        let excess = (strangeness - median).max(0.0) / (TAIL_SCALE * median);
        let expected = 0.5 * (1.0 + LN_2 * excess / shape).powf(-shape);
        self.before.counted_p_value(strangeness).powf(weight) * expected.powf(1.0 - weight)
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

impl Test {
    fn is_sound(&self) -> bool {
        let is_chance = |chance: f64| (0.0..=1.0).contains(&chance);
        is_chance(self.level) && is_chance(self.p_value) && is_amount(self.strangeness)
    }
}

fn is_amount(amount: f64) -> bool {
    amount.is_finite() && amount >= 0.0
}

/// What is known of a service: whose it is, and its series with anomalies of late.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Service {
    scope: String,
    series: BTreeMap<u128, Series>,
}

/// By detector: the most that it found, as odds.
type Odds = BTreeMap<String, f64>;

/// What a detector finds as a rule in hours of a series in which it finds anything: the geometric mean of its odds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Usual {
    hours: f64,
    logarithms: f64,
}

impl Usual {
    /// How many times more surprising than as a rule odds are, where what is not known is taken for 1.
    fn ratio(&self, odds: f64) -> f64 {
        odds * (-self.logarithms / (USUAL_PRIOR_HOURS + self.hours)).exp()
    }

    fn learn(&mut self, odds: f64) {
        self.hours = USUAL_KEPT * self.hours + 1.0;
        self.logarithms = USUAL_KEPT * self.logarithms + odds.max(1.0).ln();
    }
}

/// Hours with anomalies among the last 256, the latest in the lowest bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Hours {
    low: u128,
    high: u128,
}

impl Hours {
    /// So many hours later there is one.
    fn add(&mut self, later: u32) {
        (self.high, self.low) = match later {
            0 => (self.high, self.low),
            1..128 => (self.high << later | self.low >> (128 - later), self.low << later),
            128..256 => (self.low << (later - 128), 0),
            _ => (0, 0),
        };
        self.low |= 1;
    }

    /// Whether there was one a week before the last, an hour more or less.
    fn has_week_before(&self) -> bool {
        self.high >> (WEEK_HOURS - 1 - 128) & 0b111 != 0
    }
}

/// What was found in an hour that is over.
#[derive(Default)]
struct Over {
    /// By detector: against what is usual.
    ratios: Odds,
    /// So that series say about as much of each other, however often they have anomalies.
    weight: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Series {
    last_ms: i64,
    /// The hour of the last anomaly, and what was found in it and in the one before.
    hour: i64,
    odds: Odds,
    odds_before: Odds,
    usual: BTreeMap<String, Usual>,
    hours: Hours,
    /// Hours with anomalies, each counted half after a week; as of that hour.
    habit: f64,
}

impl Series {
    /// An anomaly of that time comes. Returns what was found in an hour that is over.
    fn reach(&mut self, time_ms: i64) -> Over {
        let hour = time_ms.div_euclid(HOUR_MS);
        let is_first = self.habit == 0.0;
        if !is_first && hour <= self.hour {
            return Over::default();
        }
        self.habit = 1.0 + if is_first { 0.0 } else { self.habit_at(hour) };
        let later = if is_first { 0 } else { hour.saturating_sub(self.hour) };
        self.hours.add(u32::try_from(later).unwrap_or(u32::MAX));
        let over = std::mem::replace(&mut self.odds_before, std::mem::take(&mut self.odds));
        self.hour = hour;
        self.close(over)
    }

    /// How much more than usual that is; it becomes usual.
    fn close(&mut self, mut odds: Odds) -> Over {
        for (detector, odds) in &mut odds {
            let usual = self.usual.entry(detector.clone()).or_default();
            let ratio = usual.ratio(*odds);
            usual.learn(*odds);
            *odds = ratio;
        }
        Over { ratios: odds, weight: 1.0 / (1.0 + self.habit) }
    }

    /// What was found of late, against what is usual.
    fn ratios(&self) -> impl Iterator<Item = (&str, f64)> {
        self.odds.iter().chain(&self.odds_before).map(|(detector, odds)| {
            let usual = self.usual.get(detector).copied().unwrap_or_default();
            (detector.as_str(), usual.ratio(*odds))
        })
    }

    fn is_sound(&self) -> bool {
        let usual = self.usual.values().flat_map(|usual| [&usual.hours, &usual.logarithms]);
        let odds = self.odds.values().chain(self.odds_before.values());
        odds.chain(usual).chain([&self.habit]).copied().all(is_amount)
    }

    fn habit_at(&self, hour: i64) -> f64 {
        self.habit * (-(hour.saturating_sub(self.hour).max(0) as f64) / HABIT_HOURS).exp2()
    }

    /// The chance that it has anomalies in an hour at all, if hours have been counted for so long.
    fn chance(&self, hour: i64, hours: f64) -> f64 {
        let counted = HABIT_HOURS / LN_2 * (1.0 - (-hours / HABIT_HOURS).exp2());
        let chance =
            ((1.0 + self.habit_at(hour)) / (1.0 / SERIES_CHANCE + counted)).clamp(SERIES_CHANCE, 1.0);
        if self.hours.has_week_before() { chance.max(WEEKLY_CHANCE) } else { chance }
    }

    /// What was found in each hour until then, if there was nothing since.
    fn idle_since(&mut self, since_ms: i64) -> [Over; 2] {
        if self.last_ms >= since_ms {
            return Default::default();
        }
        let over = [std::mem::take(&mut self.odds_before), std::mem::take(&mut self.odds)];
        over.map(|over| self.close(over))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    scopes: BTreeMap<String, Scope>,
    services: BTreeMap<String, Service>,
    /// Series of all services.
    series: usize,
    /// What each detector found in hours of series that are over, the most in each.
    detectors: BTreeMap<String, Calibration>,
    tests: BTreeMap<String, Test>,
    /// The first anomaly, and the full minute at which idle series were last looked for.
    first_ms: Option<i64>,
    minute: i64,
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
        state.first_ms.get_or_insert(anomaly.time_ms);
        let series = service.series.entry(series).or_default();
        let over = series.reach(anomaly.time_ms);
        series.last_ms = series.last_ms.max(anomaly.time_ms);
        let odds = calibration::odds(anomaly.anomaly_score);
        let known = series.odds.get(&anomaly.detector).copied();
        if known.is_none_or(|known| known < odds) {
            series.odds.insert(anomaly.detector.clone(), odds);
            state.has_news = true;
        }
        learn(&mut state.detectors, anomaly.time_ms, over);
    }

    /// Event time has come to `now_ms`. Returns whether open incidents may have become stranger.
    pub fn advance(&mut self, now_ms: i64) -> bool {
        let state = &mut self.state;
        let minute = now_ms.div_euclid(MINUTE_MS);
        if minute != state.minute {
            state.minute = minute;
            self.sweep(now_ms);
        }
        std::mem::take(&mut self.state.has_news)
    }

    /// Learns from series that have calmed down, and forgets those without a habit.
    fn sweep(&mut self, now_ms: i64) {
        let since_ms = now_ms.saturating_sub(RECENT_MS);
        let hour = now_ms.div_euclid(HOUR_MS);
        let state = &mut self.state;
        // Whose a service is is remembered as long as there is room.
        let is_crowded = state.services.len() >= SERVICES_MAX;
        let habit_min = if state.series >= SERIES_MAX { HABIT_CROWDED } else { HABIT_MIN };
        state.series = 0;
        let detectors = &mut state.detectors;
        state.services.retain(|_, service| {
            service.series.retain(|_, series| {
                let over = series.idle_since(since_ms);
                over.into_iter().for_each(|over| learn(detectors, series.last_ms, over));
                !series.odds.is_empty() || series.habit_at(hour) >= habit_min
            });
            state.series += service.series.len();
            !service.series.is_empty() || !(is_crowded || service.scope.is_empty())
        });
    }

    /// Whether the incident is one that does not page so far, and now does.
    pub fn is_due(&mut self, incident: &Incident) -> bool {
        let strangeness = self.strangeness(incident);
        let Some(test) = self.state.tests.get_mut(&incident.incident) else { return false };
        // Whatever is looked at here is compared with later, or else looking often would page too often.
        test.strangeness = test.strangeness.max(strangeness);
        let (may_page, p_value) = match self.state.scopes.get(&test.scope) {
            Some(scope) => (scope.may_page(), scope.p_value(test.strangeness)),
            None => return false,
        };
        !test.pages && may_page && p_value <= test.level
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
        let may_page = self.state.scopes.get(&scope).is_some_and(Scope::may_page);
        let pages = test.pages || (p_value <= level && may_page);
        if pages && !test.pages {
            self.state.pages += 1;
            if let Some(scope) = self.state.scopes.get_mut(&scope) {
                scope.page();
            }
        }
        let reason = self.reason(&scope, p_value, level, pages);
        if is_over {
            self.state.tests.remove(id);
            self.state.withheld += u64::from(!pages);
            // One that became a part of another, or that data which came late showed to be none, is none of its own.
            let is_own = incident.merged_into.is_none() && incident.anomalies > 0;
            if let Some(scope) = self.state.scopes.get_mut(&scope).filter(|_| is_own) {
                scope.learn(incident.updated_ms, strangeness, pages);
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
        let first_ms = self.state.first_ms.unwrap_or(incident.updated_ms);
        let hours = incident.updated_ms.saturating_sub(first_ms).max(0) as f64 / HOUR_MS as f64;
        let smallest = |series: &Series| {
            let p_values = series.ratios().map(|(detector, ratio)| {
                let (p_value, known) = match self.state.detectors.get(detector) {
                    Some(before) => (before.p_value(ratio), before.total()),
                    None => (1.0, 0.0),
                };
                (PRIOR_SERIES / ratio.max(1.0) + known * p_value) / (PRIOR_SERIES + known)
            });
            series.chance(series.hour, hours) * p_values.fold(1.0, f64::min)
        };
        series
            .filter(|series| series.last_ms >= incident.opened_ms)
            .map(|series| -smallest(series).ln())
            .sum()
    }

    fn p_value(&self, scope: &str, strangeness: f64) -> f64 {
        self.state.scopes.get(scope).map_or(1.0, |scope| scope.p_value(strangeness))
    }

    fn reason(&self, scope: &str, p_value: f64, level: f64, pages: bool) -> String {
        let named_max = SCOPES_MAX - 1;
        let whose = match &self.settings.per {
            Some(label) if scope.is_empty() && self.state.scopes.len() >= named_max => {
                format!(" for all without a {label} and those of any {label} beyond the first {named_max}")
            }
            Some(label) if scope.is_empty() => format!(" for all without a {label}"),
            Some(label) => format!(" for {label} {scope}"),
            None => String::new(),
        };
        let verb = if pages { "pages" } else { "does not page" };
        let per_week = self.settings.pages_per_week;
        let first = if p_value <= level && !pages { ", but no more pages in the first days" } else { "" };
        format!(
            "{verb}: without a fault one so strange has a chance of {p_value:.2e}, and a budget of {per_week} pages a week{whose} \
             allows {level:.2e}{first}"
        )
    }

    pub(crate) fn state(&self) -> impl Serialize + '_ {
        &self.state
    }

    /// Goes on from what [`state`](Self::state) gave.
    pub(crate) fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let state: State = crate::state::decode(bytes)?;
        let series = || state.services.values().flat_map(|service| service.series.values());
        if state.series != series().count() {
            return Err("its series are miscounted".to_owned());
        }
        let is_sound = state.scopes.values().all(Scope::is_sound)
            && state.tests.values().all(Test::is_sound)
            && series().all(Series::is_sound)
            && state.detectors.values().all(Calibration::is_sound);
        if !is_sound {
            return Err("it holds numbers that no budget leaves behind".to_owned());
        }
        self.state = state;
        Ok(())
    }
}

/// Takes in what was found in an hour of a series.
fn learn(detectors: &mut BTreeMap<String, Calibration>, time_ms: i64, over: Over) {
    for (detector, ratio) in over.ratios {
        if detectors.contains_key(&detector) || detectors.len() < DETECTORS_MAX {
            detectors.entry(detector).or_default().observe_weighted(time_ms, ratio, over.weight);
        }
    }
}

#[cfg(test)]
mod tests;
