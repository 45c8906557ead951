//! Receivers that are slow, down, or refuse.

use std::time::Duration;

use model::AlertState;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::server::{Answer, Server, nobody, status};
use crate::topic::{Topic, alert, firing};
use crate::{courier, ids, wait_until, webhook};

#[test]
fn alerts_wait_for_a_receiver_that_fails_in_any_way() {
    let script = [
        Answer::Close,
        status(500),
        Answer::Noise,
        status(200),
        Answer::Status(503, vec![], "overloaded".to_owned()),
        status(404),
        status(401),
    ];
    let (server, topic) = (Server::start(script), Topic::default());
    let courier = courier(&topic, webhook(&server));
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    topic.write(&firing("b", 1));
    topic.write(&alert("a", 2, AlertState::Resolved));
    wait_until("all is delivered", || topic.committed("to").is_some_and(|position| position.offset == 3));
    assert_eq!(ids(&server.received()), ["a/1", "b/1", "a/2"]);
    let counters = courier.counters();
    assert_eq!((counters.accepted, counters.attempts_failed, counters.dead, counters.waiting), (3, 6, 0, 0));
    assert_eq!(courier.consecutive_failures(), 0);
}

#[test]
fn a_receiver_that_asks_for_time_is_given_it() {
    let later = |seconds: &str| Answer::Status(429, vec![("retry-after", seconds.to_owned())], String::new());
    let (server, topic) = (Server::start([later("3")]), Topic::default());
    let _courier = courier(&topic, webhook(&server));
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    wait_until("it is tried again", || server.received().len() == 2);
    let received = server.received();
    assert!(received[1].at - received[0].at >= Duration::from_secs(3));
}

#[test]
fn an_alert_that_is_refused_goes_to_the_dead_letters_and_the_next_is_delivered() {
    let refusal = Answer::Status(400, vec![], "summary: too long".to_owned());
    let (server, topic) = (Server::start([refusal]), Topic::default());
    let courier = courier(&topic, webhook(&server));
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    topic.write(&firing("b", 1));
    wait_until("both are dealt with", || topic.committed("to").is_some_and(|position| position.offset == 2));
    let dead = topic.dead();
    assert_eq!((dead.len(), dead[0].0.offset), (1, 0));
    for part in ["receiver to", "HTTP 400", "summary: too long"] {
        assert!(dead[0].1.contains(part), "{}", dead[0].1);
    }
    assert_eq!(ids(&server.received()), ["a/1", "b/1"]);
    assert_eq!((courier.counters().dead, courier.counters().accepted), (1, 1));
}

#[test]
fn a_dead_receiver_holds_up_nobody_else_and_catches_up() {
    let (slow, good, topic) =
        (Server::start(vec![Answer::Slow(200, Duration::from_secs(5))]), Server::start([]), Topic::default());
    let mut impatient = webhook(&slow);
    impatient["timeout"] = "500ms".into();
    let first = courier(&topic, impatient);
    let settings = crate::settings(webhook(&good));
    let second = foreshock_deliver::Courier::start(
        &settings,
        &settings.receivers[0],
        "0",
        topic.open("other"),
        std::sync::Arc::new(foreshock_deliver::NoSilences),
    )
    .expect("a thread");
    wait_until("first commits", || topic.committed("to").is_some() && topic.committed("other").is_some());
    for version in 1..=700 {
        topic.write(&firing("a", version));
    }
    wait_until("the good one has all", || second.counters().accepted == 700);
    assert_eq!(first.counters().accepted, 0, "the slow one has not answered yet");
    assert!(first.counters().waiting <= 320, "the others stay on the topic");
    wait_until("the slow one has all", || first.counters().accepted == 700);
    let versions: Vec<String> = (1..=700).map(|version| format!("a/{version}")).collect();
    assert_eq!(ids(&slow.received()), versions);
}

