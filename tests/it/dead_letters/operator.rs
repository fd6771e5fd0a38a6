//! The program as an operator of one bench runs it: over its names, on its server.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use throughline::broker::Settings;

use crate::support::program::{folder, program, stderr, stdout};

/// What a run of the program came to.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

/// Runs the program with these arguments to its end.
pub(super) async fn run(settings: &Settings, arguments: &[&str]) -> Ran {
    let folder = folder();
    let mut command = command(settings, folder.path());
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("it does not panic").expect("the program can be run");
    Ran { code: output.status.code(), out: stdout(&output), err: stderr(&output) }
}

/// A run of the program that is killed at its end.
pub(super) struct Running {
    process: Child,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Starts the program with these arguments; a worker has a store of its own.
    pub(super) fn start(settings: &Settings, arguments: &[&str]) -> Running {
        let folder = folder();
        let mut command = command(settings, folder.path());
        let process = command.args(arguments).stdout(Stdio::piped()).spawn();
        Running { process: process.expect("the program can be run"), _folder: folder }
    }

    /// The next line of its output; after that nobody reads it any more.
    pub(super) async fn next_line(&mut self) -> String {
        let out = self.process.stdout.take().expect("it is read once");
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).map(|_| line)
        });
        read.await.expect("it does not panic").expect("the output can be read")
    }

    /// Its exit code, once it has ended by itself.
    pub(super) async fn ended(mut self) -> Option<i32> {
        let ended = tokio::task::spawn_blocking(move || self.process.wait()).await;
        ended.expect("it does not panic").expect("it can be waited for").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("the program may still be running: {error}");
        }
    }
}

/// The program in a folder of its own, with the settings as variables.
fn command(settings: &Settings, folder: &Path) -> Command {
    let bound = |number: Option<u64>| number.unwrap_or(0).to_string();
    let mut command = program(folder);
    command
        .env("THROUGHLINE_AMQP__URL", &settings.url)
        .env("THROUGHLINE_AMQP__QUEUE", &settings.queue)
        .env("THROUGHLINE_AMQP__INBOUND_EXCHANGE", &settings.inbound_exchange)
        .env("THROUGHLINE_AMQP__OUTBOUND_EXCHANGE", &settings.outbound_exchange)
        .env("THROUGHLINE_AMQP__DEAD_LETTERS", &settings.dead_letters)
        .env("THROUGHLINE_AMQP__WAITING_PREFIX", &settings.waiting_prefix)
        .env("THROUGHLINE_DEAD_LETTERS__MAX_BYTES", bound(settings.dead_letters_max_bytes))
        .env("THROUGHLINE_DEAD_LETTERS__MAX_AGE_SECS", bound(settings.dead_letters_max_age_secs))
        .env("THROUGHLINE_DEAD_LETTERS__OVERFLOW", settings.dead_letters_overflow.as_str())
        .env("THROUGHLINE_WAITING__MAX_BYTES", bound(settings.waiting_max_bytes))
        .env("THROUGHLINE_STORE__URL", format!("sqlite:{}", folder.join("test.db").display()));
    command
}
