//! What holds for any lines.

use foreshock_templates::{Limits, Merge, Mined, TemplateMiner};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bounds so tight that short streams reach all of them.
fn tight() -> Limits {
    Limits {
        line_bytes_max: 64,
        tokens_max: 8,
        signatures_max: 8,
        clusters_max: 8,
        bucket_clusters_max: 4,
        evidence_max: 16,
    }
}

/// Text that is hard on a tokenizer: delimiters, unbalanced brackets, blanks and digits outside ASCII.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        prop::sample::select(vec![
            "=",
            ":",
            "::",
            ",",
            ";",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "<",
            ">",
            "\"",
            "'",
            "|",
            " ",
            "  ",
            "\t",
            "\u{3000}",
            "\u{a0}",
            "\n",
            "/",
            "//",
            "\\\\",
            "C:\\",
            "http://",
            ".",
            "!?",
            "...",
            "@",
            "-",
            "+",
            "_",
            "<*>",
            "é",
            "→",
            "٣",
            "𝟙",
            "user ",
            "12:30",
            "12:30:01,5",
            "aa:bb:cc:dd",
            "MB",
            "Mon",
            "Jan ",
            "UTC",
            "true",
            "x=",
            "[a, b]",
            "\"a b\"",
            "{x}",
        ])
        .prop_map(String::from),
        "[a-zA-Z]{1,6}",
        "[0-9]{1,4}",
        any::<char>().prop_map(String::from),
    ];
    vec(pieces, 0..24).prop_map(|pieces| pieces.concat())
}

/// Lines as programs write them: few shapes, many values.
fn ordinary() -> impl Strategy<Value = String> {
    let verb = prop::sample::select(vec![
        "opened", "closed", "lost", "kestrel", "osprey", "merlin", "harrier", "eth0", "eth1", "fooBar",
    ]);
    let noun =
        prop::sample::select(vec!["session", "queue", "shard", "disk", "alpha", "bravo", "charlie", "delta"]);
    (verb, noun, 0..100_u32, 0..4).prop_map(|(verb, noun, number, shape)| match shape {
        0 => format!("{verb} {noun} of worker {number}"),
        1 => format!("{noun} {verb}: size={number} owner={noun}"),
        2 => format!("the {noun} was {verb} by user {verb} in {number} ms"),
        _ => format!("{verb}, {noun} of worker ({number})"),
    })
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    vec(prop_oneof![1 => hostile(), 1 => ".*", 3 => ordinary()], 0..200)
}

fn mine(limits: Limits, lines: &[String]) -> (Vec<Mined>, Vec<Merge>, Vec<String>) {
    let mut miner = TemplateMiner::new(limits);
    let mined: Vec<Mined> = lines.iter().map(|line| miner.observe(line)).collect();
    let merges = miner.take_merges();
    let templates = mined.iter().map(|one| miner.template(one.template_id)).collect();
    (mined, merges, templates)
}

fn written(miner: &TemplateMiner) -> Vec<u8> {
    postcard::to_stdvec(miner).expect("plain data")
}

fn read(bytes: &[u8]) -> Result<TemplateMiner, postcard::Error> {
    postcard::from_bytes(bytes)
}

