//! The thread that delivers to one receiver: reads the log, sends, and commits what was accepted.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use model::Alert;
use tokio::runtime::Runtime;

use crate::backoff::Backoff;
use crate::counters::{CounterValues, Counters, add};
use crate::http::{HttpSender, Sent};
use crate::log::{AlertLog, Event, LogError};
use crate::outbox::{Batch, Outbox, Outcome, Wishes};
use crate::receiver::{self, Receiver};
use crate::settings::{DeliverySettings, ReceiverSettings};
use crate::template::Templates;

/// How long the log is waited for before the clock is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How long the answer to a request is waited for when delivery is to end.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// A log that fails is opened again after so long.
const REOPEN: Duration = Duration::from_secs(10);

/// Events that are taken in one go, so that sending is not put off.
const EVENTS_MAX: usize = 64;

/// Opens the log of a receiver; called again after an error.
pub type OpenLog = Box<dyn FnMut() -> Result<Box<dyn AlertLog>, LogError> + Send>;

/// Who knows which alerts are held back.
pub trait Silencer: Send + Sync {
    /// Whether all that is to be known is; before, nothing is delivered.
    fn is_known(&self) -> bool;

    /// Whether an alert is held back at that time, ms since the epoch.
    fn is_silenced(&self, alert: &Alert, now_ms: i64) -> bool;
}

/// Holds nothing back.
pub struct NoSilences;

impl Silencer for NoSilences {
    fn is_known(&self) -> bool {
        true
    }

    fn is_silenced(&self, _alert: &Alert, _now_ms: i64) -> bool {
        false
    }
}

/// Delivers to one receiver until it is dropped.
pub struct Courier {
    name: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    failures: AtomicU32,
    counters: Arc<Counters>,
}

