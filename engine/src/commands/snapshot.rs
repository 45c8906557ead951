//! `foreshock snapshot`: the states that are kept.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use checkpoint::{Snapshot as State, SnapshotName, SnapshotStore, Stored};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{OutputFormat, print, time_text};
use crate::config::Config;

/// List, export and import the stored states of partitions
#[derive(Args)]
pub struct Snapshot {
    #[command(subcommand)]
    action: Action,
    /// The configuration; the defaults if it is not given
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// List what is stored, by partition and offset
    Ls {
        #[arg(long, value_enum, default_value = "text")]
        output: OutputFormat,
    },
    /// Write a stored state to a file, after a check of it
    Export {
        /// As `ls` prints it
        name: String,
        file: PathBuf,
    },
    /// Store the state of a file, after a check of it. A start uses it where the group has committed that offset or a later
    /// one of the partition, and the state that it committed with it is missing
    Import { file: PathBuf },
}

/// One line of `ls`.
#[derive(Serialize)]
struct Listed {
    name: String,
    topic: String,
    partition: i32,
    offset: i64,
    size_bytes: u64,
    modified_ms: i64,
}

impl Snapshot {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        let Some(location) = &config.state.location else {
            bail!("state.location is null in the configuration, so no state is kept");
        };
        let open = match self.action {
            Action::Import { .. } => checkpoint::open,
            Action::Ls { .. } | Action::Export { .. } => checkpoint::open_existing,
        };
        let store = open(location, &config.state.options).context("state.location")?;
        match self.action {
            Action::Ls { output } => list(store.as_ref(), location, output)?,
            Action::Export { name, file } => {
                SnapshotName::parse(&name)?;
                let bytes = store.get(&name)?;
                State::from_bytes(&bytes).with_context(|| name.clone())?;
                std::fs::write(&file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
                print(&format!("{} bytes of {name} are in {}\n", bytes.len(), file.display()))?;
            }
            Action::Import { file } => {
                let shown = file.display().to_string();
                let bytes = std::fs::read(&file).with_context(|| format!("cannot read {shown}"))?;
                let state = State::from_bytes(&bytes).context(shown)?;
                let stage = config.states().find(|(_, topic)| *topic == state.topic);
                let (stage, _) = stage.with_context(|| {
                    format!("the state is of topic {}, which this configuration does not have", state.topic)
                })?;
                let group = config.group(stage);
                let name = SnapshotName::new(&group, &state.topic, state.partition, state.offset, 0)?;
                store.put(&name.to_string(), &bytes)?;
                print(&format!("stored as {name}\n"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list(store: &dyn SnapshotStore, location: &str, output: OutputFormat) -> anyhow::Result<()> {
    let mut named: Vec<(SnapshotName, Stored)> = store
        .list("")?
        .into_iter()
        .filter_map(|stored| SnapshotName::parse(&stored.name).ok().map(|name| (name, stored)))
        .collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    if named.is_empty() && output == OutputFormat::Text {
        return print(&format!("no snapshots in {location}\n"));
    }
    for (name, stored) in named {
        let listed = Listed {
            topic: name.topic().to_owned(),
            partition: name.partition(),
            offset: name.offset(),
            name: stored.name,
            size_bytes: stored.size_bytes,
            modified_ms: stored.modified_ms,
        };
        print(&match output {
            OutputFormat::Json => serde_json::to_string(&listed)? + "\n",
            OutputFormat::Text => {
                let time = time_text(listed.modified_ms);
                format!("{time} {:>12} bytes  {}\n", listed.size_bytes, listed.name)
            }
        })?;
    }
    Ok(())
}
