//! Generated protobuf types: OTLP as vendored, and the foreshock.v1 services. No logic.
