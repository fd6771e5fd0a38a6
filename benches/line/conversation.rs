//! One interaction that goes on and on: what the last of its updates cost beside the first, in time and in
//! what the store writes.
//!
//! In this process, so that nothing but the line's first half is in it: decode, read, rules, save. The updates
//! that are measured come one by one, those between them in batches.

use std::ops::Range;
use std::time::Instant;

use tempfile::TempDir;
use throughline::domain::{Attempt, Identity, Rules};
use throughline::formats::{self, Hints};
use throughline::pipeline::ports::Recall as _;
use throughline::pipeline::ports::{Store as _, Transaction as _};
use throughline::pipeline::save::spilled::doubtful;
use throughline::pipeline::save::table::InteractionTable;
use throughline::store::{self, Settings, Store};

use crate::figures::Samples;
use crate::files;
use crate::support::postgres::Database;

/// Updates that are compared: so many at the beginning, and so many at the end.
const COMPARED: usize = 1_000;

/// Updates of one batch in between.
const BATCH: usize = 100;

/// Of a part of the updates: milliseconds, and bytes that the store wrote.
struct Cost {
    ms: f64,
    bytes: f64,
}

/// What the last updates cost as a part of what the first ones did, over a store.
pub(crate) struct Growth {
    pub(crate) time: Samples,
    pub(crate) written: Samples,
}

/// Takes `updates` of one interaction through SQLite.
pub(crate) async fn sqlite(updates: usize) -> Growth {
    let folder = TempDir::new().expect("a folder can be made");
    let url = format!("sqlite:{}", folder.path().join("long.db").display());
    // What this process writes meanwhile goes to the log, and from there to the file.
    growth(&url, updates, async || {
        let io = std::fs::read_to_string("/proc/self/io").expect("Linux has it");
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        written.and_then(|bytes| bytes.parse().ok()).expect("a number")
    })
    .await
}

/// The same through PostgreSQL.
pub(crate) async fn postgres(updates: usize) -> Growth {
    let database = Database::create().await;
    growth(&database.url, updates, async || files::log_bytes(&database.url).await).await
}

async fn growth(url: &str, updates: usize, written: impl AsyncFn() -> u64) -> Growth {
    let key = Some("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".to_owned());
    let settings = Settings { live_key: key, ..Settings::new(url) };
    let store = store::connect(&settings).await.expect("the store is there");
    let rules = Rules::empty();
    work(&store, &rules, &[message(0, "created")]).await;
    let first = cost(&store, &rules, 1..COMPARED + 1, &written).await;
    let between: Vec<_> = (COMPARED + 1..updates - COMPARED + 1).collect();
    for batch in between.chunks(BATCH) {
        let batch: Vec<_> = batch.iter().map(|n| message(*n, "updated")).collect();
        work(&store, &rules, &batch).await;
    }
    let last = cost(&store, &rules, updates - COMPARED + 1..updates + 1, &written).await;
    store.close().await;
    Growth {
        time: Samples(vec![last.ms / first.ms]),
        written: Samples(vec![last.bytes / first.bytes]),
    }
}

async fn cost(
    store: &Store,
    rules: &Rules,
    updates: Range<usize>,
    written: &impl AsyncFn() -> u64,
) -> Cost {
    let (before, began) = (written().await, Instant::now());
    for n in updates {
        work(store, rules, &[message(n, "updated")]).await;
    }
    let ms = began.elapsed().as_secs_f64() * 1_000.0;
    Cost { ms, bytes: (written().await - before) as f64 }
}

fn message(n: usize, kind: &str) -> String {
    format!(
        r#"{{"type":"interaction.{kind}","id":"evt-{n}","interaction":{{"id":"long","channel":"chat","userData":{{"n":{n}}}}}}}"#
    )
}

/// Takes a batch through the first half of the line.
async fn work(store: &Store, rules: &Rules, bodies: &[String]) {
    let decode = |body| formats::decode(body, str::as_bytes(body), Hints::default());
    let decoded: Vec<_> = bodies.iter().map(|body| decode(body).expect("our own")).collect();
    let own = [Identity { tenant: "".into(), id: "long".into() }];
    let (rows, mut transaction) = store.begin(&own, &[]).await.expect("read");
    let events = doubtful(&rows, decoded.iter().map(|decoded| &decoded.message));
    let mut known = Vec::new();
    if !events.is_empty() {
        known = transaction.recall(&events).await.expect("recalled");
    }
    assert!(known.is_empty(), "no event comes twice");
    let mut table = InteractionTable::for_messages(bodies.len());
    for row in &rows {
        table.insert(row, 1_000, 86_400);
    }
    for decoded in &decoded {
        let step = table.take(rules, &decoded.message, Attempt::default());
        assert!(step.next.is_none() && step.outcome.as_str() == "enriched");
    }
    let changes = table.changes(1_000);
    let rows: Vec<_> = changes.iter().map(|change| change.row()).collect();
    transaction.save(&rows).await.expect("saved");
}
