//! Time as a parameter: the one place that reads the wall clock.
//!
//! Everything that needs the time is given a [`Clock`]; clippy bans `SystemTime::now` elsewhere, so
//! that tests can set the time and a batch has one "now".

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of the time.
#[derive(Clone)]
pub enum Clock {
    /// The machine's wall clock.
    System,
    /// A clock that a test sets, in milliseconds since the Unix epoch.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `ms` milliseconds since the Unix epoch until it is advanced.
    pub fn manual(ms: i64) -> Clock {
        Clock::Manual(Arc::new(AtomicI64::new(ms)))
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        match self {
            Clock::System => i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX),
            Clock::Manual(ms) => ms.load(Ordering::SeqCst),
        }
    }

    /// Nanoseconds since the Unix epoch.
    pub fn now_ns(&self) -> u64 {
        match self {
            Clock::System => u64::try_from(since_epoch().as_nanos()).unwrap_or(u64::MAX),
            Clock::Manual(_) => u64::try_from(self.now_ms()).unwrap_or(0).saturating_mul(1_000_000),
        }
    }

    /// Moves a manual clock on by `ms`; the system's clock cannot be moved.
    pub fn advance_ms(&self, ms: i64) {
        if let Clock::Manual(now) = self {
            now.fetch_add(ms, Ordering::SeqCst);
        }
    }
}

/// The wall clock's time. A time before 1970 reads as 1970: there is no better answer, and no reason to
/// fail.
#[expect(clippy::disallowed_methods, reason = "the only place that reads the wall clock")]
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
