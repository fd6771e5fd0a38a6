//! What has happened so far, in numbers: for the summary of `pipe`, and for whoever asks a worker.
//!
//! Counted where it is decided. Numbers only; what they are about is in no label but the reason.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ports::{Answer, Arrival, PublishedKind, Verdict, Why};
use super::settlement::Remedy;
use super::worker::{Plan, Unpublished};
use crate::domain::{RejectReason, Target};

/// How many messages of one reason are logged one by one.
const LOGGED_ONE_BY_ONE: u64 = 10;

/// Counters of a process, shared by its lanes.
#[derive(Debug, Default)]
pub struct Tally {
    received: AtomicU64,
    enriched: AtomicU64,
    ended: AtomicU64,
    ignored: AtomicU64,
    duplicate: AtomicU64,
    waited: AtomicU64,
    retried: AtomicU64,
    dead_lettered: [AtomicU64; RejectReason::ALL.len()],
    returned: AtomicU64,
    refused: AtomicU64,
    /// By [`Why::ALL`], those who are offered a callback, and all others.
    gated: [[AtomicU64; 2]; Why::ALL.len()],
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages taken, each try counted.
    pub received: u64,
    /// Worked out as `interaction.enriched`.
    pub enriched: u64,
    /// Worked out as `interaction.ended`.
    pub ended: u64,
    /// Too late, or about nothing.
    pub ignored: u64,
    /// The same event again.
    pub duplicate: u64,
    /// Sent to wait.
    pub waited: u64,
    /// Taken again after they had waited.
    pub retried: u64,
    /// Sent to the dead letters, by reason; reasons that did not occur are left out.
    pub dead_lettered: Vec<(RejectReason, u64)>,
    /// Published without a queue that was bound.
    pub returned: u64,
    /// Refused by the broker.
    pub refused: u64,
    /// Enriched interactions for which the status gate decided, by what it decided and on what
    /// grounds; what did not occur is left out.
    pub gated: Vec<(Target, Why, u64)>,
}

impl Tally {
    /// Counts a message that was taken through the rules, by what it came to.
    pub fn took(&self, plan: &Plan, arrival: &Arrival) {
        add(&self.received);
        if arrival.attempts.count > 0 {
            add(&self.retried);
        }
        match plan {
            Plan::Publish(message) => match message.kind {
                PublishedKind::Enriched => {
                    add(&self.enriched);
                }
                PublishedKind::Ended => {
                    add(&self.ended);
                }
            },
            Plan::Done(Unpublished::Duplicate) => {
                add(&self.duplicate);
            }
            Plan::Done(Unpublished::Ignored) => {
                add(&self.ignored);
            }
            // Counted by what is done about it.
            Plan::Failed { .. } => {}
        }
    }

    /// Counts a message that is set aside, by how. Says whether it is worth a line in the log: the
    /// first few of each reason are, then fewer and fewer, so that a flood of bad messages is no
    /// flood of logs.
    pub fn set_aside(&self, remedy: &Remedy) -> bool {
        match remedy {
            Remedy::Wait { .. } => {
                add(&self.waited);
                false
            }
            Remedy::DeadLetter(reason) => {
                let place = RejectReason::ALL.iter().position(|known| known == reason);
                let count = place.map_or(0, |place| add(&self.dead_lettered[place]));
                count <= LOGGED_ONE_BY_ONE || count.is_power_of_two()
            }
            Remedy::Requeue => false,
        }
    }

    /// Counts a broker's answer.
    pub fn answered(&self, answer: Answer) {
        match answer {
            Answer::Confirmed => {}
            Answer::Returned => {
                add(&self.returned);
            }
            Answer::Refused => {
                add(&self.refused);
            }
        }
    }

    /// Counts a decision of the status gate over one interaction.
    pub fn gated(&self, verdict: &Verdict) {
        let place = Why::ALL.iter().position(|known| *known == verdict.why);
        if let Some(by_target) = place.map(|place| &self.gated[place]) {
            add(&by_target[usize::from(verdict.routing.target == Target::AgentQueue)]);
        }
    }

    /// The counters now.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            received: read(&self.received),
            enriched: read(&self.enriched),
            ended: read(&self.ended),
            ignored: read(&self.ignored),
            duplicate: read(&self.duplicate),
            waited: read(&self.waited),
            retried: read(&self.retried),
            dead_lettered: RejectReason::ALL
                .iter()
                .zip(&self.dead_lettered)
                .map(|(reason, counter)| (*reason, read(counter)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            returned: read(&self.returned),
            refused: read(&self.refused),
            gated: Why::ALL
                .iter()
                .zip(&self.gated)
                .flat_map(|(why, [callback, agent_queue])| {
                    [
                        (Target::Callback, *why, read(callback)),
                        (Target::AgentQueue, *why, read(agent_queue)),
                    ]
                })
                .filter(|(_, _, count)| *count > 0)
                .collect(),
        }
    }
}

/// Counts one more, and says how many there are now.
fn add(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}
