//! What the names of labels and metrics tell where a format does not say it.

use std::borrow::Cow;

use model::MetricKind;

use crate::otlp::UNKNOWN_SERVICE;

/// Labels that name a service, the surest first. `job` is how Prometheus calls it.
const SERVICE: &[&str] =
    &["service.name", "service_name", "service", "job", "app.kubernetes.io/name", "app", "application"];
const NAMESPACE: &[&str] = &["service.namespace", "service_namespace"];

/// The service that labels name, else that of telemetry that names none.
pub(crate) fn service<'a>(get: impl Fn(&str) -> Option<Cow<'a, str>>) -> Cow<'a, str> {
    find_service(get).unwrap_or(Cow::Borrowed(UNKNOWN_SERVICE))
}

/// The service that labels name, with its namespace and `/` before it if they name that too.
pub(crate) fn find_service<'a>(get: impl Fn(&str) -> Option<Cow<'a, str>>) -> Option<Cow<'a, str>> {
    let first = |names: &[&str]| names.iter().find_map(|name| get(name).filter(|text| !text.is_empty()));
    Some(qualified(first(NAMESPACE).unwrap_or_default(), first(SERVICE)?))
}

/// The service with its namespace and `/` before it; without, if the namespace is empty. That of telemetry that names none, if
/// the service is empty.
pub(crate) fn qualified<'a>(namespace: Cow<'a, str>, service: Cow<'a, str>) -> Cow<'a, str> {
    match (namespace.as_ref(), service.as_ref()) {
        (_, "") => Cow::Borrowed(UNKNOWN_SERVICE),
        ("", _) => service,
        (namespace, service) => Cow::Owned(format!("{namespace}/{service}")),
    }
}

/// A counter if the name ends as Prometheus' counters do, else a gauge.
pub(crate) fn metric_kind(name: &str) -> MetricKind {
    if ["_total", "_count", "_sum", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
        MetricKind::Counter
    } else {
        MetricKind::Gauge
    }
}

/// What the name of a pod, replica set or job begins with, before what its controllers have added.
pub(crate) fn workload<'a>(kind: &str, name: &'a str) -> &'a str {
    let without = |name: &'a str, is_added: &dyn Fn(&str) -> bool| match name.rsplit_once('-') {
        Some((workload, added)) if !workload.is_empty() && is_added(added) => workload,
        _ => name,
    };
    // The letters that Kubernetes takes for random names.
    let is_random = |text: &str| text.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte));
    let is_hash = |text: &str| (6..=10).contains(&text.len()) && is_random(text);
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // Of a cron job, the minute of its start.
    let is_minute = |text: &str| text.len() == 8 && is_number(text);
    match kind {
        "ReplicaSet" => without(name, &is_hash),
        "Pod" => match without(name, &|text| text.len() == 5 && is_random(text)) {
            // Of a stateful set.
            same if same.len() == name.len() => without(name, &is_number),
            owner => match without(owner, &is_hash) {
                same if same.len() == owner.len() => without(owner, &is_minute),
                workload => workload,
            },
        },
        "Job" => without(name, &is_minute),
        _ => name,
    }
}

/// The same of a name of which it is not known what it names.
pub(crate) fn workload_of(name: &str) -> &str {
    let kinds = ["Pod", "ReplicaSet", "Job"];
    kinds.iter().map(|kind| workload(kind, name)).find(|workload| workload.len() < name.len()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_kinds() {
        let service = |labels: &[(&'static str, &'static str)]| {
            service(|name| labels.iter().find(|label| label.0 == name).map(|label| Cow::Borrowed(label.1)))
        };
        assert_eq!(service(&[("job", "cart"), ("service_name", "")]), "cart");
        assert_eq!(
            service(&[("app", "a"), ("service.name", "cart"), ("service_namespace", "shop")]),
            "shop/cart"
        );
        assert_eq!(service(&[("host", "h")]), UNKNOWN_SERVICE);
        for (pod, workload) in
            [("backup-29310240-x2x7z", "backup"), ("cart-5d9f7c6b8-x2x7z", "cart"), ("store-0", "store")]
        {
            assert_eq!(workload_of(pod), workload);
        }
        assert_eq!(metric_kind("requests_total"), MetricKind::Counter);
        assert_eq!(metric_kind("temperature"), MetricKind::Gauge);
    }
}
