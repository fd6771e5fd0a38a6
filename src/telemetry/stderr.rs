//! Standard error, for what is said to a person beside the log.
//!
//! Where it cannot be written, as when its reader has gone or its disk is full, there is nobody left to
//! be told so: unlike `eprintln!`, which panics, this goes on.

use std::fmt::Display;
use std::io::{self, Write};

/// Says a line.
pub fn say(line: impl Display) {
    show(format_args!("{line}\n"));
}

/// Shows a text that brings its own line breaks, if any.
pub fn show(text: impl Display) {
    // One piece, so that two threads do not mix their lines.
    let _nobody_listens = io::stderr().lock().write_all(text.to_string().as_bytes());
}
