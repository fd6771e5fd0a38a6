//! The integration tests: one binary, one link step, and each service started once.

mod architecture;
mod bad_input;
mod broker;
mod broker_outages;
mod broker_reasons;
mod canary;
mod cases;
mod cleaner;
mod cli;
// A release build cannot be told to die.
#[cfg(debug_assertions)]
mod copies;
mod crash;
mod dead_letters;
mod endings;
mod erase;
mod flows;
mod foreign_clients;
mod formats;
mod fuzz;
mod gate;
mod http;
mod laws;
mod logs;
mod outputs;
mod partitions;
mod pipeline;
mod published;
mod reload;
mod run;
mod schema;
mod settings;
mod simulation;
mod soak;
mod startup;
mod store;
mod support;
mod traces;
mod undecodable;
mod undeliverable;
