//! The store of the workers in a run, and the faults that it can have.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::relay::{Relay, Server as Listener};
use crate::support::postgres::{Database, Server};
use crate::support::program::{LIVE_KEY, folder};
use crate::support::small_disk::SmallDisk;

/// How long the fault injector waits for SQLite's lock: a frozen worker may hold it.
const SQLITE_LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// A store.
pub(super) enum StoreKind {
    /// A file; so there is only one worker.
    Sqlite(TempDir),
    /// A file on a disk that can be filled.
    SmallDisk(SmallDisk),
    /// A server of its own.
    Postgres {
        /// Before the server, since it is dropped before it.
        database: Database,
        server: Arc<Server>,
    },
}

impl StoreKind {
    pub(super) fn sqlite() -> StoreKind {
        StoreKind::Sqlite(folder())
    }

    pub(super) fn small_disk() -> StoreKind {
        StoreKind::SmallDisk(SmallDisk::mount())
    }

    /// A database on a server of its own.
    pub(super) async fn postgres() -> StoreKind {
        let server = Arc::new(Server::start());
        StoreKind::Postgres { database: Database::create_on(&server.url()).await, server }
    }

    /// A relay to it, where it is a server.
    pub(super) async fn relay(&self) -> Option<Relay> {
        match self {
            StoreKind::Sqlite(_) | StoreKind::SmallDisk(_) => None,
            StoreKind::Postgres { server, .. } => {
                Some(Relay::connect_to(Listener::Socket(server.socket())).await)
            }
        }
    }

    /// The worker's store settings, as variables; through its relay, if it has one.
    pub(super) fn settings(&self, relay: Option<&Relay>) -> Vec<(&'static str, String)> {
        let url = match (self, relay) {
            (StoreKind::Postgres { database, .. }, Some(relay)) => {
                let (_, name) = database.url.rsplit_once('/').expect("a URL ends with its path");
                // A name, and what libpq would add to it, has no further slash.
                format!("postgres://postgres@127.0.0.1:{}/{name}", relay.port)
            }
            (StoreKind::Postgres { database, .. }, None) => database.url.clone(),
            (StoreKind::Sqlite(_) | StoreKind::SmallDisk(_), _) => {
                format!("sqlite:{}", self.file().display())
            }
        };
        vec![("THROUGHLINE_STORE__URL", url), ("THROUGHLINE_STORE__LIVE_KEY", LIVE_KEY.to_owned())]
    }

    /// Interactions that are over and have live data, or are active and have none.
    pub(super) async fn wrong_live_data(&self) -> i64 {
        const SQL: &str = "SELECT count(*) FROM throughline_interaction \
                           WHERE (state = 0) <> (live IS NOT NULL)";
        match self {
            StoreKind::Sqlite(_) | StoreKind::SmallDisk(_) => {
                let mut store = self.open_sqlite().await;
                sqlx::query_scalar(SQL).fetch_one(&mut store).await.expect("the SQL is right")
            }
            StoreKind::Postgres { .. } => {
                let mut store = self.open_postgres().await;
                sqlx::query_scalar(SQL).fetch_one(&mut store).await.expect("the SQL is right")
            }
        }
    }

    /// Keeps every worker from the store for a while.
    pub(super) async fn lock(&self, duration: Duration) {
        match self {
            StoreKind::Sqlite(_) | StoreKind::SmallDisk(_) => {
                let mut store = self.open_sqlite().await;
                let transaction = store.begin_with("BEGIN IMMEDIATE").await;
                let transaction = transaction.expect("no batch holds it for long");
                tokio::time::sleep(duration).await;
                transaction.rollback().await.expect("rolled back");
            }
            StoreKind::Postgres { .. } => {
                const LOCK: &str = "LOCK TABLE throughline_interaction IN ACCESS EXCLUSIVE MODE";
                self.hold(LOCK, duration).await;
            }
        }
    }

    /// Holds half of the rows of conversations that go on, as a forgotten session of an administrator does.
    pub(super) async fn lock_rows(&self, duration: Duration) {
        const LOCK: &str = "SELECT FROM throughline_interaction \
                            WHERE state = 0 AND hashtext(id) % 2 = 0 \
                            ORDER BY tenant COLLATE \"C\", id COLLATE \"C\" FOR UPDATE";
        self.hold(LOCK, duration).await;
    }

    async fn hold(&self, lock: &'static str, duration: Duration) {
        let mut store = self.open_postgres().await;
        let mut transaction = store.begin().await.expect("a transaction");
        let locked = sqlx::raw_sql(lock).execute(&mut *transaction).await;
        locked.expect("no batch holds it for long");
        tokio::time::sleep(duration).await;
        transaction.rollback().await.expect("rolled back");
    }

    /// Stops the server, at once or as an administrator would, and starts it again.
    pub(super) async fn restart(&self, at_once: bool, down: Duration) {
        let StoreKind::Postgres { server, .. } = self else { panic!("no server can be restarted") };
        let stopping = Arc::clone(server);
        let stop = move || if at_once { stopping.kill() } else { stopping.stop() };
        spawn_blocking(stop).await.expect("it stops");
        tokio::time::sleep(down).await;
        let starting = Arc::clone(server);
        spawn_blocking(move || starting.start_again()).await.expect("it starts");
    }

    /// Fills the disk for a while, but for some bytes.
    pub(super) async fn fill(&self, but_bytes: u64, duration: Duration) {
        let StoreKind::SmallDisk(disk) = self else { panic!("no disk can be filled") };
        disk.fill(but_bytes);
        tokio::time::sleep(duration).await;
        disk.make_room();
    }

    fn file(&self) -> PathBuf {
        match self {
            StoreKind::Sqlite(folder) => folder.path().join("store.db"),
            StoreKind::SmallDisk(disk) => disk.path().join("store.db"),
            StoreKind::Postgres { .. } => panic!("a server is no file"),
        }
    }

    async fn open_sqlite(&self) -> SqliteConnection {
        let options =
            SqliteConnectOptions::new().filename(self.file()).busy_timeout(SQLITE_LOCK_TIMEOUT);
        options.connect().await.expect("the worker has made it")
    }

    async fn open_postgres(&self) -> PgConnection {
        let StoreKind::Postgres { database, .. } = self else { panic!("a file is no server") };
        PgConnection::connect(&database.url).await.expect("it is up")
    }
}
