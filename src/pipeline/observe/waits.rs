//! The messages that wait at the moment, and for which interaction: the latest that a lane sent to wait.
//!
//! An entry counts until its delay is over. By then the message is back in the work queue; if it must
//! wait again it is noted again. So nothing has to be taken out, and what another worker of the same
//! queue takes up needs no notice. Names and ids only, never a value (K8).

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::domain::Identity;
use crate::pipeline::settlement::WaitCause;

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitEntry {
    /// The AMQP `message_id`, if it has one.
    pub message_id: Option<String>,
    /// Its interaction, and the one it waits for: its parent, or itself. None where it waits for
    /// a consumer to take what is published.
    pub who_on: Option<(Identity<'static>, Identity<'static>)>,
    /// What it waits for.
    pub cause: WaitCause,
    /// When a worker first saw it, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// When it is tried again, in milliseconds since the Unix epoch.
    pub due_ms: i64,
}

/// How many are remembered for each lane. They are for a person's eyes, and these fill some screens.
const REMEMBERED: usize = 100;

/// The latest waits of a lane.
#[derive(Debug, Default)]
pub struct RecentWaits(Mutex<VecDeque<WaitEntry>>);

impl RecentWaits {
    /// What waits at `now_ms`, in the order in which it was sent to wait; the latest hundred at most.
    pub fn at(&self, now_ms: i64) -> Vec<WaitEntry> {
        let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.iter().filter(|wait| wait.due_ms > now_ms).cloned().collect()
    }

    /// Notes one more.
    pub(crate) fn note(&self, wait: WaitEntry) {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waits.len() == REMEMBERED {
            waits.pop_front();
        }
        waits.push_back(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_waits_forget_due_and_oldest_entries() {
        let waits = RecentWaits::default();
        let wait = |due_ms| WaitEntry {
            message_id: None,
            who_on: None,
            cause: WaitCause::Refused,
            since_ms: 0,
            due_ms,
        };
        for due_ms in 1..=150 {
            waits.note(wait(due_ms));
        }
        assert_eq!(waits.at(0).len(), 100);
        assert_eq!(waits.at(148), [wait(149), wait(150)]);
    }
}
