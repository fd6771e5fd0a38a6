//! Where a test's store is: a directory, or a database, of its own.

use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection, raw_sql};
use tempfile::TempDir;
use throughline::store::{self, Settings, Store};

use crate::support::files::any_holds;
use crate::support::postgres::{self, Database};

/// Keys for tests: 32 times the byte 1, and the byte 2, in base64.
pub(super) const KEYS: [&str; 2] = [
    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
];

/// What an administrator cuts PostgreSQL's table into partitions with.
pub(super) const CUT: &str = include_str!("../../../deploy/postgres/partition-by-hash.sql");

/// A place for one test's store, empty at first.
pub(super) struct Place {
    pub(super) settings: Settings,
    pub(super) home: Home,
}

pub(super) enum Home {
    Sqlite(TempDir),
    Postgres(Database),
}

impl Place {
    pub(super) fn sqlite() -> Place {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", dir.path().join("store.db").display());
        Place { settings: settings(url), home: Home::Sqlite(dir) }
    }

    pub(super) async fn postgres() -> Place {
        let database = Database::create().await;
        Place { settings: settings(database.url.clone()), home: Home::Postgres(database) }
    }

    /// PostgreSQL with the table, empty and cut into partitions.
    pub(super) async fn partitioned() -> Place {
        let place = Place::postgres().await;
        place.store().await.close().await;
        place.execute(CUT).await;
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
        match &self.home {
            Home::Postgres(database) => database.execute(sql).await,
            Home::Sqlite(_) => {
                let mut connection =
                    SqliteConnection::connect(&self.settings.url).await.expect("connected");
                raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("right SQL");
                connection.close().await.expect("closed");
            }
        }
    }

    pub(super) async fn set_schema_version(&self, version: i32) {
        let sql = match &self.home {
            Home::Sqlite(_) => format!("PRAGMA user_version = {version}"),
            Home::Postgres(_) => {
                format!("INSERT INTO throughline_migration (version) VALUES ({version})")
            }
        };
        self.execute(&sql).await;
    }

    /// Whether any of the store's files, its logs included, holds `text`. On a server whose files
    /// are out of reach its rows are searched.
    pub(super) async fn holds(&self, text: &str) -> bool {
        let files = match &self.home {
            // The write-ahead log holds what is new; it is searched as it is.
            Home::Sqlite(dir) => dir.path(),
            Home::Postgres(database) => {
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
    Settings { live_key: Some(KEYS[0].to_owned()), ..Settings::new(url) }
}
