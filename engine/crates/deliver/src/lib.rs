//! Delivers alerts to Alertmanager, webhooks, PagerDuty and Slack.
//!
//! Each receiver has a [`Courier`]: a thread of its own that reads the topic of alerts in a consumer group of its own. What it does is in
//! three parts. [`outbox`] knows what was told and what is to be told, and is pure. [`receiver`] writes alerts as requests. [`HttpSender`]
//! sends them and says what became of it.
//!
//! **Architecture invariants.** A receiver that is slow or gone holds up nobody but itself: what it has missed stays on the topic, and an offset
//! is committed only when all before it was accepted or went to the dead-letter topic. So each alert is delivered at least once and in order;
//! that it came twice is told by its fingerprint and version. Kafka is behind [`AlertLog`], so that no test of delivery needs one.
//!
//! | bound | |
//! |---|---|
//! | records in memory of a partition, for each receiver | 256, and 16 MiB |
//! | alerts that fire and are remembered | 10,000 of a partition |
//! | a request | `timeout`, 10 s by default, 5 s of it to connect |
//! | what is read of an answer | 64 KiB |
//! | wait between two tries | 0.5 s to 60 s; up to 15 min if `Retry-After` asks for it |
//! | age at which an alert that fails is given up | `give_up_after`, a day by default |
//! | an annotation that a template writes | 16 KiB, 50,000 steps |
//! | receivers | 32 |
//! | inhibition rules, and alerts that fire and hold back others | 64, and 10,000 |

#![forbid(unsafe_code)]

mod backoff;
mod counters;
mod courier;
mod http;
mod inhibition;
pub mod log;
mod notice;
pub mod outbox;
pub mod receiver;
mod secret;
pub mod settings;
mod signature;
mod template;
mod time;

pub use counters::{CounterValues, Counters};
pub use courier::{Courier, NoSilences, OpenLog, Silencer};
pub use http::{HttpSender, Sent};
pub use inhibition::{InhibitRule, Inhibitor};
pub use log::{AlertLog, Event, LogError, Position, Record};
pub use notice::{Notice, labels_of_now};
pub use secret::{SecretError, SecretReference};
pub use settings::{DeliverySettings, ReceiverSettings};

/// A warning about `cart/a` that has begun at 1 s and, if it is over, ended at 9 s.
#[cfg(test)]
pub(crate) fn test_alert(fingerprint: &str, version: u32, state: model::AlertState) -> model::Alert {
    let text = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    model::Alert {
        fingerprint: fingerprint.to_owned(),
        state,
        severity: model::Severity::Warning,
        labels: text(&[
            ("alertname", "ForeshockIncident"),
            ("incident", "i"),
            ("service", "cart/a"),
            ("severity", "warning"),
        ]),
        annotations: text(&[("summary", "cart is slow"), ("description", "1. cart")]),
        starts_ms: 1_000,
        ends_ms: (state == model::AlertState::Resolved).then_some(9_000),
        incident: "i".to_owned(),
        incident_version: version,
    }
}
