//! The cleaner: sweeps the store in rounds and clears what has expired.
//!
//! It runs beside the lanes and must not slow them down: after each step it rests nine times as long as
//! the step took, so the cleaner uses a tenth of one connection at most, however large the store is and
//! however slow it is under load. Rests are jittered, so that workers started together do not sweep in
//! step; several sweeps at once do no harm.
//!
//! It never ends and needs no shutdown: `app` drops its future at any moment, and an open step is rolled
//! back.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::pipeline::ports::StoreError;
use crate::retry::{ReconnectBackoff, jittered};
use crate::store::{Lifetimes, Store, Swept};

/// Sweeps a store.
pub struct Cleaner {
    /// The store to sweep.
    pub store: Arc<Store>,
    /// How long stored data is kept.
    pub lifetimes: Lifetimes,
    /// The clock.
    pub clock: Clock,
    /// The statistics, shared with health and metrics.
    pub sweeps: Arc<SweepStats>,
}

/// Statistics of the sweeps, shared with their readers.
#[derive(Debug, Default)]
pub struct SweepStats(Mutex<SweepTotals>);

/// The totals at one moment.
#[derive(Clone, Debug, Default)]
pub struct SweepTotals {
    /// Completed rounds.
    pub rounds: u64,
    /// The result of the latest round; `None` before the first has completed.
    pub latest: Option<Swept>,
    /// Rows that expired, in all steps.
    pub expired: u64,
    /// Rows whose events were forgotten, in all steps.
    pub forgotten: u64,
    /// Rows that were deleted, in all steps.
    pub deleted: u64,
    /// Events that were forgotten before their time, in all steps.
    pub early: u64,
    /// When the current step began; `None` between steps.
    pub step_began: Option<Instant>,
}

impl SweepStats {
    /// The totals now.
    pub fn totals(&self) -> SweepTotals {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, update: impl FnOnce(&mut SweepTotals)) {
        update(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Rows of one step: some milliseconds of work, which bounds how long a batch may wait for it.
const PAGE_ROWS: u32 = 500;

/// The rest after a step, as a multiple of the step's duration: the cleaner uses a tenth of one
/// connection.
const REST_FACTOR: u32 = 9;

/// The pause between two rounds, before jitter. Expired data is gone some minutes later, and an idle
/// worker sends one short query a minute.
const ROUND_INTERVAL: Duration = Duration::from_secs(60);

impl Cleaner {
    /// Sweeps round after round. Cancel-safe: an open step is rolled back.
    pub async fn run(&self) -> Infallible {
        loop {
            let started = Instant::now();
            let swept = self.round().await;
            let early = self.round_of_events().await;
            let cleared = swept.expired + swept.forgotten + swept.deleted;
            let Swept { rows, expired, forgotten, deleted, .. } = swept;
            let duration_ms = started.elapsed().as_millis();
            self.sweeps.update(|totals| {
                totals.rounds += 1;
                totals.latest = Some(swept);
            });
            if early > 0 {
                tracing::warn!(
                    events = early,
                    "interactions had more events than are kept: the oldest were forgotten early"
                );
            }
            if cleared > 0 {
                tracing::info!(rows, expired, forgotten, deleted, duration_ms, "swept the store");
            } else {
                tracing::debug!(rows, duration_ms, "swept the store; nothing was due");
            }
            tokio::time::sleep(jittered(ROUND_INTERVAL)).await;
        }
    }

    /// Sweeps all rows once and returns the result. While the store is away it waits, and then goes on
    /// where it was.
    pub async fn round(&self) -> Swept {
        let mut total = Swept::default();
        self.walk(async || {
            let (after, now_ms) = (total.next.as_ref(), self.clock.now_ms());
            let sweep = self.store.sweep(after, now_ms, &self.lifetimes, PAGE_ROWS);
            let swept = self.step(Box::pin(sweep)).await?;
            self.sweeps.update(|totals| {
                totals.expired += swept.expired;
                totals.forgotten += swept.forgotten;
                totals.deleted += swept.deleted;
            });
            total.rows += swept.rows;
            total.live += swept.live;
            total.expired += swept.expired;
            total.forgotten += swept.forgotten;
            total.deleted += swept.deleted;
            total.next = swept.next;
            Ok(total.next.is_none())
        })
        .await;
        total
    }

    /// Walks over all spilled events once and says how many it forgot early. While the store is away it
    /// waits where it is.
    pub async fn round_of_events(&self) -> u64 {
        let (mut early, mut after) = (0, None);
        self.walk(async || {
            let now_ms = self.clock.now_ms();
            let sweep = self.store.sweep_events(after.as_ref(), now_ms, &self.lifetimes, PAGE_ROWS);
            let swept = self.step(Box::pin(sweep)).await?;
            self.sweeps.update(|totals| totals.early += swept.early);
            early += swept.early;
            after = swept.next;
            Ok(after.is_none())
        })
        .await;
        early
    }

    /// Takes steps with rests between them, up to the one that returns `true`. One that fails is taken
    /// again later.
    async fn walk(&self, mut step: impl AsyncFnMut() -> Result<bool, StoreError>) {
        let mut retry = ReconnectBackoff::new();
        loop {
            let began = Instant::now();
            let rest = match step().await {
                Ok(true) => return,
                Ok(false) => {
                    retry.reset();
                    jittered(began.elapsed() * REST_FACTOR)
                }
                Err(error) => {
                    let delay = retry.next_delay();
                    let retry_ms = delay.as_millis();
                    tracing::warn!(%error, retry_ms, "the cleaner cannot sweep the store");
                    delay
                }
            };
            tokio::time::sleep(rest).await;
        }
    }

    /// Runs one step, and shows meanwhile when it began.
    async fn step<T>(
        &self,
        step: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.sweeps.update(|totals| totals.step_began = Some(Instant::now()));
        let swept = step.await;
        self.sweeps.update(|totals| totals.step_began = None);
        swept
    }
}
