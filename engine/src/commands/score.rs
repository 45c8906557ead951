//! `foreshock score`: how surprising each value of recorded series was, without Kafka and without an engine.

mod plot;
mod series;

use std::cmp::Reverse;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use detectors::{DETECTORS, DetectorSpec, Slot, Verdict};

use super::time_text;
use plot::Plot;
use series::Series;

/// Add how surprising each value was to the series of a folder
///
/// Every .csv file below the input is one series, with the columns timestamp and value in the order of time, and other columns that are
/// kept. A timestamp is a date and time (in UTC if it names no offset) or the seconds, milliseconds, microseconds or nanoseconds since 1970.
/// The output has the same files with anomaly_score (0 to 1, above 0.5 is an alert), expected, lower and upper. Each row is judged by the rows
/// before it only. An incident is one alert, at its first row, with the detector ensemble; with level_shift one at the row that makes a new level
/// certain; with the others every row of it is. Links to folders are not followed.
#[derive(Args)]
pub struct Score {
    /// Folder with the series
    #[arg(long, value_name = "DIR")]
    input: PathBuf,
    /// Folder for the same files with the scores; files of the same name in it are replaced
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// What judges the values
    #[arg(long, value_name = "NAME", default_value = "ensemble", value_parser = detector_names())]
    detector: String,
    /// Folder for a picture of each series (SVG): its value, the expected range, and what is anomalous
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
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
        if let Some(plot) = &self.plot {
            let folder = resolved(plot)?;
            anyhow::ensure!(
                !input.starts_with(&folder) && !folder.starts_with(&input),
                "--plot {} is, holds or lies in the input folder, whose files must stay as they are; name another folder",
                plot.display()
            );
        }
        let files = series_files(&self.input)?;
        anyhow::ensure!(
            !files.is_empty(),
            "{}: no .csv file in it or below; name a folder with series, one a file, with the columns timestamp and value",
            self.input.display()
        );
        let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        let progress = super::progress("scoring", bytes as usize, io::stderr().is_terminal());
        let (mut scored, mut failed) = (Vec::with_capacity(files.len()), Vec::new());
        for (name, bytes) in files {
            match self.score(spec, name) {
                Ok(series) => scored.push(series),
                Err(error) => failed.push(error),
            }
            progress.inc(bytes);
        }
        progress.finish_and_clear();
        super::print(&summary(&scored, &self.output))?;
        for error in &failed {
            eprintln!("error: {error:#}");
        }
        Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Row by row, whatever the length of the file. The output is a whole file or none.
    fn score(&self, spec: &DetectorSpec, name: PathBuf) -> anyhow::Result<Scored> {
        let input = self.input.join(&name);
        let mut series = Series::open(&input)?;
        let path = self.output.join(&name);
        let unwritable = || {
            format!("{}: cannot be written; is there room, and may this user write there?", path.display())
        };
        let unfinished = Unfinished::create(&path).with_context(unwritable)?;
        let mut out = csv::Writer::from_writer(BufWriter::new(&unfinished.file));

        let names = ["anomaly_score", "expected", "lower", "upper"];
        let is_added = |field: &str| names.iter().any(|name| field.trim().eq_ignore_ascii_case(name));
        let kept: Vec<usize> =
            (0..series.header().len()).filter(|column| !is_added(&series.header()[*column])).collect();
        let header = kept.iter().map(|column| &series.header()[*column]);
        out.write_record(header.chain(names)).with_context(unwritable)?;

        let mut bank = (spec.build)(serde_json::json!({}))?;
        let (mut verdicts, mut was_alert) = (Vec::with_capacity(1), false);
        let mut plot = self.plot.as_ref().map(|_| Plot::default());
        let mut scored = Scored { name: name.clone(), rows: 0, alerts: 0, highest: 0.0, highest_ms: 0 };
        while let Some(point) = series.next()? {
            verdicts.clear();
            bank.observe(&[Slot(0)], &[point], &mut verdicts);
            let verdict = verdicts[0];
            if let Some(plot) = &mut plot {
                plot.add(point, verdict);
            }
            let added = fields(&verdict);
            let own = kept.iter().map(|column| &series.row()[*column]);
            out.write_record(own.chain(added.iter().map(String::as_str))).with_context(unwritable)?;

            let is_alert = verdict.is_some_and(|verdict| verdict.is_anomalous());
            scored.rows += 1;
            scored.alerts += usize::from(is_alert && !was_alert);
            was_alert = is_alert;
            let score = verdict.map_or(0.0, |verdict| verdict.anomaly_score);
            if score > scored.highest {
                (scored.highest, scored.highest_ms) = (score, point.time_ms);
            }
        }
        out.flush().with_context(unwritable)?;
        drop(out);
        unfinished.finish().with_context(unwritable)?;
        if let Some((plot, folder)) = plot.zip(self.plot.as_ref()) {
            let mut path = folder.join(&name).into_os_string();
            path.push(".svg");
            let path = PathBuf::from(path);
            let svg = plot.svg(&name.to_string_lossy()).with_context(|| format!("{}", path.display()))?;
            let write = || {
                let mut unfinished = Unfinished::create(&path)?;
                unfinished.file.write_all(svg.as_bytes())?;
                unfinished.finish()
            };
            write().with_context(|| {
                format!(
                    "{}: cannot be written; is there room, and may this user write there?",
                    path.display()
                )
            })?;
        }
        Ok(scored)
    }
}

/// The detectors, each with what it does.
fn detector_names() -> PossibleValuesParser {
    PossibleValuesParser::new(DETECTORS.iter().map(|spec| PossibleValue::new(spec.name).help(spec.summary)))
}

/// A file that takes its name when it is whole, and is gone otherwise.
struct Unfinished {
    file: fs::File,
    at: PathBuf,
    path: PathBuf,
}

impl Unfinished {
    fn create(path: &Path) -> io::Result<Self> {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let mut at = OsString::from(path);
        at.push(".unfinished");
        let at = PathBuf::from(at);
        Ok(Self { file: fs::File::create(&at)?, at, path: path.to_owned() })
    }

    fn finish(self) -> io::Result<()> {
        fs::rename(&self.at, &self.path)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Not there any more where it was finished.
        let _ = fs::remove_file(&self.at);
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
            let is_folder = entry.file_type().with_context(unreadable)?.is_dir();
            if is_folder {
                folders.push(name);
                continue;
            }
            // A link to a folder may lead back, and what is no file at all may never end.
            let data = fs::metadata(entry.path()).ok().filter(fs::Metadata::is_file);
            let is_csv = name.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
            match data {
                Some(data) if is_csv => files.push((name, data.len())),
                None => eprintln!(
                    "note: {} is left out: not a file, and links to folders are not followed",
                    entry.path().display()
                ),
                Some(_) => {}
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
    let rest = path.strip_prefix(part).unwrap_or(Path::new(""));
    anyhow::ensure!(
        !rest.components().any(|component| component == Component::ParentDir),
        "{}: `..` stands behind a folder that does not exist; name the folder without it",
        path.display()
    );
    Ok(existing.join(rest))
}
