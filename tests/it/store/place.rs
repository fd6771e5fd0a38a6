//! Where a test's store is: a directory, or a database, of its own.

use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection, raw_sql};
use tempfile::TempDir;
use throughline::store::{self, Settings, Store};

use crate::support::files::any_holds;
use crate::support::postgres::{self, Database};

/// Keys for tests: 32 times the byte 1, and the byte 2, in base64.
pub(super) const LIVE_KEYS: [&str; 2] = [
    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
];

/// What an administrator cuts PostgreSQL's table into partitions with.
pub(super) const PARTITION_SQL: &str =
    include_str!("../../../deploy/postgres/partition-by-hash.sql");

/// A place for one test's store, empty at first.
pub(super) struct StoreFixture {
    pub(super) settings: Settings,
    pub(super) backend: StoreBackend,
}

pub(super) enum StoreBackend {
    Sqlite(TempDir),
    Postgres(Database),
}

impl StoreFixture {
    pub(super) fn sqlite() -> StoreFixture {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", dir.path().join("store.db").display());
        StoreFixture { settings: settings(url), backend: StoreBackend::Sqlite(dir) }
    }

    pub(super) async fn postgres() -> StoreFixture {
        let database = Database::create().await;
        StoreFixture {
            settings: settings(database.url.clone()),
            backend: StoreBackend::Postgres(database),
        }
    }

    /// PostgreSQL with the table, empty and cut into partitions.
    pub(super) async fn partitioned() -> StoreFixture {
        let place = StoreFixture::postgres().await;
        place.store().await.close().await;
        place.execute(PARTITION_SQL).await;
        place
    }

    /// Another worker's view of the place.
    pub(super) async fn store(&self) -> Store {
        store::connect(&self.settings).await.expect("connected")
    }

    pub(super) async fn store_with_key(&self, lines: &str) -> Store {
        let settings = Settings { live_key: Some(lines.to_owned()), ..self.settings.clone() };
        store::connect(&settings).await.expect("connected")
    }

    /// Runs SQL behind the store's back.
    pub(super) async fn execute(&self, sql: &str) {
        match &self.backend {
            StoreBackend::Postgres(database) => database.execute(sql).await,
            StoreBackend::Sqlite(_) => {
                let mut connection =
                    SqliteConnection::connect(&self.settings.url).await.expect("connected");
                raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("right SQL");
                connection.close().await.expect("closed");
            }
        }
    }

    pub(super) async fn set_schema_version(&self, version: i32) {
        let sql = match &self.backend {
            StoreBackend::Sqlite(_) => format!("PRAGMA user_version = {version}"),
            StoreBackend::Postgres(_) => {
                format!("INSERT INTO throughline_migration (version) VALUES ({version})")
            }
        };
        self.execute(&sql).await;
    }

    /// Whether any of the store's files, its logs included, holds `text`. On a server whose files
    /// are out of reach its rows are searched.
    pub(super) async fn holds(&self, text: &str) -> bool {
        let files = match &self.backend {
            // The write-ahead log holds what is new; it is searched as it is.
            StoreBackend::Sqlite(dir) => dir.path(),
            StoreBackend::Postgres(database) => {
                database.execute("CHECKPOINT").await;
                match postgres::shared_files() {
                    Some(files) => files,
                    None => return database.any_row_holds(text).await,
                }
            }
        };
        any_holds(files, text)
    }
}

fn settings(url: String) -> Settings {
    Settings { live_key: Some(LIVE_KEYS[0].to_owned()), ..Settings::new(url) }
}
