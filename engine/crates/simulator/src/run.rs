//! One run of a seed, and what must hold at its end.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use checkpoint::SnapshotStore;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::process::Process;
use crate::store::SimulatedStore;
use crate::world::{Fate, Tasks, World, lines, record};

/// Turns with faults, and turns that must then be enough to finish.
const CHAOS_TURNS: usize = 3_000;
const CALM_TURNS: usize = 20_000;
const RECORDS: usize = 400;

/// A broker that breaks its promise on purpose, to see that the check sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// What is written is visible before it is committed.
    OutputsAtOnce,
    /// Offsets are committed before the outputs are.
    OffsetsBeforeOutputs,
    /// A member that was put out of its group may commit.
    ZombiesCommit,
}

/// What happened in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub records: usize,
    pub outputs: usize,
    pub commits: u64,
    pub aborts: u64,
    pub crashes: u64,
    pub freezes: u64,
    pub moves: u64,
    pub restores: u64,
    pub cold_starts: u64,
    pub replayed_records: u64,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.outputs += other.outputs;
        self.commits += other.commits;
        self.aborts += other.aborts;
        self.crashes += other.crashes;
        self.freezes += other.freezes;
        self.moves += other.moves;
        self.restores += other.restores;
        self.cold_starts += other.cold_starts;
        self.replayed_records += other.replayed_records;
    }
}

/// What must never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Partition, and the number of the first output that is not what an uninterrupted task gives.
    Outputs { partition: usize, at: usize, visible: usize, expected: usize },
    /// A replay gave other outputs than were committed.
    Divergence { times: u64 },
    /// So many records were not processed although nothing hindered it any more.
    Stalled { records: usize },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outputs { partition, at, visible, expected } => write!(
                f,
                "partition {partition}: output {at} is wrong; {visible} are visible, {expected} should be"
            ),
            Self::Divergence { times } => write!(f, "{times} replays diverged"),
            Self::Stalled { records } => write!(f, "stalled with {records} records not processed"),
        }
    }
}

