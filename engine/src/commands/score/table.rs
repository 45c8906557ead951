//! A series as a CSV file: its rows as they are, their times and values read.

use std::borrow::Cow;
use std::path::Path;

use anyhow::Context;
use detectors::Point;

const COLUMNS: [&str; 2] = ["timestamp", "value"];

/// A file as text, cut into records and fields. Fields keep their quotes, so that they can be written as they were.
pub struct Table<'a> {
    path: &'a Path,
    header: Vec<&'a str>,
    /// With the line that each begins in, from 1.
    rows: Vec<(usize, Vec<&'a str>)>,
    time_column: usize,
    value_column: usize,
}

impl<'a> Table<'a> {
    pub fn read(path: &'a Path, text: &'a str) -> anyhow::Result<Self> {
        let mut records = records(text.strip_prefix('\u{feff}').unwrap_or(text));
        let header = records.next().map(|(_, fields)| fields).unwrap_or_default();
        let column = |name: &str| {
            header.iter().position(|field| unquoted(field).eq_ignore_ascii_case(name)).with_context(|| {
                format!(
                    "{}: no column `{name}`; the first line must name the columns, and {} must be among them",
                    path.display(),
                    COLUMNS.map(|name| format!("`{name}`")).join(" and ")
                )
            })
        };
        let [time_column, value_column] = [column(COLUMNS[0])?, column(COLUMNS[1])?];
        let rows: Vec<_> = records.collect();
        for (line, fields) in &rows {
            anyhow::ensure!(
                fields.len() == header.len(),
                "{}, line {line}: {} fields where the first line names {} columns; quote a field that holds a comma",
                path.display(),
                fields.len(),
                header.len()
            );
        }
        Ok(Self { path, header, rows, time_column, value_column })
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The points; a value that is missing is not a number.
    pub fn points(&self) -> anyhow::Result<Vec<Point>> {
        let point = |(line, fields): &(usize, Vec<&str>)| {
            let [time, value] = [self.time_column, self.value_column].map(|column| unquoted(fields[column]));
            let place = || format!("{}, line {line}", self.path.display());
            let time_ms = time_ms(&time).with_context(|| {
                format!(
                    "{}: timestamp {time:?} cannot be read; write 2026-01-31T12:00:00Z, 2026-01-31 12:00:00, or the seconds or \
                     milliseconds since 1970",
                    place()
                )
            })?;
            let value = self::value(&value).with_context(|| {
                format!(
                    "{}: value {value:?} is not a number; leave the field empty where there is none",
                    place()
                )
            })?;
            Ok(Point { time_ms, value })
        };
        self.rows.iter().map(point).collect()
    }

    /// The file with these columns behind its own; a column of the same name that it has already is left out.
    pub fn with_columns<const N: usize>(&self, names: [&str; N], rows: &[[String; N]]) -> String {
        let is_kept = |column: usize| {
            !names.iter().any(|name| unquoted(self.header[column]).eq_ignore_ascii_case(name))
        };
        let kept: Vec<usize> = (0..self.header.len()).filter(|column| is_kept(*column)).collect();
        let mut text = String::new();
        let mut push = |fields: &[&str], added: &[&str]| {
            let own = kept.iter().map(|column| fields[*column]);
            for (i, field) in own.chain(added.iter().copied()).enumerate() {
                if i > 0 {
                    text.push(',');
                }
                text.push_str(field);
            }
            text.push('\n');
        };
        push(&self.header, &names);
        for ((_, fields), added) in self.rows.iter().zip(rows) {
            push(fields, &added.each_ref().map(String::as_str));
        }
        text
    }
}

/// Cuts text into records and these into fields; lines without anything are left out.
fn records(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let (mut at, mut line) = (0, 1);
    std::iter::from_fn(move || {
        while at < text.len() {
            let begin = line;
            let (mut fields, mut start, mut is_quoted) = (Vec::new(), at, false);
            let mut end = text.len();
            for (i, byte) in text.bytes().enumerate().skip(at) {
                match byte {
                    b'"' => is_quoted = !is_quoted,
                    b'\n' => line += 1,
                    _ => {}
                }
                match byte {
                    b',' if !is_quoted => {
                        fields.push(&text[start..i]);
                        start = i + 1;
                    }
                    b'\n' if !is_quoted => {
                        end = i;
                        break;
                    }
                    _ => {}
                }
            }
            at = end + 1;
            fields.push(text[start..end].trim_end_matches('\r'));
            if fields != [""] {
                return Some((begin, fields));
            }
        }
        None
    })
}

fn unquoted(field: &str) -> Cow<'_, str> {
    let field = field.trim();
    match field.strip_prefix('"').and_then(|field| field.strip_suffix('"')) {
        Some(inner) if inner.contains("\"\"") => Cow::Owned(inner.replace("\"\"", "\"")),
        Some(inner) => Cow::Borrowed(inner),
        None => Cow::Borrowed(field),
    }
}

fn value(text: &str) -> Option<f64> {
    if ["", "null", "none", "na", "n/a"].iter().any(|missing| text.eq_ignore_ascii_case(missing)) {
        return Some(f64::NAN);
    }
    text.parse().ok()
}

/// A date and time, in UTC if it names no offset, or a number since the epoch whose size says its unit.
fn time_ms(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<f64>() {
        let ms = match number.abs() {
            ..1e11 => number * 1000.0,
            ..1e14 => number,
            ..1e17 => number / 1e3,
            ..1e20 => number / 1e6,
            _ => return None,
        };
        return Some(ms.round() as i64);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_millisecond());
    }
    let civil = text.parse::<jiff::civil::DateTime>().ok()?;
    civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|time| time.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for text in ["", "yesterday", "NaN", "inf", "1e40"] {
            assert_eq!(time_ms(text), None, "{text}");
        }
    }

    fn read(text: &str) -> anyhow::Result<Vec<Point>> {
        Table::read(Path::new("a.csv"), text)?.points()
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        for (text, words) in [
            ("", ["a.csv", "no column `timestamp`"]),
            ("timestamp,x\n1,2\n", ["a.csv", "no column `value`"]),
            ("timestamp,value\n1,2\n3\n", ["line 3", "1 fields where the first line names 2"]),
            ("timestamp,value\n1,2\n\nnow,3\n", ["line 4", "\"now\" cannot be read"]),
            ("timestamp,value,note\n1,2,\"a\nb\"\n3,much,\n", ["line 4", "\"much\" is not a number"]),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }

    #[test]
    fn rows_stay_as_they_are() {
        let text = "\u{feff}host,\"Value\",timestamp,anomaly_score\r\n\"a, b\",1.50,1,9\r\n\r\nc,,2,9";
        let table = Table::read(Path::new("a.csv"), text).unwrap();
        let points = table.points().unwrap();
        assert_eq!((points[0].time_ms, points[0].value, points[1].value.is_nan()), (1000, 1.5, true));
        let added = [["0".to_owned()], ["0.5".to_owned()]];
        let expected = "host,\"Value\",timestamp,anomaly_score\n\"a, b\",1.50,1,0\nc,,2,0.5\n";
        assert_eq!(table.with_columns(["anomaly_score"], &added), expected);
    }
}
