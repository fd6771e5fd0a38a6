//! The status gate's port (G1, G2).

use std::future::Future;
use std::pin::Pin;

use crate::domain::Routing;

/// Says what a caller is to be offered, by the widget's state (G1, G2). A failure is an answer, too.
pub trait Gate: Send + Sync + 'static {
    /// Asks about a widget. Called within an asynchronous runtime; does not block.
    fn ask(&self, widget: &str) -> GateReply;

    /// Whether the endpoint is skipped at the moment because it keeps failing; for metrics.
    fn is_skipping(&self) -> bool;
}

/// An answer, now or later.
pub enum GateReply {
    /// It is known, or no question is needed.
    Now(GateVerdict),
    /// The endpoint is being asked; the answer comes within the gate's own limit of time, polled or not.
    Later(Pin<Box<dyn Future<Output = GateVerdict> + Send>>),
}

/// What was decided, and on what grounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateVerdict {
    /// What is published.
    pub routing: Routing,
    /// The grounds.
    pub why: GateReason,
}

impl GateVerdict {
    /// The verdict where there is no answer (G2).
    pub fn without_answer(why: GateReason) -> GateVerdict {
        GateVerdict { routing: Routing::without_answer(), why }
    }
}

/// The grounds of a verdict. All but the first two mean `agent_queue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateReason {
    /// The endpoint answered with a state.
    Answered,
    /// It had answered a moment ago.
    Cached,
    /// The interaction names no widget.
    NoWidget,
    /// The answer did not come in time.
    Timeout,
    /// No connection, no such host, no trust in its certificate, or a connection that was cut off.
    Unreachable,
    /// The endpoint answered with another code than 200.
    Status,
    /// What it answered is not a widget's state.
    Unreadable,
    /// It has failed too often and is skipped for a while.
    Skipped,
    /// Too many wait for an answer already.
    Crowded,
}

impl GateReason {
    /// All of them.
    pub const ALL: [GateReason; 9] = [
        GateReason::Answered,
        GateReason::Cached,
        GateReason::NoWidget,
        GateReason::Timeout,
        GateReason::Unreachable,
        GateReason::Status,
        GateReason::Unreadable,
        GateReason::Skipped,
        GateReason::Crowded,
    ];

    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            GateReason::Answered => "answered",
            GateReason::Cached => "cached",
            GateReason::NoWidget => "no_widget",
            GateReason::Timeout => "timeout",
            GateReason::Unreachable => "unreachable",
            GateReason::Status => "status",
            GateReason::Unreadable => "unreadable",
            GateReason::Skipped => "skipped",
            GateReason::Crowded => "crowded",
        }
    }
}
