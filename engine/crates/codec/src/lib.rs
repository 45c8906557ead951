//! Bytes to telemetry batches and back: OTLP, CloudEvents, Arrow IPC.
