//! What is seen from outside of a quarantine (`quarantine.rs`).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Whether there is a quarantine, and which queues are known to need it.
#[derive(Debug, Default)]
pub(super) struct Quarantined(Mutex<Option<BTreeSet<String>>>);

impl Quarantined {
    /// One begins, or is over.
    pub(super) fn set(&self, on: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = on.then(BTreeSet::new);
    }

    /// This queue needs it.
    pub(super) fn blame(&self, queue: &str) {
        if let Some(queues) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            queues.insert(queue.to_owned());
        }
    }

    /// Whether there is one.
    pub(super) fn is_on(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What is to be said of it.
    pub(super) fn why(&self) -> Option<String> {
        let queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let queues = Vec::from_iter(queues.as_ref()?.iter().cloned());
        let of =
            if queues.is_empty() { String::new() } else { format!(" of {}", queues.join(", ")) };
        Some(format!(
            "a message{of} ends the connection; one message at a time until it is set aside"
        ))
    }
}
