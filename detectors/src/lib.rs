//! Streaming anomaly detectors: each judges one series at a time. No Arrow, no I/O, no clock.
