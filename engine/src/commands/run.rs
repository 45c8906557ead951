//! `foreshock run`: the engine.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::config::Config;
use crate::engine::Engine;

/// Run the engine until it is interrupted
#[derive(Args)]
pub struct Run {
    /// The configuration; the defaults if it is not given
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Run {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
        let stop = stop_signal()?;
        tracing::info!(brokers = config.kafka.brokers, "starting");
        let engine = Engine::start(&config)?;
        tracing::info!(grpc = %engine.grpc(), http = %engine.http(), "started");
        let mut was_ready = false;
        while !engine.is_finished() && stop.recv_timeout(Duration::from_millis(100)).is_err() {
            if !was_ready && engine.is_ready() {
                was_ready = true;
                tracing::info!("ready");
            }
        }
        tracing::info!("stopping");
        engine.stop()?;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }
}

/// Receives once when the process is asked to end (SIGINT or SIGTERM).
fn stop_signal() -> anyhow::Result<std::sync::mpsc::Receiver<()>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut terminate = {
        let _context = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        });
        // Nobody waits any more when the engine has ended by itself.
        let _ = sender.send(());
    })?;
    Ok(receiver)
}
