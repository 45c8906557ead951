//! How the records of a source are read, beside their encoding.

use std::sync::Arc;

use crate::Limits;
use crate::entity::{EntityRules, TenantRule};
use crate::json::{LogMapping, MetricMapping};

/// Without more than [`Limits`] it is how the encoding is read by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecoderSettings {
    pub limits: Limits,
    /// Of the encoding `json`; others take no notice of it.
    pub mapping: Mapping,
    pub entity: Arc<EntityRules>,
    /// None: all rows are those of one tenant.
    pub tenant: Option<Arc<TenantRule>>,
}

impl From<Limits> for DecoderSettings {
    fn from(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }
}

/// Where JSON objects hold what is read from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mapping {
    /// By the names that are common.
    #[default]
    Common,
    Metrics(Arc<MetricMapping>),
    Logs(Arc<LogMapping>),
}

impl Mapping {
    /// Of the configuration, for the rows of a signal. An error says what is wrong with it.
    pub fn parse(signal: &str, value: serde_json::Value) -> Result<Self, String> {
        let wrong = |error: serde_json::Error| error.to_string();
        match signal {
            "metrics" => {
                let mapping: MetricMapping = serde_json::from_value(value).map_err(wrong)?;
                mapping.validate()?;
                Ok(Self::Metrics(Arc::new(mapping)))
            }
            "logs" => {
                let mapping: LogMapping = serde_json::from_value(value).map_err(wrong)?;
                mapping.validate()?;
                Ok(Self::Logs(Arc::new(mapping)))
            }
            _ => Err(format!("{signal} have no mapping; metrics and logs have one")),
        }
    }

    pub(crate) fn metrics(&self) -> Arc<MetricMapping> {
        if let Self::Metrics(mapping) = self { Arc::clone(mapping) } else { Arc::default() }
    }

    pub(crate) fn logs(&self) -> Arc<LogMapping> {
        if let Self::Logs(mapping) = self { Arc::clone(mapping) } else { Arc::default() }
    }
}
