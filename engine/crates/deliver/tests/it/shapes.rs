//! What receivers get, from the topic to the wire.

use model::AlertState;
use serde_json::json;

use crate::server::{Server, status};
use crate::topic::{Topic, alert, firing};
use crate::{courier, wait_until};

#[test]
fn alertmanager_is_told_again_as_long_as_an_alert_fires() {
    let (server, topic) = (Server::start([]), Topic::default());
    let settings = json!({ "alertmanager": { "urls": [format!("{}/", server.url)], "resend": "1s" } });
    let courier = courier(&topic, settings);
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    wait_until("it is sent again", || courier.counters().resent >= 2);
    topic.write(&alert("a", 2, AlertState::Resolved));
    wait_until("its end is told", || topic.committed("to").is_some_and(|position| position.offset == 2));
    let received = server.received();
    let ends = |request: &crate::server::Received| request.json()[0]["endsAt"].as_str().map(str::to_owned);
    assert_eq!(received.last().and_then(ends).as_deref(), Some("1970-01-01T00:00:02Z"));
    let firing: Vec<_> = received[..received.len() - 1].iter().filter_map(ends).collect();
    assert!(
        firing.is_sorted() && firing.first() < firing.last(),
        "each time it holds for longer: {firing:?}"
    );
    let sent = received.len();
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(server.received().len(), sent, "what is over is not sent again");
}

#[test]
fn a_restart_goes_on_with_what_fires() {
    let (server, topic) = (Server::start([]), Topic::default());
    let settings = json!({ "alertmanager": { "urls": [server.url], "resend": "1h" } });
    let first = courier(&topic, settings.clone());
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    topic.write(&firing("b", 1));
    topic.write(&alert("a", 2, AlertState::Resolved));
    wait_until("all is told", || topic.committed("to").is_some_and(|position| position.offset == 3));
    drop(first);
    let told = server.received().len();
    let _second = courier(&topic, settings);
    wait_until("what fires is told again", || server.received().len() > told);
    let again = server.received()[told].json();
    assert_eq!(again.as_array().map(Vec::len), Some(1));
}

#[test]
fn templates_matchers_and_signatures_reach_the_wire() {
    let (server, topic) = (Server::start([]), Topic::default());
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").expect("writable");
    let courier = courier(
        &topic,
        json!({
            "webhook": { "url": format!("{}/hook?a=1", server.url), "signing_secret": { "file": secret.path() } },
            "match": ["severity=\"critical\"", "service!~\"batch.*\""],
            "annotations": { "runbook_url": "https://runbooks/{{ labels.service }}" },
        }),
    );
    wait_until("a first commit", || topic.committed("to").is_some());
    let mut batch = firing("b", 1);
    batch.labels.insert("service".to_owned(), "batch-1".to_owned());
    topic.write(&batch);
    topic.write(&firing("a", 1));
    wait_until("it is delivered", || topic.committed("to").is_some_and(|position| position.offset == 2));
    let received = server.received();
    assert_eq!((received.len(), received[0].path.as_str()), (1, "/hook?a=1"));
    let body = received[0].json();
    assert_eq!(body["alerts"][0]["annotations"]["runbook_url"], "https://runbooks/cart");
    assert_eq!(
        (received[0].header("webhook-id"), received[0].header("idempotency-key")),
        (Some("a/1"), Some("\"a/1\""))
    );
    let signature = received[0].header("webhook-signature").expect("signed");
    let signed = format!("a/1.{}.", received[0].header("webhook-timestamp").expect("a time"));
    assert!(is_signed(signature, &[signed.as_bytes(), &received[0].body].concat()), "{signature}");
    assert_eq!(courier.counters().unmatched, 1);
}

#[test]
fn many_alerts_that_nobody_wants_hold_up_none_that_somebody_does() {
    // While the first waits to be tried again, so many are read that the others stay on the topic.
    let (server, topic) = (Server::start([status(500)]), Topic::default());
    let settings = json!({ "webhook": { "url": server.url }, "match": ["service!=\"batch\""] });
    let courier = courier(&topic, settings);
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    let mut batch = firing("b", 1);
    batch.labels.insert("service".to_owned(), "batch".to_owned());
    (0..1_000).for_each(|_| topic.write(&batch));
    topic.write(&firing("a", 2));
    wait_until("it is delivered", || topic.committed("to").is_some_and(|position| position.offset == 1_002));
    assert_eq!((courier.counters().unmatched, courier.counters().accepted), (1_000, 2));
}

/// As a receiver would check it.
fn is_signed(signature: &str, signed: &[u8]) -> bool {
    use base64::Engine as _;
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    let tag = signature.strip_prefix("v1,").expect("version 1");
    ring::hmac::verify(&key, signed, &decode(tag)).is_ok()
}
