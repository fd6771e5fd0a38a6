//! Pipeline.
pub mod ports;
pub mod table;
