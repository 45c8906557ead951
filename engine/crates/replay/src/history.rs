//! Reads a folder of recorded telemetry.
//!
//! | file | columns |
//! |---|---|
//! | `metrics.parquet` or `.csv` | `timestamp_ms`, `service`, `metric`, `value` |
//! | `traces.parquet` or `.csv` | `timestamp_us` (start), `trace_id`, `span_id`, `parent_id` (empty or `missing`), `service`, `operation`, `duration_us`, `status` |
//! | `logs.parquet` or `.csv` | `timestamp_ms`, `service`, `severity`, `body`, `trace_id`, `span_id` |
//! | `graph.csv` | `caller`, `callee` |
//!
//! Any of them may be missing. A span takes its place at its end, since nobody could have seen it earlier.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const BATCH_ROWS: usize = 8192;

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("{path}: cannot open: {source}")]
    Open { path: PathBuf, source: std::io::Error },
    #[error("{path}: not a readable table: {reason}")]
    Table { path: PathBuf, reason: String },
    #[error("{path}: column `{column}` is missing")]
    MissingColumn { path: PathBuf, column: String },
    #[error("{path}: column `{column}` has type {found} and cannot be read as {wanted}")]
    ColumnType { path: PathBuf, column: String, found: DataType, wanted: DataType },
    #[error("{path}: column `{column}` has no value in row {row}")]
    MissingValue { path: PathBuf, column: String, row: usize },
}

/// One record of a folder.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    Point {
        time_ms: i64,
        service: Arc<str>,
        metric: Arc<str>,
        value: f64,
    },
    Span {
        start_us: i64,
        duration_us: i64,
        trace_id: u128,
        span_id: u64,
        parent: Option<u64>,
        service: Arc<str>,
        operation: Arc<str>,
        error: bool,
    },
    Log {
        time_ms: i64,
        service: Arc<str>,
        /// OpenTelemetry severity number, 0 when unknown.
        severity: u8,
        body: Box<str>,
        /// 0 when absent.
        trace_id: u128,
        /// 0 when absent.
        span_id: u64,
    },
}

impl Row {
    /// When the row could first be seen: its time, for a span the end.
    pub fn time_us(&self) -> i64 {
        match self {
            Self::Point { time_ms, .. } | Self::Log { time_ms, .. } => time_ms.saturating_mul(1000),
            Self::Span { start_us, duration_us, .. } => start_us.saturating_add(*duration_us),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Point { .. } => 0,
            Self::Log { .. } => 1,
            Self::Span { .. } => 2,
        }
    }
}

/// A folder's rows in the order of their times (at equal times points, logs, spans, each in the order of the file).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    pub rows: Vec<Row>,
    /// (caller, callee).
    pub edges: Vec<(String, String)>,
}

impl History {
    pub fn read(folder: &Path) -> Result<Self, HistoryError> {
        // Else a folder that is not there would be one without telemetry.
        std::fs::read_dir(folder).map_err(|source| HistoryError::Open { path: folder.to_owned(), source })?;
        let mut history = Self::default();
        let mut names = Names::default();
        if let Some(path) = existing(folder, "metrics") {
            history.read_points(&path, &mut names)?;
        }
        if let Some(path) = existing(folder, "logs") {
            history.read_logs(&path, &mut names)?;
        }
        if let Some(path) = existing(folder, "traces") {
            history.read_spans(&path, &mut names)?;
        }
        let graph = folder.join("graph.csv");
        if graph.is_file() {
            history.read_edges(&graph)?;
        }
        history.rows.sort_by_key(|row| (row.time_us(), row.kind()));
        Ok(history)
    }

    fn read_points(&mut self, path: &Path, names: &mut Names) -> Result<(), HistoryError> {
        let schema = [
            ("timestamp_ms", DataType::Int64),
            ("service", DataType::Utf8),
            ("metric", DataType::Utf8),
            ("value", DataType::Float64),
        ];
        for batch in tables(path, &schema)? {
            let columns = Columns { path, batch: &batch };
            for row in 0..batch.num_rows() {
                let value = columns.column("value")?;
                if value.is_null(row) {
                    continue;
                }
                self.rows.push(Row::Point {
                    time_ms: columns.integer("timestamp_ms", row)?,
                    service: names.share(columns.text("service", row)?),
                    metric: names.share(columns.text("metric", row)?),
                    value: value.as_primitive::<Float64Type>().value(row),
                });
            }
        }
        Ok(())
    }

    fn read_logs(&mut self, path: &Path, names: &mut Names) -> Result<(), HistoryError> {
        let schema = [
            ("timestamp_ms", DataType::Int64),
            ("service", DataType::Utf8),
            ("severity", DataType::Utf8),
            ("body", DataType::Utf8),
            ("trace_id", DataType::Utf8),
            ("span_id", DataType::Utf8),
        ];
        for batch in tables(path, &schema)? {
            let columns = Columns { path, batch: &batch };
            for row in 0..batch.num_rows() {
                self.rows.push(Row::Log {
                    time_ms: columns.integer("timestamp_ms", row)?,
                    service: names.share(columns.text("service", row)?),
                    severity: severity_of(columns.text("severity", row)?),
                    body: columns.text("body", row)?.into(),
                    trace_id: trace_id_of(columns.text("trace_id", row)?),
                    span_id: span_id_of(columns.text("span_id", row)?),
                });
            }
        }
        Ok(())
    }

