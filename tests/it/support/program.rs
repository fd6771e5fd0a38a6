//! The program itself, as an operator runs it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use serde_json::Value;
use throughline::broker::Settings;

use super::bench::within_timeout;
use super::postgres::Database;

/// 32 times the byte 7, in base64: the live key of workers that share a store.
pub(crate) const LIVE_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// The program with a folder of its own as working directory and an environment without settings.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_throughline"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("THROUGHLINE_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// The program over the names of a bench, with a store of its own: `store.db` in the folder.
pub(crate) fn program_on_broker(folder: &Path, broker: &Settings) -> Command {
    let mut command = program(folder);
    command
        .env("THROUGHLINE_AMQP__URL", &broker.url)
        .env("THROUGHLINE_AMQP__QUEUE", &broker.queue)
        .env("THROUGHLINE_AMQP__INBOUND_EXCHANGE", &broker.inbound_exchange)
        .env("THROUGHLINE_AMQP__OUTBOUND_EXCHANGE", &broker.outbound_exchange)
        .env("THROUGHLINE_AMQP__DEAD_LETTERS", &broker.dead_letters)
        .env("THROUGHLINE_AMQP__WAITING_PREFIX", &broker.waiting_prefix)
        .env("THROUGHLINE_STORE__URL", "sqlite:store.db");
    command
}

/// Runs a command of the program over the names of a bench, with more settings as variables.
pub(crate) fn run_on_broker(
    folder: &Path,
    broker: &Settings,
    variables: &[(&str, &str)],
    arguments: &[&str],
) -> Output {
    let mut command = program_on_broker(folder, broker);
    command.args(arguments).envs(variables.iter().copied());
    command.output().expect("the program can be run")
}

/// The variables that make a database the store of a program.
pub(crate) fn store_variables(database: &Database) -> [(&'static str, &str); 2] {
    [("THROUGHLINE_STORE__URL", &database.url), ("THROUGHLINE_STORE__LIVE_KEY", LIVE_KEY)]
}

/// A folder that is removed with all that is in it.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder can be made")
}

/// Writes a file into a folder.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("the folder can be written");
    path
}

/// Runs the program with these arguments.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    program(folder).args(arguments).output().expect("the program can be run")
}

/// The rows of `throughline history`, of the store that these settings (variables) name.
pub(crate) fn history(folder: &Path, settings: &[(&str, &str)]) -> Vec<Value> {
    let output = program(folder)
        .args(["history", "--format", "json"])
        .env("THROUGHLINE_STORE__URL", "sqlite:store.db")
        .envs(settings.iter().copied())
        .output()
        .expect("the program can be run");
    assert!(output.status.success(), "{}", stderr(&output));
    let rows = stdout(&output);
    rows.lines().map(|row| serde_json::from_str(row).expect("a row is JSON")).collect()
}

/// Sends a signal, `TERM`, `KILL`, …, to a process; whether there is such a process.
pub(crate) fn signal(id: u32, name: &str) -> bool {
    let sent = Command::new("kill").args(["-s", name, &id.to_string()]).status();
    sent.expect("`kill` runs").success()
}

/// The program's stdout.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("stdout is UTF-8")
}

/// The program's stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("stderr is UTF-8")
}

/// A process that is killed when it is dropped, unless it has ended before.
pub(crate) struct ProcessGuard(pub(crate) Child);

impl Drop for ProcessGuard {
    fn drop(&mut self) {
        // Killing can only fail where there is nothing left to wait for.
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) && self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}

/// A `throughline run` that is killed when it is dropped.
pub(crate) struct Worker {
    process: ProcessGuard,
    log: PathBuf,
}

impl Worker {
    /// Starts a worker over the names of a bench, with rules, and more settings as variables. Its
    /// store is `store.db` in the folder unless they say otherwise.
    pub(crate) fn start(
        folder: &Path,
        broker: &Settings,
        rules: &str,
        more: &[(&str, &str)],
    ) -> Worker {
        Worker::with(folder, broker, rules, more, &[])
    }

    /// The same with a file of settings.
    pub(crate) fn configured(
        folder: &Path,
        broker: &Settings,
        rules: &str,
        settings: &str,
    ) -> Worker {
        let file = write(folder, "worker.toml", settings).display().to_string();
        Worker::with(folder, broker, rules, &[], &["--config", &file])
    }

    fn with(
        folder: &Path,
        broker: &Settings,
        rules: &str,
        more: &[(&str, &str)],
        flags: &[&str],
    ) -> Worker {
        let rules = write(folder, "rules.toml", rules);
        let log = folder.join("worker.log");
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        let child = program_on_broker(folder, broker)
            .arg("run")
            .args(flags)
            .env("THROUGHLINE_RULES__FILE", rules)
            .envs(more.iter().copied())
            .stderr(file)
            .stdout(Stdio::null())
            .spawn()
            .expect("the program can be started");
        Worker { process: ProcessGuard(child), log }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends it a signal: `TERM`, `KILL`, …
    pub(crate) fn signal(&self, name: &str) {
        assert!(signal(self.id(), name), "the worker has ended before: {}", self.log());
    }

    /// Sends `TERM`, and waits for its end.
    pub(crate) fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until it ends without a signal.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.process.0.wait().expect("it ends")
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log can be read")
    }

    /// Waits until the log holds `text` after its first `skip` bytes; gives the place behind it.
    pub(crate) async fn wait_for_log(&self, text: &str, skip: usize) -> usize {
        within_timeout(async {
            loop {
                if let Some(place) = self.log()[skip..].find(text) {
                    return skip + place + text.len();
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}
