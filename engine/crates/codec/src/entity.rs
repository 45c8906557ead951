//! How the entity of telemetry is named from its attributes: rules of the configuration, and those of OpenTelemetry where none are
//! given.
//!
//! An entity is a service or another workload, not one of its pods: these come and go, and what was learned stays. What tells
//! the pods of one apart is a label of metrics ([`EntityRules::instance`]), since their counters are not to be mixed; it has the name of
//! its attribute, by which the stages behind know that it comes and goes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::naming;
use crate::otlp::UNKNOWN_SERVICE;

/// Which attributes name the entity. Attributes are those of the resource in OTLP, labels and tags of metrics, members of JSON
/// objects, tags of spans, and headers of records for plain text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EntityRules {
    /// The first of which all attributes are there counts. None: what the encoding says of services.
    pub service: Vec<Template>,
    /// Attributes of resources in OTLP of which the first that is there becomes a label of their metrics, unless these have it.
    pub instance: Vec<String>,
    /// Labels that are made of attributes of resources in OTLP, likewise, by their names.
    pub labels: BTreeMap<String, Template>,
}

impl Default for EntityRules {
    fn default() -> Self {
        let instance = DEFAULT_INSTANCE.iter().map(|name| (*name).to_owned()).collect();
        let labels = DEFAULT_LABELS.iter().map(|name| ((*name).to_owned(), Template::of_attribute(name)));
        Self { service: Vec::new(), instance, labels: labels.collect() }
    }
}

/// The service, or else the workload, of a resource that does not say more.
const DEFAULT_SERVICE: &[&str] = &[
    "{service.namespace}/{service.name}",
    "{service.name}",
    "{k8s.namespace.name}/{k8s.deployment.name}",
    "{k8s.namespace.name}/{k8s.statefulset.name}",
    "{k8s.namespace.name}/{k8s.daemonset.name}",
    "{k8s.namespace.name}/{k8s.cronjob.name}",
    "{k8s.namespace.name}/{k8s.job.name|workload}",
    "{k8s.namespace.name}/{k8s.replicaset.name|workload}",
    "{k8s.namespace.name}/{k8s.pod.name|workload}",
    "{k8s.deployment.name}",
    "{k8s.pod.name|workload}",
    "{faas.name}",
    "{container.name}",
    "{k8s.node.name}",
    "{host.name}",
];

/// Names that stay the same for longer come first: ids of instances are often random.
const DEFAULT_INSTANCE: &[&str] = &["k8s.pod.name", "service.instance.id", "container.id", "host.name"];
/// What there may be several of in one instance.
const DEFAULT_LABELS: &[&str] = &["k8s.container.name"];

static DEFAULTS: LazyLock<Vec<Template>> =
    LazyLock::new(|| DEFAULT_SERVICE.iter().map(|text| text.parse().expect("tested")).collect());

impl EntityRules {
    /// The service by the first rule of which all attributes are there.
    pub(crate) fn ruled<'a>(&self, get: impl Fn(&str) -> Option<Cow<'a, str>>) -> Option<String> {
        first(&self.service, &get)
    }

    /// The service by the rules; what `otherwise` says if none holds.
    pub(crate) fn service<'a>(
        &self,
        get: impl Fn(&str) -> Option<Cow<'a, str>>,
        otherwise: impl FnOnce() -> Cow<'a, str>,
    ) -> Cow<'a, str> {
        self.ruled(get).map_or_else(otherwise, Cow::Owned)
    }

    /// Whether the service of a resource is just what `service.name` and `service.namespace` say.
    pub(crate) fn is_plain(&self, service_name: &str) -> bool {
        self.service.is_empty() && is_known(service_name)
    }

    /// The service of a resource of OpenTelemetry.
    pub(crate) fn service_of_resource<'a>(&self, get: impl Fn(&str) -> Option<Cow<'a, str>>) -> Cow<'a, str> {
        let rules = if self.service.is_empty() { &*DEFAULTS } else { &self.service };
        // A program that was not given a name calls itself `unknown_service:java`, which is less than its workload says.
        let known = |name: &str| get(name).filter(|value| name != "service.name" || is_known(value));
        let named = || naming::qualified(Cow::Borrowed(""), get("service.name").unwrap_or_default());
        first(rules, &known).map_or_else(named, Cow::Owned)
    }

    /// The labels that the resource gives its metrics, apart from the service.
    pub(crate) fn labels_of_resource<'a>(
        &self,
        get: impl Fn(&str) -> Option<Cow<'a, str>>,
    ) -> Vec<(&str, String)> {
        let named = |name: &str| get(name).filter(|value| !value.is_empty()).map(Cow::into_owned);
        let instance = self.instance.iter().find_map(|name| Some((name.as_str(), named(name)?)));
        let labels = self.labels.iter().filter_map(|(name, rule)| Some((name.as_str(), rule.fill(&get)?)));
        instance.into_iter().chain(labels).collect()
    }
}

