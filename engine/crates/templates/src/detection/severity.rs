//! Sources whose lines have become more severe, or less so, from window to window: the share of warnings and worse, and that of errors and worse.

use serde::{Deserialize, Serialize};

use super::baseline::{Watch, of_share, share_of, share_variance};
use super::{DetectionConfig, Finding};
use crate::hashing::mix;
use crate::recent::{self, RecentMap};
use crate::snapshot::{COUNT_MAX, Unsound};

/// Severity numbers of OpenTelemetry.
const SEVERITY_WARN: u8 = 13;
const SEVERITY_ERROR: u8 = 17;
/// Lines of a source in a window that say something about a share.
const LINES_MIN: u64 = 5;

/// From which severity on lines are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SeverityClass {
    WarningOrWorse,
    ErrorOrWorse,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Share {
    /// Lines of the class in the window that is open.
    lines: u64,
    watch: Watch,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Source {
    source: u64,
    lines: u64,
    warnings: Share,
    errors: Share,
}

pub(crate) struct Severities {
    sources: RecentMap<Source>,
}

pub(crate) type Saved = recent::Saved<Source>;

impl Severities {
    pub fn new(sources_max: usize) -> Self {
        Severities { sources: RecentMap::new(sources_max) }
    }

    /// `severity_number` is that of OpenTelemetry; 0 says nothing.
    pub fn observe(&mut self, source: u64, severity_number: u8) {
        if severity_number == 0 {
            return;
        }
        let new = || Source { source, lines: 0, warnings: Share::default(), errors: Share::default() };
        let of_source = self.sources.entry(mix(source), new);
        of_source.lines += 1;
        of_source.warnings.lines += u64::from(severity_number >= SEVERITY_WARN);
        of_source.errors.lines += u64::from(severity_number >= SEVERITY_ERROR);
    }

    /// Ends the window that began at `window_start_ms`. Its findings are in the order of the sources.
    pub fn close_window(
        &mut self,
        window_start_ms: i64,
        config: &DetectionConfig,
        findings: &mut Vec<Finding>,
    ) {
        let begun = findings.len();
        self.sources.retain(|of_source| {
            let (source, lines) = (of_source.source, of_source.lines);
            let classes = [
                (SeverityClass::WarningOrWorse, &mut of_source.warnings),
                (SeverityClass::ErrorOrWorse, &mut of_source.errors),
            ];
            for (class, share) in classes {
                let of_class = std::mem::take(&mut share.lines);
                if lines < LINES_MIN {
                    continue;
                }
                let (value, variance) =
                    (of_share(of_class as f64, lines as f64), share_variance(lines as f64));
                let left = share.watch.judge(value, variance, config.score_min);
                findings.extend(left.map(|left| Finding::SeverityShift {
                    source,
                    window_start_ms,
                    class,
                    share: of_class as f64 / lines as f64,
                    share_expected: share_of(left.mean),
                    score: left.score,
                }));
            }
            of_source.lines = 0;
            true
        });
        // Stable, so that the classes of a source keep their order.
        findings[begun..].sort_by_key(Finding::subject);
    }

    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    pub fn forgotten(&self) -> u64 {
        self.sources.forgotten()
    }

    pub fn saved(&self) -> Saved {
        self.sources.saved(|&source| source)
    }

    pub fn restored(saved: Saved, sources_max: usize) -> Result<Self, Unsound> {
        let sources = RecentMap::restored(saved, sources_max, |of_source: Source| {
            for share in [of_source.warnings, of_source.errors] {
                share.watch.check()?;
                Unsound::unless(share.lines <= of_source.lines, "a source has too many severe lines")?;
            }
            Unsound::unless(of_source.lines <= COUNT_MAX, "a source has too many lines").map(|()| of_source)
        })?;
        Ok(Severities { sources })
    }
}
