//! The status of a quarantine (`quarantine.rs`), as the monitor shows it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Whether a quarantine is on, and which queues are known to be affected.
#[derive(Debug, Default)]
pub(super) struct QuarantineStatus {
    affected_queues: Mutex<Option<BTreeSet<String>>>,
}

impl QuarantineStatus {
    /// A quarantine begins, or is over.
    pub(super) fn set(&self, on: bool) {
        *self.affected_queues.lock().unwrap_or_else(PoisonError::into_inner) =
            on.then(BTreeSet::new);
    }

    /// Adds a queue whose connection has ended over a message.
    pub(super) fn mark_queue(&self, queue: &str) {
        if let Some(queues) =
            &mut *self.affected_queues.lock().unwrap_or_else(PoisonError::into_inner)
        {
            queues.insert(queue.to_owned());
        }
    }

    /// Whether a quarantine is on.
    pub(super) fn is_on(&self) -> bool {
        self.affected_queues.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The reason to show while it is on.
    pub(super) fn reason(&self) -> Option<String> {
        let queues = self.affected_queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queues = Vec::from_iter(queues.as_ref()?.iter().cloned());
        let of =
            if queues.is_empty() { String::new() } else { format!(" of {}", queues.join(", ")) };
        Some(format!(
            "a message{of} ends the connection; one message at a time until it is set aside"
        ))
    }
}