    fn read_spans(&mut self, path: &Path, names: &mut Names) -> Result<(), HistoryError> {
        let schema = [
            ("timestamp_us", DataType::Int64),
            ("trace_id", DataType::Utf8),
            ("span_id", DataType::Utf8),
            ("parent_id", DataType::Utf8),
            ("service", DataType::Utf8),
            ("operation", DataType::Utf8),
            ("duration_us", DataType::Int64),
            ("status", DataType::Utf8),
        ];
        for batch in tables(path, &schema)? {
            let columns = Columns { path, batch: &batch };
            for row in 0..batch.num_rows() {
                let parent = columns.text("parent_id", row)?;
                self.rows.push(Row::Span {
                    start_us: columns.integer("timestamp_us", row)?,
                    duration_us: columns.integer("duration_us", row)?.max(0),
                    trace_id: trace_id_of(columns.text("trace_id", row)?),
                    span_id: span_id_of(columns.text("span_id", row)?),
                    // `missing` hashes to an id that no span has: a span that is neither root nor anyone's child.
                    parent: (!parent.is_empty()).then(|| span_id_of(parent)),
                    service: names.share(columns.text("service", row)?),
                    operation: names.share(columns.text("operation", row)?),
                    error: is_error(columns.text("status", row)?),
                });
            }
        }
        Ok(())
    }

    fn read_edges(&mut self, path: &Path) -> Result<(), HistoryError> {
        let schema = [("caller", DataType::Utf8), ("callee", DataType::Utf8)];
        for batch in tables(path, &schema)? {
            let columns = Columns { path, batch: &batch };
            for row in 0..batch.num_rows() {
                self.edges
                    .push((columns.text("caller", row)?.to_owned(), columns.text("callee", row)?.to_owned()));
            }
        }
        Ok(())
    }
}

fn existing(folder: &Path, name: &str) -> Option<PathBuf> {
    ["parquet", "csv"]
        .iter()
        .map(|extension| folder.join(format!("{name}.{extension}")))
        .find(|path| path.is_file())
}

/// The batches of a table, with the columns of `wanted` only, each cast to its wanted type.
fn tables(path: &Path, wanted: &[(&str, DataType)]) -> Result<Vec<RecordBatch>, HistoryError> {
    let table = |reason: String| HistoryError::Table { path: path.to_owned(), reason };
    let open = || File::open(path).map_err(|source| HistoryError::Open { path: path.to_owned(), source });
    let batches: Vec<RecordBatch> = if path.extension().is_some_and(|extension| extension == "parquet") {
        let reader = ParquetRecordBatchReaderBuilder::try_new(open()?)
            .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
            .map_err(|error| table(error.to_string()))?;
        reader.collect::<Result<_, _>>().map_err(|error| table(error.to_string()))?
    } else {
        let format = arrow_csv::reader::Format::default().with_header(true);
        // Names from the header, types from us: ids that look like numbers must stay text.
        let (header, _) = format.infer_schema(open()?, Some(0)).map_err(|error| table(error.to_string()))?;
        let fields: Vec<Field> = header
            .fields()
            .iter()
            .map(|field| {
                let known = wanted.iter().find(|(name, _)| name == field.name());
                Field::new(field.name(), known.map_or(DataType::Utf8, |(_, kind)| kind.clone()), true)
            })
            .collect();
        let reader = arrow_csv::ReaderBuilder::new(Arc::new(Schema::new(fields)))
            .with_header(true)
            .with_batch_size(BATCH_ROWS)
            .build(open()?)
            .map_err(|error| table(error.to_string()))?;
        reader.collect::<Result<_, _>>().map_err(|error| table(error.to_string()))?
    };
    batches.iter().map(|batch| select(path, batch, wanted)).collect()
}

fn select(
    path: &Path,
    batch: &RecordBatch,
    wanted: &[(&str, DataType)],
) -> Result<RecordBatch, HistoryError> {
    let mut fields = Vec::with_capacity(wanted.len());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(wanted.len());
    for (name, kind) in wanted {
        let column = batch.column_by_name(name).ok_or_else(|| HistoryError::MissingColumn {
            path: path.to_owned(),
            column: (*name).to_owned(),
        })?;
        let mismatch = || HistoryError::ColumnType {
            path: path.to_owned(),
            column: (*name).to_owned(),
            found: column.data_type().clone(),
            wanted: kind.clone(),
        };
        columns.push(arrow_cast::cast(column, kind).map_err(|_| mismatch())?);
        fields.push(Field::new(*name, kind.clone(), true));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| HistoryError::Table { path: path.to_owned(), reason: error.to_string() })
}

struct Columns<'a> {
    path: &'a Path,
    batch: &'a RecordBatch,
}

