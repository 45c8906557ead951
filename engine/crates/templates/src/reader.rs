//! Lines out of bytes, and what the templates of a whole input are at its end.
//!
//! A [`LineReader`] hands out one line at a time in bounded memory, whatever the input holds; [`TemplateMiner::observe`] takes it. Who needs the
//! templates as they are known at the end, for a file rather than a stream, uses [`mine_to_end`].

use std::collections::HashMap;
use std::io::{self, BufRead, ErrorKind, Write};

use memchr::memchr;

use crate::{Merge, TemplateMiner};

/// Reads lines that end with `\n` or `\r\n`. What is no UTF-8 becomes U+FFFD. Of a line, at most `bytes_max` bytes are kept, and the rest is
/// passed over.
pub struct LineReader<R> {
    input: R,
    bytes_max: usize,
    line: Vec<u8>,
    text: String,
}

impl<R: BufRead> LineReader<R> {
    /// With `bytes_max` above what the miner reads of a line, the miner counts the lines that were cut.
    pub fn new(input: R, bytes_max: usize) -> Self {
        LineReader { input, bytes_max, line: Vec::new(), text: String::new() }
    }

    /// The next line without its end; `None` when there is none.
    pub fn next_line(&mut self) -> io::Result<Option<&str>> {
        if !self.fill()? {
            return Ok(None);
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        match std::str::from_utf8(&self.line) {
            Ok(text) => Ok(Some(text)),
            Err(_) => {
                self.text.clear();
                for chunk in self.line.utf8_chunks() {
                    self.text.push_str(chunk.valid());
                    if !chunk.invalid().is_empty() {
                        self.text.push(char::REPLACEMENT_CHARACTER);
                    }
                }
                Ok(Some(&self.text))
            }
        }
    }

    /// False at the end of the input.
    fn fill(&mut self) -> io::Result<bool> {
        self.line.clear();
        let mut is_line = false;
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                return Ok(is_line);
            }
            is_line = true;
            let end = memchr(b'\n', available);
            let part = &available[..end.unwrap_or(available.len())];
            let room = self.bytes_max - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let read = part.len() + usize::from(end.is_some());
            self.input.consume(read);
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

/// What ids became: follows the merges that a miner announced. It holds as many entries as ids were merged.
#[derive(Clone, Debug, Default)]
pub struct Survivors {
    into: HashMap<u32, u32>,
}

impl Survivors {
    pub fn record(&mut self, merge: Merge) {
        self.into.insert(merge.from, merge.into);
    }

    /// The id that `id` has come to.
    pub fn resolve(&self, mut id: u32) -> u32 {
        while let Some(&into) = self.into.get(&id) {
            id = into;
        }
        id
    }
}

/// The ids of all lines of an input: four bytes a line.
#[derive(Clone, Debug, Default)]
pub struct MinedLines {
    first_ids: Vec<u32>,
    survivors: Survivors,
}

impl MinedLines {
    /// The ids as they were given out, line by line.
    pub fn first_ids(&self) -> &[u32] {
        &self.first_ids
    }

    /// The ids as they are at the end.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = u32> {
        self.first_ids.iter().map(|&id| self.survivors.resolve(id))
    }

    /// Writes `line_id,template_id,template` for each line, from `line_id` 1 on, with ids as they are at the end, or as they were given out. The
    /// template is that of the end in both cases.
    pub fn write_csv(
        &self,
        miner: &TemplateMiner,
        as_first_given: bool,
        mut out: impl Write,
    ) -> io::Result<()> {
        let mut templates: HashMap<u32, String> = HashMap::new();
        writeln!(out, "line_id,template_id,template")?;
        for (at, (&first, last)) in self.first_ids.iter().zip(self.ids()).enumerate() {
            let quoted = templates.entry(last).or_insert_with(|| miner.template(last).replace('"', "\"\""));
            let shown = if as_first_given { first } else { last };
            writeln!(out, "{},{shown},\"{quoted}\"", at + 1)?;
        }
        out.flush()
    }
}

/// Mines every line of `input`.
pub fn mine_to_end(miner: &mut TemplateMiner, input: impl BufRead) -> io::Result<MinedLines> {
    let mut lines = LineReader::new(input, miner.limits().line_bytes_max + 1);
    let mut mined = MinedLines::default();
    while let Some(line) = lines.next_line()? {
        mined.first_ids.push(miner.observe(line).template_id);
        miner.drain_merges().for_each(|merge| mined.survivors.record(merge));
    }
    Ok(mined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    fn lines(input: &[u8], bytes_max: usize, buffer: usize) -> Vec<String> {
        let mut reader = LineReader::new(io::BufReader::with_capacity(buffer, input), bytes_max);
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line().expect("bytes can be read") {
            lines.push(line.to_owned());
        }
        lines
    }

    #[test]
    fn lines_do_not_depend_on_the_buffer() {
        for buffer in 1..12 {
            assert_eq!(lines(b"one\r\n\ntwo\n", 100, buffer), ["one", "", "two"]);
            assert_eq!(lines(b"one\ntwo", 100, buffer), ["one", "two"]);
            assert_eq!(lines(b"", 100, buffer), [""; 0]);
            assert_eq!(lines(b"\n", 100, buffer), [""]);
        }
    }

    #[test]
    fn long_lines_are_cut_and_bad_bytes_replaced() {
        assert_eq!(lines(b"abcdef\ngh\n", 3, 4), ["abc", "gh"]);
        assert_eq!(lines(b"a\xffb\n", 9, 4), ["a\u{fffd}b"]);
        let mut miner = TemplateMiner::new(Limits { line_bytes_max: 3, ..Limits::default() });
        mine_to_end(&mut miner, &b"abc\nabcd\n"[..]).expect("bytes can be read");
        assert_eq!(miner.counters().lines_cut, 1);
    }

    #[test]
    fn the_table_has_the_ids_of_the_end_or_of_the_line() {
        let input = b"node kestrel left the ring\nnode osprey left the ring\nnode merlin left the ring\n\
            node harrier left the ring\nsaid \"no\"";
        let mut miner = TemplateMiner::default();
        let mined = mine_to_end(&mut miner, &input[..]).expect("bytes can be read");
        let table = |as_first_given| {
            let mut out = Vec::new();
            mined.write_csv(&miner, as_first_given, &mut out).expect("memory can be written");
            String::from_utf8(out).expect("templates are text")
        };
        let expected = "line_id,template_id,template\n1,0,\"node <*> left the ring\"\n\
            2,0,\"node <*> left the ring\"\n3,0,\"node <*> left the ring\"\n4,0,\"node <*> left the ring\"\n\
            5,4,\"said \"\"no\"\"\"\n";
        assert_eq!(table(false), expected);
        assert!(table(true).contains("\n2,1,\"node <*> left the ring\"\n"));
        assert_eq!(mined.first_ids(), [0, 1, 2, 0, 4]);
    }
}
