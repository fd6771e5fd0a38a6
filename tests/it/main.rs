//! Tests against the real services, in one binary: one link step, and services started once.

mod store;
mod support;
