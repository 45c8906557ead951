//! Many seeded lines that nobody would write: random bytes read as lossy text, ordinary lines with damage, and very long ones.

use foreshock_templates::{Limits, LineReader, TemplateMiner, mine_to_end};

const LINES: usize = 40_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

const ORDINARY: [&str; 8] = [
    "acquire lock=233570404, flags=0x1, tag=\"View Lock\", name=com.example.ui, ws=null, uid=10037",
    "GET https://shop.example/api/v2/items?id=17 HTTP/1.1 status: 200 len: 1893 time: 0.2477829",
    "session for user kestrel opened at Tue Mar 4 12:30:01.5 2031 UTC from fe80::1:2 and 00:1b:44:11:3a:b7",
    "Got {Point{x: 1, y: {z}}, [1, 2, 3], [red, green]} from C:\\data\\x and {550e8400-e29b-41d4-a716-446655440000}",
    "Größenänderung von „größe“ auf 17 MB. Fertig!",
    "retry 3 of 5 failed: java.io.IOException: Connection reset by peer (errno=104), backing off 15ms...",
    "12,13:14,15 <a|b> 'c d' k= l=;m=, red,green,blue eth0 IPv6 deadbeef",
    "\u{3000}全角の空白\u{a0}と ٣٤ 𝟙𝟚 e\u{301}\u{200b}",
];

/// One line as bytes; without line breaks.
fn line(random: &mut Random) -> Vec<u8> {
    let mut line = match random.below(8) {
        0 => {
            let length = random.below(200);
            random.bytes(length)
        }
        1 if random.below(50) == 0 => {
            let piece = random.below(4);
            ["a ", "[{(", "x=", "1,"][piece].repeat(random.below(60_000)).into_bytes()
        }
        _ => ORDINARY[random.below(ORDINARY.len())].as_bytes().to_vec(),
    };
    for _ in 0..random.below(6) {
        let at = random.below(line.len() + 1);
        match random.below(5) {
            0 => line.insert(at, random.next() as u8),
            1 => line.truncate(at),
            2 if at < line.len() => line[at] = random.next() as u8,
            3 => {
                let other = ORDINARY[random.below(ORDINARY.len())].as_bytes();
                let from = random.below(other.len());
                line.splice(at..at, other[from..].iter().copied());
            }
            _ if at < line.len() => line[at] = b" =:,;()[]{}<>\"'|/\\."[random.below(19)],
            _ => {}
        }
    }
    line.retain(|byte| *byte != b'\n');
    line
}

fn tight() -> Limits {
    Limits {
        line_bytes_max: 300,
        tokens_max: 20,
        signatures_max: 500,
        clusters_max: 200,
        bucket_clusters_max: 20,
        evidence_max: 500,
    }
}

#[test]
fn any_bytes_are_mined_within_bounds_and_the_same_each_time() {
    let mut random = Random(1);
    let lines: Vec<Vec<u8>> = (0..LINES).map(|_| line(&mut random)).collect();
    for limits in [tight(), Limits::default()] {
        let mut miners = [TemplateMiner::new(limits.clone()), TemplateMiner::new(limits.clone())];
        for (at, line) in lines.iter().enumerate() {
            let text = String::from_utf8_lossy(line);
            let [first, second] = miners.each_mut();
            let plain = first.observe(&text);
            let (mined, parameters) = second.observe_parameters(&text);
            assert_eq!(mined, plain);
            let mut end = text.as_ptr() as usize;
            let mut count = 0;
            for parameter in parameters {
                // In order, without overlap, and inside of the line.
                assert!(parameter.text.as_ptr() as usize >= end);
                end = parameter.text.as_ptr() as usize + parameter.text.len();
                let _ = (parameter.kind(), parameter.quantity());
                count += 1;
            }
            assert!(
                end <= text.as_ptr() as usize + text.len().min(limits.line_bytes_max)
                    && count <= limits.tokens_max
            );
            assert_eq!(first.drain_merges().collect::<Vec<_>>(), second.take_merges());
            if at % 500 == 0 {
                let counters = first.counters();
                assert_eq!(counters, second.counters());
                assert!(counters.clusters <= limits.clusters_max && counters.evidence <= limits.evidence_max);
                assert!(counters.signatures <= limits.signatures_max);
                assert!(first.template(mined.template_id).len() <= 4 * limits.line_bytes_max);
            }
        }
    }
}

#[test]
fn a_reader_gives_what_lossy_text_would_be() {
    let mut random = Random(2);
    let lines: Vec<Vec<u8>> = (0..2000).map(|_| line(&mut random)).collect();
    let input = lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect::<Vec<u8>>();
    let mut reader = LineReader::new(std::io::BufReader::with_capacity(61, &input[..]), usize::MAX);
    for line in &lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let read = reader.next_line().expect("bytes can be read").expect("there is a line");
        assert_eq!(read, String::from_utf8_lossy(line));
    }
    assert_eq!(reader.next_line().expect("bytes can be read"), None);
    let mut miner = TemplateMiner::new(tight());
    let mined = mine_to_end(&mut miner, &input[..]).expect("bytes can be read");
    assert_eq!((mined.first_ids().len(), miner.counters().lines), (2000, 2000));
}
