//! A process: the worker's driver with its source, its sink, and the jobs that it runs beside.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkpoint::SnapshotStore;
use rand::Rng;
use worker::{Checkpoints, Driver, DriverSettings, Job, WorkerCounters};

use crate::world::{Fate, Fuse, Handle, MemberId, SimulatedSink, SimulatedSource, Tasks, World};

/// Calls until a process crashes at the latest.
const FUSE_MAX: u32 = 600;

pub(crate) struct Process {
    pub(crate) member: MemberId,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) frozen_until: Duration,
    driver: Driver<SimulatedSource, SimulatedSink>,
    jobs: Arc<Mutex<Vec<Job>>>,
}

impl Process {
    pub(crate) fn start(world: &Rc<RefCell<World>>, slot: usize, store: &Arc<dyn SnapshotStore>) -> Self {
        let (member, incarnation, fuse, epoch_ms, interval_ms) = {
            let mut world = world.borrow_mut();
            let incarnation = world.init_producer(slot);
            let fuse = Fuse(world.rng.random_range(0..FUSE_MAX));
            let (epoch_ms, interval_ms) = (world.rng.random_range(2..40), world.rng.random_range(5..200));
            (world.join(), incarnation, fuse, epoch_ms, interval_ms)
        };
        let handle = Rc::new(Handle {
            world: Rc::clone(world),
            member,
            producer: slot,
            incarnation,
            fuse: Rc::new(RefCell::new(fuse)),
        });
        let jobs = Arc::new(Mutex::new(Vec::new()));
        let queue = Arc::clone(&jobs);
        // Some snapshots are stored before the worker takes the next step, others some time later.
        let numbers = AtomicU32::new(0);
        let at_once: u64 = if world.borrow().is_calm { u64::MAX } else { world.borrow_mut().rng.random() };
        let run = move |job: Job| -> io::Result<()> {
            if at_once.rotate_right(numbers.fetch_add(1, Ordering::Relaxed)) & 1 == 1 {
                job();
            } else {
                queue.lock().expect("one thread").push(job);
            }
            Ok(())
        };
        let checkpoints = Checkpoints {
            interval: Duration::from_millis(interval_ms),
            keep: 2,
            slice_series: 1,
            run: Arc::new(run),
            store: Arc::clone(store),
            // Everything.
            warm_up: Duration::MAX,
            config_digest: 7,
        };
        let kind = world.borrow().tasks;
        let settings = DriverSettings {
            name: format!("{slot}"),
            group: "g".to_owned(),
            epoch: Duration::from_millis(epoch_ms),
            stop_patience: Duration::ZERO,
            checkpoints: (kind == Tasks::Chains).then_some(checkpoints),
        };
        let counters = Arc::new(WorkerCounters::default());
        let (source, sink) = (SimulatedSource(Rc::clone(&handle)), SimulatedSink(handle));
        let tasks = Box::new(move |_: &str, _: i32| kind.task());
        let stop = Arc::new(AtomicBool::new(false));
        let driver = Driver::new(settings, tasks, source, sink, Arc::clone(&counters), stop);
        Self { member, counters, frozen_until: Duration::ZERO, driver, jobs }
    }

    pub(crate) fn turn(&mut self) -> Result<(), Fate> {
        self.driver.turn()
    }

    pub(crate) fn finish(&mut self) -> Result<(), Fate> {
        self.driver.finish()
    }

    /// The snapshots that wait are stored. Those of a process that crashes never are.
    pub(crate) fn run_jobs(&self) {
        let jobs = std::mem::take(&mut *self.jobs.lock().expect("one thread"));
        jobs.into_iter().for_each(|job| job());
    }
}
