//! RabbitMQ: where interactions come from and where enriched ones go. The only module that names
//! `lapin`.
//!
//! ```text
//! Supervisor ─▶ Link (two connections) ─▶ Lane ─┬─ Consumer   a batch of Received
//!                   │                           ├─ Publisher  a batch of Outgoing, all confirmed
//!                   ├─ DeadLetters              └─ Settler    acknowledge, requeue, give back
//!                   └─ Topology
//! ```
//!
//! Invariants:
//! - Nothing here recovers in place. Whatever fails, a [`Link`] is dropped with everything that
//!   came out of it, and the [`Supervisor`] builds a new one (trap 1: lapin's own recovery gives up
//!   in silence).
//! - Every call to the broker is bounded in time: a blocked connection would hang it (trap 5).
//! - What waits or is set aside keeps body and properties as received (`headers.rs` says which few
//!   properties cannot).
//!
//! The traps cited here and below were measured with lapin 4.12.3; docs/design.md lists them.
//!
//! Deliberately absent: when to acknowledge, retry or set aside. That is the pipeline's.

mod amqp_1;
mod asyncapi;
mod broker_connection;
mod connection;
mod consumer;
mod dead_letter;
mod dead_letters;
mod declare;
mod headers;
mod inbound;
mod outgoing;
mod publisher;
mod reasons;
mod repair;
mod settings;
mod settler;
mod stream;
mod supervisor;
mod topology;

pub use asyncapi::asyncapi;
pub use connection::{Health, IsolatedConnection, IsolatedLane, Lane, Link};
pub use consumer::{Consumer, Received};
pub use dead_letter::{DeadLetter, Selection};
pub use dead_letters::DeadLetters;
pub use declare::{TopologyDifference, TopologyFinding};
pub use inbound::{INTAKE, Inbound, Partitioned};
pub use publisher::Publisher;
pub use settings::{Overflow, Settings};
pub use settler::Settler;
pub use supervisor::Supervisor;
pub use topology::{
    Argument, Binding, CONSUMER_TIMEOUT, DELIVERY_LIMIT, Exchange, Queue, Topology,
};

use std::future::Future;
use std::time::Duration;

use crate::pipeline::ports::TransportError;

/// Why the broker cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings cannot work; trying again will not help.
    #[error("use the settings of the broker: {0}")]
    Settings(String),
    /// No connection, or no channel on it.
    #[error("reach the broker: {0}")]
    Unreachable(String),
    /// This user may not look at or declare something.
    #[error("be allowed to declare {0}")]
    Forbidden(String),
    /// An exchange, queue or binding cannot be declared; most often it exists with other arguments.
    #[error("declare {what}: {reason}")]
    Declare {
        /// The kind of thing and its name.
        what: String,
        /// What the broker says.
        reason: String,
    },
    /// What `topology.declare = false` leaves to others is not there: all of it, each by name.
    #[error("find in the broker: {}", .0.join(", "))]
    Missing(Vec<String>),
    /// Queues that another number of partitions left behind, with messages that no consumer would read.
    #[error("change the number of partitions: {} must be empty first", .0.join(", "))]
    LeftBehind(Vec<String>),
    /// The work queue did not take a dead letter back; it is where it was.
    #[error("replay a dead letter: {0}")]
    NotReplayed(String),
    /// A dead letter cannot be handed over by AMQP 0-9-1; the pass goes on behind it.
    #[error("read a dead letter: {0}")]
    Undeliverable(String),
    /// A dead letter came from no source that there is now; it is where it was.
    #[error("replay a dead letter: {0}")]
    NoSource(String),
}

impl Error {
    /// Whether trying again is pointless until the operator changes the settings.
    pub fn is_final(&self) -> bool {
        matches!(self, Error::Settings(_))
    }
}

/// Validates the settings: the URL, and the files for TLS. Does not connect.
///
/// # Errors
/// [`Error::Settings`], as [`Link::open`] would say.
pub async fn check(settings: &Settings) -> Result<(), Error> {
    broker_connection::BrokerConnection::check(settings).await
}

/// Awaits a call to the broker, `limit` at most (traps 5 and 7).
async fn with_timeout<T>(
    limit: Duration,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, CallError> {
    tokio::time::timeout(limit, call)
        .await
        .map_err(|_| CallError::TimedOut(limit))?
        .map_err(CallError::Failed)
}

/// Why a call to the broker failed.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("{0}")]
    Failed(lapin::Error),
    #[error("no answer in {} ms", .0.as_millis())]
    TimedOut(Duration),
}

impl CallError {
    /// Whether the broker says that there is no such thing.
    fn is_not_found(&self) -> bool {
        // AMQP's `NOT_FOUND`.
        self.reply_code() == Some(404)
    }

    /// Whether the broker says that this user may not ask or do that.
    fn is_refused(&self) -> bool {
        // AMQP's `ACCESS_REFUSED`.
        self.reply_code() == Some(403)
    }

    fn reply_code(&self) -> Option<u16> {
        match self {
            CallError::Failed(error) => match error.kind() {
                lapin::ErrorKind::ProtocolError(error) => Some(error.get_id()),
                _ => None,
            },
            CallError::TimedOut(_) => None,
        }
    }

    /// What it means for the pipeline: the transport is lost, found out when it failed to do `what`.
    fn at(self, what: &str) -> TransportError {
        TransportError::new(format_args!("{what}: {self}"))
    }
}
