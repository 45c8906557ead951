//! The clock on the wall, as numbers: how far local time is ahead, and when there are holidays.

use serde::{Deserialize, Serialize};

use crate::InvalidParameters;

/// By which detectors that know days tell the time of the day. Without anything it is UTC, and no day is a holiday.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Calendar {
    /// From a time on (ms since the epoch) local time is so many ms ahead of UTC; in the order of time.
    pub offsets: Vec<(i64, i64)>,
    /// `[from, to)`, in the order of time and without overlaps.
    pub holidays: Vec<(i64, i64)>,
}

/// A moment by a calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// As if local time were UTC.
    pub local_ms: i64,
    pub is_holiday: bool,
}

impl Calendar {
    pub fn at(&self, time_ms: i64) -> LocalTime {
        let offset_ms = match self.offsets.partition_point(|(from_ms, _)| *from_ms <= time_ms) {
            0 => 0,
            known => self.offsets[known - 1].1,
        };
        let begun = self.holidays.partition_point(|(from_ms, _)| *from_ms <= time_ms);
        let is_holiday = begun > 0 && time_ms < self.holidays[begun - 1].1;
        LocalTime { local_ms: time_ms.saturating_add(offset_ms), is_holiday }
    }

    /// # Errors
    /// Where times are not in their order.
    pub fn validate(&self) -> Result<(), InvalidParameters> {
        let offsets = self.offsets.is_sorted_by(|a, b| a.0 < b.0);
        InvalidParameters::unless(offsets, "calendar: offsets must be in the order of time")?;
        let holidays = self.holidays.iter().all(|(from_ms, to_ms)| from_ms < to_ms)
            && self.holidays.is_sorted_by(|a, b| a.1 <= b.0);
        InvalidParameters::unless(holidays, "calendar: holidays must be in the order of time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_holidays_hold_from_their_begin_on() {
        let calendar =
            Calendar { offsets: vec![(100, 10), (200, 20)], holidays: vec![(150, 160), (160, 170)] };
        assert_eq!([99, 100, 199, 200].map(|ms| calendar.at(ms).local_ms), [99, 110, 209, 220]);
        assert_eq!([149, 150, 169, 170].map(|ms| calendar.at(ms).is_holiday), [false, true, true, false]);
        assert!(calendar.validate().is_ok());
        assert_eq!(Calendar::default().at(i64::MAX), LocalTime { local_ms: i64::MAX, is_holiday: false });
        let wrong = Calendar { holidays: vec![(1, 5), (4, 6)], ..Calendar::default() };
        assert!(wrong.validate().is_err());
    }
}
