//! Telemetry: logs, metrics and traces.
//!
//! They hold names and counts, never a value of user data (K8). The code that logs is responsible for
//! that, since nothing here could tell a value from a name.

pub mod logs;
pub mod metrics;
mod otlp;
pub mod panics;
pub mod stderr;
pub mod traces;
