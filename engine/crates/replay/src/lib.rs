//! Telemetry folders (Parquet, CSV) as batches in event-time order.
