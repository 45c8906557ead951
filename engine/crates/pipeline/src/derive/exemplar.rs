//! Traces that show what the value of a step is about.

use serde::{Deserialize, Serialize};

/// Traces of one value, at the most.
pub const EXEMPLARS_MAX: usize = 3;

/// Traces by which a value can be looked into, the most telling first; an id of 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exemplars([u128; EXEMPLARS_MAX]);

impl Exemplars {
    pub fn of(trace_ids: impl IntoIterator<Item = u128>) -> Self {
        let mut exemplars = Self::default();
        for trace_id in trace_ids {
            if trace_id != 0
                && !exemplars.0.contains(&trace_id)
                && let Some(free) = exemplars.0.iter_mut().find(|kept| **kept == 0)
            {
                *free = trace_id;
            }
        }
        exemplars
    }

    pub fn is_empty(&self) -> bool {
        self.0[0] == 0
    }

    /// In hexadecimal, as traces are named everywhere.
    pub fn trace_ids(&self) -> Vec<String> {
        self.0.iter().filter(|id| **id != 0).map(|id| format!("{id:032x}")).collect()
    }
}

/// Of two events the one of more weight is the more telling; which came first does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Weighed {
    weight: i64,
    trace_id: u128,
}

/// The heaviest events of different traces, heaviest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Heaviest([Option<Weighed>; EXEMPLARS_MAX]);

impl Heaviest {
    fn add(&mut self, weighed: Weighed) {
        let same = |kept: &Option<Weighed>| kept.is_some_and(|kept| kept.trace_id == weighed.trace_id);
        let place = self.0.iter().position(same).unwrap_or(EXEMPLARS_MAX - 1);
        if self.0[place] < Some(weighed) {
            self.0[place] = Some(weighed);
            self.0.sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    fn of<'s>(all: impl Iterator<Item = &'s Self>) -> Exemplars {
        let mut sum = Self::default();
        all.flat_map(|heaviest| &heaviest.0).flatten().for_each(|weighed| sum.add(*weighed));
        Exemplars::of(sum.0.iter().flatten().map(|weighed| weighed.trace_id))
    }
}

/// The traces of the slowest events of a step and of the slowest that failed; of lines those of the newest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepExemplars {
    all: Heaviest,
    failed: Heaviest,
}

impl StepExemplars {
    pub fn observe(&mut self, weight: i64, trace_id: u128, is_failed: bool) {
        let weighed = Weighed { weight, trace_id };
        self.all.add(weighed);
        if is_failed {
            self.failed.add(weighed);
        }
    }

    /// Of all events in some steps.
    pub fn heaviest<'s>(steps: impl Iterator<Item = &'s Self>) -> Exemplars {
        Heaviest::of(steps.map(|step| &step.all))
    }

    /// Of those that failed.
    pub fn failed<'s>(steps: impl Iterator<Item = &'s Self>) -> Exemplars {
        Heaviest::of(steps.map(|step| &step.failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_come_first_and_each_once() {
        let mut steps = vec![StepExemplars::default(); 4];
        steps[0].observe(10, 1, false);
        steps[0].observe(70, 2, true);
        steps[1].observe(90, 3, false);
        steps[1].observe(20, 4, true);
        steps[2].observe(80, 2, false);
        let hex = |id: u128| format!("{id:032x}");
        assert_eq!(StepExemplars::heaviest(steps.iter()).trace_ids(), [hex(3), hex(2), hex(4)]);
        assert_eq!(StepExemplars::failed(steps.iter()).trace_ids(), [hex(2), hex(4)]);
        steps[3].observe(1, 5, false);
        steps[2].observe(85, 6, false);
        assert_eq!(
            StepExemplars::heaviest(steps.iter()).trace_ids(),
            [hex(3), hex(6), hex(2)],
            "three at the most"
        );
        assert!(StepExemplars::heaviest([].iter()).is_empty());
    }
}
