//! Puts the parts together: from settings to a worker that runs, and to the end of it.
//!
//! ```text
//! settings ─▶ rules, store ─▶ supervisor ─▶ link ─▶ lanes ─┬─▶ told to stop: drain, close, done
//!                                  ▲                       └─▶ something is lost: drop the link
//!                                  └────────── again ◀─────────────────┘
//! ```
//!
//! The only module, beside `cli`, that knows [`Settings`]: each adapter is given its own.
//!
//! Told to stop, a worker has `shutdown.drain_secs` for what is under way; told again, or when that
//! time is over, it ends where it stands, and says how many messages it leaves to be delivered anew.

pub mod checks;
mod observed;
mod parts;
mod quarantine;
mod quarantined;
mod store_watch;

use std::sync::Arc;

use observed::Observed;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use parts::{
    broker_settings, gating, lifetimes, load_rules, rules_source, store_settings, topology, tracer,
    worker,
};

use crate::broker::{self, Link, Supervisor};
use crate::cleaner::Cleaner;
use crate::clock::Clock;
use crate::domain::Rules;
use crate::gate;
use crate::http::{Server, ServerError};
use crate::pipeline::gate_policy::GateOverflow;
use crate::pipeline::lane::{Lane, LaneError};
use crate::pipeline::partitions::Partitions;
use crate::pipeline::partitions::partitioner::Partitioner;
use crate::pipeline::save::rules_in_force::RulesInForce;
use crate::pipeline::save::worker::Worker;
use crate::reload::Reloader;
use crate::retry::Reconnect;
use crate::settings::Settings;
use crate::store::{self, OpenError, Store};
use crate::telemetry::traces::Exporter;

/// Why a worker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store cannot be used, and trying again will not help.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The broker cannot be used, and trying again will not help.
    #[error(transparent)]
    Broker(#[from] broker::Error),
    /// The HTTP server cannot be had.
    #[error(transparent)]
    Http(#[from] ServerError),
    /// The status gate cannot be set up.
    #[error(transparent)]
    Gate(#[from] gate::Error),
}

/// How a worker is told to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Take nothing more, and finish what is under way.
    pub gently: CancellationToken,
    /// End at once.
    pub at_once: CancellationToken,
}

/// How a worker came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was under way is settled.
    Drained,
    /// The time for draining was over; what was under way will be delivered anew.
    WorkLeft,
}

/// Runs the worker until `stop`. Waits for store and broker for as long as it takes. When `reread`
/// is notified, the rules file is read again.
///
/// # Errors
/// [`RunError`] when either can never be had with these settings, or the address of the HTTP server
/// is taken.
pub async fn run(
    settings: &Settings,
    rules: Rules,
    stop: &Stop,
    reread: &Notify,
) -> Result<Ended, RunError> {
    // Before anything is consumed.
    let server = settings.http.listen.map(Server::bind).transpose()?;
    let mut supervisor = Supervisor::new(broker_settings(settings), topology(settings));
    let rules = Arc::new(RulesInForce::new(rules));
    let reloader = Reloader::new(rules_source(settings), Arc::clone(&rules));
    let observed = Observed::new(settings, reloader.standing(), supervisor.health(), &stop.gently);
    let observed = Arc::new(observed);
    let _serving = match server {
        Some(server) => {
            tracing::info!(address = %server.address(), "answering over HTTP");
            Some(server.serve(Arc::<Observed>::clone(&observed))?)
        }
        None => None,
    };
    tokio::select! {
        ended = work(settings, rules, &mut supervisor, &observed, &stop.gently) => ended,
        never = reloader.run(reread) => match never {},
        left = time_is_over(settings, stop, &observed) => Ok(match left {
            0 => Ended::Drained,
            messages => {
                tracing::warn!(messages, "the time for draining is over; what is left is given back");
                Ended::WorkLeft
            }
        }),
    }
}

/// Ends when a worker that was told to stop has had its time, or is told again; gives the number of
/// messages that it has in hand then.
async fn time_is_over(settings: &Settings, stop: &Stop, observed: &Observed) -> u64 {
    let time = async {
        stop.gently.cancelled().await;
        tokio::time::sleep(settings.shutdown.drain).await;
    };
    tokio::select! {
        () = time => {}
        () = stop.at_once.cancelled() => {}
    }
    observed.in_hand()
}

/// Everything that a worker does, until it is told to stop and has drained.
async fn work(
    settings: &Settings,
    rules: Arc<RulesInForce>,
    supervisor: &mut Supervisor,
    observed: &Arc<Observed>,
    stop: &CancellationToken,
) -> Result<Ended, RunError> {
    // What is wrong with the settings is told before anybody is waited for.
    let gating = gating(settings, GateOverflow::Decide)?;
    let Some(store) = connect_store(settings, stop).await? else { return Ok(Ended::Drained) };
    for warning in store.warnings() {
        tracing::warn!("{warning}");
    }
    let odd = [checks::of_hold(settings), checks::of_clock(&store, &Clock::System).await];
    for warning in odd.into_iter().flatten() {
        tracing::warn!("{warning}");
    }
    let tracer = tracer(settings, &observed.traces);
    let worker = Arc::new(Worker { gating, tracer, ..worker(settings, rules, store) });
    let exporter = settings.traces.endpoint.clone().map(|collector| {
        tracing::info!(%collector, "sending traces");
        let service_name = settings.traces.service_name.clone();
        Exporter::start(Arc::clone(&observed.traces), collector, service_name)
    });
    let cleaner = Cleaner {
        store: Arc::clone(&worker.store),
        lifetimes: lifetimes(settings),
        clock: worker.clock.clone(),
        sweeps: Arc::clone(&observed.sweeps),
    };
    // These go on while the broker is away, and are dropped when the flow has ended.
    tokio::select! {
        ended = flow(settings, &worker, supervisor, observed, stop) => ended?,
        never = cleaner.run() => match never {},
        never = observed.store.watch(&worker.store), if settings.http.listen.is_some() => {
            match never {}
        }
    }
    worker.store.close().await;
    if let Some(exporter) = exporter {
        exporter.finish().await;
    }
    Ok(Ended::Drained)
}

