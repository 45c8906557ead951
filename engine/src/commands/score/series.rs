//! A series as a CSV file, row by row: its fields as they are, its time and value read.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use csv::StringRecord;
use detectors::Point;

const COLUMNS: [&str; 2] = ["timestamp", "value"];
/// A record over more lines than this has a quote that is not closed.
const RECORD_LINES_MAX: u64 = 100;

/// Reads a file of any length, and holds one row of it.
pub struct Series<'p> {
    path: &'p Path,
    reader: csv::Reader<Lines<BufReader<File>>>,
    header: StringRecord,
    row: StringRecord,
    time_column: usize,
    value_column: usize,
    unit: Option<Unit>,
    newest_ms: i64,
    /// Of the last row: where it begins, and the line breaks in it.
    line: u64,
    breaks: u64,
}

impl<'p> Series<'p> {
    pub fn open(path: &'p Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let file =
            File::open(path).with_context(|| format!("{shown}: cannot be read; may this user read it?"))?;
        let lines = Lines { inner: BufReader::new(file), quotes: 0, last: b'\n' };
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(lines);
        let header = match reader.headers() {
            Ok(header) => header.clone(),
            Err(error) => return Err(unreadable(path, &error)),
        };
        let place = |name: &str| header.iter().position(|field| field.trim().eq_ignore_ascii_case(name));
        let column = |name: &str| {
            let found = if header.is_empty() {
                "the file is empty".to_owned()
            } else {
                format!("no column `{name}`")
            };
            place(name).with_context(|| {
                format!(
                    "{shown}: {found}; the first line must name the columns, and {} must be among them",
                    COLUMNS.map(|name| format!("`{name}`")).join(" and ")
                )
            })
        };
        let [time_column, value_column] = [column(COLUMNS[0])?, column(COLUMNS[1])?];
        let (row, unit, newest_ms) = (StringRecord::new(), None, i64::MIN);
        Ok(Self { path, reader, header, row, time_column, value_column, unit, newest_ms, line: 1, breaks: 0 })
    }

    pub fn header(&self) -> &StringRecord {
        &self.header
    }

    /// The fields of the point that came last.
    pub fn row(&self) -> &StringRecord {
        &self.row
    }

    /// The next point; a value that is missing is not a number.
    pub fn next(&mut self) -> anyhow::Result<Option<Point>> {
        let path = self.path;
        if !self.reader.read_record(&mut self.row).map_err(|error| unreadable(path, &error))? {
            if self.breaks > 0 && self.reader.get_ref().quotes % 2 == 1 {
                return Err(self.unclosed());
            }
            return Ok(None);
        }
        let mut breaks = self.row.iter().flat_map(str::bytes).filter(|byte| *byte == b'\n').count() as u64;
        if self.reader.get_ref().quotes % 2 == 1 && self.row[self.row.len() - 1].ends_with('\n') {
            // A quote that nothing closes takes in the break behind the last line too.
            breaks -= 1;
        }
        // The reader stands behind the row, which lines without anything may stand before.
        let line = self.reader.position().line().saturating_sub(1 + breaks);
        let place = || format!("{}, line {line}", path.display());
        (self.line, self.breaks) = (line, breaks);
        if breaks >= RECORD_LINES_MAX {
            return Err(self.unclosed());
        }
        if self.row.len() != self.header.len() {
            bail!(
                "{}: {} fields where the first line names {} columns; quote a field that holds a comma",
                place(),
                self.row.len(),
                self.header.len()
            );
        }
        let [time, value] = [self.time_column, self.value_column].map(|column| self.row[column].trim());
        let time_ms = self.time_ms(time).with_context(|| {
            format!(
                "{}: timestamp {time:?} cannot be read; write 2026-01-31T12:00:00Z, 2026-01-31 12:00:00, or the seconds, \
                 milliseconds, microseconds or nanoseconds since 1970",
                place()
            )
        })?;
        let value = self::value(value).with_context(|| {
            format!("{}: value {value:?} is not a number; leave the field empty where there is none", place())
        })?;
        if time_ms < self.newest_ms {
            bail!("{}: the row is older than the one before; sort the rows by time, oldest first", place());
        }
        self.newest_ms = time_ms;
        self.unit = self.unit.or_else(|| Unit::of(self.row[self.time_column].trim()));
        Ok(Some(Point { time_ms, value }))
    }

    fn unclosed(&self) -> anyhow::Error {
        let (path, line, lines) = (self.path.display(), self.line, self.breaks + 1);
        anyhow::anyhow!("{path}, line {line}: the row goes over {lines} lines; close its quote")
    }

    /// A date and time, in UTC if it names no offset, or a number since the epoch. Of these the first says the unit.
    fn time_ms(&self, text: &str) -> Option<i64> {
        if let Ok(number) = text.parse::<f64>() {
            if is_date(text) {
                return None;
            }
            let unit = self.unit.or_else(|| Unit::of(text))?;
            return Some((number * unit.ms()).round() as i64);
        }
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Some(time.as_millisecond());
        }
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|time| time.timestamp().as_millisecond())
    }
}

