//! Assembles a worker from the settings, runs it, and drains it.
//!
//! ```text
//! settings ─▶ rules, store ─▶ supervisor ─▶ link ─▶ lanes ─┬─▶ shutdown: drain, close, done
//!                                  ▲                       └─▶ connection lost: drop the link
//!                                  └──────── reconnect ◀───────────────┘
//! ```
//!
//! The only module, beside `cli`, that knows [`Settings`]: each adapter is given its own.
//!
//! On shutdown a worker has `shutdown.drain_secs` for the messages in hand; on a second signal, or when
//! that time is over, it ends at once, and logs how many messages the broker will redeliver.

pub mod checks;
mod lanes;
mod monitor;
mod quarantine;
mod quarantine_status;
mod store_health;
mod wiring;

use std::sync::Arc;

use monitor::WorkerMonitor;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use wiring::{
    broker_settings, gating, lifetimes, load_rules, rules_source, store_settings, topology, tracer,
    worker,
};

use crate::broker::{self, Supervisor};
use crate::cleaner::Cleaner;
use crate::clock::Clock;
use crate::domain::Rules;
use crate::gate;
use crate::http::{Server, ServerError};
use crate::pipeline::gate_policy::GateOverflow;
use crate::pipeline::save::rules_in_force::RulesInForce;
use crate::pipeline::save::worker::Worker;
use crate::reload::Reloader;
use crate::retry::ReconnectBackoff;
use crate::settings::Settings;
use crate::store::{self, OpenError, Store};
use crate::telemetry::traces::Exporter;

