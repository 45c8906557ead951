//! What in a stream of mined lines is out of the ordinary: new templates, bursts and drops of known ones, an order of lines that never was, and
//! sources whose severity shifts.
//!
//! Time is that of the lines, given by the caller; there is no clock. Give lines about in the order of time: one older than the open window is
//! *late*, and only counted. How far ahead of the others a line may be is for the caller to judge, as the window follows the latest one. A
//! window without any line says nothing about rates: the stream was not there.
//!
//! - **Deterministic**: findings depend on the calls and their order only, not on how they are cut into batches.
//! - **Bounded** by [`DetectionConfig`]: the least recently used templates and sources are forgotten and counted, and learned anew.
//! - **Resumable** with serde, as the miner is; what no detector wrote is refused.

mod baseline;
mod new_templates;
mod order;
mod rates;
mod severity;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::snapshot::{COUNT_MAX, Unsound, Version};
use crate::{Merge, Mined};

use new_templates::NewTemplates;
use order::Order;
use rates::Rates;
use severity::Severities;
pub use severity::SeverityClass;

/// How log lines are judged. Values out of reason are brought into it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectionConfig {
    /// Length of the windows in which lines are counted.
    pub window_ms: i64,
    /// From the first line on, for so long no template is told as new, as all are.
    pub warm_up_ms: i64,
    /// How long a new template must have been there without being merged into another before it is told.
    pub hold_off_ms: i64,
    /// Standard deviations from the usual from which on a rate or a share of severe lines is told.
    pub score_min: f64,
    /// Steps seen from a template before an unseen one is told.
    pub steps_min: u64,
    /// Most chance of an unseen step from a template, between 0 and 1, with which one is still told.
    pub unseen_share_max: f64,
    /// Templates of which rate and order are kept.
    pub templates_max: usize,
    /// Sources of which order and severity are kept.
    pub sources_max: usize,
}

impl Default for DetectionConfig {
    fn default() -> Self {
        DetectionConfig {
            window_ms: 60_000,
            warm_up_ms: 600_000,
            hold_off_ms: 60_000,
            score_min: 6.0,
            steps_min: 200,
            unseen_share_max: 0.01,
            templates_max: 8192,
            sources_max: 4096,
        }
    }
}

impl DetectionConfig {
    fn within_reason(self) -> Self {
        let finite = |value: f64, least: f64, most: f64| {
            if value.is_nan() { most } else { value.clamp(least, most) }
        };
        DetectionConfig {
            window_ms: self.window_ms.clamp(1, TIME_MAX_MS),
            warm_up_ms: self.warm_up_ms.clamp(0, TIME_MAX_MS),
            hold_off_ms: self.hold_off_ms.clamp(1, TIME_MAX_MS),
            score_min: finite(self.score_min, 1.0, 1e6),
            steps_min: self.steps_min.clamp(1, COUNT_MAX),
            unseen_share_max: finite(self.unseen_share_max, 0.0, 1.0),
            templates_max: self.templates_max.clamp(2, 1 << 30),
            sources_max: self.sources_max.clamp(2, 1 << 30),
        }
    }
}

/// Times beyond are taken as this, either way of zero.
const TIME_MAX_MS: i64 = 1 << 60;

/// One line, as the miner found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When the line was written, in milliseconds of any epoch.
    pub time_ms: i64,
    /// Who wrote it, as a number or hash of the caller's choice.
    pub source: u64,
    /// Severity number of OpenTelemetry, from 1 to 24; 0 if there is none.
    pub severity_number: u8,
    pub mined: Mined,
}

/// Something out of the ordinary. Of what lasts, the beginning is told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Finding {
    NewTemplate {
        template_id: u32,
        first_ms: i64,
        /// Lines since.
        lines: u64,
    },
    /// More lines than usual in one window.
    Burst { template_id: u32, window_start_ms: i64, lines: u64, lines_expected: f64, score: f64 },
    /// Fewer. The score is negative.
    Drop { template_id: u32, window_start_ms: i64, lines: u64, lines_expected: f64, score: f64 },
    /// A line of a source came next to one after which it never came in so many `steps`, in any source.
    UnusualOrder { source: u64, time_ms: i64, from_template_id: u32, template_id: u32, steps: u64 },
    /// The share of severe lines of a source is not the usual one; the score has the sign of the change.
    SeverityShift {
        source: u64,
        window_start_ms: i64,
        class: SeverityClass,
        share: f64,
        share_expected: f64,
        score: f64,
    },
}

impl Finding {
    /// The template or the source that it is about.
    fn subject(&self) -> u64 {
        match *self {
            Finding::NewTemplate { template_id, .. }
            | Finding::Burst { template_id, .. }
            | Finding::Drop { template_id, .. } => u64::from(template_id),
            Finding::UnusualOrder { source, .. } | Finding::SeverityShift { source, .. } => source,
        }
    }
}

/// What one detector did since it began, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetectionCounters {
    pub lines: u64,
    /// Lines older than the open window.
    pub lines_late: u64,
    /// New templates that there was no room to hold off.
    pub new_untold: u64,
    /// Templates and sources forgotten at a bound.
    pub forgotten: u64,
    /// New templates held off now.
    pub held_off: usize,
    /// Templates whose rate is known now.
    pub templates: usize,
    /// Templates whose next ones are known now.
    pub templates_with_order: usize,
    /// Sources whose last line is known now.
    pub sources: usize,
    /// Sources whose severity is known now.
    pub sources_with_severity: usize,
}

