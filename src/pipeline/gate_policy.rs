//! Which interactions the status gate is asked about, and what happens when too many wait for its
//! answer (G1, G3).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ports::Gate;

/// Deliveries that a lane holds for the status gate, at most. They stay unacknowledged, so the broker
/// is asked for as many more (`prefetch`), and others keep their share of it. With the default timeout
/// it is enough for 600 new gated interactions a second while the endpoint hangs.
pub const HELD_MAX: u16 = 1000;

/// How the status gate is asked.
#[derive(Clone)]
pub struct GatePolicy {
    /// The gate that is asked.
    pub gate: Arc<dyn Gate>,
    /// The channels whose interactions it is asked about.
    pub channels: BTreeSet<String>,
    /// What happens when [`HELD_MAX`] deliveries wait for an answer.
    pub when_full: GateOverflow,
}

/// What happens when too many wait for the status gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateOverflow {
    /// The next ones are not asked about and go to agents: a stream is not slowed down (G3).
    Decide,
    /// The input waits: a file is no stream, and no caller is on the line.
    Wait,
}

impl GatePolicy {
    /// Whether interactions on a channel are asked about.
    pub(crate) fn concerns(&self, channel: &str) -> bool {
        self.channels.contains(channel)
    }
}
