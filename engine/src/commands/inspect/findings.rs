//! What is wrong with the records of a topic, and what to do about it.

use std::collections::BTreeMap;

use serde::Serialize;

const EXAMPLES_MAX: usize = 3;
/// Kinds of problems that are told apart, since reasons quote the record.
const KINDS_MAX: usize = 50;

/// A problem, and where it was seen.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    pub(super) problem: String,
    /// Records, or rows where the text says so.
    pub(super) count: u64,
    /// As `partition@offset`.
    pub(super) examples: Vec<String>,
}

#[derive(Default)]
pub(super) struct Problems {
    by_text: BTreeMap<String, (u64, Vec<String>)>,
    untold: u64,
}

impl Problems {
    pub(super) fn add(&mut self, problem: impl Into<String>, count: u64, place: Option<(i32, i64)>) {
        if count == 0 {
            return;
        }
        let problem = problem.into();
        if self.by_text.len() >= KINDS_MAX && !self.by_text.contains_key(&problem) {
            self.untold += count;
            return;
        }
        let (counted, examples) = self.by_text.entry(problem).or_default();
        *counted += count;
        if let Some((partition, offset)) = place.filter(|_| examples.len() < EXAMPLES_MAX) {
            examples.push(format!("{partition}@{offset}"));
        }
    }

    /// The most frequent first.
    pub(super) fn report(self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self
            .by_text
            .into_iter()
            .map(|(problem, (count, examples))| Problem { problem, count, examples })
            .collect();
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.count));
        if self.untold > 0 {
            let problem = "further reasons".to_owned();
            problems.push(Problem { problem, count: self.untold, examples: Vec::new() });
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_without_end_stay_bounded_and_counted() {
        let mut problems = Problems::default();
        for number in 0..1000 {
            problems.add(format!("reason {}", number % 100), 1, Some((0, number)));
        }
        problems.add("nothing", 0, None);
        let report = problems.report();
        assert_eq!(report.len(), KINDS_MAX + 1);
        assert_eq!(report.iter().map(|problem| problem.count).sum::<u64>(), 1000);
        assert!(report.iter().all(|problem| problem.examples.len() <= EXAMPLES_MAX));
    }
}
