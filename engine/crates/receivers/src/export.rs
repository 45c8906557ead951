//! From the body of a request to records that are safe.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use codec::split::{self, Piece, Pieces};
use codec::{Limits, Rejected};
use model::SourceRecord;
use tokio::sync::{Semaphore, oneshot};

use crate::budget::{Budget, Reservation};
use crate::counters::Counting;
use crate::destination::{Destination, Topics, Undelivered};
use crate::refusal::Refusal;
use crate::request::Received;
use crate::settings::Settings;

/// Requests that are unpacked and decoded at the same time.
const AT_WORK_MAX: usize = 4;
/// Beyond the time that the destination has; it should have told by then.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Metrics,
    Logs,
    Spans,
    RemoteWrite,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
}

impl Signal {
    /// As in the list of decoders.
    fn decoder(self) -> (&'static str, &'static str) {
        match self {
            Self::Metrics => ("metrics", "otlp_proto"),
            Self::Logs => ("logs", "otlp_proto"),
            Self::Spans => ("spans", "otlp_proto"),
            Self::RemoteWrite => ("metrics", "prometheus_remote_write"),
        }
    }
}

/// What became of a request that was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) items: u64,
    /// Of the items of remote write, those that are native histograms.
    pub(crate) histograms: u64,
    pub(crate) rejected: u64,
    /// Why some were not.
    pub(crate) reason: Option<String>,
}

/// What both doors share.
pub(crate) struct Exporter {
    pub(crate) settings: Settings,
    pub(crate) budget: Arc<Budget>,
    pub(crate) otlp_grpc: Counting,
    pub(crate) otlp_http: Counting,
    pub(crate) remote_write: Counting,
    pub(crate) connections: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    topics: Topics,
    destination: Arc<dyn Destination>,
    work: Arc<Semaphore>,
}

impl Exporter {
    pub(crate) fn new(settings: Settings, topics: Topics, destination: Arc<dyn Destination>) -> Self {
        let budget = Budget::new(settings.in_flight_bytes_max);
        Self {
            settings,
            budget,
            otlp_grpc: Counting::default(),
            otlp_http: Counting::default(),
            remote_write: Counting::default(),
            connections: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            topics,
            destination,
            work: Arc::new(Semaphore::new(AT_WORK_MAX)),
        }
    }

    /// Where records of the signal go, which is known before a body is read.
    pub(crate) fn topic(&self, signal: Signal) -> Result<&str, Refusal> {
        let topic = match signal {
            Signal::Metrics => &self.topics.metrics,
            Signal::Logs => &self.topics.logs,
            Signal::Spans => &self.topics.spans,
            Signal::RemoteWrite => &self.topics.remote_write,
        };
        let (signal, encoding) = signal.decoder();
        topic.as_deref().ok_or(Refusal::NoSource { signal, encoding })
    }

    /// Writes what was received, and returns when it is safe.
    pub(crate) async fn export(
        &self,
        signal: Signal,
        format: Format,
        encoding: Option<String>,
        received: Received,
    ) -> Result<Accepted, Refusal> {
        let topic = self.topic(signal)?;
        let at_work = self.work.acquire().await.map_err(|_| Refusal::Busy)?;
        let bounds = Bounds {
            decompressed_bytes_max: self.settings.decompressed_bytes_max,
            record_bytes_max: self.settings.record_bytes_max,
        };
        let prepare = move || prepare(signal, format, encoding.as_deref(), received, bounds);
        let prepared = tokio::task::spawn_blocking(prepare).await;
        drop(at_work);
        let prepared = prepared.map_err(|error| Refusal::Undelivered(error.to_string()))??;
        let Prepared { records, accepted, reservation } = prepared;
        if !records.is_empty() {
            self.write(topic, records, reservation).await?;
        }
        Ok(accepted)
    }

    async fn write(
        &self,
        topic: &str,
        records: Vec<Vec<u8>>,
        reservation: Reservation,
    ) -> Result<(), Refusal> {
        let (all_safe, safe) = oneshot::channel();
        let under_way = Arc::new(UnderWay {
            left: AtomicUsize::new(records.len()),
            failed: Mutex::new(None),
            all_safe: Mutex::new(Some(all_safe)),
            // Whoever has asked may be gone before the records are.
            _reservation: reservation,
        });
        for record in records {
            let under_way = Arc::clone(&under_way);
            self.destination.write(topic, &record, Box::new(move |result| under_way.done(result)));
        }
        drop(under_way);
        let patience = self.settings.acknowledge_timeout + PATIENCE;
        let result = tokio::time::timeout(patience, safe).await;
        match result {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(Undelivered::Later(reason)))) => Err(Refusal::Undelivered(reason)),
            Ok(Ok(Err(Undelivered::Never(reason)))) => Err(Refusal::Undeliverable(reason)),
            Ok(Err(_)) | Err(_) => Err(Refusal::Undelivered("no acknowledgement in time".to_owned())),
        }
    }
}

/// The records of one request on their way.
struct UnderWay {
    left: AtomicUsize,
    failed: Mutex<Option<Undelivered>>,
    all_safe: Mutex<Option<oneshot::Sender<Result<(), Undelivered>>>>,
    _reservation: Reservation,
}

