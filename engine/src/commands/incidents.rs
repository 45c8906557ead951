//! `foreshock incidents`: a client of a running engine.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use proto::foreshock::v1;
use proto::foreshock::v1::incident_service_client::IncidentServiceClient;
use proto::foreshock::v1::remark_service_client::RemarkServiceClient;

mod screen;

use super::OutputFormat;
use super::client::{ClientArguments, Connection, author_or_user, said};

/// List, show, watch and judge the incidents of a running engine
#[derive(Args)]
pub struct Incidents {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ClientArguments,
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

#[derive(Subcommand)]
enum Action {
    /// The newest version of each incident, most recently opened first
    List {
        /// Only incidents that are not resolved
        #[arg(long)]
        open: bool,
        /// Only incidents that involve this service
        #[arg(long, default_value = "")]
        service: String,
    },
    /// One incident with its causes and their evidence
    Show { incident: String },
    /// Each new version as it comes, until interrupted
    Watch {
        /// Continue after the version with this token
        #[arg(long, default_value = "")]
        resume_token: String,
    },
    /// Say that somebody looks after an incident
    Ack {
        incident: String,
        #[command(flatten)]
        said: Said,
    },
    /// Say whether the engine was right about an incident
    Feedback {
        incident: String,
        verdict: Verdict,
        /// The service that was the cause, with wrong-cause
        #[arg(long, value_name = "SERVICE", default_value = "")]
        cause: String,
        #[command(flatten)]
        said: Said,
    },
    /// Take a remark back
    Undo {
        incident: String,
        remark: String,
        /// Who says so [default: $USER]
        #[arg(long, value_name = "NAME")]
        author: Option<String>,
    },
}

#[derive(Args)]
struct Said {
    /// More of it
    #[arg(long, default_value = "")]
    comment: String,
    /// Who says so [default: $USER]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Verdict {
    /// It was to be expected: a load test, a migration
    Expected,
    /// Nothing was wrong
    Noise,
    /// The first-ranked cause was right
    Right,
    /// It was not
    WrongCause,
}

type Client = IncidentServiceClient<Connection>;

impl Incidents {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.call())
    }

    async fn call(self) -> anyhow::Result<ExitCode> {
        let connection = self.client.connect().await?;
        let mut client = IncidentServiceClient::new(connection.clone());
        match &self.action {
            Action::Ack { incident, said } => {
                self.remark(connection, incident, v1::RemarkKind::Acknowledged, "", said).await?;
            }
            Action::Feedback { incident, verdict, cause, said } => {
                let kind = match verdict {
                    Verdict::Expected => v1::RemarkKind::Expected,
                    Verdict::Noise => v1::RemarkKind::Noise,
                    Verdict::Right => v1::RemarkKind::Right,
                    Verdict::WrongCause => v1::RemarkKind::WrongCause,
                };
                self.remark(connection, incident, kind, cause, said).await?;
            }
            Action::Undo { incident, remark, author } => {
                let author = author_or_user(author)?;
                let (incident, remark) = (incident.clone(), remark.clone());
                let request = v1::UndoRemarkRequest { incident, remark, author };
                let mut client = RemarkServiceClient::new(connection);
                let remark = client.undo_remark(request).await.map_err(said)?.into_inner().remark;
                self.print_remark(&remark.context("the engine sent no remark")?)?;
            }
            Action::List { open, service } => self.list(&mut client, *open, service).await?,
            Action::Show { incident } => {
                let request = v1::GetIncidentRequest { incident: incident.clone() };
                let response = client.get_incident(request).await.map_err(said)?.into_inner();
                let incident = response.incident.context("the engine sent no incident")?;
                self.print(&[incident], "", screen::text)?;
            }
            Action::Watch { resume_token } => {
                let request = v1::WatchIncidentsRequest { resume_token: resume_token.clone() };
                let mut stream = client.watch_incidents(request).await.map_err(said)?.into_inner();
                while let Some(response) = stream.message().await.map_err(said)? {
                    self.print(response.incident.as_slice(), &response.resume_token, super::incident_text)?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn remark(
        &self,
        connection: Connection,
        incident: &str,
        kind: v1::RemarkKind,
        cause: &str,
        what: &Said,
    ) -> anyhow::Result<()> {
        let request = v1::AddRemarkRequest {
            incident: incident.to_owned(),
            kind: kind.into(),
            cause: cause.to_owned(),
            comment: what.comment.clone(),
            author: author_or_user(&what.author)?,
        };
        let mut client = RemarkServiceClient::new(connection);
        let remark = client.add_remark(request).await.map_err(said)?.into_inner().remark;
        self.print_remark(&remark.context("the engine sent no remark")?)
    }

    fn print_remark(&self, remark: &v1::Remark) -> anyhow::Result<()> {
        match self.output {
            OutputFormat::Text => super::print(&remark_text(remark)),
            OutputFormat::Json => super::print(&format!("{}\n", remark_json(remark))),
        }
    }

    async fn list(&self, client: &mut Client, open: bool, service: &str) -> anyhow::Result<()> {
        let states = if open {
            vec![v1::IncidentState::Open.into(), v1::IncidentState::Updated.into()]
        } else {
            vec![]
        };
        let mut page_token = String::new();
        let mut printed = 0;
        loop {
            let (states, service) = (states.clone(), service.to_owned());
            let request = v1::ListIncidentsRequest { page_size: 0, page_token, states, service };
            let page = client.list_incidents(request).await.map_err(said)?.into_inner();
            printed += page.incidents.len();
            match self.output {
                OutputFormat::Json => self.print(&page.incidents, "", super::incident_text)?,
                OutputFormat::Text => {
                    for incident in &page.incidents {
                        let held = match (incident.silenced_by.is_empty(), incident.inhibited_by.is_empty()) {
                            (false, _) => "  (silenced)",
                            (true, false) => "  (inhibited)",
                            (true, true) => "",
                        };
                        let incident = model_of(incident);
                        super::print(&format!(
                            "{}  {}  {:8}  {:8}  {}{held}\n",
                            incident.incident,
                            super::time_text(incident.opened_ms),
                            incident.state.as_str(),
                            incident.severity.as_str(),
                            incident.title
                        ))?;
                    }
                }
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if printed == 0 && self.output == OutputFormat::Text {
            eprintln!("no incidents");
        }
        Ok(())
    }

    fn print(
        &self,
        incidents: &[v1::Incident],
        resume_token: &str,
        text: fn(&model::Incident) -> String,
    ) -> anyhow::Result<()> {
        for shown in incidents {
            let incident = model_of(shown);
            match self.output {
                OutputFormat::Text => {
                    let remarks: String = shown.remarks.iter().map(remark_text).collect();
                    let mut held = String::new();
                    if !shown.silenced_by.is_empty() {
                        held += &format!("    not told: silenced by {}\n", shown.silenced_by.join(", "));
                    }
                    if !shown.inhibited_by.is_empty() {
                        let by = shown.inhibited_by.join(", ");
                        held += &format!("    not told unless it was before: inhibited by incident {by}\n");
                    }
                    super::print(&(text(&incident) + &held + &remarks))?;
                }
                OutputFormat::Json => {
                    let mut value = serde_json::json!(incident);
                    if !shown.silenced_by.is_empty() {
                        value["silenced_by"] = shown.silenced_by.clone().into();
                    }
                    if !shown.inhibited_by.is_empty() {
                        value["inhibited_by"] = shown.inhibited_by.clone().into();
                    }
                    if !shown.remarks.is_empty() {
                        value["remarks"] = shown.remarks.iter().map(remark_json).collect();
                    }
                    if !resume_token.is_empty() {
                        value["resume_token"] = resume_token.into();
                    }
                    super::print(&format!("{value}\n"))?;
                }
            }
        }
        Ok(())
    }
}

fn kind_text(remark: &v1::Remark) -> &'static str {
    match remark.kind() {
        v1::RemarkKind::Unspecified => "said",
        v1::RemarkKind::Acknowledged => "acknowledged",
        v1::RemarkKind::Expected => "expected",
        v1::RemarkKind::Noise => "noise",
        v1::RemarkKind::Right => "right",
        v1::RemarkKind::WrongCause => "wrong_cause",
    }
}

fn remark_text(remark: &v1::Remark) -> String {
    let cause =
        if remark.cause.is_empty() { String::new() } else { format!(", the cause was {}", remark.cause) };
    let undone = remark
        .undone_ms
        .map(|ms| format!(" (taken back at {} by {})", super::time_text(ms), remark.undone_by));
    format!(
        "    {}{cause} at {} by {}: {} [{}]{}\n",
        kind_text(remark),
        super::time_text(remark.time_ms),
        remark.author,
        remark.comment,
        remark.remark,
        undone.unwrap_or_default()
    )
}

fn remark_json(remark: &v1::Remark) -> serde_json::Value {
    serde_json::json!({
        "remark": remark.remark,
        "kind": kind_text(remark),
        "cause": remark.cause,
        "comment": remark.comment,
        "author": remark.author,
        "time_ms": remark.time_ms,
        "undone_ms": remark.undone_ms,
        "undone_by": remark.undone_by,
    })
}

/// None for a level that a newer server knows.
fn place(place: &v1::Place) -> Option<model::Place> {
    let level = match place.level() {
        v1::Level::Unspecified => return None,
        v1::Level::Operation => model::Level::Operation,
        v1::Level::Call => model::Level::Call,
        v1::Level::Instance => model::Level::Instance,
        v1::Level::Resource => model::Level::Resource,
        v1::Level::Template => model::Level::Template,
        v1::Level::Change => model::Level::Change,
    };
    Some(model::Place { level, name: place.name.clone() })
}

/// Back to the model, so that what is printed is what `replay` prints.
fn model_of(incident: &v1::Incident) -> model::Incident {
    let state = match incident.state() {
        v1::IncidentState::Resolved => model::IncidentState::Resolved,
        v1::IncidentState::Open => model::IncidentState::Open,
        v1::IncidentState::Updated | v1::IncidentState::Unspecified => model::IncidentState::Updated,
    };
    let severity = match incident.severity() {
        v1::Severity::Critical => model::Severity::Critical,
        v1::Severity::Warning => model::Severity::Warning,
        v1::Severity::Info | v1::Severity::Unspecified => model::Severity::Info,
    };
    let evidence = |evidence: &v1::Evidence| model::Evidence {
        kind: evidence.kind.clone(),
        summary: evidence.summary.clone(),
        score: evidence.score,
        subject: evidence.subject.clone(),
        baseline: evidence.baseline,
        observed: evidence.observed,
    };
    let cause = |cause: &v1::RootCause| model::RootCause {
        service: cause.service.clone(),
        score: cause.score,
        confidence: cause.confidence,
        place: cause.place.as_ref().and_then(place),
        evidence: cause.evidence.iter().map(evidence).collect(),
        counter_evidence: cause.counter_evidence.iter().map(evidence).collect(),
    };
    let change = |change: &v1::Change| model::Change {
        service: change.service.clone(),
        kind: change.kind.clone(),
        summary: change.summary.clone(),
        time_ms: change.time_ms,
    };
    model::Incident {
        incident: incident.incident.clone(),
        version: incident.version,
        state,
        severity,
        title: incident.title.clone(),
        opened_ms: incident.opened_ms,
        updated_ms: incident.updated_ms,
        resolved_ms: incident.resolved_ms,
        services: incident.services.clone(),
        root_causes: incident.root_causes.iter().map(cause).collect(),
        changes: incident.changes.iter().map(change).collect(),
        anomalies: incident.anomalies,
        split_from: Some(incident.split_from.clone()).filter(|from| !from.is_empty()),
        merged_into: Some(incident.merged_into.clone()).filter(|into| !into.is_empty()),
        amended: incident.amended,
        exemplar_trace_ids: incident.exemplar_trace_ids.clone(),
    }
}
