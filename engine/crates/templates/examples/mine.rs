//! Mines the templates of a file, one message per line: `mine [--first] FILE` prints `line_id,template_id,template`.
//!
//! Ids are those that are valid at the end of the file; with `--first`, as they were given out line by line.

use std::collections::HashMap;
use std::io::{BufWriter, Error, Write};

use foreshock_templates::TemplateMiner;

fn main() -> Result<(), Error> {
    let mut as_first_given = false;
    let mut path = None;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--first" => as_first_given = true,
            _ => path = Some(argument),
        }
    }
    let path = path.ok_or_else(|| Error::other("usage: mine [--first] FILE"))?;
    let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();

    let mut miner = TemplateMiner::default();
    let mut ids = Vec::new();
    let mut survivors: HashMap<u32, u32> = HashMap::new();
    let begun = std::time::Instant::now();
    for line in text.split_terminator('\n') {
        ids.push(miner.observe(line).template_id);
        survivors.extend(miner.take_merges().into_iter().map(|merge| (merge.from, merge.into)));
    }
    let elapsed = begun.elapsed();

    let mut out = BufWriter::new(std::io::stdout().lock());
    writeln!(out, "line_id,template_id,template")?;
    for (at, first) in ids.iter().enumerate() {
        let mut last = *first;
        while let Some(&into) = survivors.get(&last) {
            last = into;
        }
        let template = miner.template(last).replace('"', "\"\"");
        let shown = if as_first_given { first } else { &last };
        writeln!(out, "{},{shown},\"{template}\"", at + 1)?;
    }
    out.flush()?;
    eprintln!("{} lines in {elapsed:?}, {:?}", ids.len(), miner.counters());
    Ok(())
}
