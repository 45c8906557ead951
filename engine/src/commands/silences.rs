//! `foreshock silences`: what alerts are held back, by whom and why.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use model::Span;
use proto::foreshock::v1;
use proto::foreshock::v1::silence_service_client::SilenceServiceClient;

use super::OutputFormat;
use super::client::{ClientArguments, Connection, author_or_user, said};

/// List, add and expire silences and maintenance windows of a running engine
#[derive(Args)]
pub struct SilencesCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ClientArguments,
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

#[derive(Subcommand)]
enum Action {
    /// Those that hold or will hold, the one that was added last first
    List {
        /// Also those that are over
        #[arg(long)]
        all: bool,
    },
    /// Hold back the alerts that match, from now or from a time on
    Add(Add),
    /// End a silence now
    Expire {
        silence: String,
        /// Why
        #[arg(long, default_value = "")]
        comment: String,
        /// Who says so [default: $USER]
        #[arg(long, value_name = "NAME")]
        author: Option<String>,
    },
}

#[derive(Args)]
struct Add {
    /// A label that alerts must have, such as service=cart, severity!=critical or service=~"batch-.*"; give it again for a further one
    #[arg(long = "match", value_name = "MATCHER", required = true)]
    matchers: Vec<String>,
    /// When it begins, as RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    starts: Option<jiff::Timestamp>,
    /// When it ends, as RFC 3339
    #[arg(long, value_name = "TIME", required_unless_present = "duration", conflicts_with = "duration")]
    ends: Option<jiff::Timestamp>,
    /// How long it lasts, as 30m, 2h or 1d
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<Span>,
    /// Repeats it, by a rule of RFC 5545 such as FREQ=WEEKLY;BYDAY=SU
    #[arg(long, value_name = "RULE")]
    repeat: Option<String>,
    /// The zone by whose clock it is repeated
    #[arg(long, value_name = "ZONE", default_value = "UTC", requires = "repeat")]
    time_zone: String,
    /// Why
    #[arg(long)]
    comment: String,
    /// Who says so [default: $USER]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

type Client = SilenceServiceClient<Connection>;

impl SilencesCommand {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.call())
    }

    async fn call(self) -> anyhow::Result<ExitCode> {
        let mut client = SilenceServiceClient::new(self.client.connect().await?);
        match &self.action {
            Action::List { all } => self.list(&mut client, *all).await?,
            Action::Add(add) => {
                let silence = client.add_silence(add.request()?).await.map_err(said)?.into_inner().silence;
                self.print(&silence.context("the engine sent no silence")?)?;
            }
            Action::Expire { silence, comment, author } => {
                let (silence, author, comment) = (silence.clone(), author_or_user(author)?, comment.clone());
                let request = v1::ExpireSilenceRequest { silence, author, comment };
                let silence = client.expire_silence(request).await.map_err(said)?.into_inner().silence;
                self.print(&silence.context("the engine sent no silence")?)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn list(&self, client: &mut Client, all: bool) -> anyhow::Result<()> {
        let states = if all {
            vec![]
        } else {
            vec![v1::SilenceState::Active.into(), v1::SilenceState::Pending.into()]
        };
        let mut page_token = String::new();
        let mut printed = 0;
        loop {
            let request = v1::ListSilencesRequest { page_size: 0, page_token, states: states.clone() };
            let page = client.list_silences(request).await.map_err(said)?.into_inner();
            printed += page.silences.len();
            page.silences.iter().try_for_each(|silence| self.print(silence))?;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if printed == 0 && self.output == OutputFormat::Text {
            eprintln!("no silences");
        }
        Ok(())
    }

    fn print(&self, silence: &v1::Silence) -> anyhow::Result<()> {
        match self.output {
            OutputFormat::Text => super::print(&text(silence)),
            OutputFormat::Json => super::print(&format!("{}\n", json(silence))),
        }
    }
}

impl Add {
    fn request(&self) -> anyhow::Result<v1::AddSilenceRequest> {
        let starts_ms = self.starts.map(jiff::Timestamp::as_millisecond);
        let from_ms = starts_ms.unwrap_or_else(|| jiff::Timestamp::now().as_millisecond());
        let ends_ms = match (self.ends, self.duration) {
            (Some(ends), _) => ends.as_millisecond(),
            (None, Some(duration)) => from_ms.saturating_add(duration.ms()),
            (None, None) => anyhow::bail!("give --ends or --for"),
        };
        let recurrence =
            self.repeat.clone().map(|rule| v1::Recurrence { rule, time_zone: self.time_zone.clone() });
        Ok(v1::AddSilenceRequest {
            matchers: self.matchers.clone(),
            starts_ms,
            ends_ms,
            recurrence,
            comment: self.comment.clone(),
            author: author_or_user(&self.author)?,
        })
    }
}

fn state_text(silence: &v1::Silence) -> &'static str {
    match silence.state() {
        v1::SilenceState::Active => "active",
        v1::SilenceState::Over => "over",
        v1::SilenceState::Pending | v1::SilenceState::Unspecified => "pending",
    }
}

fn change_text(change: &v1::SilenceChange) -> &'static str {
    match change.kind() {
        v1::SilenceChangeKind::Expired => "expired",
        v1::SilenceChangeKind::Added | v1::SilenceChangeKind::Unspecified => "added",
    }
}

fn text(silence: &v1::Silence) -> String {
    let mut text = format!(
        "{}  {:7}  {} to {}  {}\n",
        silence.silence,
        state_text(silence),
        super::time_text(silence.starts_ms),
        super::time_text(silence.ends_ms),
        silence.matchers.join(" ")
    );
    if let Some(recurrence) = &silence.recurrence {
        text += &format!("    repeats: {} by the clock of {}\n", recurrence.rule, recurrence.time_zone);
    }
    for change in &silence.changes {
        let (time, what) = (super::time_text(change.time_ms), change_text(change));
        text += &format!("    {what} at {time} by {}: {}\n", change.author, change.comment);
    }
    text
}

fn json(silence: &v1::Silence) -> serde_json::Value {
    let changes = silence.changes.iter().map(|change| {
        serde_json::json!({
            "kind": change_text(change),
            "time_ms": change.time_ms,
            "author": change.author,
            "comment": change.comment,
        })
    });
    let recurrence = silence
        .recurrence
        .as_ref()
        .map(|recurrence| serde_json::json!({ "rule": recurrence.rule, "time_zone": recurrence.time_zone }));
    serde_json::json!({
        "silence": silence.silence,
        "state": state_text(silence),
        "matchers": silence.matchers,
        "starts_ms": silence.starts_ms,
        "ends_ms": silence.ends_ms,
        "recurrence": recurrence,
        "comment": silence.comment,
        "author": silence.author,
        "expired_ms": silence.expired_ms,
        "changes": changes.collect::<Vec<_>>(),
    })
}
