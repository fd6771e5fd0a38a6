//! Standard error, for messages to the operator beside the log.
//!
//! Where it cannot be written, because its reader has gone or its disk is full, there is no place left to
//! report that: unlike `eprintln!`, which panics, these functions ignore it.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line.
pub fn write_line(line: impl Display) {
    write_text(format_args!("{line}\n"));
}

/// Writes a text without adding a line break.
pub fn write_text(text: impl Display) {
    // One write, so that two threads do not mix their lines.
    let _is_written = io::stderr().lock().write_all(text.to_string().as_bytes());
}
