//! Asks the store for a sign of life, again and again, for readiness and metrics.
//!
//! The lanes find out for themselves when the store is away, but only while they have something to
//! save. That somebody asks is also a sign of life of the program's own runtime.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::store::Store;

/// The rest between two questions. Two short ones a second are not felt by a store, and an outage is
/// known within two seconds.
const REST: Duration = Duration::from_millis(500);

/// How long an answer may take. A store under load may think for a second or two; one that is asked
/// for longer has no time for batches either.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// What the store answered last.
#[derive(Debug, Default)]
pub(super) struct StoreWatch(Mutex<Option<Answered>>);

#[derive(Clone, Copy, Debug)]
struct Answered {
    is_up: bool,
    at: Instant,
}

impl StoreWatch {
    /// Whether the store answered the latest question.
    pub(super) fn is_up(&self) -> bool {
        self.latest().is_some_and(|latest| latest.is_up)
    }

    /// How long ago the latest question was answered or given up; none before the first.
    pub(super) fn age(&self) -> Option<Duration> {
        self.latest().map(|latest| latest.at.elapsed())
    }

    /// Asks again and again.
    pub(super) async fn watch(&self, store: &Store) -> Infallible {
        loop {
            let answer = timeout(ANSWER_TIME, store.ping()).await;
            self.note(matches!(answer, Ok(Ok(()))));
            sleep(REST).await;
        }
    }

    fn note(&self, is_up: bool) {
        let was_up = self.is_up();
        let answered = Answered { is_up, at: Instant::now() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answered);
        match (was_up, is_up) {
            (true, false) => tracing::warn!("the store does not answer"),
            (false, true) => tracing::info!("the store answers"),
            (true, true) | (false, false) => {}
        }
    }

    fn latest(&self) -> Option<Answered> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
