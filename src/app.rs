//! Puts the parts together: from settings to a worker that runs, and to the end of it.
//!
//! ```text
//! settings ─▶ rules, store ─▶ supervisor ─▶ link ─▶ lanes ─┬─▶ told to stop: drain, close, done
//!                                  ▲                       └─▶ something is lost: drop the link
//!                                  └────────── again ◀─────────────────┘
//! ```
//!
//! The only module, beside `cli`, that knows [`Settings`]: each adapter is given its own.

use std::iter::repeat_n;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::broker::{self, Inbound, Link, Supervisor, Topology};
use crate::cleaner::Cleaner;
use crate::clock::Clock;
use crate::domain::Rules;
use crate::gate::{self, StatusGate};
use crate::pipeline::aside::{Gating, HELD_MAX, WhenFull};
use crate::pipeline::lane::{Lane, LaneError};
use crate::pipeline::rules_in_force::RulesInForce;
use crate::pipeline::settlement::Patience;
use crate::pipeline::tally::Tally;
use crate::pipeline::worker::Worker;
use crate::reload::{NotTaken, Reloader, RulesSource};
use crate::retry::{Ladder, Reconnect};
use crate::settings::rules_file::{Document, Loaded};
use crate::settings::{self, LiveKey, Settings, Source};
use crate::store::{self, Lifetimes, OpenError, Store};

/// The rules that the settings name, and what is to be said about them. Whoever works by them takes
/// the source that [`rules_source`] gives; whoever only looks at them may leave its cases out.
///
/// # Errors
/// When the file is named and absent, cannot be read, parsed or accepted, or fails a case.
pub fn load_rules(
    settings: &Settings,
    source: &RulesSource,
) -> Result<(Rules, Vec<String>), NotTaken> {
    let file = &source.file;
    if !settings.rules.is_named && !file.exists() {
        source.try_on_cases(&Document::empty())?;
        let warning = format!(
            "there are no rules: {} is absent; nothing is copied and nothing is saved",
            file.display()
        );
        return Ok((Rules::empty(), vec![warning]));
    }
    let Loaded { rules, warnings } = source.load()?;
    Ok((rules, warnings.iter().map(|warning| format!("rules: {warning}")).collect()))
}

/// Where rules come from, and what they must pass.
pub fn rules_source(settings: &Settings) -> RulesSource {
    let settings::Rules { file, cases, watch, .. } = settings.rules.clone();
    RulesSource { file, cases, watch }
}

/// What the store has to be told.
pub fn store_settings(settings: &Settings) -> store::Settings {
    let mut of_store = store::Settings::new(settings.store.url.expose());
    match &settings.store.live_key {
        Some(LiveKey::File(path)) => of_store.live_key_file = Some(path.clone()),
        Some(LiveKey::Inline(key)) => of_store.live_key = Some(key.expose().to_owned()),
        None => {}
    }
    of_store.migrate = settings.store.migrate;
    // Each lane holds one connection at a time; two more are for questions beside the flow.
    let lanes = settings.sources().iter().map(|source| source.lanes).sum::<usize>();
    of_store.connections = u32::try_from(lanes).unwrap_or(u32::MAX).saturating_add(2);
    of_store
}

/// What the broker has to be told.
pub fn broker_settings(settings: &Settings) -> broker::Settings {
    let amqp = &settings.amqp;
    let further = settings.output.further.iter();
    // What waits for the status gate is not acknowledged; others are to keep their share.
    let held = if settings.gate.endpoint.is_some() { HELD_MAX } else { 0 };
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    broker::Settings {
        url: amqp.url.expose().to_owned(),
        sources: settings.sources().into_iter().map(|source| inbound(source, held)).collect(),
        further_exchanges: further.map(|output| output.exchange.clone()).collect(),
        queue: amqp.queue.clone(),
        inbound_exchange: amqp.inbound_exchange.clone(),
        outbound_exchange: amqp.outbound_exchange.clone(),
        dead_letters: amqp.dead_letters.clone(),
        dead_letters_max_bytes: settings.dead_letters.max_bytes,
        dead_letters_max_age_secs: settings.dead_letters.max_age.map(|age| age.as_secs()),
        dead_letters_overflow: settings.dead_letters.overflow,
        waiting_prefix: amqp.waiting_prefix.clone(),
        waiting_max_bytes: settings.waiting.max_bytes,
        prefetch_messages: amqp.prefetch_messages,
        heartbeat_secs: amqp.heartbeat_secs,
        connect_timeout_ms: millis(amqp.connect_timeout),
        confirm_timeout_ms: millis(amqp.confirm_timeout),
        declare: settings.topology.declare,
        format: amqp.format.clone(),
        tls_ca_file: amqp.ca_file.clone(),
        tls_cert_file: amqp.client.as_ref().map(|client| client.cert_file.clone()),
        tls_key_file: amqp.client.as_ref().map(|client| client.key_file.clone()),
        ..broker::Settings::default()
    }
}

/// What the broker has to be told of a source of which so many deliveries may be held.
fn inbound(source: Source, held: u16) -> Inbound {
    Inbound {
        queue: source.queue,
        exchange: source.exchange,
        routing_keys: source.routing_keys,
        waiting_prefix: source.waiting_prefix,
        prefetch_messages: source.prefetch_messages.saturating_add(held),
        format: source.format,
        tenant: source.tenant.map(Arc::from),
        signing_secret: source.signing_secret,
    }
}

