//! The adapters for clients: gRPC and HTTP, on tokio. They read the [`View`](crate::view::View) and change nothing.

mod convert;
mod grpc;
pub mod http;
pub mod server;
