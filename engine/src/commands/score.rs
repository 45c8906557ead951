//! `foreshock score`: how surprising each value of recorded series was, without Kafka and without an engine.

mod table;

use std::cmp::Reverse;
use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;
use detectors::{DETECTORS, DetectorSpec, Slot, Verdict};

use super::time_text;
use table::Table;

/// Add how surprising each value was to the series of a folder
///
/// Every .csv file below the input is one series, with the columns timestamp and value in the order of time, and other columns that are
/// kept. A timestamp is a date and time (in UTC if it names no offset) or the seconds or milliseconds since 1970. The output has the same
/// files with anomaly_score (0 to 1, above 0.5 is an alert), expected, lower and upper. Each row is judged by the rows before it only.
#[derive(Args)]
pub struct Score {
    /// Folder with the series
    #[arg(long, value_name = "DIR")]
    input: PathBuf,
    /// Folder for the same files with the scores; files of the same name in it are replaced
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// What judges the values
    #[arg(long, value_name = "NAME", default_value = "ensemble",
        value_parser = PossibleValuesParser::new(DETECTORS.iter().map(|spec| spec.name)))]
    detector: String,
}

/// Series that the summary names at the most.
const LOUDEST: usize = 5;

/// What is to be said of a series that was scored.
struct Scored {
    name: PathBuf,
    rows: usize,
    /// Runs of anomalous points.
    alerts: usize,
    highest: f64,
    highest_ms: i64,
}

impl Score {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let spec = DETECTORS.iter().find(|spec| spec.name == self.detector).context("no such detector")?;
        anyhow::ensure!(
            self.input.is_dir(),
            "--input {}: {}; name a folder with series as .csv files",
            self.input.display(),
            if self.input.exists() { "not a folder" } else { "no such folder" }
        );
        let (input, output) = (resolved(&self.input)?, resolved(&self.output)?);
        anyhow::ensure!(
            !input.starts_with(&output) && !output.starts_with(&input),
            "--output {} is, holds or lies in the input folder, whose files must stay as they are; name another folder",
            self.output.display()
        );
        let files = series_files(&self.input)?;
        anyhow::ensure!(
            !files.is_empty(),
            "{}: no .csv file in it or below; name a folder with series, one a file, with the columns timestamp and value",
            self.input.display()
        );
        let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        let progress = super::progress("scoring", bytes as usize, io::stderr().is_terminal());
        let mut scored = Vec::with_capacity(files.len());
        for (name, bytes) in files {
            scored.push(self.score(spec, name)?);
            progress.inc(bytes);
        }
        progress.finish_and_clear();
        super::print(&summary(&scored, &self.output))?;
        Ok(ExitCode::SUCCESS)
    }

    fn score(&self, spec: &DetectorSpec, name: PathBuf) -> anyhow::Result<Scored> {
        let path = self.input.join(&name);
        let bytes = fs::read(&path)
            .with_context(|| format!("{}: cannot be read; may this user read it?", path.display()))?;
        let text = String::from_utf8(bytes).with_context(|| {
            format!("{}: not a text in UTF-8; convert it, or move it away", path.display())
        })?;
        let table = Table::read(&path, &text)?;
        let points = table.points()?;
        let mut bank = (spec.build)(serde_json::json!({}))?;
        let mut verdicts = Vec::with_capacity(points.len());
        bank.observe(&vec![Slot(0); points.len()], &points, &mut verdicts);

        let columns: Vec<[String; 4]> = verdicts.iter().map(fields).collect();
        let names = ["anomaly_score", "expected", "lower", "upper"];
        write(&self.output.join(&name), &table.with_columns(names, &columns))?;

        let is_alert = |verdict: &Option<Verdict>| verdict.is_some_and(|verdict| verdict.is_anomalous());
        let rises = |i: &usize| is_alert(&verdicts[*i]) && (*i == 0 || !is_alert(&verdicts[*i - 1]));
        let score = |i: usize| verdicts[i].map_or(0.0, |verdict| verdict.anomaly_score);
        let highest = (0..verdicts.len()).max_by(|a, b| score(*a).total_cmp(&score(*b)).then(b.cmp(a)));
        Ok(Scored {
            name,
            rows: table.len(),
            alerts: (0..verdicts.len()).filter(rises).count(),
            highest: highest.map_or(0.0, score),
            highest_ms: highest.map_or(0, |i| points[i].time_ms),
        })
    }
}

/// A verdict as fields: a row that is not judged has score 0 and nothing to compare with.
fn fields(verdict: &Option<Verdict>) -> [String; 4] {
    let Some(verdict) = verdict else { return ["0".to_owned(), String::new(), String::new(), String::new()] };
    [verdict.anomaly_score, verdict.expected, verdict.lower, verdict.upper].map(|number| {
        let is_short = number == 0.0 || (1e-6..1e16).contains(&number.abs());
        if is_short { number.to_string() } else { format!("{number:e}") }
    })
}

fn summary(scored: &[Scored], output: &Path) -> String {
    let total = |count: fn(&Scored) -> usize| scored.iter().map(count).sum::<usize>();
    let alerts = total(|series| series.alerts);
    let mut text = format!(
        "{} files, {} rows: {alerts} alerts in {} series; written to {}\n",
        scored.len(),
        total(|series| series.rows),
        scored.iter().filter(|series| series.alerts > 0).count(),
        output.display()
    );
    let mut loudest: Vec<&Scored> = scored.iter().filter(|series| series.alerts > 0).collect();
    loudest.sort_by(|a, b| {
        let key = |series: &Scored| Reverse(series.alerts);
        key(a).cmp(&key(b)).then(b.highest.total_cmp(&a.highest)).then_with(|| a.name.cmp(&b.name))
    });
    if !loudest.is_empty() {
        text += "the loudest, with their highest score:\n";
    }
    for series in loudest.iter().take(LOUDEST) {
        text += &format!(
            "    {:>6} alerts  {:.2} at {}  {}\n",
            series.alerts,
            series.highest,
            time_text(series.highest_ms),
            series.name.display()
        );
    }
    text
}

/// Every .csv file below a folder, relative to it and sorted, with its length in bytes.
fn series_files(root: &Path) -> anyhow::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        let unreadable = || format!("{}: cannot be listed; may this user read it?", path.display());
        for entry in fs::read_dir(&path).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let name = folder.join(entry.file_name());
            // A link to a folder is not followed: it may lead back.
            if entry.file_type().with_context(unreadable)?.is_dir() {
                folders.push(name);
            } else if name.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
                files.push((name, fs::metadata(entry.path()).map_or(0, |data| data.len())));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Where a path leads, links followed, whether or not its end exists yet.
fn resolved(path: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(path).with_context(|| format!("{}: not a path", path.display()))?;
    let existing = path.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
    let Some((part, existing)) = existing else { return Ok(path) };
    Ok(path.strip_prefix(part).map_or(existing.clone(), |rest| existing.join(rest)))
}

/// Writes a whole file or none.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut unfinished = OsString::from(path);
    unfinished.push(".unfinished");
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    folder
        .and_then(|()| fs::write(&unfinished, text))
        .and_then(|()| fs::rename(&unfinished, path))
        .with_context(|| {
            format!("{}: cannot be written; is there room, and may this user write there?", path.display())
        })
}
