//! librdkafka's mock cluster: a broker on loopback within this process, for the demo and for tests of the ordinary way.
//!
//! It knows neither `read_committed` nor fencing, creates no topics on request and keeps only the newest 5 MiB of a
//! partition. What rests on transactions is proved against Apache Kafka (`tests/broker`).

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use rdkafka::mocking::MockCluster;

use crate::Error;
use crate::settings::ConnectionSettings;

/// A mock broker that lives as long as this value.
pub struct MockKafka {
    brokers: String,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MockKafka {
    /// Starts one broker with these topics and their numbers of partitions.
    pub fn start(topics: &[(&str, i32)]) -> Result<MockKafka, Error> {
        let topics: Vec<(String, i32)> =
            topics.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let (report, started) = channel();
        let (stop, stopped) = channel::<()>();
        // The cluster may not move between threads, so it stays in one of its own.
        let thread = std::thread::Builder::new()
            .name("mock-kafka".to_owned())
            .spawn(move || {
                let cluster = match cluster(&topics) {
                    Ok(cluster) => cluster,
                    Err(error) => {
                        let _ = report.send(Err(error));
                        return;
                    }
                };
                let _ = report.send(Ok(cluster.bootstrap_servers()));
                let _ = stopped.recv();
            })
            .map_err(|source| Error::Thread { name: "mock-kafka".to_owned(), source })?;
        let brokers = started.recv().unwrap_or(Err(Error::TaskPanicked))?;
        Ok(MockKafka { brokers, stop: Some(stop), thread: Some(thread) })
    }

    /// Its `host:port`.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    pub fn connection(&self) -> ConnectionSettings {
        ConnectionSettings::new(&self.brokers)
    }
}

impl Drop for MockKafka {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn cluster(
    topics: &[(String, i32)],
) -> Result<MockCluster<'static, rdkafka::producer::DefaultProducerContext>, Error> {
    let failed = "could not start the mock broker";
    let cluster = MockCluster::new(1).map_err(Error::kafka(failed))?;
    for (name, partitions) in topics {
        cluster.create_topic(name, *partitions, 1).map_err(Error::kafka(failed))?;
    }
    Ok(cluster)
}
