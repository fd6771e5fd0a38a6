//! The integration tests: one binary, one link step, and each service started once.

mod cases;
mod logs;
mod settings;
mod store;
mod support;
