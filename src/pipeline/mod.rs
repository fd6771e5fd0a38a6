//! A batch, from delivery to settlement: the straight line.
//!
//! ```text
//! Source ─▶ batch ─▶ decode ─▶ parents ─▶ propagate ─▶ save (one transaction)
//!                                                        │
//!        settle ◀─ all confirms ◀─ publish ◀─────────────┘
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`ports`] | what the line needs of the world |
//! | [`table`] `stored_facts` | the interactions of a batch as they stand; what is kept of them in the open |
//! | [`spilled`] | events that no longer fit a log |
//! | `decode` | what a delivery says |
//! | `outage` | a batch in hand while the store is away |
//! | [`worker`] | the first half: decode to save |
//! | [`plan`] | what the rules came to, and what is published of it |
//! | [`rules_in_force`] | the rules, one snapshot for each batch |
//! | [`settlement`] | from failure to settlement, one total table |
//! | [`outputs`] | where else an interaction goes, and in which shape |
//! | [`aside`] | the status gate: what waits for its answer steps aside (G3) |
//! | `outlet` | the second half: publish, confirms, settle |
//! | [`lane`] | both halves, overlapping, in order |
//! | [`partitions`] | which partition a message belongs to |
//! | [`partitioner`] | passes a work queue on to its partitions |
//! | [`spans`] [`trace_context`] | what a tracing system is told; how messages name the span they come from |
//! | [`message_trace`] `batch_trace` | the trace of a message; of a batch, and its spans at its end |
//! | [`tally`] | what has happened so far, in numbers |
//! | [`labels`] | the words it is counted by |
//! | [`progress`] [`waits`] [`histogram`] | what a lane has in hand; what waits; how long things took |
//! | [`crash_point`] | where tests make a worker die |
//!
//! The unit of work is whatever has been delivered, up to a bound; no timer waits for more.

pub mod aside;
mod batch_trace;
pub mod crash_point;
mod decode;
pub mod histogram;
pub mod labels;
pub mod lane;
pub mod message_trace;
mod outage;
mod outlet;
pub mod outputs;
pub mod partitioner;
pub mod partitions;
pub mod plan;
pub mod ports;
pub mod progress;
mod publication;
pub mod rules_in_force;
pub mod settlement;
pub mod spans;
pub mod spilled;
mod stored_facts;
pub mod table;
pub mod tally;
pub mod waits;
mod waking;
pub mod worker;

pub use crate::formats::trace_context;
