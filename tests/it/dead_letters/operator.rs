//! The program as an operator of one bench runs it: over its names, on its server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use throughline::broker::Settings;

use crate::support::program::{ProcessGuard, folder, program_on_broker, stderr, stdout};

/// The exit code and the output of a run.
#[derive(Debug)]
pub(super) struct CommandOutput {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

/// Runs the program with these arguments to its end.
pub(super) async fn run(settings: &Settings, arguments: &[&str]) -> CommandOutput {
    let folder = folder();
    let mut command = command(settings, folder.path());
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("it does not panic").expect("the program can be run");
    CommandOutput { code: output.status.code(), out: stdout(&output), err: stderr(&output) }
}

/// A run of the program that is killed at its end.
pub(super) struct RunningCommand {
    process: ProcessGuard,
    _folder: tempfile::TempDir,
}

impl RunningCommand {
    /// Starts the program with these arguments; a worker has a store of its own.
    pub(super) fn start(settings: &Settings, arguments: &[&str]) -> RunningCommand {
        let folder = folder();
        let mut command = command(settings, folder.path());
        let process = command.args(arguments).stdout(Stdio::piped()).spawn();
        let process = ProcessGuard(process.expect("the program can be run"));
        RunningCommand { process, _folder: folder }
    }

    /// The next line of its output; the test reads no more of it after that.
    pub(super) async fn next_line(&mut self) -> String {
        let out = self.process.0.stdout.take().expect("it is read once");
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).map(|_| line)
        });
        read.await.expect("it does not panic").expect("the output can be read")
    }

    /// Its exit code, once it has ended by itself.
    pub(super) async fn ended(mut self) -> Option<i32> {
        let ended = tokio::task::spawn_blocking(move || self.process.0.wait()).await;
        ended.expect("it does not panic").expect("it can be waited for").code()
    }
}

/// The program with all settings of the broker as variables.
fn command(settings: &Settings, folder: &Path) -> Command {
    let bound = |number: Option<u64>| number.unwrap_or(0).to_string();
    let mut command = program_on_broker(folder, settings);
    command
        .env("THROUGHLINE_DEAD_LETTERS__MAX_BYTES", bound(settings.dead_letters_max_bytes))
        .env("THROUGHLINE_DEAD_LETTERS__MAX_AGE_SECS", bound(settings.dead_letters_max_age_secs))
        .env("THROUGHLINE_DEAD_LETTERS__OVERFLOW", settings.dead_letters_overflow.as_str())
        .env("THROUGHLINE_WAITING__MAX_BYTES", bound(settings.waiting_max_bytes));
    command
}
