//! Throughline.
pub mod broker;
pub mod clock;
pub mod domain;
pub mod pipeline;
pub mod retry;