fn is_known(service_name: &str) -> bool {
    !service_name.is_empty() && !service_name.starts_with(UNKNOWN_SERVICE)
}

fn first<'a>(rules: &[Template], get: &impl Fn(&str) -> Option<Cow<'a, str>>) -> Option<String> {
    rules.iter().find_map(|rule| rule.fill(get))
}

/// Text with attributes in braces: `{service.namespace}/{service.name}`. Of a pod, replica set or job, `|workload` takes away what
/// controllers have added to its name: `{k8s.pod.name|workload}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Attribute(String),
    Workload(String),
}

impl Template {
    fn of_attribute(name: &str) -> Self {
        Self { text: format!("{{{name}}}"), parts: vec![Part::Attribute(name.to_owned())] }
    }

    /// None unless all attributes are there and not empty.
    fn fill<'a>(&self, get: &impl Fn(&str) -> Option<Cow<'a, str>>) -> Option<String> {
        let value = |name: &str| get(name).filter(|value| !value.is_empty());
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Attribute(name) => filled.push_str(&value(name)?),
                Part::Workload(name) => filled.push_str(naming::workload_of(&value(name)?)),
            }
        }
        Some(filled)
    }
}

/// Why text is no [`Template`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidTemplate {
    #[error("is empty; write text with attributes in braces, such as {{service.namespace}}/{{service.name}}")]
    Empty,
    #[error("has a brace without its counterpart; attributes stand in braces, such as {{service.name}}")]
    Brace,
    #[error("has braces without the name of an attribute in them")]
    NoName,
    #[error(
        "has |{0} in it, which is unknown; there is |workload, for the names of pods, replica sets and jobs"
    )]
    Unknown(String),
}

impl FromStr for Template {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            let (name, after) = from
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'))
                .filter(|(name, _)| !name.contains('{'))
                .ok_or(InvalidTemplate::Brace)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (name, is_workload) = match name.split_once('|') {
                Some((name, "workload")) => (name.trim(), true),
                Some((_, what)) => return Err(InvalidTemplate::Unknown(what.to_owned())),
                None => (name.trim(), false),
            };
            match name {
                "" => return Err(InvalidTemplate::NoName),
                name if is_workload => parts.push(Part::Workload(name.to_owned())),
                name => parts.push(Part::Attribute(name.to_owned())),
            }
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if parts.is_empty() {
            return Err(InvalidTemplate::Empty);
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| serde::de::Error::custom(format!("the rule {text:?} {error}")))
    }
}

/// Whose rows a source is read for, if those of several lie on it: records and resources of others are left out and counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantRule {
    /// The one that is read.
    #[serde(skip)]
    pub tenant: String,
    /// The header of records that names theirs.
    #[serde(default)]
    pub header: Option<String>,
    /// The attribute of resources in OTLP that names theirs.
    #[serde(default)]
    pub attribute: Option<String>,
}

impl TenantRule {
    /// Whether a record with such a header is one of the tenant.
    pub(crate) fn takes_record(&self, record: &model::SourceRecord<'_>) -> bool {
        self.header.as_ref().is_none_or(|header| record.header(header) == Some(self.tenant.as_str()))
    }

