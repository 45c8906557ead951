//! How far a worker may read on while others of its group are further behind.
//!
//! After a long outage each process goes through hours in minutes, at its own pace, and those who read what all of them write
//! would have to keep all that the fast ones are ahead. So a record that is old is not read before nobody in the group has
//! unread ones that are older by [`LEAD`]. Nothing waits for a partition that nobody has read on for [`PATIENCE`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use worker::TopicPartition;

use crate::Error;
use crate::offsets::{self, listed};
use crate::settings::{StartOffset, WorkerSettings, setting_error};

/// How far one may be ahead of another, by the times at which records were written.
const LEAD: Duration = Duration::from_secs(900);
/// A partition that is behind and is not read on for so long is not waited for: nobody may own it.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long after an answer that says to wait it is asked again.
const AGAIN: Duration = Duration::from_millis(500);
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the group has unread records from before a time, in partitions that are not of this worker.
struct Question {
    before_ms: i64,
    own: BTreeSet<TopicPartition>,
}

struct Answer {
    before_ms: i64,
    is_clear: bool,
}

/// What is known of it. The questions are asked on a thread of its own, since brokers take their time.
pub(crate) struct Horizon {
    settings: WorkerSettings,
    asking: Option<(SyncSender<Question>, Receiver<Answer>)>,
    is_asked: bool,
    /// The partitions that are assigned to this worker.
    own: BTreeSet<TopicPartition>,
    /// Records up to this time may be read.
    granted_ms: i64,
}

impl Horizon {
    pub(crate) fn new(settings: &WorkerSettings) -> Self {
        Self {
            settings: settings.clone(),
            asking: None,
            is_asked: false,
            own: BTreeSet::new(),
            granted_ms: i64::MIN,
        }
    }

    /// A partition is assigned, or no longer.
    pub(crate) fn own(&mut self, key: &TopicPartition, is_assigned: bool) {
        if is_assigned {
            self.own.insert(key.clone());
        } else {
            self.own.remove(key);
        }
    }

    /// Whether a record of that time may be read now; if not, it is worth to ask again soon.
    pub(crate) fn grants(&mut self, time_ms: i64, now_ms: i64) -> bool {
        if now_ms.saturating_sub(time_ms) <= millis(LEAD) || time_ms <= self.granted_ms {
            return true;
        }
        let (questions, answers) = match &self.asking {
            Some(asking) => asking,
            None => match start(&self.settings) {
                Ok(asking) => self.asking.insert(asking),
                Err(error) => {
                    tracing::warn!(%error, "others of the group cannot be waited for");
                    self.granted_ms = i64::MAX;
                    return true;
                }
            },
        };
        match answers.try_recv() {
            Ok(answer) => {
                self.is_asked = false;
                if answer.is_clear {
                    self.granted_ms = self.granted_ms.max(answer.before_ms.saturating_add(millis(LEAD)));
                }
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => self.granted_ms = i64::MAX,
        }
        if time_ms <= self.granted_ms {
            return true;
        }
        if !self.is_asked {
            let before_ms = time_ms.saturating_sub(millis(LEAD / 2));
            self.is_asked = questions.try_send(Question { before_ms, own: self.own.clone() }).is_ok();
        }
        false
    }
}

fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

/// The thread ends once nobody asks any more.
fn start(settings: &WorkerSettings) -> Result<(SyncSender<Question>, Receiver<Answer>), Error> {
    let consumer = settings.onlooker_config()?.create().map_err(setting_error)?;
    let group = Group { settings: settings.clone(), consumer };
    let (questions, asked) = sync_channel::<Question>(1);
    let (answer, answers) = sync_channel(1);
    let name = format!("{}-horizon", settings.name);
    let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
        let mut stragglers = Stragglers::default();
        for Question { before_ms, own } in asked {
            let is_clear = match group.behind(before_ms, &own) {
                Ok(behind) => !stragglers.wait_for(&behind, Instant::now()),
                Err(error) => {
                    tracing::warn!(%error, worker = group.settings.name, "could not ask how far others of the group are");
                    !stragglers.wait_in_the_dark(Instant::now())
                }
            };
            if !is_clear {
                std::thread::sleep(AGAIN);
            }
            if answer.send(Answer { before_ms, is_clear }).is_err() {
                return;
            }
        }
    });
    thread.map_err(|source| Error::Thread { name, source })?;
    Ok((questions, answers))
}

/// Looks at a consumer group without being a member.
struct Group {
    settings: WorkerSettings,
    consumer: BaseConsumer,
}