/// Why a worker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store cannot be used, and a retry would not help.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The broker cannot be used, and a retry would not help.
    #[error(transparent)]
    Broker(#[from] broker::Error),
    /// The HTTP server cannot be started.
    #[error(transparent)]
    Http(#[from] ServerError),
    /// The status gate cannot be set up.
    #[error(transparent)]
    Gate(#[from] gate::Error),
}

/// The signals that stop a worker.
#[derive(Clone, Debug, Default)]
pub struct ShutdownSignals {
    /// Receive nothing more, and finish the messages in hand.
    pub drain: CancellationToken,
    /// End at once.
    pub abort: CancellationToken,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// Every message in hand is settled.
    Drained,
    /// The time for draining was over; the broker redelivers the messages in hand.
    WorkLeft,
}

/// Runs the worker until `stop`. Waits for store and broker for as long as it takes. When `reread`
/// is notified, the rules file is read again.
///
/// # Errors
/// [`RunError`] when store or broker can never be used with these settings, or the address of the HTTP
/// server is in use.
pub async fn run(
    settings: &Settings,
    rules: Rules,
    stop: &ShutdownSignals,
    reread: &Notify,
) -> Result<RunOutcome, RunError> {
    // Before anything is consumed.
    let server = settings.http.listen.map(Server::bind).transpose()?;
    let mut supervisor = Supervisor::new(broker_settings(settings), topology(settings));
    let rules = Arc::new(RulesInForce::new(rules));
    let reloader = Reloader::new(rules_source(settings), Arc::clone(&rules));
    let monitor = WorkerMonitor::new(settings, reloader.status(), supervisor.health(), &stop.drain);
    let monitor = Arc::new(monitor);
    let _serving = match server {
        Some(server) => {
            tracing::info!(address = %server.address(), "answering over HTTP");
            Some(server.serve(Arc::<WorkerMonitor>::clone(&monitor))?)
        }
        None => None,
    };
    tokio::select! {
        ended = run_tasks(settings, rules, &mut supervisor, &monitor, &stop.drain) => ended,
        never = reloader.run(reread) => match never {},
        left = drain_deadline(settings, stop, &monitor) => Ok(match left {
            0 => RunOutcome::Drained,
            messages => {
                tracing::warn!(messages, "the time for draining is over; what is left is given back");
                RunOutcome::WorkLeft
            }
        }),
    }
}

/// Returns when the time for draining is over, or at the second signal, with the number of messages
/// in hand.
async fn drain_deadline(
    settings: &Settings,
    stop: &ShutdownSignals,
    monitor: &WorkerMonitor,
) -> u64 {
    let time = async {
        stop.drain.cancelled().await;
        tokio::time::sleep(settings.shutdown.drain).await;
    };
    tokio::select! {
        () = time => {}
        () = stop.abort.cancelled() => {}
    }
    monitor.in_hand()
}

/// Runs all of a worker's tasks until it has drained after `stop`.
async fn run_tasks(
    settings: &Settings,
    rules: Arc<RulesInForce>,
    supervisor: &mut Supervisor,
    monitor: &Arc<WorkerMonitor>,
    stop: &CancellationToken,
) -> Result<RunOutcome, RunError> {
    // Errors in the settings are reported before anything is waited for.
    let gating = gating(settings, GateOverflow::Decide)?;
    let Some(store) = connect_store(settings, stop).await? else { return Ok(RunOutcome::Drained) };
    for warning in store.warnings() {
        tracing::warn!("{warning}");
    }
    let warnings =
        [checks::hold_warning(settings), checks::clock_warning(&store, &Clock::System).await];
    for warning in warnings.into_iter().flatten() {
        tracing::warn!("{warning}");
    }
    let tracer = tracer(settings, &monitor.traces);
    let worker = Arc::new(Worker { gating, tracer, ..worker(settings, rules, store) });
    let exporter = settings.traces.endpoint.clone().map(|collector| {
        tracing::info!(%collector, "sending traces");
        let service_name = settings.traces.service_name.clone();
        Exporter::start(Arc::clone(&monitor.traces), collector, service_name)
    });
    let cleaner = Cleaner {
        store: Arc::clone(&worker.store),
        lifetimes: lifetimes(settings),
        clock: worker.clock.clone(),
        sweeps: Arc::clone(&monitor.sweeps),
    };
    // Cleaner and health check go on while the broker is away, and are dropped when the lanes have
    // ended.
    tokio::select! {
        ended = run_links(settings, &worker, supervisor, monitor, stop) => ended?,
        never = cleaner.run() => match never {},
        never = monitor.store.watch(&worker.store), if settings.http.listen.is_some() => {
            match never {}
        }
    }
    worker.store.close().await;
    if let Some(exporter) = exporter {
        exporter.finish().await;
    }
    Ok(RunOutcome::Drained)
}

/// Connects and runs lanes, and reconnects, until `stop`.
async fn run_links(
    settings: &Settings,
    worker: &Arc<Worker<Store>>,
    supervisor: &mut Supervisor,
    monitor: &Arc<WorkerMonitor>,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let mut compared = false;
    while let Some(link) = supervisor.connect(stop).await? {
        // Compared once only: each comparison leaves lines in the broker's log.
        if !std::mem::replace(&mut compared, true) {
            for warning in checks::topology_warnings(&link, settings).await {
                tracing::warn!("{warning}");
            }
        }
        match lanes::run(&link, settings, worker, monitor, stop).await {
            Ok(()) => {
                link.close().await;
                break;
            }
            Err(error) => {
                tracing::warn!("the lanes have stopped: failed to {error}");
                let fault = link.fault().await;
                monitor.quarantine.set(fault.is_some());
                // Dropping the link gives back what it holds; the next one is built from scratch.
                drop(link);
                if fault.is_some()
                    && quarantined(settings, worker, supervisor, monitor, stop).await?
                {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Goes on one message at a time until what ended the last link is gone; whether it was told to stop.
async fn quarantined(
    settings: &Settings,
    worker: &Arc<Worker<Store>>,
    supervisor: &mut Supervisor,
    monitor: &Arc<WorkerMonitor>,
    stop: &CancellationToken,
) -> Result<bool, RunError> {
    supervisor.hurry();
    let Some(link) = supervisor.connect(stop).await? else { return Ok(true) };
    match quarantine::run(link, settings, worker, monitor, stop).await {
        Ok(()) => supervisor.hurry(),
        Err(error) => tracing::warn!("the lanes have stopped: failed to {error}"),
    }
    monitor.quarantine.set(false);
    Ok(stop.is_cancelled())
}

/// Opens the store, and waits for it while it is away; `None` when `stop` comes first.
async fn connect_store(
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<Option<Store>, OpenError> {
    let store_settings = store_settings(settings);
    let mut retry = ReconnectBackoff::new();
    loop {
        let error = tokio::select! {
            () = stop.cancelled() => return Ok(None),
            opened = store::connect(&store_settings) => match opened {
                Ok(store) => return Ok(Some(store)),
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error),
            },
        };
        let delay = retry.next_delay();
        tracing::warn!(retry_ms = delay.as_millis(), "failed to {error}; trying again");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}