    pub(crate) fn takes_resource<'a>(&self, get: impl Fn(&str) -> Option<Cow<'a, str>>) -> bool {
        self.attribute.as_ref().is_none_or(|name| get(name).is_some_and(|value| value == self.tenant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(rules: &EntityRules, attributes: &[(&str, &'static str)]) -> String {
        let get = |name: &str| {
            attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| Cow::Borrowed(*value))
        };
        rules.service_of_resource(get).into_owned()
    }

    fn rules(json: &str) -> EntityRules {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_resource_is_its_service_else_its_workload_else_its_host() {
        let default = EntityRules::default();
        for (attributes, expected) in [
            (&[("service.name", "cart"), ("k8s.deployment.name", "d")][..], "cart"),
            (&[("service.name", "cart"), ("service.namespace", "shop")], "shop/cart"),
            (&[("service.name", "unknown_service:java"), ("k8s.deployment.name", "d")], "d"),
            (&[("service.name", "unknown_service:java")], "unknown_service:java"),
            (
                &[("k8s.namespace.name", "shop"), ("k8s.deployment.name", "cart"), ("host.name", "h")],
                "shop/cart",
            ),
            (&[("k8s.namespace.name", "shop"), ("k8s.pod.name", "cart-5d9f7c6b8-x2x7z")], "shop/cart"),
            (&[("k8s.pod.name", "db-0")], "db"),
            (&[("host.name", "node-1"), ("os.type", "linux")], "node-1"),
            (&[("service.name", "")], UNKNOWN_SERVICE),
            (&[], UNKNOWN_SERVICE),
        ] {
            assert_eq!(service(&default, attributes), expected, "{attributes:?}");
        }
    }

    #[test]
    fn rules_take_the_place_of_the_defaults() {
        let rules = rules(r#"{"service": ["{team}-{app}", "{app|workload}", "fixed"]}"#);
        assert_eq!(service(&rules, &[("team", "a"), ("app", "b")]), "a-b");
        assert_eq!(service(&rules, &[("team", ""), ("app", "cart-5d9f7c6b8-x2x7z")]), "cart");
        assert_eq!(service(&rules, &[("service.name", "cart")]), "fixed");
    }

    #[test]
    fn instances_and_other_labels() {
        let labels = |rules: &EntityRules, attributes: &[(&str, &'static str)]| {
            let get = |name: &str| {
                attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| Cow::Borrowed(*value))
            };
            let labels = rules.labels_of_resource(get);
            labels.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        let attributes = [("service.instance.id", "7"), ("host.name", "h"), ("cloud.region", "eu")];
        assert_eq!(labels(&EntityRules::default(), &attributes), ["service.instance.id=7"]);
        let own = rules(r#"{"instance": [], "labels": {"region": "{cloud.region}", "none": "{nothing}"}}"#);
        assert_eq!(labels(&own, &attributes), ["region=eu"]);
        let pod = [("k8s.pod.name", "cart-1"), ("k8s.container.name", "main"), ("service.instance.id", "7")];
        assert_eq!(labels(&EntityRules::default(), &pod), ["k8s.pod.name=cart-1", "k8s.container.name=main"]);
    }

    #[test]
    fn wrong_rules_say_what_is_wrong() {
        for (rule, why) in [
            ("", "is empty"),
            ("{a", "counterpart"),
            ("a}", "counterpart"),
            ("{a{b}}", "counterpart"),
            ("{}", "without the name"),
            ("{|workload}", "without the name"),
            ("{a|upper}", "|upper"),
        ] {
            let json = serde_json::json!({ "service": [rule] }).to_string();
            let error = serde_json::from_str::<EntityRules>(&json).unwrap_err().to_string();
            assert!(error.contains(why), "{rule}: {error}");
        }
        assert!(serde_json::from_str::<EntityRules>(r#"{"servcie": []}"#).is_err());
    }
}
