//! Standard output, for results.
//!
//! A reader that goes away (`… | head`) is no failure: the command ends, quietly and at once.

use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write};

use super::failure::{Exit, Failure};

/// Buffered standard output.
pub(super) struct Stdout(BufWriter<StdoutLock<'static>>);

impl Stdout {
    /// Standard output, until this is dropped.
    pub(super) fn lock() -> Stdout {
        Stdout(BufWriter::new(io::stdout().lock()))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// When it cannot be written; without a message when the reader has closed the pipe.
    pub(super) fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.0, "{line}").map_err(|error| failure(&error))
    }

    /// Writes a line for people that holds texts from messages: control characters in them would control
    /// the terminal, so they are escaped.
    ///
    /// # Errors
    /// As [`Stdout::line`].
    pub(super) fn row(&mut self, row: impl fmt::Display) -> Result<(), Failure> {
        self.line(printable(&row.to_string()))
    }

    /// Writes a text that brings its own line breaks.
    ///
    /// # Errors
    /// As [`Stdout::line`].
    pub(super) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.0.write_all(text.as_bytes()).map_err(|error| failure(&error))
    }

    /// Writes what is buffered.
    ///
    /// # Errors
    /// As [`Stdout::line`].
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|error| failure(&error))
    }
}

/// The failure for a text that cannot be written.
pub(super) fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::quiet(Exit::Done),
        _ => Failure::internal(format_args!("write the output: {error}")),
    }
}

/// The text, its control characters escaped.
pub(super) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => printable.extend(character.escape_default()),
            false => printable.push(character),
        }
    }
    printable
}
