//! What is said of a panic: where, never what.
//!
//! The standard library's own panics quote what they stumbled over (a slice of a string, say), which
//! may be a customer's (K8). The place is enough to find the fault.

use std::io::Write;
use std::panic::{self, PanicHookInfo};

/// Replaces the panic message of the whole process. To be called once, first of all.
pub fn install() {
    panic::set_hook(Box::new(tell));
}

fn tell(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let line = format!("throughline: a fault of our own at {place}; please report it\n");
    // Straight to stderr: the logs may be what panicked. Where stderr is gone nobody can be told.
    if std::io::stderr().write_all(line.as_bytes()).is_err() {
        tracing::error!(place, "a fault of our own");
    }
}
