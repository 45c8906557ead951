//! Senders of every kind against doors whose destination can be told to be slow or broken.

mod destination;
mod grpc;
mod http;
mod rig;
mod tls;
