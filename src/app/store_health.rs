//! Pings the store periodically, for readiness and metrics.
//!
//! The lanes notice by themselves when the store is away, but only while they have something to save.
//! The pings also show that the program's own runtime runs tasks.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::store::Store;

/// The pause between two pings. Two short queries a second are no load for a store, and an outage is
/// known within two seconds.
const PING_INTERVAL: Duration = Duration::from_millis(500);

/// How long an answer may take. A store under load may take a second or two; one that takes longer has
/// no time for batches either.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of the latest ping.
#[derive(Debug, Default)]
pub(super) struct StoreHealth(Mutex<Option<PingResult>>);

#[derive(Clone, Copy, Debug)]
struct PingResult {
    is_up: bool,
    at: Instant,
}

impl StoreHealth {
    /// Whether the store answered the latest ping.
    pub(super) fn is_up(&self) -> bool {
        self.latest().is_some_and(|latest| latest.is_up)
    }

    /// How long ago the latest ping was answered or timed out; `None` before the first.
    pub(super) fn age(&self) -> Option<Duration> {
        self.latest().map(|latest| latest.at.elapsed())
    }

    /// Pings the store for ever.
    pub(super) async fn watch(&self, store: &Store) -> Infallible {
        loop {
            let answer = timeout(PING_TIMEOUT, store.ping()).await;
            self.record(matches!(answer, Ok(Ok(()))));
            sleep(PING_INTERVAL).await;
        }
    }

    fn record(&self, is_up: bool) {
        let was_up = self.is_up();
        let result = PingResult { is_up, at: Instant::now() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        match (was_up, is_up) {
            (true, false) => tracing::warn!("the store does not answer"),
            (false, true) => tracing::info!("the store answers"),
            (true, true) | (false, false) => {}
        }
    }

    fn latest(&self) -> Option<PingResult> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
