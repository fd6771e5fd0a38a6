//! The worker's own HTTP server: liveness, readiness, metrics and status. The only module that names
//! `axum`.
//!
//! | route | answers |
//! |---|---|
//! | `/livez` | 200, or 503 when a part has failed so that only a restart helps |
//! | `/readyz` | 200, or 503 with a JSON list of what is missing; either may hold warnings |
//! | `/metrics` | OpenMetrics text |
//! | `/status` | JSON: lanes, counts, waiting messages and what they wait for |
//! | `/version` | JSON: the program's version and the rules' revision |
//!
//! It runs on a thread and a runtime of its own, so that it answers however busy the lanes are, and
//! also when they hang. It only reads: [`Monitor`] is all that it knows of the worker.
//!
//! Invariants: it listens on the loopback address only, unless the settings name another; no
//! answer holds a value of user data (K8), and only `/status` holds ids; connections are few, short,
//! and closed after one answer.
//!
//! Deliberately absent: TLS and logins. A server that other machines reach belongs behind a proxy
//! that has both.

mod client;
mod monitor;
mod routes;
mod server;

pub use client::{ClientError, Response, get};
pub use monitor::{
    DeadLetterCounts, LaneStatus, Liveness, Monitor, OutcomeCounts, Problem, Readiness, Status,
    Version, WaitingMessage,
};
pub use server::{RunningServer, Server, ServerError};
