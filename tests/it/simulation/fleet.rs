//! The workers of a run: real processes on one queue and one store, each behind a relay of its own.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;
use throughline::broker::Settings;

use super::model::RULES;
use super::relay::Relay;
use crate::support::postgres::{Database, Server};
use crate::support::program::{Worker, folder};
use crate::support::rabbitmq::Node;

/// A worker that does not stop within this time hangs: it has 5 s to drain, and 10 s to take leave of
/// a broker that does not answer.
const STOP: Duration = Duration::from_secs(60);

/// Settings of every worker: small batches and short times, so that much happens in little time.
const SETTINGS: [(&str, &str); 9] = [
    ("THROUGHLINE_LANES", "2"),
    ("THROUGHLINE_PIPELINE__BATCH_MESSAGES", "20"),
    ("THROUGHLINE_AMQP__PREFETCH_MESSAGES", "40"),
    ("THROUGHLINE_AMQP__HEARTBEAT_SECS", "2"),
    ("THROUGHLINE_AMQP__CONNECT_TIMEOUT_MS", "2000"),
    ("THROUGHLINE_AMQP__CONFIRM_TIMEOUT_MS", "5000"),
    // No fault may come to an end by itself: a parent always arrives, and somebody always listens.
    ("THROUGHLINE_WAITING__PARENT_SECS", "3600"),
    ("THROUGHLINE_WAITING__UNKNOWN_SECS", "1"),
    ("THROUGHLINE_SHUTDOWN__DRAIN_SECS", "5"),
];

/// 32 times the byte 7, in base64: the live key of all workers.
const LIVE_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// Where the workers keep their interactions.
pub(super) enum Place {
    /// A file in the first worker's folder; so there is only one worker.
    Sqlite,
    /// A server of its own.
    Postgres {
        /// Before the server, since it is dropped before it.
        database: Database,
        server: Arc<Server>,
    },
}

impl Drop for Fleet {
    /// A run that fails shows what the workers said last.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for which in 0..self.members.len() {
                eprintln!("worker {which}:\n{}", self.log(which));
            }
        }
    }
}

/// Kills a process that nobody waits for any more.
fn kill(id: u32) {
    let killed = Command::new("kill").args(["-s", "KILL", &id.to_string()]).status();
    assert!(killed.expect("`kill` runs").success(), "process {id} is there");
}

impl Place {
    /// A database on a server of its own.
    pub(super) async fn postgres() -> Place {
        let server = Arc::new(Server::start());
        Place::Postgres { database: Database::create_on(&server.url()).await, server }
    }
}

/// The workers.
pub(super) struct Fleet {
    pub(super) place: Place,
    broker: Settings,
    members: Vec<Member>,
}

struct Member {
    folder: TempDir,
    relay: Relay,
    worker: Option<Worker>,
}

impl Fleet {
    /// Starts so many workers.
    pub(super) async fn start(node: &Node, broker: &Settings, place: Place, count: usize) -> Fleet {
        let mut fleet = Fleet { place, broker: broker.clone(), members: Vec::new() };
        for which in 0..count {
            let relay = Relay::to(node.amqp_port).await;
            fleet.members.push(Member { folder: folder(), relay, worker: None });
            fleet.start_again(which);
        }
        fleet
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Starts one that was stopped or killed.
    pub(super) fn start_again(&mut self, which: usize) {
        let settings = self.store_settings();
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
        let member = &mut self.members[which];
        let mut broker = self.broker.clone();
        let (scheme, _) = broker.url.rsplit_once(':').expect("a URL with a port");
        broker.url = format!("{scheme}:{}/%2f", member.relay.port);
        let settings = [&SETTINGS[..], &settings].concat();
        member.worker = Some(Worker::start(member.folder.path(), &broker, RULES, &settings));
    }

    /// Kills one, if it runs.
    pub(super) fn kill(&mut self, which: usize) {
        self.members[which].worker = None;
    }

    /// Tells one to stop, and returns its exit code.
    pub(super) async fn stop(&mut self, which: usize) -> Option<i32> {
        let worker = self.members[which].worker.take().expect("it runs");
        let id = worker.id();
        let stopping = tokio::task::spawn_blocking(move || worker.stop());
        let Ok(status) = tokio::time::timeout(STOP, stopping).await else {
            kill(id);
            panic!("worker {which} does not stop:\n{}", self.log(which));
        };
        status.expect("it can be told").code()
    }

    pub(super) fn relay(&self, which: usize) -> &Relay {
        &self.members[which].relay
    }

    /// The end of a worker's log.
    pub(super) fn log(&self, which: usize) -> String {
        let log = std::fs::read_to_string(self.members[which].folder.path().join("worker.log"));
        let log = log.expect("it has logged");
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// What `throughline history` shows.
    pub(super) fn history(&self) -> Vec<serde_json::Value> {
        let settings = self.store_settings();
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
        crate::support::program::history(self.members[0].folder.path(), &settings)
    }

    /// Interactions that are over and have live data, or are active and have none.
    pub(super) async fn wrong_live_data(&self) -> i64 {
        const SQL: &str = "SELECT count(*) FROM throughline_interaction \
                           WHERE (state = 0) <> (live IS NOT NULL)";
        match &self.place {
            Place::Sqlite => {
                let mut store = self.sqlite().await;
                sqlx::query_scalar(SQL).fetch_one(&mut store).await.expect("the SQL is right")
            }
            Place::Postgres { database, .. } => {
                let mut store = PgConnection::connect(&database.url).await.expect("it is up");
                sqlx::query_scalar(SQL).fetch_one(&mut store).await.expect("the SQL is right")
            }
        }
    }

    /// Keeps every worker from the store for a while.
    pub(super) async fn lock_store(&self, duration: Duration) {
        match &self.place {
            Place::Sqlite => {
                let mut store = self.sqlite().await;
                let transaction = store.begin_with("BEGIN IMMEDIATE").await;
                let transaction = transaction.expect("no batch holds it for long");
                tokio::time::sleep(duration).await;
                transaction.rollback().await.expect("rolled back");
            }
            Place::Postgres { database, .. } => {
                let mut store = PgConnection::connect(&database.url).await.expect("it is up");
                let mut transaction = store.begin().await.expect("a transaction");
                sqlx::raw_sql("LOCK TABLE throughline_interaction IN ACCESS EXCLUSIVE MODE")
                    .execute(&mut *transaction)
                    .await
                    .expect("no batch holds it for long");
                tokio::time::sleep(duration).await;
                transaction.rollback().await.expect("rolled back");
            }
        }
    }

    async fn sqlite(&self) -> SqliteConnection {
        let file = self.members[0].folder.path().join("store.db");
        let url = format!("sqlite:{}", file.display());
        SqliteConnection::connect(&url).await.expect("the worker has made it")
    }

    fn store_settings(&self) -> Vec<(&'static str, String)> {
        match &self.place {
            Place::Sqlite => vec![("THROUGHLINE_STORE__URL", "sqlite:store.db".to_owned())],
            Place::Postgres { database, .. } => vec![
                ("THROUGHLINE_STORE__URL", database.url.clone()),
                ("THROUGHLINE_STORE__LIVE_KEY", LIVE_KEY.to_owned()),
            ],
        }
    }
}
