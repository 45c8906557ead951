//! Workers that have much to catch up with stay together, though one is slower than the other.

use super::*;

/// One record in three minutes of each partition, for ten hours that ended an hour ago.
const RECORDS: i64 = 200;
const EVERY_MS: i64 = 180_000;
/// As far as one may be ahead of another.
const LEAD_MS: i64 = 900_000;

/// Who took the record of which partition and time, in the order of taking.
type Taken = Arc<Mutex<Vec<(&'static str, i32, i64)>>>;

struct Slow {
    name: &'static str,
    pause: Duration,
    taken: Taken,
}

impl PartitionTask for Slow {
    fn on_record(&mut self, record: SourceRecord<'_>, _out: &mut Vec<Output>) {
        std::thread::sleep(self.pause);
        self.taken.lock().unwrap().push((self.name, record.partition, record.timestamp_ms.unwrap()));
    }
}

#[test]
fn a_fast_worker_waits_for_a_slow_one_of_its_group() {
    let mut case = Case::new("horizon");
    case.input = format!("{}-kept", case.input);
    let kept = vec![("retention.ms".to_owned(), "-1".to_owned())];
    let spec = TopicSpec { config: kept, ..spec(&case.input, PARTITIONS) };
    topics::ensure(&case.connection, &[spec], TIMEOUT).unwrap();
    let taken = Taken::default();
    let start = |name: &'static str, pause| {
        let taken = Arc::clone(&taken);
        let tasks: TaskFactory =
            Box::new(move |_, _| Box::new(Slow { name, pause, taken: Arc::clone(&taken) }));
        KafkaWorker::start(case.settings(name), tasks).unwrap()
    };
    let workers = [start("slow", Duration::from_millis(15)), start("fast", Duration::ZERO)];
    let half = PARTITIONS as u64 / 2;
    wait("both to have partitions", || {
        workers.iter().all(|worker| worker.counters().values().partitions == half)
    });

    let now_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let began_ms = now_ms - 3_600_000 - RECORDS * EVERY_MS;
    for i in 0..RECORDS {
        for partition in 0..PARTITIONS {
            let timestamp_ms = Some(began_ms + i * EVERY_MS + i64::from(partition));
            let (topic, partition) = (&case.input, Some(partition));
            case.writer
                .write(WriteRecord {
                    topic,
                    partition,
                    timestamp_ms,
                    payload: b"0",
                    ..WriteRecord::default()
                })
                .unwrap();
        }
    }
    case.writer.flush(TIMEOUT).unwrap();
    let total = RECORDS as usize * PARTITIONS as usize;
    wait("all records", || taken.lock().unwrap().len() >= total);
    for worker in workers {
        worker.stop();
        worker.join().unwrap();
    }

    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), total, "none twice");
    let mut next_ms: BTreeMap<i32, i64> = (0..PARTITIONS).map(|partition| (partition, began_ms)).collect();
    let mut furthest_ms = 0;
    for (_, partition, time_ms) in taken.iter() {
        let oldest_ms = next_ms.values().min().copied().unwrap_or(*time_ms);
        furthest_ms = furthest_ms.max(time_ms - oldest_ms);
        next_ms.insert(*partition, time_ms + EVERY_MS);
    }
    println!("one was ahead by {furthest_ms} ms at the most");
    assert!(furthest_ms <= LEAD_MS, "{furthest_ms} ms ahead");
    assert!(["slow", "fast"].iter().all(|name| taken.iter().any(|(by, ..)| by == name)));
}
