//! Throughline.
pub mod clock;
pub mod retry;
pub mod domain;
pub mod formats;
pub mod pipeline;
pub mod settings;
pub mod cases;
