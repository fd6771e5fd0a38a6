//! The cleaner: a round, and that the worker runs it.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use pretty_assertions::assert_eq;
use sqlx::{Connection as _, SqliteConnection, raw_sql};
use throughline::cleaner::Cleaner;
use throughline::clock::Clock;
use throughline::store::{self, Lifetimes, Retention, Settings, Swept};

use crate::support::interactive_process::{run, throughline};
use crate::support::program::{ProcessGuard, signal};

/// Longer than it takes on a busy machine.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Puts `count` ended interactions without history into a store.
async fn fill(url: &str, count: u32) {
    let mut connection = SqliteConnection::connect(url).await.expect("connected");
    let insert = sqlx::query(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?) \
         INSERT INTO throughline_interaction \
         SELECT '', printf('%06d', n), 1, 'chat', NULL, '{}', '{}', NULL, x'', 0, 0, 0 FROM n",
    );
    insert.bind(count).execute(&mut connection).await.expect("the SQL is right");
    connection.close().await.expect("closed");
}

#[tokio::test]
async fn sweep_round_visits_all_rows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    let store = store::connect(&Settings::new(&url)).await.expect("connected");
    fill(&url, 1_200).await;
    let clock = Clock::manual(50_000);
    let lifetimes =
        Lifetimes { live_ttl_secs: 100, repeat_secs: 50, retention: Retention::default() };
    let sweeps = Arc::default();
    let cleaner = Cleaner { store: Arc::new(store), lifetimes, clock: clock.clone(), sweeps };
    assert_eq!(cleaner.round().await, Swept { rows: 1_200, ..Swept::default() });
    clock.advance_ms(1);
    let swept = Swept { rows: 1_200, deleted: 1_200, ..Swept::default() };
    assert_eq!(cleaner.round().await, swept);
    assert_eq!(cleaner.round().await, Swept::default());
}

#[tokio::test]
async fn worker_sweeps_while_the_broker_is_down_and_stops_on_signal() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = ["--store", "sqlite:store.db"];
    let migrated = run(throughline(folder.path(), &[&["migrate"][..], &store].concat()), "");
    assert!(migrated.status.success());
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    let mut connection = SqliteConnection::connect(&url).await.expect("connected");
    raw_sql(
        "INSERT INTO throughline_interaction VALUES \
         ('', 'quiet', 0, 'chat', NULL, '{}', '{\"k\":\"v\"}', x'00', x'', 0, 0, NULL)",
    )
    .execute(&mut connection)
    .await
    .expect("the SQL is right");

    let mut command = throughline(folder.path(), &[&["run"][..], &store].concat());
    // No server listens on port 1.
    command.env("THROUGHLINE_AMQP__URL", "amqp://guest:guest@127.0.0.1:1/%2f");
    let worker = command.stderr(Stdio::piped()).spawn().expect("the program is built");
    let mut worker = ProcessGuard(worker);
    let mut lines = BufReader::new(worker.0.stderr.take().expect("piped")).lines();
    let reading = tokio::task::spawn_blocking(move || {
        let swept = |line: &String| line.contains("swept the store");
        (lines.find_map(|line| line.ok().filter(swept)), lines)
    });
    let read = tokio::time::timeout(SWEEP_TIMEOUT, reading).await.expect("it sweeps soon");
    let (swept, lines) = read.expect("no panic");
    let swept = swept.expect("the worker has ended early");
    let counts = "swept the store rows=1 expired=1 forgotten=0 deleted=0 ";
    assert!(swept.contains(counts), "{swept}");
    assert!(signal(worker.0.id(), "TERM"));
    for line in lines {
        line.expect("a pipe can be read");
    }
    assert_eq!(worker.0.wait().expect("our child").code(), Some(0));
    let live: Option<Vec<u8>> = sqlx::query_scalar("SELECT live FROM throughline_interaction")
        .fetch_one(&mut connection)
        .await
        .expect("the row is there");
    assert_eq!(live, None);
}
