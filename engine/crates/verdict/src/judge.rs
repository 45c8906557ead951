//! The comparison of all series, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use model::Labels;
use serde::Serialize;

use crate::blocks::{BLOCK_MS, Blocks};
use crate::role::Role;
use crate::statistics::{cliffs_delta, holm, independence, median, p_above, p_least, shift};

const DAY_MS: i64 = 24 * 60 * BLOCK_MS;
/// Blocks of a series before and after, at least.
const BEFORE_MIN: usize = 15;
const AFTER_MIN: usize = 5;
/// Cliff's delta from which an effect is called large (Romano et al., 2006): what is smaller fails nothing.
const LARGE_DELTA: f64 = 0.474;
/// Time on either side of the change, at most.
pub const SPAN_MAX_MS: i64 = 6 * 60 * BLOCK_MS;

/// When something changed, and what is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// When it began to take effect, ms since the epoch.
    pub since_ms: i64,
    /// How long before it is compared with.
    pub baseline_ms: i64,
    /// How long it takes to be in effect everywhere and warm: left out.
    pub settle_ms: i64,
    /// The end of what is compared.
    pub until_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidChange(pub String);

impl std::fmt::Display for InvalidChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidChange {}

impl Change {
    pub fn validate(&self) -> Result<(), InvalidChange> {
        let invalid = |reason: &str| Err(InvalidChange(reason.to_owned()));
        // So that no sum of times overflows.
        if !(0..=i64::MAX / 4).contains(&self.since_ms) || !(0..=i64::MAX / 4).contains(&self.until_ms) {
            return invalid("since and until must be times since 1970");
        }
        if !(BLOCK_MS..=SPAN_MAX_MS).contains(&self.baseline_ms) {
            return invalid("the baseline must be from 1m to 6h long");
        }
        if !(0..=SPAN_MAX_MS).contains(&self.settle_ms) {
            return invalid("settling must take from 0s to 6h");
        }
        if self.until_ms <= self.since_ms + self.settle_ms {
            return invalid("until must be later than since and the time for settling");
        }
        if self.until_ms - self.since_ms > SPAN_MAX_MS {
            return invalid("at most 6h after the change are compared: give an earlier until");
        }
        Ok(())
    }

    pub fn before_ms(&self) -> Range<i64> {
        self.since_ms - self.baseline_ms..self.since_ms
    }

    pub fn after_ms(&self) -> Range<i64> {
        self.since_ms + self.settle_ms..self.until_ms
    }

    /// All that is compared, and the same a day before.
    pub fn times_ms(&self) -> [Range<i64>; 2] {
        let all = self.since_ms - self.baseline_ms..self.until_ms;
        [earlier(&all), all]
    }
}

fn earlier(time_ms: &Range<i64>) -> Range<i64> {
    time_ms.start - DAY_MS..time_ms.end - DAY_MS
}

/// How much worse is too much, and how sure one must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Criteria {
    /// Symptoms may be so much higher, relative to before.
    pub tolerance: f64,
    /// Resources may be so much higher, and traffic so much lower.
    pub resource_tolerance: f64,
    /// Probability that a change that makes nothing worse fails, at the most, as far as the test's assumptions hold.
    pub significance: f64,
}

