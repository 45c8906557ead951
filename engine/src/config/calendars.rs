//! By whose clock and holidays series have their days.

use std::path::PathBuf;

use model::Matcher;
use pipeline::settings::SeriesCalendar;
use serde::Deserialize;

/// By whose clock some series have their days.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalendarConfig {
    /// What was learned is kept under it; the time zone if it is not given.
    #[serde(default)]
    pub name: Option<String>,
    /// The series must satisfy all of these matchers; without any, every series.
    #[serde(default, rename = "match")]
    pub matchers: Vec<String>,
    /// As in the IANA database.
    pub time_zone: String,
    /// An iCalendar file.
    #[serde(default)]
    pub holidays: Option<PathBuf>,
}

impl CalendarConfig {
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.time_zone)
    }

    /// With its holidays, which are read from their file.
    pub fn resolve(&self) -> Result<SeriesCalendar, String> {
        let matchers = self.matchers.iter().cloned().map(Matcher::try_from);
        let matchers = matchers.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|error| format!("holidays: {}: {error}", path.display()))
        };
        let holidays = self.holidays.as_ref().map(read).transpose()?;
        let calendar = ::calendars::calendar(&self.time_zone, holidays.as_deref());
        let calendar = calendar.map_err(|reason| match &self.holidays {
            Some(path) => format!("{} ({reason})", path.display()),
            None => reason,
        })?;
        Ok(SeriesCalendar { name: self.name().to_owned(), matchers, calendar })
    }
}
