//! Converts the settings into each part's own settings type.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::{self, Inbound, Topology};
use crate::clock::Clock;
use crate::domain::Rules;
use crate::gate::{self, StatusGate};
use crate::pipeline::gate_policy::{GateOverflow, GatePolicy, HELD_MAX};
use crate::pipeline::observe::spans::Tracer;
use crate::pipeline::save::rules_in_force::RulesInForce;
use crate::pipeline::save::worker::Worker;
use crate::pipeline::settlement::WaitPolicy;
use crate::reload::{ReloadError, RulesSource};
use crate::retry::RetrySchedule;
use crate::settings::rules_file::{Document, Loaded};
use crate::settings::{self, LiveKey, Settings, Source};
use crate::store::{self, Lifetimes};
use crate::telemetry::traces::SpanQueue;

/// Loads the rules that the settings name, with warnings about them. Commands that apply the rules pass
/// the source of [`rules_source`]; commands that only show them may leave its cases out.
///
/// # Errors
/// When the file is named and absent, cannot be read, parsed or accepted, or fails a case.
pub fn load_rules(
    settings: &Settings,
    source: &RulesSource,
) -> Result<(Rules, Vec<String>), ReloadError> {
    let file = &source.file;
    if !settings.rules.is_named && !file.exists() {
        source.check_cases(&Document::empty())?;
        let warning = format!(
            "there are no rules: {} is absent; nothing is copied and nothing is saved",
            file.display()
        );
        return Ok((Rules::empty(), vec![warning]));
    }
    let Loaded { rules, warnings } = source.load()?;
    Ok((rules, warnings.iter().map(|warning| format!("rules: {warning}")).collect()))
}

/// The rules file, and the case files that its rules must pass.
pub fn rules_source(settings: &Settings) -> RulesSource {
    let settings::Rules { file, is_named, cases, watch } = settings.rules.clone();
    RulesSource { file, is_named, cases, watch }
}

/// The store's settings.
pub fn store_settings(settings: &Settings) -> store::Settings {
    let mut for_store = store::Settings::new(settings.store.url.expose());
    match &settings.store.live_key {
        Some(LiveKey::File(path)) => for_store.live_key_file = Some(path.clone()),
        Some(LiveKey::Inline(key)) => for_store.live_key = Some(key.expose().to_owned()),
        None => {}
    }
    for_store.migrate = settings.store.migrate;
    // Each lane holds one connection at a time, and so does each partitioner, which looks up the
    // partition of a message; two more are for queries beside the lanes.
    let partitioners = usize::from(settings.partitions.count > 0);
    let of_source = |source: &Source| source.lanes + partitioners;
    let lanes = settings.sources().iter().map(of_source).sum::<usize>();
    for_store.connections = u32::try_from(lanes).unwrap_or(u32::MAX).saturating_add(2);
    for_store
}

/// The broker's settings.
pub fn broker_settings(settings: &Settings) -> broker::Settings {
    let amqp = &settings.amqp;
    let (sources, further) = (settings.sources().into_iter(), settings.output.further.iter());
    // Deliveries that wait for the status gate are not acknowledged; the others keep their share of the
    // prefetch.
    let held = if settings.gate.endpoint.is_some() { HELD_MAX } else { 0 };
    broker::Settings {
        url: amqp.url.expose().to_owned(),
        sources: sources.map(|source| partitioned(inbound(source, held), settings)).collect(),
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

/// The broker's settings for a source; `held` deliveries are added to its prefetch.
fn inbound(source: Source, held: u16) -> Inbound {
    Inbound {
        queue: source.queue,
        partitions: None,
        exchange: source.exchange,
        routing_keys: source.routing_keys,
        waiting_prefix: source.waiting_prefix,
        prefetch_messages: source.prefetch_messages.saturating_add(held),
        format: source.format,
        tenant: source.tenant.map(Arc::from),
        signing_secret: source.signing_secret,
    }
}

/// A source with the partitions that the settings call for.
fn partitioned(inbound: Inbound, settings: &Settings) -> Inbound {
    match settings.partitions.count {
        0 => inbound,
        count => inbound.partitioned(count, settings.partitions.header.clone()),
    }
}

/// The queues, exchanges and bindings that the worker needs.
pub fn topology(settings: &Settings) -> Topology {
    Topology::new(&broker_settings(settings), &RetrySchedule::default().delays())
}

/// The worker that processes the batches.
pub fn worker<S>(settings: &Settings, rules: Arc<RulesInForce>, store: S) -> Worker<S> {
    Worker {
        store: Arc::new(store),
        rules,
        clock: Clock::System,
        patience: WaitPolicy {
            parent_ms: millis(settings.waiting.parent),
            interaction_ms: millis(settings.waiting.unknown),
            publish_ms: millis(settings.waiting.unroutable),
            schedule: RetrySchedule::default(),
        },
        live_ttl_secs: settings.live.ttl.as_secs(),
        body_max_bytes: settings.limits.body_max_bytes,
        origins: settings.output.origins,
        outputs: settings.output.further.clone(),
        // Waiting queues have delays, and the order of arrival is kept.
        wakes_within_batch: false,
        gating: None,
        // Set by `run` where a collector is configured.
        tracer: None,
    }
}

/// The maker of spans, which go into `queue`; `None` where no collector is configured.
pub fn tracer(settings: &Settings, queue: &Arc<SpanQueue>) -> Option<Tracer> {
    settings.traces.endpoint.as_ref().map(|_| Tracer {
        sample_per_thousand: settings.traces.sample_per_thousand,
        outbound_exchange: settings.amqp.outbound_exchange.clone(),
        clock: Clock::System,
        sink: Arc::<SpanQueue>::clone(queue),
    })
}

/// How the lanes use the status gate; `None` where none is configured.
///
/// # Errors
/// When a file that it needs cannot be read or is not valid.
pub fn gating(
    settings: &Settings,
    when_full: GateOverflow,
) -> Result<Option<GatePolicy>, gate::Error> {
    let Some(endpoint) = &settings.gate.endpoint else { return Ok(None) };
    let channels = settings.gate.channels.iter().cloned().collect();
    let gate = Arc::new(StatusGate::open(endpoint)?);
    Ok(Some(GatePolicy { gate, channels, when_full }))
}

/// How long stored data is kept.
pub fn lifetimes(settings: &Settings) -> Lifetimes {
    Lifetimes {
        live_ttl_secs: settings.live.ttl.as_secs(),
        repeat_secs: settings.store.repeat.as_secs(),
        retention: settings.history.retention.clone(),
    }
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
