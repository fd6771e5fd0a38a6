//! Telemetry: how the worker tells what it does.
//!
//! Whatever leaves here holds names and counts, never a value of user data (K8): that is the duty of
//! whoever logs, since nothing here could tell the two apart.

pub mod logs;
pub mod metrics;
mod otlp;
pub mod panics;
pub mod stderr;
pub mod traces;