/// Bounds of some of which little comes to evictions, and much to others.
fn limits() -> impl Strategy<Value = Limits> {
    let tighter = (2..12_usize, 2..12_usize, 2..6_usize, 2..20_usize).prop_map(
        |(signatures_max, clusters_max, bucket_clusters_max, evidence_max)| Limits {
            signatures_max,
            clusters_max,
            bucket_clusters_max,
            evidence_max,
            ..Limits::default()
        },
    );
    prop_oneof![Just(Limits::default()), Just(tight()), tighter]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_lines_give_the_same_result(lines in lines(), is_tight: bool) {
        let limits = if is_tight { tight() } else { Limits::default() };
        prop_assert_eq!(mine(limits.clone(), &lines), mine(limits, &lines));
    }

    #[test]
    fn a_restored_miner_goes_on_as_if_nothing_had_been(
        lines in lines(),
        limits in limits(),
        split in any::<prop::sample::Index>(),
        takes_merges: bool,
    ) {
        let split = split.index(lines.len() + 1);
        let (mut whole, mut first) = (TemplateMiner::new(limits.clone()), TemplateMiner::new(limits));
        for line in &lines[..split] {
            prop_assert_eq!(whole.observe(line), first.observe(line));
            if takes_merges {
                prop_assert_eq!(whole.take_merges(), first.take_merges());
            }
        }
        let bytes = written(&first);
        let mut second = read(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(&written(&second), &bytes);
        prop_assert_eq!(second.counters(), whole.counters());
        for line in &lines[split..] {
            prop_assert_eq!(second.observe(line), whole.observe(line));
            prop_assert_eq!(second.counters(), whole.counters());
            if takes_merges {
                prop_assert_eq!(second.take_merges(), whole.take_merges());
            }
        }
        for id in 0..=lines.len() as u32 {
            prop_assert_eq!(second.template(id), whole.template(id));
        }
        prop_assert_eq!(written(&second), written(&whole));
        prop_assert_eq!(second.take_merges(), whole.take_merges());
    }

    #[test]
    fn damaged_bytes_are_refused_or_harmless(
        lines in lines(),
        limits in limits(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        length in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut miner = TemplateMiner::new(limits);
        for line in &lines[..lines.len() / 2] {
            miner.observe(line);
        }
        let mut bytes = written(&miner);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(length) = length {
            let length = length.index(bytes.len());
            bytes.truncate(length);
        }
        if let Ok(mut miner) = read(&bytes) {
            for line in &lines {
                miner.observe(line);
            }
            for id in 0..=lines.len() as u32 {
                miner.template(id);
            }
            miner.take_merges();
            miner.counters();
            prop_assert!(read(&written(&miner)).is_ok());
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_harmless(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(mut miner) = read(&bytes) {
            miner.observe("a line");
            prop_assert!(read(&written(&miner)).is_ok());
        }
    }

    #[test]
    fn bounds_hold_after_every_line(lines in lines()) {
        let limits = tight();
        let mut miner = TemplateMiner::new(limits.clone());
        for line in &lines {
            miner.observe(line);
            let counters = miner.counters();
            prop_assert!(counters.clusters <= limits.clusters_max);
            prop_assert!(counters.signatures <= limits.signatures_max);
            prop_assert!(counters.evidence <= limits.evidence_max);
        }
        prop_assert_eq!(miner.counters().lines, lines.len() as u64);
    }

    #[test]
    fn every_template_is_there_while_its_lines_come(lines in lines(), is_tight: bool) {
        let mut miner = TemplateMiner::new(if is_tight { tight() } else { Limits::default() });
        for line in &lines {
            let id = miner.observe(line).template_id;
            let has_text = line.chars().any(char::is_alphanumeric);
            let is_cut = is_tight && (line.len() > 64 || miner.counters().lines_cut > 0);
            prop_assert!(!miner.template(id).is_empty() || !has_text || is_cut, "{line:?}");
        }
    }

    #[test]
    fn merges_go_to_smaller_ids_that_live_on(lines in lines()) {
        let mut miner = TemplateMiner::default();
        let mut given = Vec::new();
        let mut ended = Vec::new();
        for line in &lines {
            let mined = miner.observe(line);
            prop_assert_eq!(mined.is_new, !given.contains(&mined.template_id));
            for merge in miner.take_merges() {
                prop_assert!(merge.into < merge.from);
                prop_assert!(given.contains(&merge.from), "{merge:?} of an id that was not given out");
                prop_assert!(!ended.contains(&merge.from) && !ended.contains(&merge.into));
                prop_assert_eq!(miner.template(merge.from), miner.template(merge.into));
                ended.push(merge.from);
            }
            prop_assert!(!ended.contains(&mined.template_id));
            given.push(mined.template_id);
        }
    }

    #[test]
    fn a_line_seen_again_keeps_its_template_up_to_merges(lines in lines()) {
        let mut miner = TemplateMiner::default();
        for line in &lines {
            let first = miner.observe(line);
            let second = miner.observe(line);
            prop_assert!(!second.is_new);
            prop_assert_eq!(first.template_id, second.template_id);
        }
    }

    #[test]
    fn a_line_whose_shape_was_forgotten_still_has_a_template(lines in lines()) {
        let mut miner = TemplateMiner::new(Limits { signatures_max: 2, ..Limits::default() });
        for line in lines.iter() {
            miner.observe(line);
        }
        for line in &lines {
            prop_assert!(!miner.observe(line).is_new, "{line:?}");
        }
    }
}
