//! The integration tests: one binary, against real services.

mod broker;
mod broker_outages;
mod support;
