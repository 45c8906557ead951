use super::*;

fn observe_all(miner: &mut TemplateMiner, lines: &[&str]) -> Vec<u32> {
    lines.iter().map(|line| miner.observe(line).template_id).collect()
}

/// All lines end up with one template, which is `expected`.
fn check(expected: &str, lines: &[&str]) {
    let mut miner = TemplateMiner::default();
    let ids = observe_all(&mut miner, lines);
    let templates: Vec<String> = ids.iter().map(|&id| miner.template(id)).collect();
    assert!(templates.iter().all(|template| template == expected), "{templates:?}");
}

/// No two lines get one template.
fn check_apart(lines: &[&str]) {
    let mut ids = observe_all(&mut TemplateMiner::default(), lines);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), lines.len());
}

#[test]
fn values_are_open_from_the_first_line() {
    check(
        "cache <*> holds <*> of <*>",
        &["cache 5 holds 12 KB of /data/a", "cache 0x7 holds 3 MB of /data/b/c"],
    );
}

#[test]
fn two_words_prove_nothing() {
    check_apart(&["session opened for reading", "session closed for reading"]);
}

#[test]
fn enough_names_open_a_place() {
    let names = ["kestrel", "osprey", "merlin", "harrier", "goshawk"];
    let lines = names.map(|name| format!("worker {name} joined the pool"));
    check("worker <*> joined the pool", &lines.each_ref().map(String::as_str));
}

#[test]
fn two_numbered_names_open_a_place() {
    check("link of <*> is down", &["link of eth0 is down", "link of eth1 is down"]);
}

#[test]
fn several_values_open_at_once() {
    let lines = [
        "copied file with mode=fast owner=kestrel size limit of disk",
        "copied file with mode=safe owner=osprey size limit of disk",
    ];
    check("copied file with mode=<*> owner=<*> size limit of disk", &lines);
}

#[test]
fn the_same_words_under_other_punctuation_are_one_template() {
    let mut miner = TemplateMiner::default();
    let ids =
        observe_all(&mut miner, &["disk scan done", "disk scan done.", "disk scan (done)", "disk scan"]);
    assert_eq!(ids, [0, 0, 0, 3]);
    assert_eq!(miner.template(2), "disk scan done");
    assert!(miner.take_merges().is_empty(), "nobody was told of the ids 1 and 2");
}

#[test]
fn merges_are_told_once_and_the_smallest_id_survives() {
    let mut miner = TemplateMiner::default();
    let ids = observe_all(
        &mut miner,
        &[
            "other line",
            "node kestrel left the ring",
            "node osprey left the ring",
            "node merlin left the ring",
        ],
    );
    assert_eq!(ids, [0, 1, 2, 3]);
    let last = miner.observe("node harrier left the ring");
    assert_eq!(last, Mined { template_id: 1, is_new: false });
    assert_eq!(miner.take_merges(), [Merge { from: 2, into: 1 }, Merge { from: 3, into: 1 }]);
    assert!(miner.take_merges().is_empty());
    assert_eq!((miner.template(3), miner.template(0)), (miner.template(1), String::from("other line")));
}

#[test]
fn names_that_were_values_open_the_next_place_sooner() {
    let mut miner = TemplateMiner::default();
    observe_all(
        &mut miner,
        &["kestrel", "osprey", "merlin", "harrier"]
            .map(|name| format!("node {name} left the ring"))
            .each_ref()
            .map(String::as_str),
    );
    let ids = observe_all(&mut miner, &["the ring has lost kestrel today", "the ring has lost merlin today"]);
    assert_eq!(ids[0], ids[1]);
    assert_eq!(miner.template(ids[0]), "the ring has lost <*> today");
}

#[test]
fn unknown_ids_have_the_widest_template() {
    assert_eq!(TemplateMiner::default().template(7), "<*>");
}

#[test]
fn a_line_is_read_up_to_its_bounds() {
    let mut miner = TemplateMiner::new(Limits { line_bytes_max: 8, tokens_max: 3, ..Limits::default() });
    let cut = miner.observe("größeres").template_id;
    assert_eq!(miner.template(cut), "größer");
    let few = miner.observe("a b c d").template_id;
    assert_eq!(miner.template(few), "a b c");
    assert_eq!(miner.counters().lines_cut, 2);
}

#[test]
fn beyond_the_bound_the_least_recently_used_is_evicted() {
    let mut miner = TemplateMiner::new(Limits { clusters_max: 4, ..Limits::default() });
    let shapes = ["a", "b b", "c c c", "d d d d", "e e e e e"];
    let ids = observe_all(&mut miner, &shapes[..4]);
    observe_all(&mut miner, &["a", "e e e e e"]);
    assert_eq!((miner.counters().clusters, miner.counters().clusters_evicted), (4, 1));
    assert_eq!(observe_all(&mut miner, &["a", "c c c", "d d d d"]), [ids[0], ids[2], ids[3]]);
    let again = miner.observe("b b");
    assert!(again.is_new && again.template_id == 5);
}

#[test]
fn slots_are_used_again_and_ids_are_not() {
    let mut miner = TemplateMiner::new(Limits { clusters_max: 4, ..Limits::default() });
    let line = |length: usize| vec!["word"; length].join(" ");
    for length in 1..200 {
        let mined = miner.observe(&line(length));
        assert_eq!(mined, Mined { template_id: length as u32 - 1, is_new: true });
        assert_eq!(miner.template(mined.template_id), line(length));
    }
    assert!(miner.learner.clusters.taken() <= 8);
}
