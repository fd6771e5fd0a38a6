//! A source of messages: one work queue, how it is bound and read, and what is known of whatever
//! comes by it.
//!
//! Invariant: a message that waits comes back to the work queue it came from. A waiting queue leads to
//! one work queue by its arguments, so each source has waiting queues of its own; nothing in the
//! message decides where it goes.
//!
//! With partitions, messages come by an intake queue, and a partitioner passes each on to the queue of
//! its partition; what waits comes back to the intake, and so finds its partition again whatever their
//! number is by then. Intake and partitions have names of their own, since a queue that exists does not
//! become one with a single active consumer.

use std::sync::Arc;
use std::time::Duration;

use crate::formats::signature::SigningSecret;

/// Ends the name of the queue that messages of a partitioned work queue come by.
pub const INTAKE: &str = "intake";

/// One work queue (`[[source]]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The work queue, or the intake of its partitions: the bindings and returning messages end here.
    pub queue: String,
    /// Its partitions, where it has some.
    pub partitions: Option<Partitioned>,
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

/// How a work queue is partitioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partitioned {
    /// The work queue without partitions; begins the names of its partitions.
    pub of: String,
    /// How many there are.
    pub count: u16,
    /// The header that names the conversation, where one does.
    pub header: Option<String>,
}

impl Partitioned {
    /// The queue of a partition.
    pub fn queue(&self, partition: u16) -> String {
        format!("{}.{partition}", self.of)
    }

    /// The queues of all partitions.
    pub fn queues(&self) -> impl Iterator<Item = String> {
        (0..self.count).map(|partition| self.queue(partition))
    }
}

impl Inbound {
    /// The same with so many partitions.
    pub fn partitioned(self, count: u16, header: Option<String>) -> Inbound {
        Inbound {
            queue: format!("{}.{INTAKE}", self.queue),
            waiting_prefix: format!("{}{INTAKE}.", self.waiting_prefix),
            partitions: Some(Partitioned { of: self.queue, count, header }),
            ..self
        }
    }

    /// The queues that are consumed for it: its own, and those of its partitions.
    pub fn consumed(&self) -> impl Iterator<Item = String> {
        let partitions = self.partitions.iter().flat_map(Partitioned::queues);
        std::iter::once(self.queue.clone()).chain(partitions)
    }

    /// Whether `queue` is one of its partitions.
    pub(super) fn has_partition(&self, queue: &str) -> bool {
        self.partitions.as_ref().is_some_and(|it| it.queues().any(|name| name == queue))
    }

    /// Whether a message that was taken out of `queue` came by this source.
    pub(super) fn owns(&self, queue: &str) -> bool {
        let is_old_name = self.partitions.as_ref().is_some_and(|it| it.of == queue);
        is_old_name || self.consumed().any(|name| name == queue)
    }

    /// The name of its waiting queue for a delay.
    pub fn waiting_queue(&self, delay: Duration) -> String {
        format!("{}{}ms", self.waiting_prefix, delay.as_millis())
    }
}
