//! t
mod logs;
