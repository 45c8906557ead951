//! Delivery to servers on loopback that misbehave.

// clippy.toml allows it in test functions only, and these helpers are part of the tests.
#![allow(clippy::unwrap_used)]

mod failures;
mod security;
mod server;
mod shapes;
mod topic;

use std::sync::Arc;
use std::time::{Duration, Instant};

use foreshock_deliver::{Courier, DeliverySettings, NoSilences};
use serde_json::{Value, json};

use self::server::{Received, Server};
use self::topic::Topic;

const PATIENCE: Duration = Duration::from_secs(30);

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Settings of a receiver that is called `to`.
fn settings(mut receiver: Value) -> DeliverySettings {
    receiver["name"] = "to".into();
    let settings: DeliverySettings =
        serde_json::from_value(json!({ "receivers": [receiver] })).expect("settings");
    settings.validate().expect("valid");
    settings
}

fn courier(topic: &Topic, receiver: Value) -> Courier {
    let settings = settings(receiver);
    let open = topic.open("to");
    Courier::start(&settings, &settings.receivers[0], "0", open, Arc::new(NoSilences)).expect("a thread")
}

fn webhook(server: &Server) -> Value {
    json!({ "webhook": { "url": server.url, "format": "cloud_events" } })
}

/// `fingerprint/version` of each alert that came, in their order, repetitions left out.
fn ids(received: &[Received]) -> Vec<String> {
    let ids = received.iter().map(|request| request.header("webhook-id").expect("an id").to_owned());
    let mut ids: Vec<String> = ids.collect();
    ids.dedup();
    ids
}
