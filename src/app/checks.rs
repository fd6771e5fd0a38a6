//! Checks of a worker's environment that do not keep it from starting: each warning is a sentence that
//! says what to do. `check` prints them, `run` logs them once.
//!
//! | check | where | on failure |
//! |---|---|---|
//! | schema version | `store::connect` | newer: refused; older: migrated, or refused |
//! | queue type, delivery limit, dead-lettering, TTLs | `broker::Link::prepare`, `compare` | declared by the worker: it does not start; by others: a warning here |
//! | the clock | [`clock_warning`] | a warning |
//! | the consumer timeout against the longest hold of a delivery | [`hold_warning`] | a warning |
//!
//! Deliberately absent: the broker's clock. AMQP does not transmit it, and nothing depends on it: only
//! durations count there.

use std::time::Duration;

use super::{broker_settings, topology};
use crate::broker::{CONSUMER_TIMEOUT, Link, TopologyDifference, TopologyFinding};
use crate::clock::Clock;
use crate::pipeline::lane::{Hold, longest_hold};
use crate::settings::Settings;
use crate::store::Store;

/// How far this machine's clock may be from the store's. Time synchronisation keeps within
/// milliseconds, so a difference of seconds means that there is none; the shortest durations that
/// workers measure against each other's times, such as `live.ttl_secs`, are a minute.
const SKEW_MAX_MS: u64 = 5_000;

/// The margin to the consumer timeout, at least: RabbitMQ checks it only once a minute.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(120);

/// A warning about the clock: workers on several machines compare their own time with times that others
/// have written into the store.
pub async fn clock_warning(store: &Store, clock: &Clock) -> Option<String> {
    let skew_ms = match store.clock_skew_ms(clock).await {
        Ok(skew_ms) => skew_ms.unwrap_or_default(),
        Err(error) => return Some(format!("the clock cannot be compared: failed to {error}")),
    };
    let behind = if skew_ms > 0 { "behind" } else { "ahead of" };
    let off_secs = skew_ms.unsigned_abs() / 1000;
    (skew_ms.unsigned_abs() > SKEW_MAX_MS).then(|| {
        format!(
            "this machine's clock is {off_secs} s {behind} the store's: live data and history would \
             expire too early or too late; have both machines synchronise their time (NTP)"
        )
    })
}

/// How long a delivery of any work queue may stay unacknowledged at worst, with these settings.
pub fn worst_case_hold(settings: &Settings) -> Duration {
    let prefetches = settings.sources().into_iter().map(|source| source.prefetch_messages);
    longest_hold(Hold {
        prefetch_messages: usize::from(prefetches.max().unwrap_or_default()),
        batch_messages: settings.pipeline.batch_messages,
        publish_patience: settings.waiting.unroutable,
        confirm_timeout: settings.amqp.confirm_timeout,
    })
}

/// A warning about the time for which deliveries may be held.
pub fn hold_warning(settings: &Settings) -> Option<String> {
    let (hold, timeout) = (worst_case_hold(settings), CONSUMER_TIMEOUT);
    (hold + TIMEOUT_MARGIN > timeout).then(|| {
        format!(
            "a delivery may wait {} s for its acknowledgement when store and downstream are away, and \
             after {} s (the consumer timeout) the broker takes it back and delivers it again: lower \
             waiting.unroutable_secs, prefetch_messages or amqp.confirm_timeout_ms, or raise \
             pipeline.batch_messages",
            hold.as_secs(),
            timeout.as_secs()
        )
    })
}

/// Warnings about queues and exchanges that others have declared (`topology.declare = false`); declaring
/// compares those of the worker itself.
pub async fn topology_warnings(link: &Link, settings: &Settings) -> Vec<String> {
    if broker_settings(settings).declare {
        return Vec::new();
    }
    match link.compare(&topology(settings)).await {
        Ok(findings) => findings.iter().filter_map(difference_warning).collect(),
        Err(error) => vec![format!("the queues cannot be compared: failed to {error}")],
    }
}

fn difference_warning(TopologyFinding { what, state }: &TopologyFinding) -> Option<String> {
    match state {
        TopologyDifference::Matches
        | TopologyDifference::Missing
        | TopologyDifference::NotComparable => None,
        TopologyDifference::Different(how) => Some(format!(
            "{what} differs from what `throughline topology show` says: {how}; messages may be lost or \
             set aside too early: empty it, delete it, and have it declared anew"
        )),
    }
}
