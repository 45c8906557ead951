//! Lines of made-up systems, harder than most real ones: variables that are plain words, segments that come and go, lists of any length.

use std::collections::HashMap;

use foreshock_templates::TemplateMiner;

const SYSTEMS: u64 = 8;
const TEMPLATES: usize = 40;
const LINES: usize = 2000;

/// Constant words: those of any log, and those of one trade, which no lexicon holds.
const WORDS: [&str; 72] = [
    "session",
    "opened",
    "closed",
    "for",
    "from",
    "to",
    "with",
    "in",
    "request",
    "failed",
    "started",
    "connection",
    "lost",
    "worker",
    "queue",
    "is",
    "full",
    "retrying",
    "after",
    "timeout",
    "loaded",
    "configuration",
    "of",
    "service",
    "cannot",
    "resolve",
    "host",
    "received",
    "reply",
    "cache",
    "evicted",
    "entry",
    "job",
    "finished",
    "scheduled",
    "on",
    "node",
    "disk",
    "replica",
    "moved",
    "partition",
    "leader",
    "elected",
    "by",
    "granted",
    "denied",
    "access",
    "invoice",
    "parcel",
    "voyage",
    "ledger",
    "harvest",
    "courier",
    "tariff",
    "kiln",
    "orchard",
    "turbine",
    "freight",
    "quarry",
    "glacier",
    "lantern",
    "cinder",
    "meadow",
    "pylon",
    "spindle",
    "trellis",
    "vault",
    "wharf",
    "bobbin",
    "ferry",
    "gantry",
    "hopper",
];

