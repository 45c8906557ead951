//! Listens, and serves each connection within bounds.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::answer::{self, Answer};
use crate::counters::Counters;
use crate::destination::{Destination, Topics};
use crate::export::Exporter;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::{otlp_grpc, otlp_http, remote_write, tls};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// What a connection may hold of bodies that nobody has read yet.
const HTTP1_BUFFER_BYTES_MAX: usize = 64 << 10;
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;
/// A silent HTTP/2 connection is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long requests under way may take at the end.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// After an error of accepting, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address} ({source}); choose another address with receivers.{door}")]
    Listen { door: &'static str, address: SocketAddr, source: std::io::Error },
    #[error("receivers: {0}")]
    Tls(String),
    #[error("cannot start the threads of the receivers: {0}")]
    Threads(std::io::Error),
}

/// The doors while they are open. Dropping it closes them, after the requests under way.
pub struct Receivers {
    runtime: Option<tokio::runtime::Runtime>,
    stop: watch::Sender<bool>,
    connections: Arc<Semaphore>,
    connections_max: u32,
    exporter: Arc<Exporter>,
    /// Where each is open.
    pub grpc: Option<SocketAddr>,
    pub http: Option<SocketAddr>,
}

impl Receivers {
    pub fn counters(&self) -> Counters {
        let exporter = &self.exporter;
        Counters {
            otlp_grpc: exporter.otlp_grpc.values(),
            otlp_http: exporter.otlp_http.values(),
            remote_write: exporter.remote_write.values(),
            in_flight_bytes: exporter.budget.used() as u64,
            connections: exporter.connections.load(Ordering::Relaxed),
            connections_refused: exporter.connections_refused.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(runtime) = self.runtime.take() {
            let closed = self.connections.acquire_many(self.connections_max);
            let _ = runtime.block_on(async { tokio::time::timeout(LAST_WAIT, closed).await.is_ok() });
            runtime.shutdown_timeout(Duration::from_millis(500));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Grpc,
    Http,
}

/// Binds the addresses that the settings name and serves.
pub fn start(
    settings: Settings,
    topics: Topics,
    destination: Arc<dyn Destination>,
) -> Result<Receivers, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("receivers")
        .enable_all()
        .build()
        .map_err(Error::Threads)?;
    let bind = |door, address: Option<SocketAddr>| {
        let Some(address) = address else { return Ok(None) };
        let listener = runtime.block_on(TcpListener::bind(address));
        listener.map(Some).map_err(|source| Error::Listen { door, address, source })
    };
    let (grpc, http) = (bind("grpc", settings.grpc)?, bind("http", settings.http)?);
    let address = |listener: &Option<TcpListener>| listener.as_ref().and_then(|l| l.local_addr().ok());
    let (grpc_address, http_address) = (address(&grpc), address(&http));
    let grpc_tls = tls::acceptor(&settings, &[b"h2"])?;
    let http_tls = tls::acceptor(&settings, &[b"h2", b"http/1.1"])?;
    let connections_max = u32::try_from(settings.connections_max).unwrap_or(u32::MAX);
    let connections = Arc::new(Semaphore::new(connections_max as usize));
    let exporter = Arc::new(Exporter::new(settings, topics, destination));
    let (stop, stopped) = watch::channel(false);
    for (door, listener, tls) in [(Door::Grpc, grpc, grpc_tls), (Door::Http, http, http_tls)] {
        if let Some(listener) = listener {
            let listening = Listening {
                door,
                tls,
                connections: Arc::clone(&connections),
                exporter: Arc::clone(&exporter),
                stopped: stopped.clone(),
            };
            runtime.spawn(listening.run(listener));
        }
    }
    Ok(Receivers {
        runtime: Some(runtime),
        stop,
        connections,
        connections_max,
        exporter,
        grpc: grpc_address,
        http: http_address,
    })
}

#[derive(Clone)]
struct Listening {
    door: Door,
    tls: Option<TlsAcceptor>,
    connections: Arc<Semaphore>,
    exporter: Arc<Exporter>,
    stopped: watch::Receiver<bool>,
}

impl Listening {
    async fn run(self, listener: TcpListener) {
        let mut stopped = self.stopped.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = told_to_stop(&mut stopped) => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of a receiver");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.connections).try_acquire_owned() else {
                self.exporter.connections_refused.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let listening = self.clone();
            tokio::spawn(async move {
                listening.exporter.connections.fetch_add(1, Ordering::Relaxed);
                listening.greet(stream).await;
                listening.exporter.connections.fetch_sub(1, Ordering::Relaxed);
                drop(place);
            });
        }
    }

    async fn greet(&self, stream: TcpStream) {
        // Answers are small and waited for.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.serve(stream).await };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        if self.door == Door::Grpc {
            builder = builder.http2_only();
        }
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.exporter.settings.read_timeout)
            .max_buf_size(HTTP1_BUFFER_BYTES_MAX)
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEADER_BYTES_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(KEEP_ALIVE);
        let (door, exporter) = (self.door, Arc::clone(&self.exporter));
        let has_asked = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&has_asked);
        let service = service_fn(move |request| {
            asked.store(true, Ordering::Relaxed);
            let exporter = Arc::clone(&exporter);
            async move { Ok::<_, Infallible>(handle(door, &exporter, request).await) }
        });
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut stopped = self.stopped.clone();
        let ended = tokio::select! {
            served = connection.as_mut() => Some(served),
            () = told_to_stop(&mut stopped) => None,
            () = silence(&has_asked, self.exporter.settings.read_timeout) => {
                tracing::debug!("a connection of a receiver asked for nothing");
                return;
            }
        };
        let served = match ended {
            Some(served) => served,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(error, "a connection of a receiver broke off");
        }
    }
}

/// Ends where nobody has asked for anything by then. Until the first bytes say which HTTP it is, no other limit holds.
async fn silence(has_asked: &AtomicBool, timeout: Duration) {
    tokio::time::sleep(timeout).await;
    if has_asked.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    // An error means that nobody can tell any more.
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn handle(door: Door, exporter: &Exporter, request: Request<Incoming>) -> Answer {
    let path = request.uri().path();
    if door == Door::Grpc {
        return otlp_grpc::handle(exporter, request).await;
    }
    if let Some(signal) = otlp_http::signal(path) {
        return otlp_http::handle(exporter, signal, request).await;
    }
    if path == remote_write::PATH {
        return remote_write::handle(exporter, request).await;
    }
    let refusal = Refusal::NoSuchPath;
    exporter.otlp_http.refused(&refusal);
    answer::refused(&refusal, Duration::ZERO, "text/plain; charset=utf-8", format!("{refusal}\n"))
}
