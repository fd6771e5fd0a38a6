//! What a lane has in hand, and when it last got on with it: what liveness goes by.
//!
//! A lane beats whenever it takes a step, a try that failed included: waiting for an absent store or
//! broker is made of tries, so it is no standstill. Between two beats lies at most one wait, and each
//! wait of the line is bounded. A lane that holds messages and has not beaten for longer than that
//! does not work any more; one that holds none has nothing to do.
//!
//! What a lane took and did not settle when it ends, however it ends, is given back: the broker
//! delivers it anew.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Where a lane stands. Outlives the lane: its successor over the next link goes on with it.
#[derive(Debug)]
pub struct Progress {
    epoch: Instant,
    /// The latest beat, in milliseconds after the epoch.
    beat_ms: AtomicU64,
    running: AtomicBool,
    received: AtomicU64,
    settled: AtomicU64,
    given_back: AtomicU64,
    /// The batch in hand waits for a store that is away.
    is_held: AtomicBool,
    /// No consumer takes what is published; the lane probes with one message at a time.
    is_probing: AtomicBool,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress {
            epoch: Instant::now(),
            beat_ms: AtomicU64::new(0),
            running: AtomicBool::new(false),
            received: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
            is_held: AtomicBool::new(false),
            is_probing: AtomicBool::new(false),
        }
    }
}

impl Progress {
    /// Whether the lane runs at the moment.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Messages taken and not settled yet.
    pub fn in_hand(&self) -> u64 {
        // In this order, so that what is settled meanwhile is not counted as settled and not taken.
        let done = self.settled.load(Ordering::Acquire) + self.given_back.load(Ordering::Acquire);
        self.received.load(Ordering::Acquire).saturating_sub(done)
    }

    /// Whether its batch waits for a store that is away.
    pub fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    /// Whether no consumer takes what it publishes.
    pub fn is_probing(&self) -> bool {
        self.is_probing.load(Ordering::Relaxed)
    }

    /// How long ago the latest beat was.
    pub fn idle(&self) -> Duration {
        let beat = Duration::from_millis(self.beat_ms.load(Ordering::Relaxed));
        self.epoch.elapsed().saturating_sub(beat)
    }

    /// Whether it holds messages and has taken no step for longer than `bound`.
    pub fn is_stuck(&self, bound: Duration) -> bool {
        self.is_running() && self.in_hand() > 0 && self.idle() > bound
    }

    /// Messages taken.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Messages that were taken and not settled when their lane ended.
    pub(crate) fn given_back(&self) -> u64 {
        self.given_back.load(Ordering::Relaxed)
    }

    /// The lane has taken a step.
    pub(crate) fn beat(&self) {
        let since = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(since, Ordering::Relaxed);
    }

    /// The lane begins to run, until the guard is dropped.
    pub(crate) fn run(&self) -> RunningGuard<'_> {
        self.beat();
        self.running.store(true, Ordering::Relaxed);
        RunningGuard(self)
    }

    /// It has taken messages.
    pub(crate) fn record_taken(&self, messages: usize) {
        // First the beat: a lane that was idle for long has not been idle over these.
        self.beat();
        self.received.fetch_add(messages as u64, Ordering::Release);
    }

    /// It has settled messages.
    pub(crate) fn record_settled(&self, messages: usize) {
        self.settled.fetch_add(messages as u64, Ordering::Release);
        self.beat();
    }

    /// Its batch waits for the store, or no longer does.
    pub(crate) fn set_held(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::Relaxed);
        self.beat();
    }

    /// No consumer takes what it publishes, or one does again.
    pub(crate) fn set_probing(&self, is_probing: bool) {
        self.is_probing.store(is_probing, Ordering::Relaxed);
        self.beat();
    }
}

/// A lane that runs. Dropped with it, also when it panics or is aborted.
pub(crate) struct RunningGuard<'p>(&'p Progress);

impl Drop for RunningGuard<'_> {
    fn drop(&mut self) {
        let RunningGuard(progress) = self;
        progress.given_back.fetch_add(progress.in_hand(), Ordering::Release);
        progress.set_held(false);
        progress.set_probing(false);
        progress.running.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(100);

    async fn advance(secs: u64) {
        tokio::time::advance(Duration::from_secs(secs)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn lane_is_stuck_only_with_messages_in_hand_and_no_progress() {
        let progress = Progress::default();
        let running = progress.run();
        advance(1_000).await;
        assert!(!progress.is_stuck(BOUND), "it holds nothing");
        progress.record_taken(3);
        assert!(!progress.is_stuck(BOUND), "it has only just taken them");
        advance(101).await;
        assert!(progress.is_stuck(BOUND));
        progress.set_held(true);
        assert!(!progress.is_stuck(BOUND), "it tries to reach the store");
        advance(101).await;
        progress.record_settled(2);
        assert!(!progress.is_stuck(BOUND));
        drop(running);
        advance(101).await;
        assert!(!progress.is_stuck(BOUND), "it has ended");
        assert_eq!((progress.in_hand(), progress.given_back()), (0, 1));
    }
}
