//! The cleaner: walks the store again and again and clears what has had its time.
//!
//! It works beside the lanes and must not be felt by them: after each step it rests nine times as
//! long as the step took, so however large the store is, and however slow it has become under load,
//! the cleaner takes a tenth of one connection at most. Rests are jittered, so that workers that were
//! started together do not sweep in step; that several sweep at once does no harm.
//!
//! It never ends and needs no farewell: whoever runs it drops it, at any moment. An open step is then
//! rolled back.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::pipeline::ports::StoreError;
use crate::retry::{Reconnect, jittered};
use crate::store::{Lifetimes, Store, Swept};

/// Sweeps a store.
pub struct Cleaner {
    /// What is swept.
    pub store: Arc<Store>,
    /// How long what is stored may stay.
    pub lifetimes: Lifetimes,
    /// What time it is.
    pub clock: Clock,
    /// What it has come to, for whoever asks.
    pub sweeps: Arc<Sweeps>,
}

/// What sweeping has come to so far, in numbers.
#[derive(Debug, Default)]
pub struct Sweeps(Mutex<Total>);

/// What sweeping has come to, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// Rounds that are over.
    pub rounds: u64,
    /// What the latest of them came to; none before the first is over.
    pub latest: Option<Swept>,
    /// Rows that expired, in all steps.
    pub expired: u64,
    /// Rows whose events were forgotten, in all steps.
    pub forgotten: u64,
    /// Rows that were deleted, in all steps.
    pub deleted: u64,
    /// Events that were forgotten before their time, in all steps.
    pub early: u64,
    /// When the step that is under way began; none while it rests.
    pub step_began: Option<Instant>,
}

impl Sweeps {
    /// The numbers now.
    pub fn total(&self) -> Total {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, update: impl FnOnce(&mut Total)) {
        update(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Rows of one step: some milliseconds' work, which is as long as a batch may ever wait for it.
const STEP_ROWS: u32 = 500;

/// How many times as long as it worked the cleaner rests: it takes a tenth of one connection.
const REST: u32 = 9;

/// The rest between two rounds, before jitter. What has had its time is gone some minutes later, and
/// an idle worker asks one short question a minute.
const ROUND_REST: Duration = Duration::from_secs(60);

impl Cleaner {
    /// Sweeps round after round. Cancel-safe: a step that is under way is rolled back.
    pub async fn run(&self) -> Infallible {
        loop {
            let started = Instant::now();
            let swept = self.round().await;
            let early = self.round_of_events().await;
            let cleared = swept.expired + swept.forgotten + swept.deleted;
            let Swept { rows, expired, forgotten, deleted, .. } = swept;
            let duration_ms = started.elapsed().as_millis();
            self.sweeps.update(|total| {
                total.rounds += 1;
                total.latest = Some(swept);
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
            tokio::time::sleep(jittered(ROUND_REST)).await;
        }
    }

    /// Walks over all rows once and says what it came to. While the store is away it waits where it
    /// is.
    pub async fn round(&self) -> Swept {
        let mut total = Swept::default();
        let mut retry = Reconnect::new();
        loop {
            let started = Instant::now();
            let rest = match self.step(&total).await {
                Ok(swept) => {
                    retry.reset();
                    total.rows += swept.rows;
                    total.live += swept.live;
                    total.expired += swept.expired;
                    total.forgotten += swept.forgotten;
                    total.deleted += swept.deleted;
                    total.next = swept.next;
                    if total.next.is_none() {
                        return total;
                    }
                    jittered(started.elapsed() * REST)
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

    /// Walks over all spilled events once and says how many it forgot early. While the store is away it
    /// waits where it is.
    pub async fn round_of_events(&self) -> u64 {
        let mut early = 0;
        let mut after = None;
        let mut retry = Reconnect::new();
        loop {
            let began = Instant::now();
            self.sweeps.update(|total| total.step_began = Some(began));
            let now_ms = self.clock.now_ms();
            let step =
                self.store.sweep_events(after.as_ref(), now_ms, &self.lifetimes, STEP_ROWS).await;
            self.sweeps.update(|total| {
                total.step_began = None;
                total.early += step.as_ref().map_or(0, |swept| swept.early);
            });
            let rest = match step {
                Ok(swept) => {
                    retry.reset();
                    early += swept.early;
                    after = swept.next;
                    if after.is_none() {
                        return early;
                    }
                    jittered(began.elapsed() * REST)
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

    /// The step that follows what was swept so far.
    async fn step(&self, so_far: &Swept) -> Result<Swept, StoreError> {
        let after = so_far.next.as_ref();
        let now_ms = self.clock.now_ms();
        let began = Instant::now();
        self.sweeps.update(|total| total.step_began = Some(began));
        let swept = self.store.sweep(after, now_ms, &self.lifetimes, STEP_ROWS).await;
        self.sweeps.update(|total| {
            total.step_began = None;
            if let Ok(swept) = &swept {
                total.expired += swept.expired;
                total.forgotten += swept.forgotten;
                total.deleted += swept.deleted;
            }
        });
        swept
    }
}
