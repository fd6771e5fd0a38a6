//! From what became of a message to what becomes of its delivery: one total table.
//!
//! | failure | while it may wait | after the last attempt |
//! |---|---|---|
//! | rejected by the rules or the decoder | dead letter | dead letter |
//! | its parent or its interaction is not known | waits | not asked: the rules decide (C9) |
//! | published, but no queue is bound | waits | dead letter, `unroutable` |
//! | refused by the broker | waits | dead letter, `attempts_exhausted` |
//! | could not be sent to wait or to the dead letters | back to its queue | back to its queue |
//!
//! The delivery itself is the outbox: whatever is not safely elsewhere stays unacknowledged.

use std::time::Duration;

use crate::domain::{Attempt, Refusal, RejectReason, WaitFor};
use crate::pipeline::ports::{Arrival, Attempts};
use crate::retry::RetrySchedule;

/// How long a message may wait, all its waits for one cause together.
#[derive(Clone, Debug)]
pub struct WaitPolicy {
    /// For its parent, in milliseconds (`waiting.parent_secs`).
    pub parent_ms: u64,
    /// For its own interaction, in milliseconds (`waiting.unknown_secs`).
    pub interaction_ms: u64,
    /// For a queue to be bound downstream, or for a broker that refuses to take it, in milliseconds
    /// (`waiting.unroutable_secs`).
    pub publish_ms: u64,
    /// The delays there are waiting queues for.
    pub schedule: RetrySchedule,
}

impl WaitPolicy {
    /// What the transport says of this try, in the domain's words.
    pub fn attempt(&self, arrival: &Arrival) -> Attempt {
        let exhausted = |cause: WaitCause| self.next_wait(arrival, cause).is_none();
        Attempt {
            may_be_unfinished: arrival.may_be_unfinished(),
            last_for_parent: exhausted(WaitCause::ParentUnknown),
            last_for_interaction: exhausted(WaitCause::InteractionUnknown),
        }
    }

    fn next_wait(&self, arrival: &Arrival, cause: WaitCause) -> Option<Duration> {
        let patience_ms = match cause {
            WaitCause::ParentUnknown => self.parent_ms,
            WaitCause::InteractionUnknown => self.interaction_ms,
            WaitCause::Unroutable | WaitCause::Refused => self.publish_ms,
        };
        self.schedule.next_wait(count(&arrival.attempts, cause), patience_ms)
    }
}

/// What a message waits for, as its header says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitCause {
    /// Its parent.
    ParentUnknown,
    /// Its own interaction.
    InteractionUnknown,
    /// A queue to be bound.
    Unroutable,
    /// A broker that takes it.
    Refused,
}

impl WaitCause {
    /// Each of them, in the order of their counters.
    pub const ALL: &'static [WaitCause] = &[
        WaitCause::ParentUnknown,
        WaitCause::InteractionUnknown,
        WaitCause::Unroutable,
        WaitCause::Refused,
    ];

    /// The word in the header, and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            WaitCause::ParentUnknown => "parent_unknown",
            WaitCause::InteractionUnknown => "interaction_unknown",
            WaitCause::Unroutable => "unroutable",
            WaitCause::Refused => "refused",
        }
    }

    /// What a message that must wait waits for.
    pub fn of(wait: &WaitFor<'_>) -> WaitCause {
        match wait {
            WaitFor::Parent(_) => WaitCause::ParentUnknown,
            WaitFor::Interaction(_) => WaitCause::InteractionUnknown,
        }
    }
}

/// What went wrong with a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It cannot be worked on, now or ever.
    Rejected(Refusal),
    /// It must wait.
    MustWait(WaitCause),
    /// It could not be sent to wait or to the dead letters.
    NotSetAside,
}

/// What is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureAction {
    /// It goes to the waiting queue of this delay, then is acknowledged.
    Wait {
        /// How long.
        delay: Duration,
        /// The attempts to be written down, this wait included.
        attempts: Attempts,
        /// What for.
        cause: WaitCause,
    },
    /// It goes to the dead letters with this reason and detail, then is acknowledged.
    DeadLetter(Refusal),
    /// It goes back to its queue.
    Requeue,
}