impl Group {
    /// The partitions, but for one's own, with unread records from before that time, and how far each was read.
    fn behind(
        &self,
        before_ms: i64,
        own: &BTreeSet<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, i64>, KafkaError> {
        let mut keys = Vec::new();
        for topic in &self.settings.topics {
            let metadata = self.consumer.fetch_metadata(Some(topic), ASK_TIMEOUT)?;
            for found in metadata.topics() {
                keys.extend(
                    found.partitions().iter().map(|partition| (found.name().to_owned(), partition.id())),
                );
            }
        }
        keys.retain(|key| !own.contains(key));
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let committed = offsets::committed(&self.consumer, listed(&keys), ASK_TIMEOUT)?;
        let at = |time: Offset| {
            let mut asked = TopicPartitionList::new();
            keys.iter().try_for_each(|(topic, number)| asked.add_partition_offset(topic, *number, time))?;
            offsets::at_times(&self.consumer, asked, ASK_TIMEOUT)
        };
        let (first, until, end) = (at(Offset::Beginning)?, at(Offset::Offset(before_ms))?, at(Offset::End)?);
        let offset = |list: &TopicPartitionList, (topic, number): &TopicPartition| {
            let offset = list.find_partition(topic, *number).map(|element| element.offset());
            offset.and_then(Offset::to_raw).filter(|offset| *offset >= 0)
        };
        let mut behind = BTreeMap::new();
        for key in keys {
            let begin = offset(&first, &key).filter(|_| self.settings.start == StartOffset::Earliest);
            let Some(read) = offset(&committed, &key).or(begin) else { continue };
            let end = offset(&end, &key).unwrap_or(0);
            let until = offset(&until, &key).unwrap_or(end);
            // The last offset may be that of a transaction's end, which nobody reads.
            if read < until && read + 1 < end {
                behind.insert(key, read);
            }
        }
        Ok(behind)
    }
}

/// Partitions that are behind, how far each was read, and since when no further.
#[derive(Default)]
struct Stragglers {
    seen: BTreeMap<TopicPartition, (i64, Instant)>,
    /// Since when the brokers do not tell.
    dark_since: Option<Instant>,
    /// Those that a line in the log names.
    waits_for: BTreeSet<TopicPartition>,
}

impl Stragglers {
    fn wait_for(&mut self, behind: &BTreeMap<TopicPartition, i64>, now: Instant) -> bool {
        self.dark_since = None;
        self.seen.retain(|key, _| behind.contains_key(key));
        for (key, read) in behind {
            match self.seen.get_mut(key) {
                Some(known) if known.0 == *read => {}
                Some(known) => *known = (*read, now),
                None => drop(self.seen.insert(key.clone(), (*read, now))),
            }
        }
        let patient = self.seen.iter().filter(|(_, (_, since))| now.duration_since(*since) < PATIENCE);
        let waits_for: BTreeSet<TopicPartition> = patient.map(|(key, _)| key.clone()).collect();
        if self.waits_for.is_empty() && !waits_for.is_empty() {
            tracing::info!(partitions = ?waits_for, "waits for others of the group, which are further behind");
        }
        if self.waits_for.difference(&waits_for).any(|key| self.seen.contains_key(key)) {
            tracing::warn!(partitions = ?self.seen.keys(), "nobody reads these partitions on, so they are not waited for");
        }
        self.waits_for = waits_for;
        !self.waits_for.is_empty()
    }

    fn wait_in_the_dark(&mut self, now: Instant) -> bool {
        now.duration_since(*self.dark_since.get_or_insert(now)) < PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_go_on_are_waited_for_and_others_not_for_ever() {
        let mut stragglers = Stragglers::default();
        let now = Instant::now();
        let behind = |a: i64, b: i64| BTreeMap::from([(("in".to_owned(), 0), a), (("in".to_owned(), 1), b)]);
        assert!(stragglers.wait_for(&behind(5, 7), now));
        assert!(stragglers.wait_for(&behind(6, 7), now + PATIENCE / 2));
        assert!(stragglers.wait_for(&behind(6, 7), now + PATIENCE), "0 went on since");
        assert!(!stragglers.wait_for(&behind(6, 7), now + PATIENCE * 2));
        assert!(stragglers.wait_for(&behind(6, 8), now + PATIENCE * 2), "somebody reads 1 again");
        assert!(!stragglers.wait_for(&BTreeMap::new(), now + PATIENCE * 2));
        assert!(stragglers.wait_in_the_dark(now) && !stragglers.wait_in_the_dark(now + PATIENCE));
    }

    #[test]
    fn what_is_not_old_need_not_ask() {
        let connection = crate::ConnectionSettings::new("127.0.0.1:1");
        let mut horizon = Horizon::new(&WorkerSettings::new(connection, "ingest", "group"));
        let now_ms = 10 * millis(LEAD);
        assert!(horizon.grants(now_ms - millis(LEAD), now_ms) && horizon.asking.is_none());
        assert!(!horizon.grants(0, now_ms), "before it was answered");
    }
}
