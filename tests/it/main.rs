//! t
mod logs;
mod settings;
