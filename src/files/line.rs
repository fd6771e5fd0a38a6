//! One line of the input, as a delivery.

use crate::pipeline::ports::{Arrival, Attempts, Delivery};

/// One line of the input.
#[derive(Clone, Default)]
pub(crate) struct Line {
    /// Its number, from 1.
    pub(crate) number: u64,
    pub(super) body: Vec<u8>,
    /// Whether the line was longer than what is kept of it.
    pub(super) cut: bool,
    pub(super) arrival: Arrival,
}

impl Line {
    /// The line with these attempts: it is tried again once for each time that it is woken.
    pub(super) fn with_attempts(&self, attempts: &Attempts) -> Line {
        let mut line = self.clone();
        line.arrival.attempts = attempts.clone();
        line
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Line {} ({} bytes)", self.number, self.body.len())
    }
}

impl Delivery for Line {
    fn body(&self) -> &[u8] {
        &self.body
    }

    fn arrival(&self) -> &Arrival {
        &self.arrival
    }

    fn name(&self) -> String {
        format!("line {}", self.number)
    }
}
