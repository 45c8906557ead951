//! The adapters for clients: gRPC and HTTP, on tokio. They read the [`View`](crate::view::View); silences are all that clients may change.

mod convert;
mod grpc;
pub mod http;
pub mod server;
mod silences;