/// All that must be in the broker.
pub fn topology(settings: &Settings) -> Topology {
    Topology::of(&broker_settings(settings), &Ladder::default().delays())
}

/// What is done to every batch.
pub fn worker<S>(settings: &Settings, rules: Rules, store: S) -> Worker<S> {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Worker {
        store: Arc::new(store),
        rules: Arc::new(RulesInForce::new(rules)),
        clock: Clock::System,
        patience: Patience {
            parent_ms: millis(settings.waiting.parent),
            interaction_ms: millis(settings.waiting.unknown),
            publish_ms: millis(settings.waiting.unroutable),
            ladder: Ladder::default(),
        },
        live_ttl_secs: settings.live.ttl.as_secs(),
        body_max_bytes: settings.limits.body_max_bytes,
        origins: settings.output.origins,
        outputs: settings.output.further.clone(),
        // Waiting queues have delays, and the order of arrival is kept.
        wakes_within_batch: false,
        gating: None,
    }
}

/// How the status gate is asked; `None` where none is configured.
///
/// # Errors
/// When a file that it needs cannot be read, or does not hold what it should.
pub fn gating(settings: &Settings, when_full: WhenFull) -> Result<Option<Gating>, gate::Error> {
    let Some(of_gate) = &settings.gate.endpoint else { return Ok(None) };
    let channels = settings.gate.channels.iter().cloned().collect();
    let gate = Arc::new(StatusGate::open(of_gate)?);
    Ok(Some(Gating { gate, channels, when_full }))
}

/// How long what is stored may stay.
pub fn lifetimes(settings: &Settings) -> Lifetimes {
    Lifetimes {
        live_ttl_secs: settings.live.ttl.as_secs(),
        repeat_secs: settings.store.repeat.as_secs(),
        retention: settings.history.retention.clone(),
    }
}

/// Why a worker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store cannot be used, and trying again will not help.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The broker cannot be used, and trying again will not help.
    #[error(transparent)]
    Broker(#[from] broker::Error),
    /// The status gate cannot be set up.
    #[error(transparent)]
    Gate(#[from] gate::Error),
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
/// [`RunError`] when either can never be had with these settings.
pub async fn run(
    settings: &Settings,
    rules: Rules,
    stop: &CancellationToken,
    reread: &Notify,
) -> Result<Ended, RunError> {
    // What is wrong with the settings is told before anybody is waited for.
    let gating = gating(settings, WhenFull::Decide)?;
    let Some(store) = connect_store(settings, stop).await? else { return Ok(Ended::Drained) };
    for warning in store.warnings() {
        tracing::warn!("{warning}");
    }
    let worker = Arc::new(Worker { gating, ..worker(settings, rules, store) });
    let cleaner = Cleaner {
        store: Arc::clone(&worker.store),
        lifetimes: lifetimes(settings),
        clock: worker.clock.clone(),
    };
    let reloader = Reloader::new(rules_source(settings), Arc::clone(&worker.rules));
    // Both go on while the broker is away, and are dropped when the flow has ended.
    let ended = tokio::select! {
        ended = flow(settings, &worker, stop) => ended?,
        never = cleaner.run() => match never {},
        never = reloader.run(reread) => match never {},
    };
    // Closing waits for whoever holds a connection, for which there is no time if work is left.
    if ended == Ended::Drained {
        worker.store.close().await;
    }
    Ok(ended)
}

/// Connects and runs lanes, again and again, until `stop`.
async fn flow(
    settings: &Settings,
    worker: &Arc<Worker<Store>>,
    stop: &CancellationToken,
) -> Result<Ended, RunError> {
    let tally = Arc::new(Tally::default());
    let mut supervisor = Supervisor::new(broker_settings(settings), topology(settings));
    while let Some(link) = supervisor.connect(stop).await? {
        let running = run_lanes(&link, settings, worker, &tally, stop);
        let drained = tokio::select! {
            result = running => result,
            () = drain_time(settings, stop) => {
                tracing::warn!("the time for draining is over; what is left is given back");
                return Ok(Ended::WorkLeft);
            }
        };
        match drained {
            Ok(()) => {
                link.close().await;
                break;
            }
            // Dropping the link gives back what it holds; the next one is built from scratch.
            Err(error) => tracing::warn!("the lanes have stopped: failed to {error}"),
        }
    }
    Ok(Ended::Drained)
}

/// Ends when a worker that was told to stop has had its time.
async fn drain_time(settings: &Settings, stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(settings.shutdown.drain).await;
}

/// Runs the lanes over a link until they are told to stop, or one of them cannot go on: then the
/// others are told to stop too, as the link they share is most likely lost.
async fn run_lanes(
    link: &Link,
    settings: &Settings,
    worker: &Arc<Worker<Store>>,
    tally: &Arc<Tally>,
    stop: &CancellationToken,
) -> Result<(), String> {
    let together = stop.child_token();
    let mut lanes = JoinSet::new();
    let sources = link.sources().iter().zip(settings.sources());
    for source in sources.flat_map(|(inbound, source)| repeat_n(inbound, source.lanes)) {
        let lane = link.lane_of(source).await.map_err(|error| error.to_string())?;
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
