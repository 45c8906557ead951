//! `foreshock templates`: the log templates of a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use templates::{MinedLines, TemplateMiner, mine_to_end};

/// Find the log templates of a file with one message a line, as the engine finds them in a stream
///
/// Without --output the templates are listed with how many lines each has. A line is the message alone: cut time, level and host
/// off before.
#[derive(Args)]
pub struct Templates {
    /// The file, or - for standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Write line_id,template_id,template for each line
    #[arg(long, value_name = "CSV")]
    output: Option<PathBuf>,
    /// Write the ids that the lines had when they came, and not what these were merged into by the end
    #[arg(long, requires = "output")]
    as_first_given: bool,
}

impl Templates {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let shown = self.input.display().to_string();
        let mut miner = TemplateMiner::default();
        let mined = if self.input == Path::new("-") {
            mine_to_end(&mut miner, io::stdin().lock()).context("cannot read standard input")?
        } else {
            let file = File::open(&self.input).with_context(|| format!("cannot open {shown}"))?;
            let progress = progress(file.metadata().map_or(0, |metadata| metadata.len()));
            let reader = BufReader::with_capacity(1 << 16, progress.wrap_read(file));
            let mined = mine_to_end(&mut miner, reader).with_context(|| format!("cannot read {shown}"))?;
            progress.finish_and_clear();
            mined
        };
        let Some(output) = &self.output else {
            return list(&miner, &mined).map(|()| ExitCode::SUCCESS);
        };
        let write = || {
            mined.write_csv(&miner, self.as_first_given, BufWriter::new(File::create(output)?))?;
            Ok::<_, io::Error>(())
        };
        write().with_context(|| format!("cannot write {}", output.display()))?;
        let (lines, templates) = (mined.first_ids().len(), counted(&mined).len());
        super::print(&format!("{lines} lines of {templates} templates are in {}\n", output.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn progress(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("mining {bar:40} {percent:>3}%, {eta} left");
    match style {
        Ok(style) if io::stderr().is_terminal() => ProgressBar::new(bytes).with_style(style),
        _ => ProgressBar::hidden(),
    }
}

/// Lines by template.
fn counted(mined: &MinedLines) -> BTreeMap<u32, u64> {
    let mut counts = BTreeMap::new();
    mined.ids().for_each(|id| *counts.entry(id).or_default() += 1);
    counts
}

/// The most frequent first; of equals the one that came first.
fn list(miner: &TemplateMiner, mined: &MinedLines) -> anyhow::Result<()> {
    let mut counts: Vec<(u32, u64)> = counted(mined).into_iter().collect();
    counts.sort_by_key(|(id, lines)| (std::cmp::Reverse(*lines), *id));
    let mut text = String::new();
    for (id, lines) in &counts {
        text.push_str(&format!("{lines:>10}  {}\n", miner.template(*id)));
    }
    text.push_str(&format!("{} lines, {} templates\n", mined.first_ids().len(), counts.len()));
    super::print(&text)
}
