//! Settings.
pub mod rules_file;
