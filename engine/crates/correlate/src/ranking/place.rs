//! Where within a service a piece of evidence points.

use model::{Evidence, Level, Place};

/// Labels of a metric that tell instances of a workload apart.
const INSTANCE_LABELS: &[&str] = &[
    "pod",
    "k8s.pod.name",
    "instance",
    "service.instance.id",
    "host",
    "host.name",
    "container.id",
    "node",
    "k8s.node.name",
];

/// None for what speaks of the service as a whole.
pub(super) fn of(evidence: &Evidence) -> Option<Place> {
    let subject = evidence.subject.as_str();
    let (level, name) = match evidence.kind.as_str() {
        "gap" => (Level::Call, subject.to_owned()),
        "self_time" => (Level::Operation, subject.to_owned()),
        "structure" => match subject.split_once(": log ") {
            Some((operation, template)) => {
                (Level::Template, format!("{} in {operation}", template.trim_matches('`')))
            }
            None => (Level::Operation, subject.split(": ").next().unwrap_or(subject).to_owned()),
        },
        "resource" => match instance(subject) {
            Some(instance) => (Level::Instance, format!("{instance}, {subject}")),
            None => (Level::Resource, subject.to_owned()),
        },
        "change" => (Level::Change, subject.to_owned()),
        _ => return None,
    };
    Some(Place { level, name })
}

/// Of a metric with its labels, as in `cpu{pod="cart-7"}`.
fn instance(metric: &str) -> Option<&str> {
    let labels = metric.split_once('{')?.1;
    INSTANCE_LABELS.iter().find_map(|label| {
        let quoted = labels.match_indices(label).find_map(|(at, _)| {
            let begins = at == 0 || labels[..at].ends_with([',', '"']);
            labels[at + label.len()..].trim_start_matches('"').strip_prefix("=\"").filter(|_| begins)
        })?;
        quoted.split('"').next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_points_to_its_level() {
        let place = |kind: &str, subject: &str| {
            let (summary, subject) = (String::new(), subject.to_owned());
            let (kind, score, baseline, observed) = (kind.to_owned(), 1.0, None, None);
            of(&Evidence { kind, summary, score, subject, baseline, observed })
                .map(|place| (place.level.as_str(), place.name))
        };
        let is = |level: &'static str, name: &str| Some((level, name.to_owned()));
        assert_eq!(place("gap", "web -> cart"), is("call", "web -> cart"));
        assert_eq!(place("self_time", "GET /cart"), is("operation", "GET /cart"));
        assert_eq!(place("structure", "buy: span `cart add`"), is("operation", "buy"));
        assert_eq!(
            place("structure", "buy: log `cannot reach <*>`"),
            is("template", "cannot reach <*> in buy")
        );
        assert_eq!(place("resource", "cpu"), is("resource", "cpu"));
        let subject = "cpu{pod=\"cart-7\",state=\"user\"}";
        assert_eq!(place("resource", subject), is("instance", &format!("cart-7, {subject}")));
        assert_eq!(place("resource", "cpu{tripod=\"x\"}"), is("resource", "cpu{tripod=\"x\"}"));
        assert_eq!(place("change", "deploy"), is("change", "deploy"));
        assert_eq!(place("impact", "latency"), None);
    }
}
