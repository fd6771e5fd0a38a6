//! What has happened so far, in numbers: for the summary of `pipe`, and for whoever asks a worker.
//!
//! Counted where it is decided. Numbers only; what they are about is in no label but the reason.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ports::{Answer, PublishedKind};
use super::settlement::Remedy;
use super::worker::Plan;

/// Counters of a process, shared by its lanes.
#[derive(Debug, Default)]
pub struct Tally {
    received: AtomicU64,
    enriched: AtomicU64,
    ended: AtomicU64,
    ignored: AtomicU64,
    duplicate: AtomicU64,
    waited: AtomicU64,
    dead_lettered: AtomicU64,
    returned: AtomicU64,
    refused: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Sent to the dead letters.
    pub dead_lettered: u64,
    /// Published without a queue that was bound.
    pub returned: u64,
    /// Refused by the broker.
    pub refused: u64,
}

impl Tally {
    /// Counts a message that was taken through the rules, by what it came to.
    pub fn took(&self, plan: &Plan) {
        add(&self.received);
        match plan {
            Plan::Publish(message) => add(match message.kind {
                PublishedKind::Enriched => &self.enriched,
                PublishedKind::Ended => &self.ended,
            }),
            Plan::Done("duplicate") => add(&self.duplicate),
            Plan::Done(_) => add(&self.ignored),
            // Counted by what is done about it.
            Plan::Failed { .. } => {}
        }
    }

    /// Counts a message that is set aside, by how.
    pub fn set_aside(&self, remedy: &Remedy) {
        match remedy {
            Remedy::Wait { .. } => add(&self.waited),
            Remedy::DeadLetter(_) => add(&self.dead_lettered),
            Remedy::Requeue => {}
        }
    }

    /// Counts a broker's answer.
    pub fn answered(&self, answer: Answer) {
        match answer {
            Answer::Confirmed => {}
            Answer::Returned => add(&self.returned),
            Answer::Refused => add(&self.refused),
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
            dead_lettered: read(&self.dead_lettered),
            returned: read(&self.returned),
            refused: read(&self.refused),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
