//! Starts and stops the listening side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use proto::foreshock::v1::alert_service_server::AlertServiceServer;
use proto::foreshock::v1::anomaly_service_server::AnomalyServiceServer;
use proto::foreshock::v1::coverage_service_server::CoverageServiceServer;
use proto::foreshock::v1::incident_service_server::IncidentServiceServer;
use proto::foreshock::v1::remark_service_server::RemarkServiceServer;
use proto::foreshock::v1::silence_service_server::SilenceServiceServer;
use proto::foreshock::v1::verdict_service_server::VerdictServiceServer;
use receivers::Token;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Status as GrpcStatus};

use super::grpc::Services;
use super::http::{self, Status};
use super::remarks::Remarking;
use super::silences::Silencing;
use super::verdicts::Judging;
use super::writing::Writing;
use crate::change::ChangeReader;
use crate::config::{GrpcConfig, HttpConfig};
use crate::controls::Controls;
use crate::token;
use crate::view::View;

/// The services while they run; dropping it stops them.
pub struct Servers {
    runtime: Option<tokio::runtime::Runtime>,
    stop: watch::Sender<bool>,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
}

impl Drop for Servers {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(runtime) = self.runtime.take() {
            // Streams have no end of their own, so they are cut off.
            runtime.shutdown_timeout(Duration::from_millis(500));
        }
    }
}

/// Binds both addresses and serves. Health says `SERVING` while `status` is ready.
pub fn start(
    grpc: &GrpcConfig,
    http: &HttpConfig,
    view: &Arc<View>,
    controls: &Arc<Controls>,
    changes: ChangeReader,
    status: &Arc<dyn Status>,
) -> anyhow::Result<Servers> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("service")
        .enable_all()
        .build()
        .context("cannot start the threads of the services")?;
    let token = token::read("grpc.token_file", grpc.token_file.as_deref())?;
    let may_write = token.is_some() || grpc.listen.ip().is_loopback();
    let bind = |key: &str, address: SocketAddr| {
        let listener = runtime.block_on(TcpListener::bind(address));
        listener.with_context(|| format!("cannot listen on {address}; choose another address with {key}"))
    };
    let grpc_listener = bind("grpc.listen", grpc.listen)?;
    let http_listener = bind("http.listen", http.listen)?;
    let (grpc_address, http_address) = (grpc_listener.local_addr()?, http_listener.local_addr()?);

    let mut builder = Server::builder();
    if let (Some(certificate), Some(key)) = (&grpc.tls_certificate, &grpc.tls_key) {
        let read = |path: &std::path::Path| {
            std::fs::read(path).with_context(|| format!("grpc: cannot read {}", path.display()))
        };
        let identity = Identity::from_pem(read(certificate)?, read(key)?);
        let tls = ServerTlsConfig::new().identity(identity);
        builder =
            builder.tls_config(tls).context("grpc: tls_certificate and tls_key are no usable PEM pair")?;
    }
    let (stop, stopped) = watch::channel(false);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("cannot build the reflection service")?;
    let (reporter, health) = tonic_health::server::health_reporter();
    let check = move |request: Request<()>| match &token {
        Some(token) if !holds(&request, token) => {
            Err(GrpcStatus::unauthenticated("send the token as `authorization: Bearer TOKEN`"))
        }
        _ => Ok(request),
    };
    let services = Services::new(Arc::clone(view), Arc::clone(controls));
    let writing = Writing::new(Arc::clone(controls), may_write);
    let silencing = Silencing::new(writing.clone());
    let remarking = Remarking::new(services.clone(), writing);
    let router = builder
        .add_service(health)
        .add_service(reflection)
        .add_service(IncidentServiceServer::with_interceptor(services.clone(), check.clone()))
        .add_service(AnomalyServiceServer::with_interceptor(services.clone(), check.clone()))
        .add_service(CoverageServiceServer::with_interceptor(services.clone(), check.clone()))
        .add_service(RemarkServiceServer::with_interceptor(remarking, check.clone()))
        .add_service(SilenceServiceServer::with_interceptor(silencing, check.clone()))
        .add_service(VerdictServiceServer::with_interceptor(Judging::new(changes), check.clone()))
        .add_service(AlertServiceServer::with_interceptor(services, check));
    runtime.spawn(
        router.serve_with_incoming_shutdown(TcpListenerStream::new(grpc_listener), wait(stopped.clone())),
    );
    let app = http::router(Arc::clone(status));
    let serve = axum::serve(http_listener, app).with_graceful_shutdown(wait(stopped.clone()));
    runtime.spawn(async move { serve.await });
    runtime.spawn(report_health(reporter, Arc::clone(status), stopped));
    Ok(Servers { runtime: Some(runtime), stop, grpc: grpc_address, http: http_address })
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn report_health(
    reporter: tonic_health::server::HealthReporter,
    status: Arc<dyn Status>,
    stopped: watch::Receiver<bool>,
) {
    while !*stopped.borrow() {
        let ready = status.failed().or_else(|| status.not_ready()).is_none();
        let serving = if ready {
            tonic_health::ServingStatus::Serving
        } else {
            tonic_health::ServingStatus::NotServing
        };
        for service in [
            "",
            "foreshock.v1.IncidentService",
            "foreshock.v1.AnomalyService",
            "foreshock.v1.AlertService",
            "foreshock.v1.CoverageService",
            "foreshock.v1.RemarkService",
            "foreshock.v1.SilenceService",
            "foreshock.v1.VerdictService",
        ] {
            reporter.set_service_status(service, serving).await;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn holds(request: &Request<()>, token: &Token) -> bool {
    request.metadata().get("authorization").is_some_and(|given| token.is_held_by(given.as_bytes()))
}
