//! The integration tests: one binary, one link step, and each service started once.

mod architecture;
mod bad_input;
mod broker;
mod broker_outages;
mod canary;
mod cases;
mod cleaner;
mod cli;
mod dead_letters;
mod erase;
mod formats;
mod laws;
mod logs;
mod pipeline;
mod published;
mod run;
mod settings;
mod store;
mod support;
