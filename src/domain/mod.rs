//! Domain.
mod history;
mod interaction;
mod report;
pub use history::*;
pub use interaction::*;
pub use report::*;
