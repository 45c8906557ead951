//! What is watched of each service, and what would not be caught today.

use serde::{Deserialize, Serialize};

/// Series of a service that are named in each state, at the most; the rest is counted.
pub const LISTED_MAX: usize = 20;

/// How far a series is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeriesState {
    /// At least one detector judges its values.
    Modelled,
    /// Detectors watch it and have too few points yet.
    Learning,
    /// The same, and at its rate it would take more than a week, or nothing comes.
    TooSparse,
    /// The matchers of no detector of values hold for it.
    Unwatched,
    /// There was no room for it.
    Refused,
}

impl SeriesState {
    pub const ALL: [Self; 5] =
        [Self::Modelled, Self::Learning, Self::TooSparse, Self::Unwatched, Self::Refused];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Modelled => "modelled",
            Self::Learning => "learning",
            Self::TooSparse => "too_sparse",
            Self::Unwatched => "unwatched",
            Self::Refused => "refused",
        }
    }
}

/// What a service sends, as series of it show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeriesSignal {
    Metrics,
    Spans,
    /// Spans of whole traces, by who calls.
    Calls,
    Logs,
}

impl SeriesSignal {
    /// Of a series with that name: what is derived from spans and logs is named after them.
    pub fn of_name(name: &str) -> Self {
        match name.split_once('.') {
            Some(("spans", _)) => Self::Spans,
            Some(("calls", _)) => Self::Calls,
            Some(("logs", _)) => Self::Logs,
            _ => Self::Metrics,
        }
    }
}

/// The series of one signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalCoverage {
    /// All, those that are refused too.
    pub series: u64,
    /// Those that no detector watches.
    pub unwatched: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signals {
    pub metrics: SignalCoverage,
    pub spans: SignalCoverage,
    pub calls: SignalCoverage,
    pub logs: SignalCoverage,
}

impl Signals {
    pub fn of_mut(&mut self, signal: SeriesSignal) -> &mut SignalCoverage {
        match signal {
            SeriesSignal::Metrics => &mut self.metrics,
            SeriesSignal::Spans => &mut self.spans,
            SeriesSignal::Calls => &mut self.calls,
            SeriesSignal::Logs => &mut self.logs,
        }
    }

    /// With their names.
    pub fn named(&self) -> [(&'static str, SignalCoverage); 4] {
        [("metrics", self.metrics), ("spans", self.spans), ("calls", self.calls), ("logs", self.logs)]
    }
}

/// A series by its name and the labels that set it apart in its service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedSeries {
    pub metric: String,
    /// Until a detector judges it.
    pub points_left: Option<u32>,
    /// About when that is, milliseconds since the epoch, as far as it is known.
    pub ready_ms: Option<i64>,
}

/// The series in one state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCoverage {
    pub series: u64,
    /// Some of them.
    pub listed: Vec<ListedSeries>,
}

/// The ledger of one service: what is watched of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCoverage {
    /// The partition whose task says so, `topic/partition`. Another may hold other series of the service.
    pub source: String,
    pub service: String,
    /// Event time for which it was written.
    pub time_ms: i64,
    pub signals: Signals,
    pub modelled: u64,
    pub learning: StateCoverage,
    /// When the last of those that learn is ready, as far as it is known.
    pub ready_ms: Option<i64>,
    pub too_sparse: StateCoverage,
    pub unwatched: StateCoverage,
    pub refused: StateCoverage,
    /// More were refused than could be told apart, of whatever service.
    pub refused_more: bool,
}

impl ServiceCoverage {
    /// All series, in whatever state.
    pub fn series(&self) -> u64 {
        SeriesState::ALL.iter().map(|state| self.count(*state)).sum()
    }

    pub fn count(&self, state: SeriesState) -> u64 {
        self.of(state).map_or(self.modelled, |of| of.series)
    }

