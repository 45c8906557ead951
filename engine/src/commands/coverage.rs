//! `foreshock coverage`: what is watched of each service, and what would not be caught.

use std::process::ExitCode;

use clap::Args;
use proto::foreshock::v1;
use proto::foreshock::v1::coverage_service_client::CoverageServiceClient;

use super::client::{ClientArguments, said};
use super::{OutputFormat, time_text};

/// List what a running engine watches of each service, and what it would not catch today
///
/// The ledger is there some minutes after the engine has begun and is kept up to date once an hour of event time.
#[derive(Args)]
pub struct Coverage {
    /// Only this service, with its series that are not modelled
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
    /// Only services of which something would not be caught
    #[arg(long)]
    gaps: bool,
    #[command(flatten)]
    client: ClientArguments,
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    output: OutputFormat,
}

impl Coverage {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let found = runtime.block_on(self.list())?;
        print(&found, self.output, !self.service.is_empty())?;
        if found.is_empty() && self.output == OutputFormat::Text {
            match (self.service.is_empty(), self.gaps) {
                (true, false) => {
                    eprintln!("no services yet: the first are told some minutes after they begin")
                }
                (true, true) => eprintln!("no gaps"),
                (false, false) => eprintln!("nothing is known of the service {}", self.service),
                (false, true) => eprintln!("no gaps are known of the service {}", self.service),
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn list(&self) -> anyhow::Result<Vec<v1::ServiceCoverage>> {
        let mut client = CoverageServiceClient::new(self.client.connect().await?);
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let (service, gaps_only) = (self.service.clone(), self.gaps);
            let request = v1::ListCoverageRequest { page_size: 0, page_token, service, gaps_only };
            let page = client.list_coverage(request).await.map_err(said)?.into_inner();
            found.extend(page.coverage);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }
}

/// As a table, or a line of JSON for each service.
pub fn print(
    services: &[v1::ServiceCoverage],
    output: OutputFormat,
    with_series: bool,
) -> anyhow::Result<()> {
    match output {
        OutputFormat::Text => super::print(&text(services, with_series)),
        OutputFormat::Json => {
            services.iter().try_for_each(|service| super::print(&format!("{}\n", json(service))))
        }
    }
}

type Named<'a> = (&'static str, &'a Option<v1::StateCoverage>);

/// The states in which series are not modelled.
fn states(service: &v1::ServiceCoverage) -> [Named<'_>; 4] {
    [
        ("learning", &service.learning),
        ("too sparse", &service.too_sparse),
        ("unwatched", &service.unwatched),
        ("refused", &service.refused),
    ]
}

fn count(state: &Option<v1::StateCoverage>) -> u64 {
    state.as_ref().map_or(0, |state| state.series)
}

/// The signals that a service has.
fn signals(service: &v1::ServiceCoverage) -> Vec<&'static str> {
    let signals = [
        ("metrics", &service.metrics),
        ("spans", &service.spans),
        ("calls", &service.calls),
        ("logs", &service.logs),
    ];
    let is_there = |signal: &Option<v1::SignalCoverage>| signal.is_some_and(|signal| signal.series > 0);
    signals.into_iter().filter(|(_, signal)| is_there(signal)).map(|(name, _)| name).collect()
}

fn text(services: &[v1::ServiceCoverage], with_series: bool) -> String {
    if services.is_empty() {
        return String::new();
    }
    let names = || services.iter().map(|service| named(&service.service));
    let width = names().map(|name| name.chars().count()).max().unwrap_or_default().max("SERVICE".len());
    let mut text = format!(
        "{:width$}  {:>8}  {:>8}  {:>10}  {:>9}  {:>7}  HAS\n",
        "SERVICE", "MODELLED", "LEARNING", "TOO SPARSE", "UNWATCHED", "REFUSED"
    );
    for (service, name) in services.iter().zip(names()) {
        let [learning, too_sparse, unwatched, refused] = states(service).map(|(_, state)| count(state));
        text += &format!(
            "{name:width$}  {:>8}  {learning:>8}  {too_sparse:>10}  {unwatched:>9}  {refused:>7}  {}\n",
            service.modelled,
            signals(service).join(", ")
        );
        for gap in &service.not_caught {
            text += &format!("    {gap}\n");
        }
        if with_series {
            text += &states(service).into_iter().map(series_text).collect::<String>();
        }
    }
    text
}

fn named(service: &str) -> &str {
    if service.is_empty() { "(no service)" } else { service }
}

/// The series of a state that are named, and how many more there are.
fn series_text((name, state): Named<'_>) -> String {
    let Some(state) = state.as_ref().filter(|state| state.series > 0) else { return String::new() };
    let mut text = format!("  {name}:\n");
    for series in &state.listed {
        let left = series.points_left.map(|left| match left {
            1 => ", 1 point left".to_owned(),
            left => format!(", {left} points left"),
        });
        let ready = series.ready_ms.map(|ready_ms| format!(", ready at about {}", time_text(ready_ms)));
        text += &format!("    {}{}{}\n", series.metric, left.unwrap_or_default(), ready.unwrap_or_default());
    }
    let more = state.series.saturating_sub(state.listed.len() as u64);
    if more > 0 {
        text += &format!("    and {more} more\n");
    }
    text
}

fn json(service: &v1::ServiceCoverage) -> serde_json::Value {
    let signal = |signal: &Option<v1::SignalCoverage>| {
        let signal = signal.unwrap_or_default();
        serde_json::json!({ "series": signal.series, "unwatched": signal.unwatched })
    };
    let state = |state: &Option<v1::StateCoverage>| {
        let state = state.clone().unwrap_or_default();
        let listed = state.listed.iter().map(|series| {
            serde_json::json!({
                "metric": series.metric,
                "points_left": series.points_left,
                "ready_ms": series.ready_ms,
            })
        });
        serde_json::json!({ "series": state.series, "listed": listed.collect::<Vec<_>>() })
    };
    serde_json::json!({
        "service": service.service,
        "time_ms": service.time_ms,
        "signals": {
            "metrics": signal(&service.metrics),
            "spans": signal(&service.spans),
            "calls": signal(&service.calls),
            "logs": signal(&service.logs),
        },
        "modelled": service.modelled,
        "learning": state(&service.learning),
        "ready_ms": service.ready_ms,
        "too_sparse": state(&service.too_sparse),
        "unwatched": state(&service.unwatched),
        "refused": state(&service.refused),
        "refused_more": service.refused_more,
        "not_caught": service.not_caught,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage() -> v1::ServiceCoverage {
        let listed = |metric: &str, points_left| v1::ListedSeries {
            metric: metric.to_owned(),
            points_left,
            ready_ms: points_left.map(|_| 1_700_000_000_000),
        };
        let learning =
            v1::StateCoverage { series: 12, listed: vec![listed("cpu", Some(7)), listed("queue", Some(1))] };
        v1::ServiceCoverage {
            service: "cart".to_owned(),
            modelled: 812,
            metrics: Some(v1::SignalCoverage { series: 800, unwatched: 0 }),
            logs: Some(v1::SignalCoverage { series: 24, unwatched: 0 }),
            learning: Some(learning),
            not_caught: vec!["no traces".to_owned()],
            ..v1::ServiceCoverage::default()
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_service_and_one_for_each_gap() {
        let other = v1::ServiceCoverage { service: "recommendation".to_owned(), ..Default::default() };
        let text = text(&[coverage(), other], false);
        let expected = "\
SERVICE         MODELLED  LEARNING  TOO SPARSE  UNWATCHED  REFUSED  HAS
cart                 812        12           0          0        0  metrics, logs
    no traces
recommendation         0         0           0          0        0  \n";
        assert_eq!(text, expected);
    }

    #[test]
    fn of_one_service_the_series_that_are_not_modelled_are_named() {
        let text = text(&[coverage()], true);
        let expected = "  learning:
    cpu, 7 points left, ready at about 2023-11-14T22:13:20Z
    queue, 1 point left, ready at about 2023-11-14T22:13:20Z
    and 10 more
";
        assert!(text.ends_with(expected), "{text}");
        assert_eq!(json(&coverage())["learning"]["listed"][1]["metric"], "queue");
        assert_eq!(json(&coverage())["signals"]["spans"]["series"], 0);
    }
}