/// The table.
pub fn action_for(
    failure: Failure,
    arrival: &Arrival,
    patience: &WaitPolicy,
    now_ms: i64,
) -> FailureAction {
    match failure {
        Failure::Rejected(refusal) => FailureAction::DeadLetter(refusal),
        Failure::NotSetAside => FailureAction::Requeue,
        Failure::MustWait(cause) => match patience.next_wait(arrival, cause) {
            Some(delay) => {
                let attempts = one_more(arrival, cause, now_ms);
                FailureAction::Wait { delay, attempts, cause }
            }
            None => FailureAction::DeadLetter(exhausted(cause)),
        },
    }
}

/// What a message is set aside for that may not wait any longer.
fn exhausted(cause: WaitCause) -> Refusal {
    let (reason, detail) = match cause {
        WaitCause::ParentUnknown => {
            (RejectReason::ParentUnknown, "its parent did not come in time")
        }
        WaitCause::InteractionUnknown => {
            (RejectReason::InteractionUnknown, "its interaction did not come in time")
        }
        WaitCause::Unroutable => {
            (RejectReason::Unroutable, "no queue is bound for what is published of it")
        }
        WaitCause::Refused => (
            RejectReason::AttemptsExhausted,
            "the broker refused what is published of it each time",
        ),
    };
    Refusal::new(reason, detail)
}

fn count(attempts: &Attempts, cause: WaitCause) -> u32 {
    // A new cause starts its own count.
    let same = attempts.cause.as_deref() == Some(cause.as_str());
    if same { attempts.count } else { 0 }
}

fn one_more(arrival: &Arrival, cause: WaitCause, now_ms: i64) -> Attempts {
    let attempts = &arrival.attempts;
    Attempts {
        count: count(attempts, cause).saturating_add(1),
        cause: Some(cause.as_str().to_owned()),
        first_seen_ms: attempts.first_seen_ms.or(Some(now_ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience() -> WaitPolicy {
        WaitPolicy {
            parent_ms: 8_000,
            interaction_ms: 60_000,
            publish_ms: 500,
            schedule: RetrySchedule::default(),
        }
    }

    fn waited(count: u32, cause: &str) -> Arrival {
        let attempts = Attempts { count, cause: Some(cause.to_owned()), first_seen_ms: Some(5) };
        Arrival { attempts, ..Arrival::default() }
    }

    #[test]
    fn first_wait_for_a_parent_is_250_ms() {
        let failure = Failure::MustWait(WaitCause::ParentUnknown);
        let remedy = action_for(failure, &Arrival::default(), &patience(), 7);
        let attempts =
            Attempts { count: 1, cause: Some("parent_unknown".to_owned()), first_seen_ms: Some(7) };
        let (delay, cause) = (Duration::from_millis(250), WaitCause::ParentUnknown);
        assert_eq!(remedy, FailureAction::Wait { delay, attempts, cause });
    }

    #[test]
    fn attempt_knows_which_try_is_the_last() {
        let patience = patience();
        assert!(!patience.attempt(&waited(5, "parent_unknown")).last_for_parent);
        assert!(patience.attempt(&waited(6, "parent_unknown")).last_for_parent);
        assert!(!patience.attempt(&waited(6, "unroutable")).last_for_parent, "another cause");
    }

    #[test]
    fn unroutable_becomes_dead_letter_after_the_last_wait() {
        let failure = Failure::MustWait(WaitCause::Unroutable);
        let first = action_for(failure.clone(), &Arrival::default(), &patience(), 0);
        assert!(matches!(first, FailureAction::Wait { .. }));
        // 250 ms, then 250 ms again: half a second is used up.
        let last = action_for(failure, &waited(2, "unroutable"), &patience(), 0);
        let FailureAction::DeadLetter(refusal) = last else { panic!("{last:?}") };
        assert_eq!(refusal.reason, RejectReason::Unroutable);
        assert_eq!(refusal.detail.as_str(), "no queue is bound for what is published of it");
    }
}