impl Default for Criteria {
    fn default() -> Self {
        Self { tolerance: 0.1, resource_tolerance: 0.5, significance: 0.01 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What could have shown a harm was compared and is not worse.
    Pass,
    /// Something is worse.
    Fail,
    /// Too little is known to say.
    Unknown,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

/// What was found of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Beyond the tolerance, in the direction that is worse.
    Worse,
    /// Beyond the tolerance, of a series that fails nothing.
    Changed,
    Same,
    /// Too few blocks for the test.
    TooFew,
}

/// One series before and after.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeriesReport {
    pub labels: Labels,
    pub role: Role,
    pub finding: Finding,
    /// Medians of the blocks; null without any.
    pub before: Option<f64>,
    pub after: Option<f64>,
    /// The Hodges-Lehmann estimate of the difference, less what the day before showed at the same time; null as above.
    pub difference: Option<f64>,
    /// Cliff's delta, -1 to 1.
    pub effect: f64,
    /// Of the test that the difference is beyond the tolerance, and after Holm's correction.
    pub p_value: f64,
    pub p_adjusted: f64,
    pub before_blocks: usize,
    pub after_blocks: usize,
    /// The largest difference that the same cut shows elsewhere in the time before; null if that is too short.
    pub usual_difference: Option<f64>,
    /// The difference at the same time of the day before; null without data.
    pub day_before: Option<f64>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    pub service: String,
    pub outcome: Outcome,
    /// Sentences that say why.
    pub reasons: Vec<String>,
    /// What was not there and would have made the answer surer.
    pub missing: Vec<String>,
    pub change: Change,
    pub criteria: Criteria,
    /// Those that are worse first, then those that changed, then by p-value.
    pub series: Vec<SeriesReport>,
    /// Metrics of series that only exist after the change, or only before it.
    pub appeared: Vec<Labels>,
    pub vanished: Vec<Labels>,
}

/// Compares the series that tell of `service`.
pub fn judge(
    service: &str,
    series: &BTreeMap<Labels, Blocks>,
    change: Change,
    criteria: Criteria,
) -> Verdict {
    let (before_ms, after_ms) = (change.before_ms(), change.after_ms());
    let mut compared: Vec<Compared> = Vec::new();
    let (mut appeared, mut vanished) = (Vec::new(), Vec::new());
    let seen = seen(service, series, &before_ms, &after_ms);
    for (labels, blocks) in series {
        let role = Role::of(labels, service);
        let mut before = blocks.means(&before_ms);
        let mut after = blocks.means(&after_ms);
        // A line that nobody writes has a rate as well.
        if labels.name() == "logs.rate" {
            before.resize(before.len().max(seen.0), 0.0);
            after.resize(after.len().max(seen.1), 0.0);
        }
        match (before.is_empty(), after.is_empty()) {
            (true, true) => continue,
            (true, false) if after.len() >= AFTER_MIN => appeared.push(labels.clone()),
            (false, true) if before.len() >= BEFORE_MIN => vanished.push(labels.clone()),
            _ => {}
        }
        let day_before = day_before(blocks, &before_ms, &after_ms);
        compared.push(Compared::new(labels, role, before, after, day_before, &criteria));
    }
    for (roles, significance) in [
        // Half for what users feel, so that many resources take nothing from it.
        (&[Role::Symptom, Role::Traffic][..], criteria.significance / 2.0),
        (&[Role::Resource], criteria.significance / 2.0),
        (&[Role::Downstream, Role::Other], criteria.significance),
    ] {
        let mut family: Vec<&mut Compared> =
            compared.iter_mut().filter(|series| roles.contains(&series.report.role)).collect();
        correct(&mut family, significance);
    }
    let mut series: Vec<SeriesReport> = compared.into_iter().map(|series| series.report).collect();
    series.sort_by(|a, b| {
        let key = |report: &SeriesReport| (report.finding, report.role);
        key(a).cmp(&key(b)).then(a.p_value.total_cmp(&b.p_value)).then_with(|| a.labels.cmp(&b.labels))
    });
    conclude(service, series, appeared, vanished, change, criteria)
}

/// How many blocks hold anything of the service, before and after.
fn seen(
    service: &str,
    series: &BTreeMap<Labels, Blocks>,
    before_ms: &Range<i64>,
    after_ms: &Range<i64>,
) -> (usize, usize) {
    let own =
        || series.iter().filter(|(labels, _)| labels.service() == service && labels.name() != "logs.rate");
    let most = |time_ms: &Range<i64>| own().map(|(_, blocks)| blocks.means(time_ms).len()).max().unwrap_or(0);
    (most(before_ms), most(after_ms))
}

/// The difference over the same times a day before.
fn day_before(blocks: &Blocks, before_ms: &Range<i64>, after_ms: &Range<i64>) -> Option<f64> {
    let (before, after) = (blocks.means(&earlier(before_ms)), blocks.means(&earlier(after_ms)));
    (before.len() >= BEFORE_MIN && after.len() >= AFTER_MIN).then(|| shift(&before, &after))
}

/// A series with what its test needs.
struct Compared {
    report: SeriesReport,
    independence: f64,
    is_tested: bool,
    is_beyond_usual: bool,
}

impl Compared {
    fn new(
        labels: &Labels,
        role: Role,
        before: Vec<f64>,
        after: Vec<f64>,
        day_before: Option<f64>,
        criteria: &Criteria,
    ) -> Self {
        let known = |value: f64| value.is_finite().then_some(value);
        let (median_before, median_after) = (median(&before), median(&after));
        let is_tested = before.len() >= BEFORE_MIN && after.len() >= AFTER_MIN;
        let expected = day_before.unwrap_or(0.0);
        let difference = shift(&before, &after) - expected;
        let shifted: Vec<f64> = before.iter().map(|value| value + expected).collect();
        let margin = margin(labels, role, median_before, criteria);
        let independence = independence(&before);
        let negative = |values: &[f64]| -> Vec<f64> { values.iter().map(|value| -value).collect() };
        let p_higher = || p_above(&shifted, &after, margin, independence);
        let p_lower = || p_above(&negative(&shifted), &negative(&after), margin, independence);
        let p_value = match role {
            _ if !is_tested => 1.0,
            Role::Symptom | Role::Resource | Role::Downstream => p_higher(),
            Role::Traffic => p_lower(),
            Role::Other => (2.0 * p_higher().min(p_lower())).min(1.0),
        };
        let usual = usual_difference(&before, after.len(), role);
        let towards = match role {
            Role::Symptom | Role::Resource | Role::Downstream => difference,
            Role::Traffic => -difference,
            Role::Other => difference.abs(),
        };
        let report = SeriesReport {
            labels: labels.clone(),
            role,
            finding: if is_tested { Finding::Same } else { Finding::TooFew },
            before: known(median_before),
            after: known(median_after),
            difference: known(difference),
            effect: cliffs_delta(&shifted, &after),
            p_value,
            p_adjusted: 1.0,
            before_blocks: before.len(),
            after_blocks: after.len(),
            usual_difference: usual,
            day_before,
        };
        let is_beyond_usual = usual.is_none_or(|usual| towards > usual);
        Self { report, independence, is_tested, is_beyond_usual }
    }
}

/// How far a series may go.
fn margin(labels: &Labels, role: Role, before: f64, criteria: &Criteria) -> f64 {
    let relative = match role {
        Role::Symptom => criteria.tolerance,
        Role::Resource | Role::Traffic | Role::Downstream | Role::Other => criteria.resource_tolerance,
    };
    // What nobody would act on, in the units of the series that are derived.
    let least = match labels.name() {
        name if name.ends_with(".error_ratio") => 0.005,
        "logs.rate" => 1.0 / 60.0,
        name if name.starts_with("spans.duration") || name.starts_with("calls.duration") => 1.0,
        _ => 0.0,
    };
    (relative * before.abs()).max(least)
}

/// The largest difference between so many blocks in a row and all others of the time before, in the direction that is worse.
fn usual_difference(before: &[f64], after: usize, role: Role) -> Option<f64> {
    if after < AFTER_MIN || before.len() < after + BEFORE_MIN {
        return None;
    }
    let differences = (0..=before.len() - after).map(|start| {
        let window = &before[start..start + after];
        let rest = [&before[..start], &before[start + after..]].concat();
        let difference = median(window) - median(&rest);
        match role {
            Role::Traffic => -difference,
            Role::Other => difference.abs(),
            Role::Symptom | Role::Resource | Role::Downstream => difference,
        }
    });
    differences.reduce(f64::max)
}

/// Holm's procedure over those series that could be significant at all; which they are depends on the time before alone.
fn correct(family: &mut Vec<&mut Compared>, significance: f64) {
    family.retain(|series| series.is_tested);
    loop {
        let (count, needed) = (family.len(), significance / family.len().max(1) as f64);
        family.retain_mut(|series| {
            let report = &mut series.report;
            let can = p_least(report.before_blocks, report.after_blocks, series.independence) <= needed;
            if !can {
                report.finding = Finding::TooFew;
            }
            can
        });
        if family.len() == count {
            break;
        }
    }
    let p_values: Vec<f64> = family.iter().map(|series| series.report.p_value).collect();
    for (series, adjusted) in family.iter_mut().zip(holm(&p_values)) {
        let report = &mut series.report;
        report.p_adjusted = adjusted;
        if adjusted <= significance && series.is_beyond_usual && report.effect.abs() >= LARGE_DELTA {
            let fails = matches!(report.role, Role::Symptom | Role::Traffic | Role::Resource);
            report.finding = if fails { Finding::Worse } else { Finding::Changed };
        }
    }
}

fn conclude(
    service: &str,
    series: Vec<SeriesReport>,
    appeared: Vec<Labels>,
    vanished: Vec<Labels>,
    change: Change,
    criteria: Criteria,
) -> Verdict {
    let of = |finding: Finding| series.iter().filter(move |report| report.finding == finding);
    let own = || series.iter().filter(|report| report.labels.service() == service);
    let is_known = |report: &&SeriesReport| report.finding != Finding::TooFew;
    let symptoms = own().filter(|report| report.role == Role::Symptom).filter(is_known).count();
    let tested = own().filter(is_known).count();
    let worse = of(Finding::Worse).count();
    let mut reasons = Vec::new();
    let outcome = if worse > 0 {
        reasons.push(format!("{worse} of {tested} series are worse than the tolerance allows"));
        let slower = of(Finding::Changed).filter(|report| {
            let name = report.labels.name();
            report.role == Role::Downstream && name != "calls.rate"
        });
        let callees: BTreeSet<&str> = slower.map(|report| report.labels.service()).collect();
        if !callees.is_empty() {
            let callees: Vec<&str> = callees.into_iter().collect();
            reasons.push(format!("calls to {} are worse as well: look there too", callees.join(", ")));
        }
        Outcome::Fail
    } else if own().next().is_none() {
        reasons.push(format!("nothing is known of a service {service:?} in that time"));
        Outcome::Unknown
    } else if own().all(|report| report.after_blocks == 0) {
        reasons.push("the service has told nothing since the change: does it run?".to_owned());
        Outcome::Unknown
    } else if let Some(gone) = vanished.iter().find(|labels| labels.name() == "spans.rate") {
        reasons.push(format!("{gone} is not there any more"));
        Outcome::Unknown
    } else if symptoms == 0 {
        reasons.push(format!(
            "no series that would show a harm (failures, durations, error logs) has the {BEFORE_MIN} minutes before and the {AFTER_MIN} \
             after that are needed at least, or more where its neighbouring minutes are alike"
        ));
        Outcome::Unknown
    } else {
        reasons.push(format!(
            "none of {tested} series, {symptoms} of them symptoms, is worse than the tolerance allows"
        ));
        Outcome::Pass
    };
    let mut missing = Vec::new();
    if own().any(|report| report.finding != Finding::TooFew && report.day_before.is_none()) {
        missing.push(
            "data of the same time of the day before, for some series: what recurs daily could not be taken off".to_owned(),
        );
    }
    if own().any(|report| report.finding != Finding::TooFew && report.usual_difference.is_none()) {
        missing.push(
            "a time before that is longer than the time after by 15 minutes, for some series: how far they wander by themselves \
             is not known"
                .to_owned(),
        );
    }
    let few = own().filter(|report| report.finding == Finding::TooFew).count();
    if few > 0 {
        missing.push(format!("minutes with data: {few} series have too few to be compared"));
    }
    Verdict {
        service: service.to_owned(),
        outcome,
        reasons,
        missing,
        change,
        criteria,
        series,
        appeared,
        vanished,
    }
}

#[cfg(test)]
mod tests;
