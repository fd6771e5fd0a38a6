//! Throughline.
pub mod clock;
pub mod domain;
pub mod formats;
pub mod pipeline;
pub mod settings;