    /// The series in a state; of those that are modelled there is only the number.
    pub fn of(&self, state: SeriesState) -> Option<&StateCoverage> {
        match state {
            SeriesState::Modelled => None,
            SeriesState::Learning => Some(&self.learning),
            SeriesState::TooSparse => Some(&self.too_sparse),
            SeriesState::Unwatched => Some(&self.unwatched),
            SeriesState::Refused => Some(&self.refused),
        }
    }

    pub fn of_mut(&mut self, state: SeriesState) -> Option<&mut StateCoverage> {
        match state {
            SeriesState::Modelled => None,
            SeriesState::Learning => Some(&mut self.learning),
            SeriesState::TooSparse => Some(&mut self.too_sparse),
            SeriesState::Unwatched => Some(&mut self.unwatched),
            SeriesState::Refused => Some(&mut self.refused),
        }
    }

    /// Adds what another partition says of the same service.
    pub fn absorb(&mut self, other: &Self) {
        self.time_ms = self.time_ms.max(other.time_ms);
        for (own, others) in [
            (&mut self.signals.metrics, other.signals.metrics),
            (&mut self.signals.spans, other.signals.spans),
            (&mut self.signals.calls, other.signals.calls),
            (&mut self.signals.logs, other.signals.logs),
        ] {
            own.series += others.series;
            own.unwatched += others.unwatched;
        }
        self.modelled += other.modelled;
        for state in SeriesState::ALL {
            if let (Some(own), Some(others)) = (self.of_mut(state), other.of(state)) {
                own.series += others.series;
                let room = LISTED_MAX.saturating_sub(own.listed.len());
                own.listed.extend(others.listed.iter().take(room).cloned());
            }
        }
        self.ready_ms = self.ready_ms.max(other.ready_ms);
        self.refused_more |= other.refused_more;
    }

    /// What would not be caught of this service at `now_ms`, and why, in words.
    pub fn not_caught(&self, now_ms: i64) -> Vec<String> {
        if self.series() == 0 {
            return vec!["it has no series any more: nothing of it is seen".to_owned()];
        }
        let mut gaps = Vec::new();
        let Signals { metrics, spans, calls, logs } = self.signals;
        for (signal, absent) in [
            (metrics, "no metrics: what its resources and its own counters tell is not seen"),
            (spans, "no traces: latency and errors of its operations and calls are not seen"),
            (logs, "no logs: bursts of lines and of errors in them are not seen"),
        ] {
            if signal.series == 0 {
                gaps.push(absent.to_owned());
            }
        }
        for (signal, what) in [(spans, "spans"), (calls, "calls"), (logs, "log lines")] {
            if signal.series > 0 && signal.unwatched == signal.series {
                gaps.push(format!("its {what} are counted, and no detector watches what they come to"));
            }
        }
        if metrics.unwatched > 0 {
            let are = counted(metrics.unwatched, "of a metric is", "of metrics are");
            gaps.push(format!("{are} watched by no detector: add one whose match holds for them"));
        }
        if self.refused.series > 0 {
            let at_least = if self.refused_more { "at least " } else { "" };
            let are = counted(self.refused.series, "is", "are");
            gaps.push(format!(
                "{at_least}{are} refused: raise analysis.series_memory or series_max, or send fewer"
            ));
        }
        if self.learning.series > 0 {
            let are = counted(self.learning.series, "is", "are");
            let ready = match self.ready_ms {
                Some(ready_ms) if self.learning.series == 1 => format!(", ready {}", about(ready_ms, now_ms)),
                Some(ready_ms) => format!(", the last is ready {}", about(ready_ms, now_ms)),
                None => String::new(),
            };
            gaps.push(format!("{are} learning{ready}"));
        }
        if self.too_sparse.series > 0 {
            let have = counted(self.too_sparse.series, "has", "have");
            gaps.push(format!("{have} too few points to be learned within a week"));
        }
        gaps
    }
}

/// So many series, with the words for one and for several.
fn counted(series: u64, one: &str, several: &str) -> String {
    if series == 1 { format!("1 series {one}") } else { format!("{series} series {several}") }
}