/// Judges the mined lines of one stream. See the module.
pub struct LogDetector {
    config: DetectionConfig,
    /// When the first line was written, and the start of the window that is open.
    clock: Option<Clock>,
    lines: u64,
    lines_late: u64,
    new_templates: NewTemplates,
    rates: Rates,
    order: Order,
    severities: Severities,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Clock {
    first_ms: i64,
    latest_ms: i64,
    window_start_ms: i64,
    /// A line came in the open window.
    has_lines: bool,
}

impl Default for LogDetector {
    fn default() -> Self {
        LogDetector::new(DetectionConfig::default())
    }
}

impl LogDetector {
    pub fn new(config: DetectionConfig) -> Self {
        let config = config.within_reason();
        LogDetector {
            clock: None,
            lines: 0,
            lines_late: 0,
            new_templates: NewTemplates::default(),
            rates: Rates::new(config.templates_max),
            order: Order::new(&config),
            severities: Severities::new(config.sources_max),
            config,
        }
    }

    /// Takes one line in, and adds what it shows to `findings`. Tell merges with [`LogDetector::merge`] before the next line.
    pub fn observe(&mut self, line: &LogLine, findings: &mut Vec<Finding>) {
        self.lines += 1;
        let time_ms = line.time_ms.clamp(-TIME_MAX_MS, TIME_MAX_MS);
        self.advance(time_ms, findings);
        let window_start_ms = self.window_start_ms(time_ms);
        let clock = self.clock.get_or_insert(Clock {
            first_ms: time_ms,
            latest_ms: time_ms,
            window_start_ms,
            has_lines: false,
        });
        let is_late = time_ms < clock.window_start_ms;
        clock.has_lines |= !is_late;
        let is_warm = time_ms >= clock.first_ms.saturating_add(self.config.warm_up_ms);
        let Mined { template_id, is_new } = line.mined;
        let now_ms = clock.latest_ms;
        self.new_templates.observe(template_id, is_new && is_warm, time_ms, now_ms, &self.config);
        if is_late {
            self.lines_late += 1;
            return;
        }
        self.rates.observe(template_id);
        self.severities.observe(line.source, line.severity_number);
        self.order.observe(line.source, template_id, time_ms, &self.config, findings);
    }

    /// Two templates have become one.
    pub fn merge(&mut self, merge: Merge) {
        self.new_templates.merge(merge);
        self.rates.merge(merge);
        self.order.merge(merge);
    }

    /// Nothing older than `time_ms` is to be waited for: ends the windows before. Lines do so too.
    pub fn advance(&mut self, time_ms: i64, findings: &mut Vec<Finding>) {
        let time_ms = time_ms.clamp(-TIME_MAX_MS, TIME_MAX_MS);
        let window_start_ms = self.window_start_ms(time_ms);
        let Some(clock) = &mut self.clock else { return };
        clock.latest_ms = clock.latest_ms.max(time_ms);
        if window_start_ms > clock.window_start_ms {
            if clock.has_lines {
                self.rates.close_window(clock.window_start_ms, &self.config, findings);
                self.severities.close_window(clock.window_start_ms, &self.config, findings);
            }
            clock.window_start_ms = window_start_ms;
            clock.has_lines = false;
        }
        self.new_templates.advance(time_ms, findings);
    }

    pub fn counters(&self) -> DetectionCounters {
        DetectionCounters {
            lines: self.lines,
            lines_late: self.lines_late,
            new_untold: self.new_templates.untold(),
            forgotten: self.rates.forgotten() + self.order.forgotten() + self.severities.forgotten(),
            held_off: self.new_templates.held_off(),
            templates: self.rates.templates(),
            templates_with_order: self.order.templates(),
            sources: self.order.sources(),
            sources_with_severity: self.severities.sources(),
        }
    }

    fn window_start_ms(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid(self.config.window_ms) * self.config.window_ms
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: Version,
    config: DetectionConfig,
    clock: Option<Clock>,
    lines: u64,
    lines_late: u64,
    new_templates: new_templates::Saved,
    rates: rates::Saved,
    order: order::Saved,
    severities: severity::Saved,
}

impl Serialize for LogDetector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let saved = Saved {
            version: Version,
            config: self.config.clone(),
            clock: self.clock,
            lines: self.lines,
            lines_late: self.lines_late,
            new_templates: self.new_templates.saved(),
            rates: self.rates.saved(),
            order: self.order.saved(),
            severities: self.severities.saved(),
        };
        saved.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LogDetector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        LogDetector::restored(Saved::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl LogDetector {
    fn restored(saved: Saved) -> Result<Self, Unsound> {
        let config = saved.config;
        Unsound::unless(config == config.clone().within_reason(), "limits are out of reason")?;
        let is_counted = saved.lines <= COUNT_MAX && saved.lines_late <= saved.lines;
        Unsound::unless(is_counted, "a counter is too high")?;
        let is_time = |time_ms: i64| (-2 * TIME_MAX_MS..=TIME_MAX_MS).contains(&time_ms);
        let is_clock = saved.clock.is_none_or(|clock| {
            is_time(clock.first_ms) && is_time(clock.latest_ms) && is_time(clock.window_start_ms)
        });
        Unsound::unless(is_clock, "a time is out of reason")?;
        Ok(LogDetector {
            clock: saved.clock,
            lines: saved.lines,
            lines_late: saved.lines_late,
            new_templates: NewTemplates::restored(saved.new_templates)?,
            rates: Rates::restored(saved.rates, config.templates_max)?,
            order: Order::restored(saved.order, &config)?,
            severities: Severities::restored(saved.severities, config.sources_max)?,
            config,
        })
    }
}