/// Runs a seed; the same seed gives the same run.
pub fn run(seed: u64, mutation: Option<Mutation>) -> Result<Report, Violation> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (partitions, slots) = (rng.random_range(1..=4), rng.random_range(1..=3));
    // Either states may be damaged, or records deleted that only a sound state makes up for.
    let may_damage = rng.random_bool(0.5);
    let simulated = Arc::new(SimulatedStore::new(rng.random(), may_damage));
    let store: Arc<dyn SnapshotStore> = Arc::<SimulatedStore>::clone(&simulated);
    let tasks = if rng.random_bool(0.25) { Tasks::Gathering } else { Tasks::Chains };
    let world = Rc::new(RefCell::new(World::new(rng, partitions, tasks, mutation)));
    let mut processes: Vec<Option<Process>> = (0..slots).map(|_| None).collect();
    let mut zombies: Vec<Process> = Vec::new();
    let mut report = Report::default();
    let mut divergences = 0;
    let mut bury = |process: Process, report: &mut Report| {
        let values = process.counters.values();
        report.restores += values.restores;
        report.cold_starts += values.cold_starts;
        report.replayed_records += values.replayed_records;
        divergences += values.replay_divergences;
    };

    for turn in 0..CHAOS_TURNS + CALM_TURNS {
        if turn == CHAOS_TURNS {
            let mut world = world.borrow_mut();
            world.is_calm = true;
            simulated.calm();
        }
        if turn < CHAOS_TURNS && turn % (CHAOS_TURNS / RECORDS) == 0 {
            world.borrow_mut().produce();
            report.records += 1;
        }
        if turn > CHAOS_TURNS && world.borrow().behind() == 0 {
            break;
        }
        let slot = world.borrow_mut().rng.random_range(0..slots);
        let Some(mut process) = processes[slot].take() else {
            // Not at once, so that others take over now and then.
            if turn > CHAOS_TURNS || world.borrow_mut().rng.random_ratio(1, 20) {
                processes[slot] = Some(Process::start(&world, slot, &store));
            } else {
                world.borrow_mut().advance(Duration::from_millis(20));
            }
            continue;
        };
        let now = world.borrow().now;
        if process.frozen_until > now && turn < CHAOS_TURNS {
            world.borrow_mut().advance(Duration::from_millis(20));
            processes[slot] = Some(process);
            continue;
        }
        world.borrow_mut().freeze(process.member, false);
        if world.borrow_mut().chance(500) {
            report.freezes += 1;
            let for_ms = world.borrow_mut().rng.random_range(1..8_000);
            process.frozen_until = now + Duration::from_millis(for_ms);
            world.borrow_mut().freeze(process.member, true);
            if world.borrow_mut().chance(3) {
                // Somebody starts another in its place, and it wakes up as a zombie.
                zombies.push(process);
            } else {
                processes[slot] = Some(process);
            }
            continue;
        }
        if world.borrow_mut().chance(400) {
            // A clean stop.
            let finished = process.finish();
            process.run_jobs();
            if finished.is_ok() {
                world.borrow_mut().leave(process.member);
            } else {
                world.borrow_mut().freeze(process.member, true);
            }
            bury(process, &mut report);
            continue;
        }
        if world.borrow_mut().chance(100) {
            world.borrow_mut().rebalance();
        }
        if !may_damage && world.borrow_mut().chance(50) {
            world.borrow_mut().retain();
        }
        match process.turn() {
            Ok(()) => {
                if turn > CHAOS_TURNS || world.borrow_mut().rng.random_ratio(1, 4) {
                    process.run_jobs();
                }
                processes[slot] = Some(process);
            }
            Err(Fate::Crashed | Fate::Fenced) => {
                report.crashes += 1;
                // Its jobs are lost with it; the group waits for its session to end.
                world.borrow_mut().freeze(process.member, true);
                bury(process, &mut report);
            }
        }
        zombies.retain_mut(|zombie| zombie.frozen_until > now || zombie.turn().is_ok());
    }

    for process in processes.into_iter().flatten().chain(zombies) {
        bury(process, &mut report);
    }
    let world = world.borrow();
    (report.commits, report.aborts, report.moves) = (world.commits, world.aborts, world.moves);
    if world.behind() > 0 {
        return Err(Violation::Stalled { records: world.behind() });
    }
    for partition in 0..world.partitions() {
        let expected = expected(&world, partition);
        let visible = &world.visible[partition];
        let wrong = visible.iter().zip(&expected).position(|(visible, expected)| visible != expected);
        let length = (visible.len() != expected.len()).then(|| visible.len().min(expected.len()));
        if let Some(at) = wrong.or(length) {
            let (visible, expected) = (visible.len(), expected.len());
            return Err(Violation::Outputs { partition, at, visible, expected });
        }
        report.outputs += visible.len();
    }
    if divergences > 0 {
        return Err(Violation::Divergence { times: divergences });
    }
    Ok(report)
}

/// How many records the next owner of a partition reads again after a worker stopped cleanly, `behind` of whose records
/// came after its last commit.
pub fn replayed_after_hand_over(behind: usize) -> u64 {
    let store: Arc<dyn SnapshotStore> = Arc::new(SimulatedStore::calm_from_the_start());
    let mut world = World::new(ChaCha8Rng::seed_from_u64(1), 1, Tasks::Chains, None);
    world.is_calm = true;
    let world = Rc::new(RefCell::new(world));
    let turns = |process: &mut Process, records: usize| {
        (0..records).for_each(|_| world.borrow_mut().produce());
        for _ in 0..2 * records + 2 {
            process.turn().expect("nothing fails");
        }
    };
    let mut first = Process::start(&world, 0, &store);
    turns(&mut first, 100);
    while world.borrow().behind() > 0 {
        first.turn().expect("nothing fails");
    }
    turns(&mut first, behind);
    first.finish().expect("nothing fails");
    world.borrow_mut().leave(first.member);
    drop(first);
    let mut second = Process::start(&world, 1, &store);
    turns(&mut second, 10);
    let values = second.counters.values();
    assert_eq!(values.restores, 1, "the second goes on from the state of the first");
    values.replayed_records
}

/// What a task that is never interrupted gives.
fn expected(world: &World, partition: usize) -> Vec<Vec<u8>> {
    let mut task = world.tasks.task();
    let mut out = Vec::new();
    for (offset, payload) in world.records(partition) {
        task.on_record(record(partition, offset, payload), &mut out);
    }
    task.flush(&mut out);
    out.iter().flat_map(lines).collect()
}
