//! What holds whether something is broken or not.

use std::collections::{BTreeMap, BTreeSet};

use foreshock_shop::{Fault, FaultKind, Message, Shop, ShopConfig, Signal};
use proto::opentelemetry::metrics::v1::metric::Data;

use crate::read::{MINUTE_MS, START_MS, Telemetry, read};

fn healthy(seed: u64, minutes: i64) -> Vec<Message> {
    Shop::new(ShopConfig::new(seed, START_MS)).step(START_MS + minutes * MINUTE_MS)
}

fn broken(seed: u64) -> Shop {
    let mut shop = Shop::new(ShopConfig::new(seed, START_MS));
    let start_ms = START_MS + MINUTE_MS;
    for (service, kind) in [
        ("orders-db", FaultKind::SlowDatabase),
        ("payment", FaultKind::ErrorsAfterDeploy),
        ("cart", FaultKind::MemoryLeakWithCpuPressure),
    ] {
        let fault = Fault {
            service: service.to_owned(),
            kind,
            start_ms,
            end_ms: start_ms + 2 * MINUTE_MS,
            strength: 1.0,
        };
        shop.inject(&fault).expect("a valid fault");
    }
    shop
}

#[test]
fn the_same_seed_gives_the_same_bytes_however_the_steps_are_cut() {
    let end_ms = START_MS + 4 * MINUTE_MS;
    let whole = broken(1).step(end_ms);
    assert_eq!(whole, broken(1).step(end_ms));
    assert_ne!(whole, broken(2).step(end_ms));
    for cut_ms in [1, 137, 1_000, 9_999] {
        let mut shop = broken(1);
        let mut parts = Vec::new();
        let mut until_ms = START_MS;
        while until_ms < end_ms {
            until_ms = (until_ms + cut_ms).min(end_ms);
            let step = shop.step(until_ms);
            assert!(step.iter().all(|message| message.time_ms <= until_ms));
            parts.extend(step);
        }
        assert!(parts == whole, "steps of {cut_ms} ms");
    }
}

#[test]
fn a_start_within_a_second_is_flushed_at_whole_seconds() {
    let messages = Shop::new(ShopConfig::new(1, START_MS + 250)).step(START_MS + MINUTE_MS);
    let flushed = messages.iter().filter(|message| message.signal != Signal::Events);
    assert!(flushed.clone().all(|message| message.time_ms % 1_000 == 0));
    let metrics = flushed.filter(|message| message.signal == Signal::Metrics);
    let times: Vec<i64> = metrics.map(|message| message.time_ms - START_MS).collect();
    assert_eq!(times, [10_000, 20_000, 30_000, 40_000, 50_000, 60_000]);
}

#[test]
fn a_fault_changes_nothing_that_it_does_not_cause() {
    let end_ms = START_MS + 5 * MINUTE_MS;
    let (calm, faulty) = (healthy(1, 5), broken(1).step(end_ms));
    let early = |messages: &[Message]| -> Vec<Message> {
        messages.iter().filter(|message| message.time_ms < START_MS + MINUTE_MS).cloned().collect()
    };
    assert!(early(&calm) == early(&faulty) && calm != faulty);

    let roots = |messages: &[Message]| -> BTreeMap<Vec<u8>, (u64, String)> {
        let spans = read(messages).spans.into_iter();
        let roots = spans.filter(|span| span.parent.is_empty() && span.start_ms() < end_ms - MINUTE_MS);
        roots.map(|span| (span.trace, (span.start_ns, span.name))).collect()
    };
    assert_eq!(roots(&calm), roots(&faulty));

    let currency = |messages: &[Message]| {
        let telemetry = read(messages);
        let spans = telemetry.served("currency", START_MS, end_ms);
        spans.iter().map(|span| (span.id.clone(), span.end_ns - span.start_ns)).collect::<BTreeMap<_, _>>()
    };
    let (calm, faulty) = (currency(&calm), currency(&faulty));
    let both: Vec<_> = faulty.iter().filter(|(id, _)| calm.contains_key(*id)).collect();
    assert!(both.len() > 300 && both.iter().all(|(id, duration)| calm[*id] == **duration));
}

#[test]
fn messages_are_in_the_order_of_time_and_spans_and_logs_in_that_of_their_end() {
    let messages = broken(3).step(START_MS + 4 * MINUTE_MS);
    assert!(messages.is_sorted_by_key(|message| message.time_ms));
    let telemetry = read(&messages);
    assert!(telemetry.spans.is_sorted_by_key(|span| span.end_ns));
    assert!(telemetry.logs.is_sorted_by_key(|log| log.time_ns));
    let in_time = |written_ms: i64, time_ns: u64| {
        let late_ns = written_ms * 1_000_000 - time_ns as i64;
        (0..1_000_000_000).contains(&late_ns)
    };
    assert!(telemetry.spans.iter().all(|span| in_time(span.written_ms, span.end_ns)));
    assert!(telemetry.logs.iter().all(|log| in_time(log.written_ms, log.time_ns)));
}

#[test]
fn headers_name_the_format() {
    for message in broken(1).step(START_MS + 2 * MINUTE_MS) {
        let [(name, value)] = message.headers.as_slice() else { panic!("one header") };
        assert_eq!(name, "content-type");
        let expected: &[u8] = match message.signal {
            Signal::Events => b"application/cloudevents+json",
            _ => b"application/x-protobuf",
        };
        assert!(value.starts_with(expected));
    }
}