#[test]
fn what_was_accepted_is_not_told_again_after_a_restart_and_what_was_not_is() {
    let (server, topic) = (Server::start([]), Topic::default());
    let first = courier(&topic, webhook(&server));
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    wait_until("it is delivered", || topic.committed("to").is_some_and(|position| position.offset == 1));
    drop(first);
    topic.write(&firing("b", 1));
    topic.write(&alert("a", 2, AlertState::Resolved));
    let _second = courier(&topic, webhook(&server));
    wait_until("the rest is delivered", || server.received().len() == 3);
    assert_eq!(ids(&server.received()), ["a/1", "b/1", "a/2"]);
}

#[test]
fn delivery_ends_soon_although_a_receiver_hangs_and_nothing_is_committed() {
    let (server, topic) = (Server::start([Answer::Slow(200, Duration::from_secs(60))]), Topic::default());
    let mut patient = webhook(&server);
    patient["timeout"] = "1m".into();
    let courier = courier(&topic, patient);
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    wait_until("the request is there", || server.received().len() == 1);
    let began = std::time::Instant::now();
    drop(courier);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(topic.committed("to").map(|position| position.offset), Some(0));
}

#[test]
fn an_endless_answer_is_not_read() {
    let script = [Answer::Endless(500), Answer::Endless(200), Answer::Endless(400)];
    let (server, topic) = (Server::start(script), Topic::default());
    let _courier = courier(&topic, webhook(&server));
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    topic.write(&firing("b", 1));
    wait_until("both are dealt with", || topic.committed("to").is_some_and(|position| position.offset == 2));
    assert_eq!((ids(&server.received()), topic.dead().len()), (vec!["a/1".to_owned(), "b/1".to_owned()], 1));
    // What lies in the buffers of the sockets was sent and not read.
    assert!(server.endless_bytes() < 64 << 20, "{}", server.endless_bytes());
}

#[test]
fn one_member_of_a_cluster_is_enough() {
    let (server, topic) = (Server::start([]), Topic::default());
    let courier = courier(&topic, json!({ "alertmanager": { "urls": [nobody(), server.url] } }));
    wait_until("a first commit", || topic.committed("to").is_some());
    topic.write(&firing("a", 1));
    wait_until("it is delivered", || topic.committed("to").is_some_and(|position| position.offset == 1));
    let counters = courier.counters();
    assert_eq!((counters.accepted, server.received()[0].path.as_str()), (1, "/api/v2/alerts"));
    assert_eq!((counters.members_failed, counters.attempts_failed), (1, 0));
}

/// Over real connections; the pure part is tried far more often beside its code.
#[test]
fn whatever_a_receiver_does_each_alert_arrives_in_order() {
    let answer = prop_oneof![
        3 => Just(status(200)),
        1 => Just(status(500)),
        1 => Just(status(429)),
        1 => Just(Answer::Close),
        1 => Just(Answer::Noise),
        1 => Just(Answer::Endless(200)),
    ];
    let mut runner = TestRunner::new(Config { cases: 6, max_shrink_iters: 0, ..Config::default() });
    let scripts = proptest::collection::vec(answer, 6);
    let run = |script: Vec<Answer>| {
        let (server, topic) = (Server::start(script.clone()), Topic::default());
        let mut running = Some(courier(&topic, webhook(&server)));
        wait_until("a first commit", || topic.committed("to").is_some());
        for version in 1..=6 {
            topic.write(&firing("a", version));
            topic.write(&firing("b", version));
            if version == 3 {
                // A restart in between.
                drop(running.take());
                running = Some(courier(&topic, webhook(&server)));
            }
        }
        wait_until("all is delivered", || {
            topic.committed("to").is_some_and(|position| position.offset == 12)
        });
        for name in ["a", "b"] {
            let mut of = ids(&server.received());
            of.retain(|id| id.starts_with(name));
            of.dedup();
            let expected: Vec<String> = (1..=6).map(|version| format!("{name}/{version}")).collect();
            prop_assert_eq!(of, expected, "{:?}", script);
        }
        prop_assert_eq!(topic.dead().len(), 0);
        Ok(())
    };
    runner.run(&scripts, run).unwrap();
}
