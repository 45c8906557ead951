//! How the commands that ask a running engine reach it.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

/// Where the engine is.
#[derive(Args)]
pub struct ClientArguments {
    /// Address of the engine's gRPC
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:4320")]
    server: String,
    /// A PEM file with the authority that signed the server's certificate; else the system's authorities are trusted
    #[arg(long, global = true, value_name = "FILE")]
    ca_certificate: Option<PathBuf>,
    /// A file with the token that the server wants
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// What clients of services are made of.
pub type Connection = InterceptedService<Channel, Token>;

/// Adds the token to each call.
#[derive(Clone)]
pub struct Token(Option<MetadataValue<Ascii>>);

impl tonic::service::Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl ClientArguments {
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let token = self.token_file.as_deref().map(|path| {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let token = format!("Bearer {}", text.trim()).parse::<MetadataValue<Ascii>>();
            token.with_context(|| format!("{} holds no usable token", path.display()))
        });
        let wrong = || {
            format!(
                "--server {} is no address; write it as http://host:port or https://host:port",
                self.server
            )
        };
        let mut endpoint = Endpoint::from_shared(self.server.clone()).with_context(wrong)?;
        if self.server.starts_with("https://") {
            let mut tls = ClientTlsConfig::new();
            if let Some(path) = &self.ca_certificate {
                let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            endpoint = endpoint.tls_config(tls)?;
        }
        let none =
            || format!("cannot reach an engine at {}; is it running, and is --server right?", self.server);
        let channel = endpoint.connect().await.with_context(none)?;
        Ok(InterceptedService::new(channel, Token(token.transpose()?)))
    }
}

/// What the engine has to say about a call that failed.
pub fn said(status: Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}

/// Who says something to the engine.
pub fn author_or_user(author: &Option<String>) -> anyhow::Result<String> {
    let user = || std::env::var("USER").ok().filter(|user| !user.is_empty());
    author.clone().or_else(user).context("give --author, as the environment has no USER")
}
