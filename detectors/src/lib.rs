//! Streaming anomaly detectors: each judges one series at a time, one point after the other.
//!
//! A [`Detector`] holds parameters; what it remembers of a series lies outside, in its `State`. A [`DetectorBank`] is a detector
//! with one state for each series, erased to a trait object and called once per batch. [`DETECTORS`] names them all.
//!
//! No Arrow, no I/O, no clock: a verdict depends on the points of the series and their order only.

mod bank;
mod bounds;
pub mod calendar;
pub mod calibration;
pub mod deviation;
pub mod ensemble;
pub mod ewma;
pub mod isolation_forest;
pub mod level_shift;
mod prefetch;
pub mod registry;
pub mod seasonal;
pub mod series_gone;
mod slices;
pub mod tail;

pub use calendar::Calendar;
pub use calibration::Calibration;
pub use deviation::{Deviation, Direction};
pub use registry::{DETECTORS, DetectorSpec};

/// The dense index of a series, given by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// One observation: ms since the epoch, and a value in the unit of the series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub time_ms: i64,
    pub value: f64,
}

/// How surprising a point was. `expected`, `lower` and `upper` are in the unit of the series, and finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    pub expected: f64,
    pub lower: f64,
    pub upper: f64,
    /// 0..1; above 0.5 the point is anomalous.
    pub anomaly_score: f64,
}

impl Verdict {
    pub fn is_anomalous(&self) -> bool {
        self.anomaly_score > 0.5
    }
}

/// Parameters that cannot be used, in words that name the parameter and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidParameters(pub String);

impl InvalidParameters {
    /// An error with this text unless the condition holds.
    pub fn unless(holds: bool, text: &str) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self(text.to_owned())) }
    }
}

/// A detector with its parameters.
pub trait Detector: Send + 'static {
    type State: Clone + Default + Send + serde::Serialize + serde::de::DeserializeOwned;

    /// As the configuration and snapshots know it.
    const NAME: &'static str;

    fn validate(&self) -> Result<(), InvalidParameters>;

    /// Whether a state that was read from elsewhere is one that [`update`](Self::update) could have left behind, as far as it
    /// relies on that. It must hold for every state that `update` leaves behind.
    fn is_sound(&self, state: &Self::State) -> bool;

    /// The most bytes that the state of a series takes in memory, room to grow included.
    fn state_bytes_max(&self) -> usize;

    /// Asks for memory that [`update`](Self::update) will soon read: the state itself with `depth` 0, what lies behind one, two and
    /// three pointers with 1 to 3. What is less deep was asked for some points before.
    fn prefetch(&self, _state: &Self::State, _depth: usize) {}

    /// Judges a finite point, then learns from it. `None` while there is too little to judge by.
    fn update(&self, state: &mut Self::State, point: Point) -> Option<Verdict>;

    /// How many points more it takes until [`update`](Self::update) judges: 0 if it judges the next one.
    fn points_left(&self, state: &Self::State) -> u32;
}

/// A snapshot that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSnapshot {
    #[error("the snapshot has version {0}, this build reads version {version}", version = bank::SNAPSHOT_VERSION)]
    Version(u8),
    #[error("the snapshot is empty")]
    Empty,
    #[error("the snapshot cannot be read: {0}")]
    Content(#[from] postcard::Error),
    #[error("the snapshot is longer than its content")]
    TooLong,
    #[error("the snapshot is of the detector {found}, this is {expected}")]
    OtherDetector { found: String, expected: &'static str },
    #[error("the snapshot holds a state that no {detector} leaves behind, in slot {slot}")]
    Unsound { detector: &'static str, slot: usize },
}

/// A detector over many series, called once per batch.
pub trait DetectorBank: Send {
    /// Judges `points[i]` as a point of the series `slots[i]`, in order; appends one verdict a point. A value that is not
    /// finite gives none and teaches nothing.
    fn observe(&mut self, slots: &[Slot], points: &[Point], verdicts: &mut Vec<Option<Verdict>>);

    /// How the next point of the series would be judged if it were this one, which teaches nothing.
    fn judge(&self, slot: Slot, point: Point) -> Option<Verdict>;

    /// The most bytes that the state of a series takes in memory.
    fn state_bytes_max(&self) -> usize;

    /// The series of the slot is gone; the next point in it belongs to another.
    fn forget(&mut self, slot: Slot);

    /// The series of the slot begins with what was learned of another.
    fn inherit(&mut self, slot: Slot, from: Slot);

    /// As [`forget`](Self::forget), but gives the state as [`take_back`](Self::take_back) reads it.
    fn set_aside(&mut self, slot: Slot) -> Vec<u8>;

    /// Goes on with a state that was set aside, in whatever slot the series has now.
    ///
    /// # Errors
    /// As [`restore`](Self::restore); the state of the slot is unchanged then.
    fn take_back(&mut self, slot: Slot, state: &[u8]) -> Result<(), InvalidSnapshot>;

    /// Begins to write down all states as they are now, with the name of the detector. Parameters are not part of it.
    fn begin_snapshot(&mut self);

    /// Writes on, the states of so many series; what was observed since has no influence. Returns the snapshot once it is
    /// complete, which `restore` reads back; none too if none was begun.
    fn continue_snapshot(&mut self, series: usize) -> Option<Vec<u8>>;

    /// A snapshot in one go.
    fn snapshot(&mut self) -> Vec<u8> {
        self.begin_snapshot();
        self.continue_snapshot(usize::MAX).expect("a slice of any length completes it")
    }

    /// # Errors
    /// When the bytes are not a snapshot of this detector, or hold a state that is not sound; the bank is unchanged then.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), InvalidSnapshot>;

    /// How many finite points more the series needs before one is judged: 0 if the next one is.
    fn points_left(&self, slot: Slot) -> u32;
}