/// Of a number since the epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Unit {
    fn of(text: &str) -> Option<Self> {
        match text.parse::<f64>().ok()?.abs() {
            ..1e11 => Some(Self::Seconds),
            ..1e14 => Some(Self::Milliseconds),
            ..1e17 => Some(Self::Microseconds),
            ..1e20 => Some(Self::Nanoseconds),
            _ => None,
        }
    }

    fn ms(self) -> f64 {
        match self {
            Self::Seconds => 1e3,
            Self::Milliseconds => 1.0,
            Self::Microseconds => 1e-3,
            Self::Nanoseconds => 1e-6,
        }
    }
}

/// `20260131` and `20260131120000` are no numbers since 1970.
fn is_date(text: &str) -> bool {
    let between = |range: std::ops::Range<usize>, from: u32, to: u32| {
        text.get(range).and_then(|part| part.parse().ok()).is_some_and(|part| (from..=to).contains(&part))
    };
    matches!(text.len(), 8 | 14)
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && between(0..4, 1900, 2100)
        && between(4..6, 1, 12)
        && between(6..8, 1, 31)
}

fn value(text: &str) -> Option<f64> {
    if ["", "null", "none", "na", "n/a"].iter().any(|missing| text.eq_ignore_ascii_case(missing)) {
        return Some(f64::NAN);
    }
    text.parse().ok()
}

fn unreadable(path: &Path, error: &csv::Error) -> anyhow::Error {
    let line = error.position().map_or_else(String::new, |position| format!(", line {}", position.line()));
    let problem = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "not a text in UTF-8; convert it, or move it away".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    anyhow::anyhow!("{}{line}: {problem}", path.display())
}

/// Lines that end in `\n`, the last one too, whatever the file has. Counts the quotes that pass: an odd number at the end of a
/// row over several lines is one that was not closed.
struct Lines<R> {
    inner: R,
    quotes: u64,
    last: u8,
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.inner.read(buffer)?;
            if read == 0 {
                if self.last == b'\n' || buffer.is_empty() {
                    return Ok(0);
                }
                (buffer[0], self.last) = (b'\n', b'\n');
                return Ok(1);
            }
            let mut kept = 0;
            for i in 0..read {
                let byte = buffer[i];
                if byte != b'\r' {
                    buffer[kept] = byte;
                    kept += 1;
                    self.last = byte;
                    self.quotes += u64::from(byte == b'"');
                }
            }
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Vec<Point>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.csv");
        std::fs::write(&path, text)?;
        let mut series = Series::open(&path)?;
        std::iter::from_fn(|| series.next().transpose()).collect()
    }

    fn time_ms(text: &str) -> Option<i64> {
        read(&format!("timestamp,value\n{text},1\n")).ok()?.first().map(|point| point.time_ms)
    }

    #[test]
    fn times_are_read_in_every_usual_form() {
        for text in [
            "2023-11-14T22:13:20Z",
            "2023-11-14T23:13:20+01:00",
            "2023-11-14 22:13:20",
            "2023-11-14T22:13:20.000",
            "1700000000",
            "1700000000.0",
            "1700000000000",
            "1700000000000000",
            "1700000000000000000",
        ] {
            assert_eq!(time_ms(text), Some(1_700_000_000_000), "{text}");
        }
        assert_eq!(time_ms("2023-11-14"), Some(1_699_920_000_000));
        assert_eq!(time_ms("-5"), Some(-5000));
        for text in ["", "yesterday", "NaN", "inf", "1e40", "20140101", "20260131120000"] {
            assert_eq!(time_ms(text), None, "{text}");
        }
    }

    #[test]
    fn a_file_has_one_unit() {
        let points = read("timestamp,value\n99999999999,1\n100000000001,2\n").unwrap();
        assert_eq!(points[1].time_ms - points[0].time_ms, 2000);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        let unclosed = format!("timestamp,value,note\n1,2,\"a\n{}", "3,4,b\n".repeat(200));
        for (text, words) in [
            ("", ["a.csv", "the file is empty"]),
            ("timestamp,x\n1,2\n", ["a.csv", "no column `value`"]),
            ("timestamp,value\n1,2\n3\n", ["line 3", "1 fields where the first line names 2"]),
            ("timestamp,value\n1,2\n\nnow,3\n", ["line 4", "\"now\" cannot be read"]),
            ("timestamp,value,note\n1,2,\"a\nb\"\n3,much,\n", ["line 4", "\"much\" is not a number"]),
            ("timestamp,value\n2,2\n1,3\n", ["line 3", "older than the one before"]),
            ("timestamp,value,note\n1,2,\"a\n3,4,b\n5,6,c\n", ["line 2", "close its quote"]),
            (unclosed.as_str(), ["line 2", "close its quote"]),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }

    #[test]
    fn unusual_fields_are_read() {
        let text = "\u{feff}host,\"Value\",timestamp\r\n\"a, b\",1.50,1\r\n\r\n5\" disk,,2";
        let points = read(text).unwrap();
        assert_eq!((points[0].time_ms, points[0].value, points[1].value.is_nan()), (1000, 1.5, true));
    }
}