impl UnderWay {
    fn done(&self, result: Result<(), Undelivered>) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(undelivered) = result {
            failed.get_or_insert(undelivered);
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let all_safe = self.all_safe.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(all_safe) = all_safe {
                // Nobody waits if the sender has gone.
                let _ = all_safe.send(failed.take().map_or(Ok(()), Err));
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Bounds {
    decompressed_bytes_max: usize,
    record_bytes_max: usize,
}

struct Prepared {
    records: Vec<Vec<u8>>,
    accepted: Accepted,
    reservation: Reservation,
}

/// Unpacks a body, cuts it into records and decodes each as those behind will.
fn prepare(
    signal: Signal,
    format: Format,
    encoding: Option<&str>,
    received: Received,
    bounds: Bounds,
) -> Result<Prepared, Refusal> {
    let Received { body, mut reservation } = received;
    let body = unpack(body, encoding, bounds.decompressed_bytes_max, &mut reservation)?;
    let body = match format {
        Format::Protobuf => body,
        Format::Json => from_json(signal, &body, &mut reservation)?,
    };
    // The pieces, which may have twice the size, next to what they are cut from.
    if body.len() > bounds.record_bytes_max && !reservation.grow(body.len().saturating_mul(2)) {
        return Err(Refusal::Busy);
    }
    let cut = match signal {
        Signal::RemoteWrite => {
            // They are unpacked once more while they are cut, and within the decoder.
            if !reservation.grow(bounds.decompressed_bytes_max) {
                return Err(Refusal::Busy);
            }
            split::remote_write(&body, bounds.record_bytes_max, bounds.decompressed_bytes_max)
        }
        _ => split::otlp(signal.decoder().0, &body, bounds.record_bytes_max),
    };
    let Pieces { pieces, too_large } = cut.map_err(refusal)?;
    let mut accepted = Accepted { rejected: too_large, ..Accepted::default() };
    if too_large > 0 {
        let limit = bounds.record_bytes_max;
        accepted.reason = Some(format!(
            "{too_large} of the items take more than {limit} bytes, alone or with their resource"
        ));
    }
    let mut records = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match readable(signal, &piece) {
            Ok(left_out) => {
                let left_out = left_out.min(piece.items);
                accepted.items += piece.items - left_out;
                accepted.histograms += piece.histograms.min(piece.items - left_out);
                accepted.rejected += left_out;
                if left_out > 0 {
                    accepted.reason.get_or_insert_with(|| {
                        "some of the items have no time, or lack a part or hold one that makes no sense"
                            .to_owned()
                    });
                }
                if piece.items > 0 {
                    records.push(piece.payload.into_owned());
                }
            }
            Err(rejected) => {
                accepted.rejected += piece.items;
                accepted.reason.get_or_insert(rejected.to_string());
                if piece.items == 0 {
                    return Err(refusal(rejected));
                }
            }
        }
    }
    if records.is_empty() && accepted.rejected > 0 {
        return Err(Refusal::Malformed(accepted.reason.unwrap_or_default()));
    }
    let bytes = records.iter().map(Vec::len).sum();
    drop(body);
    reservation.shrink_to(bytes);
    Ok(Prepared { records, accepted, reservation })
}

fn unpack(
    body: Vec<u8>,
    encoding: Option<&str>,
    limit: usize,
    reservation: &mut Reservation,
) -> Result<Vec<u8>, Refusal> {
    let Some(encoding) = encoding else { return Ok(body) };
    if !reservation.grow(limit) {
        return Err(Refusal::Busy);
    }
    let mut unpacked = Vec::new();
    codec::decompress(encoding, &body, limit, &mut unpacked).map_err(refusal)?;
    drop(body);
    reservation.shrink_to(unpacked.len());
    Ok(unpacked)
}

fn from_json(signal: Signal, text: &[u8], reservation: &mut Reservation) -> Result<Vec<u8>, Refusal> {
    if !reservation.grow(text.len().saturating_mul(4)) {
        return Err(Refusal::Busy);
    }
    let message = codec::otlp_json_to_protobuf(signal.decoder().0, text).map_err(refusal)?;
    reservation.shrink_to(message.len());
    Ok(message)
}

/// Whether those behind can read the piece, and how many of its items they will leave out as nonsense.
fn readable(signal: Signal, piece: &Piece<'_>) -> Result<u64, Rejected> {
    let (signal, encoding) = signal.decoder();
    let Some(mut decoder) = codec::decoder(signal, encoding, Limits::default()) else { return Ok(0) };
    let record = SourceRecord {
        topic: "",
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        headers: &[],
        payload: &piece.payload,
    };
    decoder.decode(record, &mut Vec::new())?;
    // That a series has ended, or has no number for once, is nothing that its sender should mend.
    let dropped = decoder.dropped();
    Ok(dropped.malformed + dropped.no_time)
}

fn refusal(rejected: Rejected) -> Refusal {
    match rejected {
        Rejected::DecompressedTooLarge { limit } => Refusal::TooLarge { limit, what: "once it is unpacked" },
        rejected => Refusal::Malformed(rejected.to_string()),
    }
}
