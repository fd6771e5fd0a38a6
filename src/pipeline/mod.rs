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
//! | [`ports`] | what the line needs of the world: transport, store, status gate |
//! | `decode` | what a delivery says: its body, and what its transport says of it |
//! | [`save`] | the first half of a lane: decode, read, apply the rules, save |
//! | [`plan`] | what passes from the first half to the second: what to publish, or what failed |
//! | [`publish`] | the second half of a lane: publish, wait for confirms, settle |
//! | [`settlement`] | from failure to settlement: one total table |
//! | [`lane`] | runs both halves, overlapping, in order |
//! | [`partitions`] | which partition a message belongs to, and passing messages on to it |
//! | [`observe`] | what metrics, `status` and tracing systems see of a lane |
//! | `decode` | what a delivery says: its body, and what its transport says of it |
//! | [`gate_policy`] | which interactions the status gate is asked about |
//! | [`routing_key`] | routing keys of what is published |
//! | [`crash_point`] | where tests make a worker die |
//!
//! The unit of work is what has been delivered already, up to a bound; no timer waits for more.

pub mod crash_point;
mod decode;
pub mod gate_policy;
pub mod lane;
pub mod observe;
pub mod partitions;
pub mod plan;
pub mod ports;
pub mod publish;
pub mod routing_key;
pub mod save;
pub mod settlement;
