//! Throughline carries what is known of a customer from one interaction to the next.
//!
//! In reading order: what happens to user data ([`domain`]), how messages look ([`formats`]), the
//! line that a batch takes ([`pipeline`]), and the adapters at its ends: RabbitMQ ([`broker`]), files
//! ([`files`]), SQLite and PostgreSQL ([`store`]). [`settings`] says what was configured, `app` puts
//! the parts together, `cli` is what an operator types. docs/architecture.md has the picture.

pub mod domain;
pub mod formats;
pub mod pipeline;
pub mod files;
pub mod store;
pub mod settings;
pub mod cases;
pub mod telemetry;
pub mod clock;
pub mod retry;
