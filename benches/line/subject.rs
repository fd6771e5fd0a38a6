//! Who is measured: a process that takes messages from one queue and publishes to one exchange.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use throughline::broker::Settings;

use crate::messages;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// The null relay: the yardstick.
    Relay,
    /// The worker, its store in SQLite.
    Sqlite,
    /// The worker, its store in PostgreSQL.
    Postgres,
    /// The same in Node.js: amqplib and pg.
    Node,
    /// The same in Python: aio-pika and asyncpg.
    Python,
}

impl Subject {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Subject::Relay => "null relay",
            Subject::Sqlite => "Throughline, SQLite",
            Subject::Postgres => "Throughline, PostgreSQL",
            Subject::Node => "Node.js, amqplib + pg",
            Subject::Python => "Python, aio-pika + asyncpg",
        }
    }

    /// Whether it keeps its rows in PostgreSQL.
    pub(crate) fn needs_postgres(self) -> bool {
        matches!(self, Subject::Postgres | Subject::Node | Subject::Python)
    }
}

/// A running subject. Killed when dropped: its work is done by then.
pub(crate) struct RunningSubject {
    pub(crate) child: Child,
}

impl RunningSubject {
    /// Starts a subject over the names of `broker`, with `store` for subjects that have one, in `folder`,
    /// with more settings for the worker as variables.
    pub(crate) fn start(
        subject: Subject,
        folder: &Path,
        broker: &Settings,
        store: &str,
        more: &[(&str, &str)],
    ) -> RunningSubject {
        let mut command = match subject {
            Subject::Relay => {
                let mut command =
                    Command::new(std::env::current_exe().expect("this program has a file"));
                command.args(["relay", &broker.url, &broker.queue, &broker.outbound_exchange]);
                command
            }
            Subject::Sqlite | Subject::Postgres => worker(folder, broker, store),
            Subject::Node => {
                let mut command = Command::new("node");
                command.arg(peers().join("node/worker.mjs"));
                command
            }
            Subject::Python => {
                let mut command = Command::new(peers().join("python/bin/python"));
                command.arg(peers().join("python/worker.py"));
                command
            }
        };
        command
            .env("PEER_AMQP_URL", &broker.url)
            .env("PEER_QUEUE", &broker.queue)
            .env("PEER_EXCHANGE", &broker.outbound_exchange)
            // What follows the question mark is sqlx's own.
            .env("PEER_STORE_URL", store.split('?').next().unwrap_or(store))
            .envs(more.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.spawn();
        let child =
            child.unwrap_or_else(|error| panic!("{} cannot start: {error}", subject.name()));
        RunningSubject { child }
    }
}

impl RunningSubject {
    /// Insists that it has not ended, which no subject does by itself.
    pub(crate) fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("it is our child");
        assert!(ended.is_none(), "a subject has ended by itself, {ended:?}; what it said is above");
    }
}

impl Drop for RunningSubject {
    fn drop(&mut self) {
        // One that has ended by itself has nothing to be killed.
        if self.child.kill().is_ok() {
            self.child.wait().expect("a killed process ends");
        }
    }
}

/// Where `scripts/bench` has put the peers with what they need.
fn peers() -> PathBuf {
    std::env::var_os("THROUGHLINE_BENCH_PEERS").map_or_else(
        || panic!("the peers are not installed: run scripts/bench, or --without-peers"),
        PathBuf::from,
    )
}

fn worker(folder: &Path, broker: &Settings, store: &str) -> Command {
    let rules = folder.join("rules.toml");
    std::fs::write(&rules, messages::RULES).expect("the folder can be written");
    let mut command = program();
    command
        .args(["run", "--log", "text"])
        .env("THROUGHLINE_RULES__FILE", rules)
        .env("THROUGHLINE_STORE__URL", store)
        .env("THROUGHLINE_STORE__LIVE_KEY", LIVE_KEY)
        .env("THROUGHLINE_LOG__LEVEL", "warn")
        .env("THROUGHLINE_AMQP__URL", &broker.url)
        .env("THROUGHLINE_AMQP__QUEUE", &broker.queue)
        .env("THROUGHLINE_AMQP__INBOUND_EXCHANGE", &broker.inbound_exchange)
        .env("THROUGHLINE_AMQP__OUTBOUND_EXCHANGE", &broker.outbound_exchange)
        .env("THROUGHLINE_AMQP__DEAD_LETTERS", &broker.dead_letters)
        .env("THROUGHLINE_AMQP__WAITING_PREFIX", &broker.waiting_prefix);
    command
}

/// The key of the live data that is made up here: 32 bytes in base64.
pub(crate) const LIVE_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// The program, as it was built in release.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_throughline"));
    // The worker would say that it is no setting of its own.
    command.env_remove("THROUGHLINE_BENCH_PEERS");
    command
}
