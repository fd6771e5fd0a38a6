//! The integration tests: one binary, one link step, and each service started once.

mod broker;
mod broker_outages;
mod cases;
mod dead_letters;
mod logs;
mod settings;
mod store;
mod support;