impl<'a> Columns<'a> {
    fn column(&self, name: &str) -> Result<&'a ArrayRef, HistoryError> {
        self.batch.column_by_name(name).ok_or_else(|| HistoryError::MissingColumn {
            path: self.path.to_owned(),
            column: name.to_owned(),
        })
    }

    fn integer(&self, name: &str, row: usize) -> Result<i64, HistoryError> {
        let column = self.column(name)?;
        if column.is_null(row) {
            return Err(HistoryError::MissingValue {
                path: self.path.to_owned(),
                column: name.to_owned(),
                row,
            });
        }
        Ok(column.as_primitive::<Int64Type>().value(row))
    }

    /// The text, empty when there is none.
    fn text(&self, name: &str, row: usize) -> Result<&'a str, HistoryError> {
        let column = self.column(name)?;
        Ok(if column.is_null(row) { "" } else { column.as_string::<i32>().value(row) })
    }
}

/// Shares equal names among rows.
#[derive(Default)]
struct Names(std::collections::BTreeSet<Arc<str>>);

impl Names {
    fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(shared) = self.0.get(name) {
            return shared.clone();
        }
        let shared: Arc<str> = name.into();
        self.0.insert(shared.clone());
        shared
    }
}

/// A 128-bit id from 32 hexadecimal digits, else a hash of the text; 0 for an empty text.
fn trace_id_of(text: &str) -> u128 {
    if text.is_empty() {
        return 0;
    }
    let hex = (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten();
    hex.unwrap_or_else(|| xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

/// A 64-bit id from 16 hexadecimal digits, else a hash of the text; 0 for an empty text.
fn span_id_of(text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    let hex = (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
    hex.unwrap_or_else(|| xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

/// OpenTelemetry severity number of a level's name or number; 0 when unknown.
fn severity_of(text: &str) -> u8 {
    match text.trim().to_ascii_uppercase().as_str() {
        "TRACE" => 1,
        "DEBUG" => 5,
        "INFO" | "INFORMATION" | "NOTICE" => 9,
        "WARN" | "WARNING" => 13,
        "ERROR" | "ERR" | "SEVERE" => 17,
        "FATAL" | "CRITICAL" | "CRIT" | "EMERGENCY" | "ALERT" | "PANIC" => 21,
        number => number.parse().unwrap_or(0),
    }
}

/// Whether a span status means failure: `ERROR`, OpenTelemetry's code 2, or an HTTP 5xx.
fn is_error(status: &str) -> bool {
    let status = status.trim();
    status.eq_ignore_ascii_case("error")
        || status.eq_ignore_ascii_case("STATUS_CODE_ERROR")
        || status == "2"
        || status.parse::<u16>().is_ok_and(|code| (500..600).contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn rows_come_in_event_time_order_and_spans_at_their_end() {
        let folder = folder(&[
            ("metrics.csv", "timestamp_ms,service,metric,value\n5,cart,cpu,1.5\n2,cart,cpu,\n1,cart,cpu,3\n"),
            (
                "traces.csv",
                "timestamp_us,trace_id,span_id,parent_id,service,operation,duration_us,status\n\
                 0,t,0001,,cart,get,4000,ERROR\n0,t,0002,0001,cart,put,2000,\n",
            ),
            ("logs.csv", "timestamp_ms,service,severity,body,trace_id,span_id\n4,cart,WARN,hello,,\n"),
            ("graph.csv", "caller,callee\nweb,cart\n"),
        ]);
        let history = History::read(folder.path()).unwrap();
        let times: Vec<i64> = history.rows.iter().map(Row::time_us).collect();
        assert_eq!(times, [1000, 2000, 4000, 4000, 5000]);
        assert_eq!(history.edges, [("web".to_owned(), "cart".to_owned())]);
        let Row::Span { parent, span_id, error, .. } = &history.rows[3] else {
            panic!("{:?}", history.rows[3])
        };
        assert!(*error && parent.is_none());
        let Row::Span { parent: child_of, .. } = &history.rows[1] else { panic!("{:?}", history.rows[1]) };
        assert_eq!(*child_of, Some(*span_id));
        assert!(matches!(&history.rows[2], Row::Log { severity: 13, trace_id: 0, .. }));
    }

    #[test]
    fn errors_name_file_and_column() {
        let missing = folder(&[("metrics.csv", "timestamp_ms,service,value\n1,a,2\n")]);
        let message = History::read(missing.path()).unwrap_err().to_string();
        assert!(message.contains("metrics.csv") && message.contains("`metric`"), "{message}");
        let empty = folder(&[("logs.csv", "timestamp_ms,service,severity,body,trace_id,span_id\n,a,,,,\n")]);
        let message = History::read(empty.path()).unwrap_err().to_string();
        assert!(message.contains("logs.csv") && message.contains("timestamp_ms"), "{message}");
    }

    #[test]
    fn an_empty_folder_is_an_empty_history() {
        assert_eq!(History::read(folder(&[]).path()).unwrap(), History::default());
    }

    #[test]
    fn ids_are_hex_or_hashed() {
        assert_eq!(span_id_of("00000000000000ff"), 255);
        assert_ne!(span_id_of("0004e40001"), 0);
        assert_eq!(trace_id_of("000000000000000000000000000000ff"), 255);
    }
}
