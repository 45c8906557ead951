use model::{Labels, MetricKind, SampleRow};

use crate::series::SeriesStage;
use crate::settings::{AnalysisSettings, DetectorSettings};
use crate::wire::Finding;

const STEP_MS: i64 = 15_000;
/// Steps that a pod lives; the next one comes when it is in the middle of its life.
const LIFE: i64 = 480;

fn stage() -> SeriesStage {
    let detectors: Vec<DetectorSettings> = serde_json::from_str(r#"[{"kind": "ewma"}]"#).unwrap();
    SeriesStage::new(&AnalysisSettings::default(), &detectors).unwrap()
}

fn restarted(stage: &mut SeriesStage) -> SeriesStage {
    let mut sections = stage.begin_snapshot();
    let rest = || stage.continue_snapshot(usize::MAX);
    sections.extend(std::iter::repeat_with(rest).flatten().next().unwrap());
    let mut next = self::stage();
    assert_eq!(next.restore(&sections).unwrap(), []);
    next
}

/// Pods come one after the other; `value` is that of a pod so many steps after it came. Points are judged at once or some steps together. Returns the
/// anomalies: which pod's, and how many steps after it came.
fn anomalies(
    pods: i64,
    value: impl Fn(i64, i64) -> f64,
    flush_every: i64,
    restart_every: Option<i64>,
) -> Vec<(i64, i64)> {
    let (mut stage, mut out) = (stage(), Vec::new());
    for step in 0..(pods + 1) * LIFE / 2 {
        let time_ms = step * STEP_MS;
        for pod in 0..pods {
            let age = step - pod * LIFE / 2;
            if !(0..LIFE).contains(&age) {
                continue;
            }
            let labels = Labels::of("cart", "errors").with("k8s.pod.name", &format!("cart-{pod}"));
            let noise = [0.0, 1.5, 2.0, 0.5][((step + pod) % 4) as usize];
            let row = SampleRow {
                time_ms,
                labels: &labels.canonical(),
                kind: MetricKind::Gauge,
                start_ms: None,
                value: value(pod, age) + noise,
            };
            stage.on_sample(&row, &mut out);
        }
        if step % flush_every == 0 {
            stage.flush(&mut out);
        }
        if restart_every.is_some_and(|every| step % every == 0) {
            stage.flush(&mut out);
            stage = restarted(&mut stage);
        }
    }
    stage.flush(&mut out);
    let found = out.iter().filter_map(|finding| match finding {
        Finding::Anomaly(anomaly) => {
            let pod = anomaly.labels.get("k8s.pod.name")?.strip_prefix("cart-")?.parse::<i64>().ok()?;
            Some((pod, anomaly.time_ms / STEP_MS - pod * LIFE / 2))
        }
        _ => None,
    });
    found.collect()
}

#[test]
fn a_fault_in_the_first_minutes_of_a_pod_is_seen_once_pods_are_known_to_be_alike() {
    let broken = |which: i64| move |pod, age| if pod == which && age < 20 { 400.0 } else { 10.0 };
    // The third one is the first that inherits.
    assert_eq!(anomalies(5, broken(1), 1, None), []);
    let found = anomalies(5, broken(3), 1, None);
    assert!(found.contains(&(3, 0)) && found.iter().all(|(pod, _)| *pod == 3), "{found:?}");
    assert!(found.len() >= 15, "{found:?}");
    // Neither batches nor restarts change that.
    for (flush_every, restart_every) in [(7, None), (50, None), (1, Some(11)), (13, Some(97))] {
        assert_eq!(anomalies(5, broken(3), flush_every, restart_every), found);
    }
}

#[test]
fn healthy_pods_do_not_alert_be_they_alike_or_not() {
    assert_eq!(anomalies(8, |_, _| 10.0, 1, None), []);
    // Memory of a new pod is low, and rises in the first ten minutes.
    let rising = |_, age: i64| 100.0 + 10.0 * age.min(40) as f64;
    let found = anomalies(8, rising, 1, None);
    let alone = anomalies(1, rising, 1, None);
    assert_eq!(
        found,
        (0..8).flat_map(|pod| alone.iter().map(move |(_, age)| (pod, *age))).collect::<Vec<_>>()
    );
}

#[test]
fn a_group_that_begins_to_differ_inherits_no_longer() {
    // From the fifth on pods are of another size.
    let found = anomalies(12, |pod, _| if pod < 5 { 10.0 } else { 300.0 + 50.0 * (pod % 2) as f64 }, 1, None);
    let told: std::collections::BTreeSet<i64> = found.iter().map(|(pod, _)| *pod).collect();
    assert!(told.contains(&5) && told.iter().all(|pod| *pod <= 6), "{told:?}");
}
