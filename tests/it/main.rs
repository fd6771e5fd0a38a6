//! The integration tests: one binary, so that a broker and a database are started once.

mod bad_input;
mod cases;
mod logs;
mod published;
mod settings;