const SYLLABLES: [&str; 24] = [
    "ka", "ro", "mi", "ten", "sul", "bar", "vi", "lo", "dra", "nes", "fi", "gor", "pel", "tu", "zan", "wi",
    "hol", "cre", "jun", "mor", "qui", "sta", "ber", "yo",
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((value ^ (value >> 31)) % bound as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn name(&mut self) -> String {
        let syllables = 2 + self.below(2);
        (0..syllables).map(|_| self.pick(&SYLLABLES)).collect()
    }

    fn names(&mut self, least: usize, most: usize) -> Vec<String> {
        let count = least + self.below(most - least + 1);
        (0..count).map(|_| self.name()).collect()
    }
}

enum Part {
    Constant(&'static str),
    Number,
    Address,
    Path,
    Hash,
    /// A plain word out of those.
    Name(Vec<String>),
    /// `key=` and a plain word.
    Field(&'static str, Vec<String>),
    /// `[one, two]` or `one,two`, of one to five of those.
    List(Vec<String>, bool),
    /// `(12 KB)`, `[12]`, `, 12`, which half of the lines have.
    Optional(usize),
}

impl Part {
    fn random(random: &mut Random) -> Part {
        match random.below(16) {
            0..=3 => Part::Number,
            4 => Part::Address,
            5 => Part::Path,
            6 => Part::Hash,
            7..=9 => Part::Name(random.names(4, 40)),
            10 => Part::Field(random.pick(&WORDS), random.names(3, 30)),
            11 | 12 => Part::List(random.names(5, 30), random.below(3) > 0),
            _ => Part::Optional(random.below(3)),
        }
    }

    fn write(&self, line: &mut String, random: &mut Random) {
        let any = |names: &[String], random: &mut Random| names[random.below(names.len())].clone();
        let text = match self {
            Part::Constant(word) => (*word).to_string(),
            Part::Number => random.below(100_000).to_string(),
            Part::Address => format!("10.{}.{}.{}", random.below(256), random.below(256), random.below(256)),
            Part::Path => format!("/var/{}/{}", random.name(), random.below(1000)),
            Part::Hash => format!("{:08x}", random.below(1 << 32)),
            Part::Name(names) => any(names, random),
            Part::Field(key, names) => format!("{key}={}", any(names, random)),
            Part::List(names, bracketed) => {
                let items: Vec<String> = (0..=random.below(5)).map(|_| any(names, random)).collect();
                if *bracketed { format!("[{}]", items.join(", ")) } else { items.join(",") }
            }
            Part::Optional(_) if random.below(2) == 0 => return,
            Part::Optional(0) => format!("({} KB)", random.below(1000)),
            Part::Optional(1) => format!("[{}]", random.below(1000)),
            Part::Optional(_) => {
                line.push(',');
                random.below(1000).to_string()
            }
        };
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&text);
    }
}

/// Three to seven constant words, and one to three variables behind some of them, so that no two variables touch.
fn template(random: &mut Random) -> Vec<Part> {
    let constants = 3 + random.below(5);
    let mut variables: Vec<Option<Part>> = (0..constants).map(|_| None).collect();
    for _ in 0..1 + random.below(3) {
        let place = random.below(constants);
        variables[place] = Some(Part::random(random));
    }
    let mut parts = Vec::new();
    for variable in variables {
        parts.push(Part::Constant(random.pick(&WORDS)));
        parts.extend(variable);
    }
    parts
}

/// Lines with the number of their template.
fn system(seed: u64) -> Vec<(usize, String)> {
    let mut random = Random(seed);
    let mut templates: Vec<Vec<Part>> = Vec::new();
    let mut constants_seen: Vec<Vec<&str>> = Vec::new();
    while templates.len() < TEMPLATES {
        let candidate = template(&mut random);
        let constants: Vec<&str> = candidate
            .iter()
            .filter_map(|part| if let Part::Constant(word) = part { Some(*word) } else { None })
            .collect();
        if !constants_seen.contains(&constants) {
            templates.push(candidate);
            constants_seen.push(constants);
        }
    }
    (0..LINES)
        .map(|_| {
            // Some templates are far more frequent than others.
            let of = random.below(TEMPLATES).min(random.below(TEMPLATES));
            let mut line = String::new();
            templates[of].iter().for_each(|part| part.write(&mut line, &mut random));
            (of, line)
        })
        .collect()
}

/// The share of lines whose group is exactly that of their template.
fn grouping_accuracy(predicted: &[u32], truth: &[usize]) -> f64 {
    let mut of_predicted: HashMap<u32, (usize, bool, usize)> = HashMap::new();
    let mut of_truth: HashMap<usize, usize> = HashMap::new();
    for (&id, &template) in predicted.iter().zip(truth) {
        let group = of_predicted.entry(id).or_insert((template, true, 0));
        group.1 &= group.0 == template;
        group.2 += 1;
        *of_truth.entry(template).or_default() += 1;
    }
    let right = of_predicted.values().filter(|(template, pure, lines)| *pure && of_truth[template] == *lines);
    right.map(|(_, _, lines)| lines).sum::<usize>() as f64 / truth.len() as f64
}

/// Of ids as they are at the end, and as first given.
fn accuracy_of(seed: u64) -> (f64, f64) {
    let lines = system(seed);
    let truth: Vec<usize> = lines.iter().map(|(template, _)| *template).collect();
    let mut miner = TemplateMiner::default();
    let first: Vec<u32> = lines.iter().map(|(_, line)| miner.observe(line).template_id).collect();
    let survivors: HashMap<u32, u32> =
        miner.take_merges().into_iter().map(|merge| (merge.from, merge.into)).collect();
    let resolve = |mut id: u32| {
        while let Some(&into) = survivors.get(&id) {
            id = into;
        }
        id
    };
    let last: Vec<u32> = first.iter().map(|&id| resolve(id)).collect();
    if std::env::var_os("STRESS_SHOW").is_some() {
        show(&lines, &last, &miner);
    }
    (grouping_accuracy(&last, &truth), grouping_accuracy(&first, &truth))
}

fn show(lines: &[(usize, String)], ids: &[u32], miner: &TemplateMiner) {
    for of in 0..TEMPLATES {
        let mut found: Vec<u32> =
            ids.iter().zip(lines).filter(|(_, line)| line.0 == of).map(|(&id, _)| id).collect();
        let count = found.len();
        found.sort_unstable();
        found.dedup();
        let foreign = ids.iter().zip(lines).filter(|(id, line)| line.0 != of && found.contains(id)).count();
        if found.len() > 1 || foreign > 0 {
            println!("template {of}: {count} lines, {} ids, {foreign} lines of others", found.len());
            for &id in found.iter().take(6) {
                println!("      {id}: {}", miner.template(id));
            }
            lines.iter().filter(|line| line.0 == of).take(3).for_each(|line| println!("   e.g. {}", line.1));
        }
    }
}

#[test]
fn made_up_systems_are_grouped() {
    let mut sum = (0.0, 0.0);
    for seed in 0..SYSTEMS {
        let (last, first) = accuracy_of(seed);
        println!("system {seed}: grouping accuracy {last:.3}, as first given {first:.3}");
        sum = (sum.0 + last, sum.1 + first);
    }
    let mean = (sum.0 / SYSTEMS as f64, sum.1 / SYSTEMS as f64);
    println!("mean: grouping accuracy {:.3}, as first given {:.3}", mean.0, mean.1);
    assert!(mean.0 >= 0.9, "grouping accuracy {:.3}", mean.0);
}