impl Courier {
    /// `instance` tells the processes of the group apart.
    pub fn start(
        all: &DeliverySettings,
        settings: &ReceiverSettings,
        instance: &str,
        open: OpenLog,
        silencer: Arc<dyn Silencer>,
    ) -> std::io::Result<Courier> {
        let shared = Arc::<Shared>::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let receiver = receiver::receiver(settings);
        let wishes = Wishes {
            matchers: settings.matchers.clone(),
            inhibit_rules: all.inhibit_rules.clone(),
            send_resolved: settings.send_resolved,
            give_up_after_ms: settings.give_up_after.ms(),
            resend_ms: receiver.resend_ms(),
            batch_max: receiver.batch_max(),
        };
        let mut round = Round {
            settings: settings.clone(),
            templates: Templates::new(&all.annotations, &settings.annotations),
            desk: Desk::new(&wishes, &shared.counters),
            wishes,
            receiver,
            sender: HttpSender::new(settings),
            backoff: Backoff::new(format!("{instance}/{}", settings.name)),
            silencer,
            runtime,
            shared: Arc::clone(&shared),
        };
        let name = settings.name.clone();
        let thread = std::thread::Builder::new().name(format!("to-{name}")).spawn(move || round.run(open))?;
        Ok(Courier { name, shared, thread: Some(thread) })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn counters(&self) -> CounterValues {
        self.shared.counters.values()
    }

    /// Tries that failed since the last one that did not.
    pub fn consecutive_failures(&self) -> u32 {
        self.shared.failures.load(Ordering::Relaxed)
    }

    /// Asks it to commit what was accepted and to end. Does not wait.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Round {
    settings: ReceiverSettings,
    templates: Templates,
    desk: Desk,
    wishes: Wishes,
    receiver: Box<dyn Receiver>,
    sender: HttpSender,
    backoff: Backoff,
    silencer: Arc<dyn Silencer>,
    runtime: Runtime,
    shared: Arc<Shared>,
}

impl Round {
    fn run(&mut self, mut open: OpenLog) {
        while !self.silencer.is_known() && !self.is_stopping() {
            std::thread::sleep(POLL);
        }
        while !self.is_stopping() {
            let Err(error) = open().and_then(|mut log| self.deliver(log.as_mut())) else { continue };
            add(&self.shared.counters.log_failures, 1);
            let (receiver, again_in) = (&self.settings.name, REOPEN);
            tracing::error!(receiver, %error, ?again_in, "cannot deliver from the topic of alerts, tries again; nothing is lost");
            let until = Instant::now() + REOPEN;
            while !self.is_stopping() && Instant::now() < until {
                std::thread::sleep(POLL);
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// Until it is to stop, or the log fails.
    fn deliver(&mut self, log: &mut dyn AlertLog) -> Result<(), LogError> {
        // A log that was opened anew gives everything again.
        self.desk = Desk::new(&self.wishes, &self.shared.counters);
        let mut has_more = false;
        while !self.is_stopping() {
            self.desk.read(log, if has_more { Duration::ZERO } else { POLL })?;
            has_more = self.tell(log)?;
            // Also where nothing was told: what does not match was passed over.
            self.desk.make_room(log)?;
            self.desk.commit(log, false)?;
            self.desk.outbox.measure();
        }
        self.desk.commit(log, true)
    }

    /// Sends what is to be told next, if it is time. Returns whether it was accepted, so that there may be more.
    fn tell(&mut self, log: &mut dyn AlertLog) -> Result<bool, LogError> {
        let now_ms = now_ms();
        if !self.backoff.is_over(now_ms) {
            return Ok(false);
        }
        let is_silenced = |alert: &Alert| self.silencer.is_silenced(alert, now_ms);
        let Some(batch) = self.desk.outbox.next(now_ms, &is_silenced) else { return Ok(false) };
        if batch.is_release() {
            self.desk.commit(log, true)?;
        }
        let Some(outcome) = self.send(&batch, log)? else { return Ok(false) };
        self.judge(&batch, &outcome);
        for letter in self.desk.outbox.settle(&batch, &outcome, self::now_ms()) {
            let (receiver, offset, reason) =
                (&self.settings.name, letter.record.offset, self.sender.shown(&letter.reason));
            tracing::error!(
                receiver,
                offset,
                reason,
                "an alert is not delivered; it goes to the dead-letter topic"
            );
            let reason = format!("receiver {receiver}: {reason}");
            log.dead_letter(&letter.record, &reason)?;
        }
        Ok(!matches!(outcome, Outcome::Failed { .. }))
    }

    /// One attempt, while the log goes on to be read. None if it was cut off because delivery is to end.
    fn send(&mut self, batch: &Batch, log: &mut dyn AlertLog) -> Result<Option<Outcome>, LogError> {
        let counters = &self.shared.counters;
        let mut notices = batch.notices.clone();
        for notice in &mut notices {
            add(&counters.template_failures, self.templates.apply(&mut notice.alert).len());
        }
        let now_ms = now_ms();
        let requests = self.receiver.requests(&notices, now_ms);
        add(&counters.attempts, 1);
        let mut answer = pin!(self.sender.send(requests, now_ms));
        let mut stop_at = None;
        loop {
            let waited = async { tokio::time::timeout(POLL, answer.as_mut()).await };
            if let Ok(Sent { outcome, members_failed }) = self.runtime.block_on(waited) {
                add(&counters.members_failed, members_failed);
                return Ok(Some(outcome));
            }
            if self.shared.stop.load(Ordering::Acquire) {
                let stop_at = *stop_at.get_or_insert_with(|| Instant::now() + STOP_GRACE);
                if Instant::now() >= stop_at {
                    return Ok(None);
                }
            }
            self.desk.read(log, Duration::ZERO)?;
        }
    }

    /// Counts an outcome, says it, and decides when to go on.
    fn judge(&mut self, batch: &Batch, outcome: &Outcome) {
        let (receiver, counters) = (&self.settings.name, &self.shared.counters);
        let alerts = batch.notices.len();
        if let Outcome::Failed { reason, retry_after_ms } = outcome {
            add(&counters.attempts_failed, 1);
            let wait_ms = self.backoff.failed(now_ms(), *retry_after_ms);
            let (reason, failures) = (self.sender.shown(reason), self.backoff.failures());
            tracing::warn!(
                receiver,
                reason,
                alerts,
                failures,
                wait_ms,
                "a receiver of alerts fails; they wait for it"
            );
        } else {
            if self.backoff.failures() > 0 {
                tracing::info!(receiver, failures = self.backoff.failures(), "the receiver answers again");
            }
            self.backoff.succeeded();
        }
        if let Outcome::Refused(reason) = outcome {
            add(&counters.attempts_refused, 1);
            tracing::warn!(
                receiver,
                reason = self.sender.shown(reason),
                alerts,
                "a receiver refuses what it was sent"
            );
        }
        self.shared.failures.store(self.backoff.failures(), Ordering::Relaxed);
    }
}

/// The outbox and the log that fills it.
struct Desk {
    outbox: Outbox,
    paused: BTreeSet<i32>,
}

impl Desk {
    fn new(wishes: &Wishes, counters: &Arc<Counters>) -> Self {
        Self { outbox: Outbox::new(wishes.clone(), Arc::clone(counters)), paused: BTreeSet::new() }
    }

    /// Takes what the log has, waiting for the first of it.
    fn read(&mut self, log: &mut dyn AlertLog, timeout: Duration) -> Result<(), LogError> {
        let mut event = log.next(timeout)?;
        for _ in 0..EVENTS_MAX {
            let Some(taken) = event.take() else { break };
            self.take(taken, log)?;
            event = log.next(Duration::ZERO)?;
        }
        event.map_or(Ok(()), |event| self.take(event, log))
    }

    fn take(&mut self, event: Event, log: &mut dyn AlertLog) -> Result<(), LogError> {
        match event {
            Event::Assigned { partition, committed, begin, end } => {
                let next = committed.as_ref().map_or(begin, |position| position.offset);
                if next < begin {
                    let lost = begin - next;
                    tracing::error!(
                        partition,
                        lost,
                        "records of the topic of alerts were deleted before they were delivered; raise its retention.ms"
                    );
                }
                if let Some(first) = self.outbox.assigned(partition, committed, end) {
                    log.commit(partition, &first, true)?;
                }
            }
            Event::Revoked { partition } => {
                self.commit(log, true)?;
                self.outbox.revoked(partition);
                if self.paused.remove(&partition) {
                    log.pause(partition, false)?;
                }
            }
            Event::End { partition } => self.outbox.ended(partition),
            Event::Record(record) => {
                let partition = record.partition;
                self.outbox.on_record(record);
                if self.outbox.is_full(partition) && self.paused.insert(partition) {
                    log.pause(partition, true)?;
                }
            }
        }
        Ok(())
    }

    /// Lets records come again where there is room for them.
    fn make_room(&mut self, log: &mut dyn AlertLog) -> Result<(), LogError> {
        let roomy: Vec<i32> =
            self.paused.iter().copied().filter(|partition| self.outbox.has_room(*partition)).collect();
        for partition in roomy {
            self.paused.remove(&partition);
            log.pause(partition, false)?;
        }
        Ok(())
    }

    fn commit(&mut self, log: &mut dyn AlertLog, wait: bool) -> Result<(), LogError> {
        for (partition, position) in self.outbox.positions() {
            log.commit(partition, &position, wait)?;
        }
        Ok(())
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
