//! What may be wrong with the surroundings of a worker though it can start: each a sentence that says
//! what to do. `check` prints them, `run` logs them once.
//!
//! | what | where | when it is not as needed |
//! |---|---|---|
//! | schema version | `store::connect` | newer: refused; older: migrated, or refused |
//! | queue type, delivery limit, dead-lettering, TTLs | `broker::Link::prepare`, `compare` | declared by us: refused until they are put right; by others: a warning here |
//! | the clock | [`of_clock`] | a warning |
//! | the consumer timeout against the longest hold of a delivery | [`of_hold`] | a warning |
//!
//! Deliberately absent: the broker's clock, which AMQP does not tell, and which nothing depends on:
//! what counts there are spans of time.

use std::time::Duration;

use super::{broker_settings, topology};
use crate::broker::{CONSUMER_TIMEOUT, Finding, Found, Link};
use crate::clock::Clock;
use crate::pipeline::lane::{Hold, longest_hold};
use crate::settings::Settings;
use crate::store::Store;

/// How far this machine's clock may be from the store's. Time synchronisation keeps within
/// milliseconds, so a difference of seconds means that there is none; the shortest spans that workers
/// measure against each other's times, such as `live.ttl_secs`, are a minute.
const SKEW_MAX_MS: u64 = 5_000;

/// What is left of the consumer timeout at least: RabbitMQ looks only once a minute.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(120);

/// What is odd about the clock: workers on several machines compare their own time with what others
/// have written into the store.
pub async fn of_clock(store: &Store, clock: &Clock) -> Option<String> {
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

/// How long a delivery may stay unacknowledged at worst, as things are set, from whichever work queue.
pub fn hold(settings: &Settings) -> Duration {
    let prefetches = settings.sources().into_iter().map(|source| source.prefetch_messages);
    longest_hold(Hold {
        prefetch_messages: usize::from(prefetches.max().unwrap_or_default()),
        batch_messages: settings.pipeline.batch_messages,
        publish_patience: settings.waiting.unroutable,
        confirm_timeout: settings.amqp.confirm_timeout,
    })
}

/// What is odd about the time for which deliveries may be held.
pub fn of_hold(settings: &Settings) -> Option<String> {
    let (hold, timeout) = (hold(settings), CONSUMER_TIMEOUT);
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

/// What is odd about queues and exchanges that others have declared (`topology.declare = false`); what
/// the worker declares itself has been compared by that.
pub async fn of_broker(link: &Link, settings: &Settings) -> Vec<String> {
    if broker_settings(settings).declare {
        return Vec::new();
    }
    match link.compare(&topology(settings)).await {
        Ok(findings) => findings.iter().filter_map(warning).collect(),
        Err(error) => vec![format!("the queues cannot be compared: failed to {error}")],
    }
}

fn warning(Finding { what, state }: &Finding) -> Option<String> {
    match state {
        Found::AsNeeded | Found::Missing | Found::NotToBeCompared => None,
        Found::Different(how) => Some(format!(
            "{what} differs from what `throughline topology show` says: {how}; messages may be lost or \
             set aside too early: empty it, delete it, and have it declared anew"
        )),
    }
}