/// Connects and runs lanes, again and again, until `stop`.
async fn flow(
    settings: &Settings,
    worker: &Arc<Worker<Store>>,
    supervisor: &mut Supervisor,
    observed: &Arc<Observed>,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let mut compared = false;
    while let Some(link) = supervisor.connect(stop).await? {
        // Once is enough to tell, and each comparison leaves lines in the broker's log.
        if !std::mem::replace(&mut compared, true) {
            for warning in checks::of_broker(&link, settings).await {
                tracing::warn!("{warning}");
            }
        }
        match run_lanes(&link, settings, worker, observed, stop).await {
            Ok(()) => {
                link.close().await;
                break;
            }
            Err(error) => {
                tracing::warn!("the lanes have stopped: failed to {error}");
                let fault = link.fault().await;
                observed.quarantine.set(fault.is_some());
                // Dropping the link gives back what it holds; the next one is built from scratch.
                drop(link);
                if fault.is_some()
                    && quarantined(settings, worker, supervisor, observed, stop).await?
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
    observed: &Arc<Observed>,
    stop: &CancellationToken,
) -> Result<bool, RunError> {
    supervisor.hurry();
    let Some(link) = supervisor.connect(stop).await? else { return Ok(true) };
    match quarantine::run(link, settings, worker, observed, stop).await {
        Ok(()) => supervisor.hurry(),
        Err(error) => tracing::warn!("the lanes have stopped: failed to {error}"),
    }
    observed.quarantine.set(false);
    Ok(stop.is_cancelled())
}

/// Runs the lanes over a link until they are told to stop, or one of them cannot go on: then the
/// others are told to stop too, as the link they share is most likely lost.
async fn run_lanes(
    link: &Link,
    settings: &Settings,
    worker: &Arc<Worker<Store>>,
    observed: &Observed,
    stop: &CancellationToken,
) -> Result<(), String> {
    let together = stop.child_token();
    let mut lanes = JoinSet::new();
    let sources = link.sources().iter().zip(settings.sources());
    let sources =
        sources.flat_map(|(inbound, source)| (0..source.lanes).map(move |n| (inbound, n)));
    for ((source, number), tally) in sources.zip(&observed.lanes) {
        let lane = link.lane_of_partition(source, number).await;
        let lane = lane.map_err(|error| error.to_string())?;
        let (worker, tally) = (Arc::clone(worker), Arc::clone(tally));
        let (together, batch_messages) = (together.clone(), settings.pipeline.batch_messages);
        lanes.spawn(async move {
            let lane = Lane {
                worker: &worker,
                source: lane.consumer,
                publisher: lane.publisher,
                settler: lane.settler,
                batch_messages,
                tally: &tally,
            };
            lane.run(&together).await
        });
    }
    let passing_on = link.sources().iter().filter(|_| settings.partitions.pass_on);
    for (source, progress) in passing_on.zip(&observed.partitioners) {
        let Some(partitioned) = &source.partitions else { continue };
        let partitions = Partitions::new(partitioned.count, settings.partitions.key);
        let lane = link.lane_of(source).await.map_err(|error| error.to_string())?;
        let (worker, progress) = (Arc::clone(worker), Arc::clone(progress));
        let (together, batch_messages) = (together.clone(), settings.pipeline.batch_messages);
        lanes.spawn(async move {
            let partitioner = Partitioner {
                worker: &worker,
                source: lane.consumer,
                distributor: lane.publisher,
                settler: lane.settler,
                batch_messages,
                partitions,
                progress: &progress,
            };
            partitioner.run(&together).await
        });
    }
    let mut first_failure = None;
    while let Some(ended) = lanes.join_next().await {
        let failure = match ended {
            Ok(Ok(())) => continue,
            Ok(Err(LaneError::Transport(error))) => error.to_string(),
            Ok(Err(LaneError::Worker(error))) => error.to_string(),
            // The error's text would quote the panic's, which may quote a value.
            Err(error) if error.is_panic() => "run a lane: it panicked".to_owned(),
            Err(_) => "run a lane: it was cancelled".to_owned(),
        };
        together.cancel();
        first_failure.get_or_insert(failure);
    }
    first_failure.map_or(Ok(()), Err)
}

/// Opens the store, waiting for it if it is away; `None` when told to stop first.
async fn connect_store(
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<Option<Store>, OpenError> {
    let of_store = store_settings(settings);
    let mut retry = Reconnect::new();
    loop {
        let error = tokio::select! {
            () = stop.cancelled() => return Ok(None),
            opened = store::connect(&of_store) => match opened {
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
