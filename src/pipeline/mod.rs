//! Pipeline.
pub mod ports;
