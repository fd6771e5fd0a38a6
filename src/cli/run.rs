//! `throughline run`: the worker.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::failure::{Exit, Failure};
use super::{block_on, load_rules};
use crate::app::{self, RunError, RunOutcome, ShutdownSignals};
use crate::settings::Settings;

/// The worker: RabbitMQ in, RabbitMQ out, until SIGTERM
///
/// Waits for broker and store for as long as it takes. SIGTERM or SIGINT: nothing more is taken,
/// what is under way is finished within shutdown.drain_secs, the rest is given back to the broker. A
/// second signal ends at once. A changed rules file is taken when it is good; SIGHUP reads it at once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  throughline run
  THROUGHLINE_AMQP__URL_FILE=/run/secrets/amqp-url throughline run --config production.toml")]
pub(super) struct Arguments {}

pub(super) fn run(_arguments: &Arguments, settings: &Settings) -> Result<Exit, Failure> {
    let rules = load_rules(settings)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        rules = rules.revision().as_str(),
        lanes = settings.lanes,
        "starting"
    );
    block_on(async {
        let stop = ShutdownSignals::default();
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::internal)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::internal)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(Failure::internal)?;
        let reread = Notify::new();
        let hangups = async {
            while hangup.recv().await.is_some() {
                reread.notify_one();
            }
            std::future::pending().await
        };
        let mut signalled = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let signals = async {
            signalled().await;
            tracing::info!("told to stop: finishing what is under way");
            stop.drain.cancel();
            signalled().await;
            tracing::warn!("told to stop again: ending at once");
            stop.abort.cancel();
            std::future::pending().await
        };
        let ended = tokio::select! {
            ended = app::run(settings, rules, &stop, &reread) => ended,
            never = hangups => never,
            never = signals => never,
        };
        match ended {
            Ok(RunOutcome::Drained) => {
                tracing::info!("stopped; everything that was under way is settled");
                Ok(Exit::Done)
            }
            Ok(RunOutcome::WorkLeft) => Ok(Exit::WorkLeft),
            Err(RunError::Store(error)) => Err(error.into()),
            Err(RunError::Broker(error)) => Err(error.into()),
            Err(RunError::Http(error)) => Err(error.into()),
            Err(RunError::Gate(error)) => Err(error.into()),
        }
    })
}
