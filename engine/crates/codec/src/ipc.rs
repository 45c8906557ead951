//! Batches as Arrow IPC streams of one batch, for the records between the stages.
//!
//! The kind of the batch is not in the bytes; it travels in the header [`KIND_HEADER`] as [`Telemetry::kind`].
//!
//! After the end of the stream, where other readers of Arrow do not look, stands the XXH3 of it in 8 bytes, big-endian.
//! The Arrow reader panics on some damaged streams, so what was not written by [`to_bytes`] never gets there.

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use model::Telemetry;
use xxhash_rust::xxh3::xxh3_64;

/// Header of an internal record whose value is [`Telemetry::kind`].
pub const KIND_HEADER: &str = "foreshock-kind";

/// Bytes that are no batch of their kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpcError {
    #[error("the bytes do not end with their checksum")]
    Checksum,
    #[error("no Arrow IPC stream: {0}")]
    Arrow(String),
    #[error("the Arrow IPC stream holds {0} batches, expected one")]
    BatchCount(usize),
    #[error(transparent)]
    Schema(#[from] model::SchemaMismatch),
}

/// The bytes of a batch. Equal batches of equal history give equal bytes.
pub fn to_bytes(telemetry: &Telemetry) -> Vec<u8> {
    let mut bytes = write(telemetry.record_batch()).expect("a batch of a known schema writes to memory");
    let checksum = xxh3_64(&bytes);
    bytes.extend(checksum.to_be_bytes());
    bytes
}

fn write(batch: &RecordBatch) -> Result<Vec<u8>, arrow_schema::ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.into_inner()
}

/// The reverse of [`to_bytes`]. `kind` is the value of [`KIND_HEADER`].
pub fn from_bytes(kind: &str, bytes: &[u8]) -> Result<Telemetry, IpcError> {
    let (stream, checksum) = bytes.split_last_chunk::<8>().ok_or(IpcError::Checksum)?;
    if xxh3_64(stream) != u64::from_be_bytes(*checksum) {
        return Err(IpcError::Checksum);
    }
    let arrow = |error: arrow_schema::ArrowError| IpcError::Arrow(error.to_string());
    let batches: Vec<RecordBatch> =
        StreamReader::try_new(stream, None).map_err(arrow)?.collect::<Result<_, _>>().map_err(arrow)?;
    let count = batches.len();
    match <[RecordBatch; 1]>::try_from(batches) {
        Ok([batch]) => Ok(Telemetry::try_from_parts(kind, batch)?),
        Err(_) => Err(IpcError::BatchCount(count)),
    }
}
