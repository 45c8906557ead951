//! The adapters for clients: gRPC and HTTP, on tokio. They read the [`View`](crate::view::View); silences and remarks are all that clients may change.

mod convert;
pub mod coverage;
mod grpc;
pub mod http;
mod remarks;
pub mod server;
mod silences;
pub mod verdicts;
mod writing;
