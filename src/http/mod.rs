//! The worker's own HTTP server: is it alive, is it ready, what does it do. The only module that names
//! `axum`.
//!
//! | route | answers |
//! |---|---|
//! | `/livez` | 200, or 503 when something does not work any more that only a restart can mend |
//! | `/readyz` | 200, or 503 with a JSON list of what is missing; warnings may stand beside either |
//! | `/metrics` | OpenMetrics text |
//! | `/status` | JSON: lanes, counts, what waits and for whom |
//! | `/version` | JSON: the program's version and the rules' revision |
//!
//! It runs on a thread and a runtime of its own, so that it answers however busy the lanes are, and
//! also when they hang. All it does is read: [`Observed`] is everything that it knows of the worker.
//!
//! Invariants: it listens on this machine only, unless the settings say otherwise in so many words; no
//! answer holds a value of user data (K8), and only `/status` holds ids; connections are few, short,
//! and closed after one answer.
//!
//! Deliberately absent: TLS and logins. What is to be reached from elsewhere belongs behind something
//! that has both.

mod client;
mod observed;
mod routes;
mod server;

pub use client::{Answer, ClientError, get};
pub use observed::{
    DeadLettered, LaneStatus, Liveness, Observed, Outcomes, Problem, Readiness, Status, Version,
    Waiting,
};
pub use server::{Server, ServerError, Serving};
