//! Skips an endpoint that keeps failing, and finds out when it is back.
//!
//! ```text
//! closed ── FAILURES_TO_OPEN in a row ──▶ open ── OPEN later ──▶ probing ──┬─ answered ─▶ closed
//!                                           ▲                              └─ failed ───▶ open
//! ```
//!
//! A pure state machine: the time is a parameter. A request that ends without a result (its
//! task panicked, or was dropped) has failed, so a probe can never be lost; see [`ProbePermit`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open the breaker: more than a glitch of the network. With the default timeout
/// each costs a caller 1.5 s, so the number is small.
pub(super) const FAILURES_TO_OPEN: u32 = 5;

/// How long a failing endpoint is skipped before one request finds out whether it is back. A restart
/// is noticed within seconds, and six requests a minute are no burden for an endpoint in trouble.
pub(super) const OPEN: Duration = Duration::from_secs(10);

/// Whether requests are allowed.
#[derive(Debug, Default)]
enum State {
    /// They are; `failures` of them in a row have failed.
    #[default]
    Closed,
    /// None before `until`.
    Open { until: Instant },
    /// One request probes whether the endpoint is back.
    Probing,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    failures: u32,
}

/// The breaker of one endpoint, shared by all requests to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker(Arc<Mutex<Inner>>);

/// Permission to make one request. Dropping it records the result in the breaker: a failure, unless
/// [`ProbePermit::answered`] was called.
#[derive(Debug)]
pub(super) struct ProbePermit {
    breaker: Breaker,
    answered: bool,
}

impl Breaker {
    /// A permit for a request now, unless the endpoint is being skipped.
    pub(super) fn admit(&self, now: Instant) -> Option<ProbePermit> {
        let mut inner = self.inner();
        match inner.state {
            State::Closed => {}
            State::Open { until } if now >= until => inner.state = State::Probing,
            State::Open { .. } | State::Probing => return None,
        }
        Some(ProbePermit { breaker: self.clone(), answered: false })
    }

    /// Whether the endpoint is being skipped.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.inner().state, State::Closed)
    }

    fn record(&self, answered: bool) {
        let mut inner = self.inner();
        let was_closed = matches!(inner.state, State::Closed);
        if answered {
            *inner = Inner::default();
            if !was_closed {
                tracing::info!("the status gate answers again");
            }
            return;
        }
        inner.failures = inner.failures.saturating_add(1);
        let probe_failed = matches!(inner.state, State::Probing);
        if probe_failed || (was_closed && inner.failures >= FAILURES_TO_OPEN) {
            inner.state = State::Open { until: Instant::now() + OPEN };
        }
        if was_closed && !matches!(inner.state, State::Closed) {
            tracing::warn!(
                failures = inner.failures,
                skipped_secs = OPEN.as_secs(),
                "the status gate keeps failing; it is skipped, and callers go to agents"
            );
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic while it is locked leaves it consistent: each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProbePermit {
    /// The endpoint has answered, whatever its answer.
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for ProbePermit {
    fn drop(&mut self) {
        self.breaker.record(self.answered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            drop(breaker.admit(Instant::now()).expect("it is closed"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_consecutive_failures_only() {
        let breaker = Breaker::default();
        fail(&breaker, FAILURES_TO_OPEN - 1);
        breaker.admit(Instant::now()).expect("it is closed").answered();
        fail(&breaker, FAILURES_TO_OPEN - 1);
        assert!(!breaker.is_open());
        fail(&breaker, 1);
        assert!(breaker.is_open());
        assert!(breaker.admit(Instant::now()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn probe_result_closes_or_reopens() {
        let breaker = Breaker::default();
        fail(&breaker, FAILURES_TO_OPEN);
        for answered in [false, true] {
            tokio::time::advance(OPEN - Duration::from_millis(1)).await;
            assert!(breaker.admit(Instant::now()).is_none(), "too early");
            tokio::time::advance(Duration::from_millis(1)).await;
            let probe = breaker.admit(Instant::now()).expect("it is time to ask");
            assert!(breaker.admit(Instant::now()).is_none(), "one is enough");
            match answered {
                true => probe.answered(),
                false => drop(probe),
            }
            assert_eq!(breaker.is_open(), !answered);
        }
    }
}
