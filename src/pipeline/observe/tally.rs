//! Counters of a lane: for the summary of `pipe`, for metrics and for `status`.
//!
//! Every message that is taken is finished in one of these ways, and counted once it is:
//!
//! | outcome | what became of the delivery |
//! |---|---|
//! | `enriched`, `ended` | saved, published and confirmed |
//! | `ignored`, `duplicate` | too late or about nothing; the same event again |
//! | `waiting` | in a waiting queue; it is taken again |
//! | `dead_lettered` | set aside, with its reason |
//! | `requeued` | could not be set aside, so back to its queue |
//! | `given_back` | taken, and left unsettled when its lane ended |
//!
//! So `received` is the sum of all of them and of what the lanes have in hand. Each lane has a tally of
//! its own, which no other lane writes. Numbers only, in plain atomics: only the renderer knows the
//! metrics library. What they are about is in no label but fixed words.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::domain::{RejectReason, RoutingTarget};
use crate::pipeline::observe::histogram::{Histogram, Observed};
use crate::pipeline::observe::labels::{Answered, Kind, Outcome, Stage};
use crate::pipeline::observe::progress::Progress;
use crate::pipeline::observe::waits::RecentWaits;
use crate::pipeline::ports::{GateReason, GateVerdict, Outgoing, PublishOutcome, PublishedKind};
use crate::pipeline::settlement::{FailureAction, WaitCause};

/// How many messages of one reason are logged one by one, by each lane.
const LOGGED_ONE_BY_ONE: u64 = 10;

/// Counters of a lane; they outlive it.
#[derive(Debug)]
pub struct Tally {
    /// What the lane has in hand, and when it last got on with it.
    pub progress: Progress,
    /// What waits at the moment.
    pub waits: RecentWaits,
    retried: AtomicU64,
    conflicts: AtomicU64,
    finished: [AtomicU64; Outcome::ALL.len()],
    waited: [AtomicU64; WaitCause::ALL.len()],
    rejected: [AtomicU64; RejectReason::ALL.len()],
    dead_lettered: [AtomicU64; RejectReason::ALL.len()],
    published: [[AtomicU64; Answered::ALL.len()]; Kind::ALL.len()],
    batch_messages: Histogram,
    stages: [Histogram; Stage::ALL.len()],
    latency: Histogram,
    gated: [[AtomicU64; RoutingTarget::ALL.len()]; GateReason::ALL.len()],
}

/// How a message was finished, with what is counted beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FinalOutcome {
    /// As the outcome says.
    As(Outcome),
    /// It waits.
    Waiting(WaitCause),
    /// It is set aside.
    DeadLettered(RejectReason),
}

impl FinalOutcome {
    /// The outcome that it is counted by.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            FinalOutcome::As(outcome) => *outcome,
            FinalOutcome::Waiting(_) => Outcome::Waiting,
            FinalOutcome::DeadLettered(_) => Outcome::DeadLettered,
        }
    }
}

/// Upper bounds of a stage's duration in microseconds: from a tenth of a millisecond, which decoding
/// one message takes, to the longest wait for a confirm.
const STAGE_US: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000, 30_000_000,
];
/// Upper bounds of the latency in milliseconds: from a message that is handled at once to one that
/// lay in the queue over an outage.
const LATENCY_MS: &[u64] = &[
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 3_600_000,
];
/// The longest latency that is counted as it is, in milliseconds: a day. A sender whose clock is years
/// off must not drown the sum of all others.
const LATENCY_MAX_MS: i64 = 86_400_000;
/// Upper bounds of a batch, in messages, up to the largest that can be set.
const BATCH_MESSAGES: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000];

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            progress: Progress::default(),
            waits: RecentWaits::default(),
            retried: AtomicU64::default(),
            conflicts: AtomicU64::default(),
            finished: Default::default(),
            waited: Default::default(),
            rejected: Default::default(),
            dead_lettered: Default::default(),
            published: Default::default(),
            batch_messages: Histogram::new(BATCH_MESSAGES),
            stages: std::array::from_fn(|_| Histogram::new(STAGE_US)),
            latency: Histogram::new(LATENCY_MS),
            gated: Default::default(),
        }
    }
}

impl Tally {
    /// Counts a batch that was taken, and how many of it had waited before.
    pub(crate) fn took(&self, messages: usize, retried: usize) {
        self.progress.record_taken(messages);
        self.batch_messages.observe(messages as u64);
        add(&self.retried, retried);
    }

    /// Counts that a batch begins again, because another worker was faster.
    pub(crate) fn conflicted(&self) {
        add(&self.conflicts, 1);
    }

