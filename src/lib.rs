//! Throughline carries what is known of a customer from one interaction to the next.
//!
//! In reading order: what happens to user data ([`domain`]), how messages look ([`formats`]), the
//! line that a batch takes ([`pipeline`]), and the adapters at its ends: RabbitMQ ([`broker`]), files
//! (`files`), SQLite and PostgreSQL ([`store`]), and the status gate ([`gate`]). [`http`] and
//! [`telemetry`] report on the worker, [`settings`] reads the configuration, [`cleaner`] sweeps the store,
//! [`reload`] puts changed rules in force, `app` assembles the parts, `cli` has the operator's commands.
//! docs/architecture.md has the picture.

pub mod app;
pub mod broker;
pub mod cases;
pub mod cleaner;
pub mod cli;
pub mod clock;
pub mod domain;
mod files;
pub mod formats;
pub mod gate;
pub mod http;
mod json_schema;
pub mod pipeline;
pub mod reload;
pub mod retry;
pub mod settings;
pub mod store;
pub mod telemetry;
mod tls;
