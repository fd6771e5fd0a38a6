//! The integration tests: one binary, one link step, and each service started once.

mod broker;
mod broker_outages;
mod canary;
mod cases;
mod cleaner;
mod erase;
mod logs;
mod settings;
mod store;
mod support;
