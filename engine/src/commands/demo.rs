//! `foreshock demo`: the whole engine on an embedded broker, with a simulated shop that breaks three times.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use console::style;
use indicatif::{ProgressBar, ProgressStyle};
use kafka::{MockKafka, TopicWriter, WriteRecord};
use model::{Incident, IncidentState};
use shop::{Scenario, Signal};
use tokio::sync::broadcast::error::TryRecvError;

use super::OutputFormat;
use crate::config::{Config, Start};
use crate::demo::{InjectedFault, Outcome, injected, judge, signal_text};
use crate::engine::Engine;
use crate::view::{Cursor, Watch};

/// 2026-01-05T08:00:00Z, where the simulated clock starts: the same seed gives the same demo on any day.
const START_MS: i64 = 1_767_600_000_000;
/// The simulated clock runs so fast that all is written in this time.
const FEED_TIME: Duration = Duration::from_secs(70);
const TICK: Duration = Duration::from_millis(50);
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the engine may take for the last records.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Watch the engine find what breaks in a simulated shop; needs nothing installed
///
/// Starts a broker within the process, fifteen simulated services that write metrics, logs, traces and deploys onto its
/// topics, and three faults one after the other, at an accelerated clock. Ends by itself within 90 seconds; the exit code is
/// 1 if a fault was missed.
#[derive(Args)]
pub struct Demo {
    /// Another seed is another scenario: other services break, in another order
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// json prints one line for each fault
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

impl Demo {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let scenario = Scenario::from_seed(self.seed, START_MS);
        let mut config = Config::default();
        config.state.location = None;
        config.kafka.start = Start::Earliest;
        config.kafka.epoch = pipeline::settings::Span::from_ms(100);
        config.grpc.listen = free_or_any(config.grpc.listen);
        config.http.listen = free_or_any(config.http.listen);
        let topics = &config.topics;
        let mut names: Vec<(&str, i32)> =
            config.sources.iter().map(|source| (source.topic.as_str(), 1)).collect();
        names.extend(topics.all().map(|name| (name.as_str(), 1)));
        let broker = MockKafka::start(&names)?;
        config.kafka.brokers = broker.brokers().to_owned();
        let engine = Engine::start(&config)?;
        let started = Instant::now();
        while !engine.is_ready() {
            anyhow::ensure!(
                !engine.is_finished() && started.elapsed() < READY_TIMEOUT,
                "the engine did not become ready"
            );
            std::thread::sleep(TICK);
        }
        let mut screen = Screen::new(self.output, &scenario, &engine, self.seed)?;
        let versions = play(&scenario, &config, &broker, &engine, &mut screen)?;
        engine.stop()?;
        let outcomes = judge(&injected(&scenario), &versions);
        screen.close(&outcomes, &versions)?;
        let missed = outcomes.iter().any(Outcome::is_missed);
        Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// The address if nobody listens there, else one that the system chooses.
fn free_or_any(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address) {
        Ok(_) => address,
        Err(_) => SocketAddr::new(address.ip(), 0),
    }
}

/// Writes the shop's telemetry as simulated time goes on, and collects the incidents; returns all their versions.
fn play(
    scenario: &Scenario,
    config: &Config,
    broker: &MockKafka,
    engine: &Engine,
    screen: &mut Screen,
) -> anyhow::Result<Vec<Incident>> {
    let topic = |signal: Signal| {
        let source = config.sources.iter().find(|source| source.signal.as_str() == signal_text(signal));
        source.map(|source| source.topic.as_str()).context("the defaults read every signal")
    };
    let writer = TopicWriter::new(&broker.connection())?;
    let mut shop = scenario.shop()?;
    let mut watch = engine.view().watch_incidents(Some(&Cursor::default()));
    let mut versions = Vec::new();
    let speed = (scenario.end_ms - START_MS) as f64 / FEED_TIME.as_secs_f64() / 1000.0;
    let started = Instant::now();
    let mut written = 0;
    let mut now_ms = START_MS;
    while now_ms < scenario.end_ms {
        std::thread::sleep(TICK);
        let elapsed_ms = started.elapsed().as_secs_f64() * 1000.0 * speed;
        now_ms = (START_MS + elapsed_ms as i64).min(scenario.end_ms);
        for message in shop.step(now_ms) {
            let (topic, headers, payload) = (topic(message.signal)?, &message.headers, &message.payload);
            let timestamp_ms = Some(message.time_ms);
            writer.write(WriteRecord {
                topic,
                partition: None,
                key: None,
                headers,
                payload,
                timestamp_ms,
            })?;
            written += 1;
        }
        collect(&mut watch, &mut versions, screen)?;
        screen.tick(now_ms)?;
        anyhow::ensure!(
            !engine.is_finished(),
            "the engine has stopped; run with FORESHOCK_LOG=info to see why"
        );
    }
    writer.flush(DRAIN_TIMEOUT)?;
    let drained = Instant::now();
    while !engine.has_processed(written) && drained.elapsed() < DRAIN_TIMEOUT {
        std::thread::sleep(TICK);
        collect(&mut watch, &mut versions, screen)?;
    }
    // The last epoch is committed; give the readers the time to see it.
    std::thread::sleep(Duration::from_millis(500));
    collect(&mut watch, &mut versions, screen)?;
    Ok(versions)
}

fn collect(
    watch: &mut Watch<Incident>,
    versions: &mut Vec<Incident>,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let mut news: Vec<Incident> = watch.backlog.drain(..).map(|placed| placed.value).collect();
    loop {
        match watch.receiver.try_recv() {
            Ok(placed) => news.push(placed.value),
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            Err(TryRecvError::Lagged(missed)) => {
                anyhow::bail!("the demo fell {missed} incident versions behind")
            }
        }
    }
    for incident in news {
        screen.incident(&incident)?;
        versions.push(incident);
    }
    Ok(())
}

/// What one sees: on standard output in text, nothing but the outcomes in JSON.
struct Screen {
    output: OutputFormat,
    progress: ProgressBar,
    /// Faults that were not announced yet.
    faults: Vec<InjectedFault>,
    /// The first cause and its score of each incident, as last shown.
    shown: BTreeMap<String, (String, f64)>,
}

impl Screen {
    fn new(output: OutputFormat, scenario: &Scenario, engine: &Engine, seed: u64) -> anyhow::Result<Self> {
        let progress = match output {
            OutputFormat::Text if io::stdout().is_terminal() => {
                let style = ProgressStyle::with_template("{wide_bar} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
                ProgressBar::new((scenario.end_ms - START_MS).unsigned_abs()).with_style(style)
            }
            _ => ProgressBar::hidden(),
        };
        let screen = Self { output, progress, faults: injected(scenario), shown: BTreeMap::new() };
        screen.line(&format!(
            "{}, seed {seed}: {} services write metrics, logs, traces and deploys to Kafka; {} minutes pass in {} s",
            style("Foreshock demo").bold(),
            shop::service_names().len(),
            (scenario.end_ms - START_MS) / 60_000,
            FEED_TIME.as_secs()
        ))?;
        screen.line(&format!(
            "meanwhile: foreshock incidents watch --server http://{}   and http://{}/metrics",
            engine.grpc(),
            engine.http()
        ))?;
        screen.line("\nThe first 20 minutes are quiet: the engine learns what is normal.")?;
        Ok(screen)
    }

    fn line(&self, text: &str) -> anyhow::Result<()> {
        if self.output == OutputFormat::Json {
            return Ok(());
        }
        if self.progress.is_hidden() {
            return super::print(&format!("{text}\n"));
        }
        self.progress.println(text);
        Ok(())
    }

    /// Simulated time goes on; announces the faults that begin.
    fn tick(&mut self, now_ms: i64) -> anyhow::Result<()> {
        self.progress.set_position((now_ms - START_MS).unsigned_abs());
        self.progress.set_message(clock(now_ms));
        while self.faults.first().is_some_and(|fault| fault.start_ms <= now_ms) {
            let fault = self.faults.remove(0);
            let what = format!("{} {} (the engine is not told)", fault.service, does(&fault.kind));
            self.line(&format!("\n{}  {} {what}", clock(fault.start_ms), style("fault   ").red().bold()))?;
        }
        Ok(())
    }

    /// Tells of an incident when it opens, when its causes are seen clearer, and when it is resolved.
    fn incident(&mut self, incident: &Incident) -> anyhow::Result<()> {
        let at = clock(incident.updated_ms);
        let id = incident.incident.get(..8).unwrap_or(&incident.incident);
        let shown = self.shown.get(&incident.incident);
        let heading = match incident.state {
            IncidentState::Resolved => {
                return self.line(&format!("{at}  {} {id}", style("resolved").green()));
            }
            IncidentState::Open => {
                let title = incident.title.split(", likely caused by").next().unwrap_or_default();
                format!("{at}  {} {id} {title}", style("incident").yellow().bold())
            }
            IncidentState::Updated if !is_clearer(incident, shown) => return Ok(()),
            IncidentState::Updated => format!("{at}  {} {id} causes ranked anew", style("update  ").yellow()),
        };
        self.line(&heading)?;
        for (rank, cause) in incident.root_causes.iter().take(3).enumerate() {
            let service = if rank == 0 { style(&cause.service).bold() } else { style(&cause.service) };
            let mut evidence = cause.evidence.iter().map(|evidence| evidence.summary.as_str());
            let first = evidence.next().unwrap_or("no direct evidence");
            self.line(&format!(
                "            {}. {service} ({:.0} %) {first}",
                rank + 1,
                100.0 * cause.confidence
            ))?;
            for summary in evidence.take(if rank == 0 { 2 } else { 0 }) {
                self.line(&format!("               {summary}"))?;
            }
        }
        if incident.state == IncidentState::Open {
            for change in incident.changes.iter().rev().take(2) {
                self.line(&format!("            changed at {}: {}", clock(change.time_ms), change.summary))?;
            }
        }
        if let Some(cause) = incident.root_causes.first() {
            self.shown.insert(incident.incident.clone(), (cause.service.clone(), cause.score));
        }
        Ok(())
    }

    fn close(&self, outcomes: &[Outcome], versions: &[Incident]) -> anyhow::Result<()> {
        self.progress.finish_and_clear();
        if self.output == OutputFormat::Json {
            for outcome in outcomes {
                super::print(&format!("{}\n", serde_json::to_string(outcome)?))?;
            }
            return Ok(());
        }
        let heading =
            format!("{:<18}{:<36}{:>8}  {:>14}  incident", "service", "fault", "found in", "rank of cause");
        super::print(&format!("\n{}\n", style(heading).bold()))?;
        for outcome in outcomes {
            let found =
                outcome.detected_after_ms.map_or("missed".to_owned(), |ms| format!("{} s", ms / 1000));
            let rank = outcome.rank.map_or("-".to_owned(), |rank| rank.to_string());
            let incident = outcome.incident.as_deref().unwrap_or("-");
            let (service, kind) = (&outcome.fault.service, does(&outcome.fault.kind));
            super::print(&format!("{service:<18}{kind:<36}{found:>8}  {rank:>14}  {incident}\n"))?;
        }
        let opened = versions.iter().filter(|version| version.version == 1).count();
        let matched = outcomes.iter().filter(|outcome| outcome.incident.is_some()).count();
        super::print(&format!("other incidents: {}\n", opened - matched))
    }
}

/// Whether another cause is first, or the first one is much surer than when it was last shown.
fn is_clearer(incident: &Incident, shown: Option<&(String, f64)>) -> bool {
    match (incident.root_causes.first(), shown) {
        (Some(cause), Some((service, score))) => cause.service != *service || cause.score > 1.5 * score,
        (cause, shown) => cause.is_some() && shown.is_none(),
    }
}

/// Time of day on the simulated clock.
fn clock(ms: i64) -> String {
    let second = ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

fn does(kind: &str) -> &'static str {
    match kind {
        "slow_database" => "answers ten times slower",
        "errors_after_deploy" => "fails after a deploy",
        _ => "leaks memory until its CPU is full",
    }
}
