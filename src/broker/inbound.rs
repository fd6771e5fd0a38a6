//! A source of messages: one work queue, how it is bound and read, and what is known of whatever
//! comes by it.
//!
//! Invariant: a message that waits comes back to the work queue it came from. A waiting queue leads to
//! one work queue by its arguments, so each source has waiting queues of its own; nothing in the
//! message decides where it goes.

use std::sync::Arc;
use std::time::Duration;

use crate::formats::signature::SigningSecret;

/// One work queue (`[[source]]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The work queue.
    pub queue: String,
    /// The topic exchange it is bound to.
    pub exchange: String,
    /// For which routing keys it is bound; none: it is not bound by us.
    pub routing_keys: Vec<String>,
    /// Begins the names of its waiting queues; the delay follows, `250ms`.
    pub waiting_prefix: String,
    /// How many deliveries may be unacknowledged on a lane: the bound of its input (trap 8).
    pub prefetch_messages: u16,
    /// The format of what arrives, where its messages do not say.
    pub format: Option<String>,
    /// The tenant of interactions whose message names none.
    pub tenant: Option<Arc<str>>,
    /// What every message must be signed with.
    pub signing_secret: Option<SigningSecret>,
}

impl Inbound {
    /// The name of its waiting queue for a delay.
    pub fn waiting_queue(&self, delay: Duration) -> String {
        format!("{}{}ms", self.waiting_prefix, delay.as_millis())
    }
}
