//! The topics that are read, and how.

use std::sync::Arc;

use codec::{DecoderSettings, DecoderSpec, EntityRules, Mapping, TenantRule};
use serde::Deserialize;

use super::Config;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    pub topic: String,
    pub signal: Signal,
    /// One that the list of decoders has for the signal.
    pub encoding: String,
    /// What whoever writes the topic keys its records by, so that all of one key lie on one partition.
    #[serde(default)]
    pub keyed: Option<Keyed>,
    /// Where objects of the encoding `json` hold what is read, by its keys for the signal.
    #[serde(default)]
    pub mapping: Option<serde_json::Value>,
    /// In place of those for all sources.
    #[serde(default)]
    pub entity: Option<EntityRules>,
    /// How rows of the engine's tenant are known; none: all are its.
    #[serde(default)]
    pub tenant: Option<TenantRule>,
}

impl SourceConfig {
    /// What reads the records of the source.
    pub fn decoder(&self, config: &Config) -> Result<(&'static DecoderSpec, DecoderSettings), String> {
        let signal = self.signal.as_str();
        let of_signal = || codec::DECODERS.iter().filter(|spec| spec.signal == signal);
        let Some(spec) = of_signal().find(|spec| spec.encoding == self.encoding) else {
            let known: Vec<&str> = of_signal().map(|spec| spec.encoding).collect();
            return Err(format!(
                "no decoder reads {signal} as {:?}; there are {}",
                self.encoding,
                known.join(", ")
            ));
        };
        let mut settings = DecoderSettings::default();
        if let Some(mapping) = &self.mapping {
            if !spec.has_mapping() {
                return Err(format!(
                    "only the encoding json has a mapping; {} says itself what is where",
                    spec.encoding
                ));
            }
            settings.mapping =
                Mapping::parse(signal, mapping.clone()).map_err(|error| format!("mapping: {error}"))?;
        }
        if let Some(entity) = &self.entity {
            if !spec.has_entity_rules() {
                return Err("entity: events name their service themselves".to_owned());
            }
            let EntityRules { instance, labels, .. } = EntityRules::default();
            if !spec.has_resources() && (entity.instance != instance || entity.labels != labels) {
                return Err(format!(
                    "entity: instance and labels are those of resources in OTLP; {} has its labels with its rows",
                    spec.encoding
                ));
            }
        }
        settings.entity = Arc::new(self.entity.clone().unwrap_or_else(|| config.entity.clone()));
        if let Some(rule) = &self.tenant {
            match (&rule.header, &rule.attribute) {
                (None, None) => {
                    return Err(
                        "tenant: name a header or an attribute that says whose rows they are".to_owned()
                    );
                }
                (_, Some(_)) if !spec.has_resources() => {
                    return Err(format!(
                        "tenant: attributes are those of resources in OTLP; with {} name a header",
                        spec.encoding
                    ));
                }
                _ => {}
            }
            settings.tenant = Some(Arc::new(TenantRule { tenant: config.tenant.clone(), ..rule.clone() }));
        }
        Ok((spec, settings))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keyed {
    /// All series of an entity lie on one partition, so they are judged where they are read.
    Entity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    Metrics,
    Logs,
    Spans,
    Events,
}

impl Signal {
    /// As in the list of decoders.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Spans => "spans",
            Self::Events => "events",
        }
    }
}