/// How long it is until then, in words.
fn about(time_ms: i64, now_ms: i64) -> String {
    const MINUTE_MS: i64 = 60_000;
    let rounded = |unit_ms: i64| time_ms.saturating_sub(now_ms).saturating_add(unit_ms / 2) / unit_ms;
    match time_ms.saturating_sub(now_ms) {
        ms if ms < MINUTE_MS => "soon".to_owned(),
        ms if ms < 90 * MINUTE_MS => format!("in about {} min", rounded(MINUTE_MS)),
        ms if ms < 36 * 60 * MINUTE_MS => format!("in about {} h", rounded(60 * MINUTE_MS)),
        _ => format!("in about {} days", rounded(24 * 60 * MINUTE_MS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> ServiceCoverage {
        let seen = SignalCoverage { series: 10, unwatched: 0 };
        let signals = Signals { metrics: seen, spans: seen, calls: seen, logs: seen };
        ServiceCoverage { service: "cart".to_owned(), signals, modelled: 40, ..ServiceCoverage::default() }
    }

    fn some(series: u64) -> StateCoverage {
        StateCoverage { series, listed: Vec::new() }
    }

    #[test]
    fn what_is_modelled_has_no_gap_and_what_is_gone_is_nothing_else() {
        assert_eq!(full().not_caught(0), [""; 0]);
        let gaps = ServiceCoverage::default().not_caught(0);
        assert_eq!(gaps, ["it has no series any more: nothing of it is seen"]);
    }

    #[test]
    fn each_gap_is_said_in_words() {
        let hour_ms = 3_600_000;
        let mut coverage = full();
        coverage.signals.spans = SignalCoverage::default();
        coverage.signals.calls = SignalCoverage { series: 2, unwatched: 1 };
        coverage.signals.logs.unwatched = 10;
        coverage.signals.metrics.unwatched = 1;
        coverage.refused = some(3);
        coverage.learning = some(12);
        coverage.ready_ms = Some(10 * hour_ms);
        coverage.too_sparse = some(1);
        let expected = [
            "no traces: latency and errors of its operations and calls are not seen",
            "its log lines are counted, and no detector watches what they come to",
            "1 series of a metric is watched by no detector: add one whose match holds for them",
            "3 series are refused: raise analysis.series_memory or series_max, or send fewer",
            "12 series are learning, the last is ready in about 3 h",
            "1 series has too few points to be learned within a week",
        ];
        assert_eq!(coverage.not_caught(7 * hour_ms), expected);
        coverage.refused_more = true;
        assert!(coverage.not_caught(0)[3].starts_with("at least 3 series are refused"));
    }

    #[test]
    fn times_are_as_exact_as_they_are_near() {
        let minute = 60_000;
        for (left_ms, expected) in [
            (-5, "soon"),
            (10 * minute + 40_000, "in about 11 min"),
            (180 * minute, "in about 3 h"),
            (60 * 60 * minute, "in about 3 days"),
            (i64::MAX - 7, "in about 106751991167 days"),
        ] {
            let words = about(7 + left_ms, 7);
            assert_eq!(words, expected, "{left_ms}");
        }
    }

    #[test]
    fn parts_of_a_service_add_up() {
        let listed =
            |metric: &str| ListedSeries { metric: metric.to_owned(), points_left: Some(3), ready_ms: None };
        let part = |name: &str, count: usize, ready_ms| ServiceCoverage {
            learning: StateCoverage {
                series: count as u64,
                listed: vec![listed(name); count.min(LISTED_MAX)],
            },
            ready_ms,
            ..full()
        };
        let mut sum = part("a", 15, None);
        sum.absorb(&part("b", 30, Some(5)));
        assert_eq!((sum.modelled, sum.learning.series, sum.ready_ms), (80, 45, Some(5)));
        assert_eq!(sum.learning.listed.len(), LISTED_MAX);
        assert_eq!((sum.signals.calls.series, sum.series()), (20, 125));
    }
}
