//! Mines the templates of a file, one message per line: `mine [--first] FILE` prints `line_id,template_id,template`.
//!
//! Ids are those that are valid at the end of the file; with `--first`, as they were given out line by line.

use std::fs::File;
use std::io::{BufReader, BufWriter, Error};

use foreshock_templates::{TemplateMiner, mine_to_end};

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
    let mut miner = TemplateMiner::default();
    let begun = std::time::Instant::now();
    let mined = mine_to_end(&mut miner, BufReader::new(File::open(path)?))?;
    let elapsed = begun.elapsed();
    mined.write_csv(&miner, as_first_given, BufWriter::new(std::io::stdout().lock()))?;
    eprintln!("{} lines in {elapsed:?}, {:?}", mined.first_ids().len(), miner.counters());
    Ok(())
}