    /// Counts messages that are settled, each by how it was finished.
    pub(crate) fn finished(&self, finished: &[FinalOutcome]) {
        for finish in finished {
            match finish {
                FinalOutcome::As(_) => {}
                FinalOutcome::Waiting(cause) => {
                    add(&self.waited[*cause as usize], 1);
                }
                FinalOutcome::DeadLettered(reason) => {
                    add(&self.dead_lettered[*reason as usize], 1);
                }
            }
            add(&self.finished[finish.outcome() as usize], 1);
        }
        self.progress.record_settled(finished.len());
    }

    /// Counts a message that is to be set aside. Says whether it is worth a line in the log: the first
    /// few of each reason are, then fewer and fewer, so that a flood of bad messages is no flood of
    /// logs.
    pub(crate) fn rejected(&self, remedy: &FailureAction) -> bool {
        match remedy {
            FailureAction::DeadLetter(refusal) => {
                let count = add(&self.rejected[refusal.reason as usize], 1);
                count <= LOGGED_ONE_BY_ONE || count.is_power_of_two()
            }
            FailureAction::Wait { .. } | FailureAction::Requeue => false,
        }
    }

    /// Counts messages that the broker has set aside itself, since it cannot hand them over.
    pub fn undeliverable(&self, messages: usize) {
        add(&self.rejected[RejectReason::Undeliverable as usize], messages);
        add(&self.dead_lettered[RejectReason::Undeliverable as usize], messages);
    }

    /// Counts a batch that was published, by the broker's answers; none when it was lost.
    pub(crate) fn published<D>(
        &self,
        batch: &[Outgoing<'_, D>],
        answers: Option<&[PublishOutcome]>,
    ) {
        for (place, outgoing) in batch.iter().enumerate() {
            let kind = match outgoing {
                Outgoing::Enriched(message) => match message.kind {
                    PublishedKind::Enriched => Kind::Enriched,
                    PublishedKind::Ended => Kind::Ended,
                },
                Outgoing::Further { .. } => Kind::Further,
                Outgoing::Waiting { .. } => Kind::Waiting,
                Outgoing::DeadLetter { .. } => Kind::DeadLetter,
            };
            let answered = match answers.and_then(|answers| answers.get(place)) {
                Some(PublishOutcome::Confirmed) => Answered::Confirmed,
                Some(PublishOutcome::Returned) => Answered::Returned,
                Some(PublishOutcome::Refused) => Answered::Refused,
                None => Answered::Lost,
            };
            add(&self.published[kind as usize][answered as usize], 1);
        }
        self.progress.beat();
    }

    /// Counts how long a stage of a batch took, from `began` until now, and gives the time.
    pub(crate) fn stage(&self, stage: Stage, began: Instant) -> Instant {
        let now = Instant::now();
        let took_us = u64::try_from(now.duration_since(began).as_micros()).unwrap_or(u64::MAX);
        self.stages[stage as usize].observe(took_us);
        now
    }

    /// Counts the time from the sender's own time to the confirm, in milliseconds. A sender whose clock
    /// is ahead counts as one that was handled at once.
    pub(crate) fn confirmed_after(&self, ms: i64) {
        let ms = ms.clamp(0, LATENCY_MAX_MS);
        self.latency.observe(ms.unsigned_abs());
    }

    /// Counts a decision of the status gate over one interaction.
    pub fn gated(&self, verdict: &GateVerdict) {
        add(&self.gated[verdict.why as usize][verdict.routing.target as usize], 1);
    }

    /// The counters now.
    pub fn counts(&self) -> Counts {
        // What is finished first, what is received last: then what is finished was received.
        let mut counts = Counts {
            finished: self.finished.each_ref().map(read),
            given_back: self.progress.given_back(),
            waited: self.waited.each_ref().map(read),
            rejected: self.rejected.each_ref().map(read),
            dead_lettered: self.dead_lettered.each_ref().map(read),
            published: self.published.each_ref().map(|kind| kind.each_ref().map(read)),
            batch_messages: self.batch_messages.observed(),
            stages: self.stages.each_ref().map(Histogram::observed),
            latency: self.latency.observed(),
            retried: read(&self.retried),
            conflicts: read(&self.conflicts),
            gated: self.gated.each_ref().map(|by_target| by_target.each_ref().map(read)),
            received: 0,
        };
        counts.received = self.progress.received();
        counts
    }
}

/// Counts some more, and says how many there are now.
fn add(counter: &AtomicU64, more: usize) -> u64 {
    counter.fetch_add(more as u64, Ordering::Relaxed) + more as u64
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The counters at one moment, of one lane or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages taken, each try counted.
    pub received: u64,
    /// Taken again after they had waited.
    pub retried: u64,
    /// Batches that began again, because another worker had changed one of their rows.
    pub conflicts: u64,
    /// Left unsettled when their lane ended.
    pub given_back: u64,
    /// By [`Outcome`].
    pub finished: [u64; Outcome::ALL.len()],
    /// Sent to wait, by [`WaitCause`].
    pub waited: [u64; WaitCause::ALL.len()],
    /// Found to be set aside, by [`RejectReason`].
    pub rejected: [u64; RejectReason::ALL.len()],
    /// Sent to the dead letters, by [`RejectReason`].
    pub dead_lettered: [u64; RejectReason::ALL.len()],
    /// Published, by [`Kind`] and [`Answered`].
    pub published: [[u64; Answered::ALL.len()]; Kind::ALL.len()],
    /// Messages in a batch.
    pub batch_messages: Observed,
    /// Durations by [`Stage`], a batch each, in microseconds.
    pub stages: [Observed; Stage::ALL.len()],
    /// From the sender's own time to the confirm, in milliseconds.
    pub latency: Observed,
    /// Enriched interactions for which the status gate decided, by [`GateReason`] and [`RoutingTarget`].
    pub gated: [[u64; RoutingTarget::ALL.len()]; GateReason::ALL.len()],
}

impl Counts {
    /// How many were finished in this way.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.finished[outcome as usize]
    }