fn assert_parents_exist(telemetry: &Telemetry) -> usize {
    let spans: BTreeMap<_, _> = telemetry.spans.iter().map(|span| ((&span.trace, &span.id), span)).collect();
    assert_eq!(spans.len(), telemetry.spans.len(), "span ids are unique");
    let rooted = telemetry.spans.iter().filter(|span| span.parent.is_empty()).map(|span| &span.trace);
    let rooted: BTreeSet<_> = rooted.collect();
    let mut crossings = 0;
    for span in telemetry.spans.iter().filter(|span| rooted.contains(&span.trace) && !span.parent.is_empty())
    {
        let parent = spans.get(&(&span.trace, &span.parent)).expect("the parent of a span");
        assert!(
            parent.start_ns <= span.start_ns && span.end_ns <= parent.end_ns,
            "{parent:?} around {span:?}"
        );
        crossings += usize::from(parent.service != span.service);
    }
    for log in telemetry.logs.iter().filter(|log| rooted.contains(&log.trace)) {
        let span = spans.get(&(&log.trace, &log.span)).expect("the span of a log");
        assert_eq!(span.service, log.service);
        assert!((span.start_ns..=span.end_ns).contains(&log.time_ns) && !log.body.contains('{'), "{log:?}");
    }
    let unfinished = telemetry.spans.iter().filter(|span| !rooted.contains(&span.trace));
    assert!(unfinished.count() < 200, "all traces but the last ones have a root");
    crossings
}

#[test]
fn parents_exist_and_enclose_their_children() {
    assert!(assert_parents_exist(&read(&broken(1).step(START_MS + 4 * MINUTE_MS))) > 5_000);
    let config = ShopConfig { client_spans: false, ..ShopConfig::new(1, START_MS) };
    let telemetry = read(&Shop::new(config).step(START_MS + 2 * MINUTE_MS));
    assert!(telemetry.spans.iter().all(|span| span.server));
    assert!(assert_parents_exist(&telemetry) > 2_000);
}

#[test]
fn counters_rise_and_say_what_the_spans_say() {
    let telemetry = read(&broken(1).step(START_MS + 4 * MINUTE_MS));
    for service in foreshock_shop::service_names() {
        let counts = telemetry.points(service, "http.server.request.count");
        assert_eq!(counts.len(), 24, "{service}");
        assert!(counts.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{service}");
        let mut before: Option<Vec<u64>> = None;
        let mut checked = 0;
        for (time_ms, _, metric) in telemetry.metrics.iter().filter(|(_, of, _)| of == service) {
            let Some(Data::Histogram(histogram)) = &metric.data else { continue };
            let point = &histogram.data_points[0];
            assert_eq!((metric.name.as_str(), metric.unit.as_str()), ("http.server.request.duration", "s"));
            assert_eq!(histogram.aggregation_temporality, 2);
            assert_eq!(point.start_time_unix_nano, START_MS as u64 * 1_000_000);
            assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
            assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
            let spans = telemetry.spans.iter().filter(|span| span.server && span.service == *service);
            let ended = spans.filter(|span| span.end_ns <= point.time_unix_nano).count();
            assert_eq!(point.count, ended as u64, "{service} at {time_ms}");
            assert_eq!(counts[checked], (*time_ms, ended as f64));
            if let Some(before) = before {
                assert!(before.iter().zip(&point.bucket_counts).all(|(before, now)| before <= now));
            }
            before = Some(point.bucket_counts.clone());
            checked += 1;
        }
        assert_eq!(checked, 24, "{service}");
        let connections = telemetry.points(service, "db.client.connections");
        let database = ["orders-db", "catalog-db", "cache"].contains(&service);
        assert_eq!(connections.len(), if database { 48 } else { 0 }, "{service}");
    }
}

#[test]
fn a_healthy_shop_serves_three_to_five_requests_a_second_with_few_errors() {
    for seed in 0..3 {
        let telemetry = read(&healthy(seed, 20));
        let roots = telemetry.spans.iter().filter(|span| span.parent.is_empty()).count();
        let per_second = roots as f64 / 1_200.0;
        assert!((3.0..5.0).contains(&per_second), "{per_second} requests/s");
        for service in foreshock_shop::service_names() {
            let served = telemetry.served(service, START_MS, START_MS + 20 * MINUTE_MS);
            let failed = served.iter().filter(|span| span.failed).count();
            let rate = failed as f64 / served.len() as f64;
            assert!(served.len() > 300 && rate < 0.015, "{service}: {failed} of {} failed", served.len());
            let cpu = telemetry.points(service, "cpu.utilization");
            assert!(cpu.iter().all(|(_, cpu)| (0.0..0.6).contains(cpu)), "{service}");
        }
        let served: Vec<_> = telemetry.spans.iter().filter(|span| span.server).collect();
        let rate = served.iter().filter(|span| span.failed).count() as f64 / served.len() as f64;
        assert!((0.0005..0.004).contains(&rate), "{rate} of the calls fail");
        let count = |severity| telemetry.logs.iter().filter(|log| log.severity == severity).count();
        assert!(count("INFO") > 10_000 && count("WARN") > 0 && count("ERROR") > 0);
    }
}

#[test]
fn the_load_rises_and_falls() {
    let telemetry = read(&healthy(5, 40));
    let mut per_5_min = [0u32; 8];
    for span in telemetry.spans.iter().filter(|span| span.parent.is_empty()) {
        per_5_min[((span.start_ms() - START_MS) / (5 * MINUTE_MS)) as usize] += 1;
    }
    let (least, most) = (per_5_min.iter().min().expect("a least"), per_5_min.iter().max().expect("a most"));
    assert!(*most as f64 > 1.3 * *least as f64, "{per_5_min:?}");
}