    /// How many publications of a kind were answered so.
    pub fn published(&self, kind: Kind, answered: Answered) -> u64 {
        self.published[kind as usize][answered as usize]
    }

    /// Sent to the dead letters, by reason; reasons that did not occur are left out.
    pub fn dead_lettered(&self) -> impl Iterator<Item = (RejectReason, u64)> {
        let by_reason = RejectReason::ALL.iter().copied().zip(self.dead_lettered);
        by_reason.filter(|(_, count)| *count > 0)
    }

    /// How often the status gate decided what, on which grounds.
    pub fn gated(&self) -> impl Iterator<Item = (RoutingTarget, GateReason, u64)> {
        let each = GateReason::ALL.iter().zip(self.gated);
        each.flat_map(|(why, by_target)| {
            RoutingTarget::ALL.iter().zip(by_target).map(|(target, count)| (*target, *why, count))
        })
    }

    /// Messages taken and not finished.
    pub fn in_hand(&self) -> u64 {
        self.received.saturating_sub(self.finished.iter().sum::<u64>() + self.given_back)
    }

    /// The counters of several lanes together.
    pub fn sum(lanes: impl IntoIterator<Item = Counts>) -> Counts {
        let mut total = Counts::default();
        for lane in lanes {
            total.received += lane.received;
            total.retried += lane.retried;
            total.conflicts += lane.conflicts;
            total.given_back += lane.given_back;
            add_all(&mut total.finished, &lane.finished);
            add_all(&mut total.waited, &lane.waited);
            add_all(&mut total.rejected, &lane.rejected);
            add_all(&mut total.dead_lettered, &lane.dead_lettered);
            add_all(total.published.as_flattened_mut(), lane.published.as_flattened());
            total.batch_messages.add(&lane.batch_messages);
            for (stage, more) in total.stages.iter_mut().zip(&lane.stages) {
                stage.add(more);
            }
            total.latency.add(&lane.latency);
            add_all(total.gated.as_flattened_mut(), lane.gated.as_flattened());
        }
        total
    }
}

fn add_all(counts: &mut [u64], more: &[u64]) {
    for (count, more) in counts.iter_mut().zip(more) {
        *count += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Refusal;

    #[test]
    fn rejections_are_logged_ever_more_rarely() {
        let tally = Tally::default();
        let flood = FailureAction::DeadLetter(Refusal::new(RejectReason::NotJson, "not UTF-8"));
        let logged: Vec<_> = (1..=100_000).filter(|_| tally.rejected(&flood)).collect();
        let then = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536];
        assert_eq!(logged, (1..=10).chain(then).collect::<Vec<_>>());
        // Each reason has a count of its own: what is new is seen.
        assert!(
            tally.rejected(&FailureAction::DeadLetter(Refusal::new(
                RejectReason::Internal,
                "a fault"
            )))
        );
        let rejected = tally.counts().rejected;
        assert_eq!(rejected[RejectReason::NotJson as usize], 100_000);
        assert_eq!(rejected[RejectReason::Internal as usize], 1);
    }
}
