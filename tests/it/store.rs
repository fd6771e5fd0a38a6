//! The store: its contract, kept by both backends, then what is each one's own.

/// Runs each test of the contract against both backends, and against PostgreSQL with its table cut into
/// partitions.
macro_rules! contract {
    ($($test:ident,)+) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(&super::super::place::StoreFixture::sqlite()).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(&super::super::place::StoreFixture::postgres().await).await;
            })+
        }
        mod on_postgres_in_partitions {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(&super::super::place::StoreFixture::partitioned().await).await;
            })+
        }
    };
}

mod connection_string;
mod contract;
mod erase;
mod full_disk;
mod place;
mod samples;
mod spilled;
mod sweep;
mod tls;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use pretty_assertions::assert_eq;
use sqlx::{Connection as _, PgConnection};
use throughline::pipeline::ports::{
    Plaintext, RowChange, Store as _, StoreError, Transaction as _,
};
use throughline::store::{self, OpenError, Settings};
use tokio::task::JoinSet;

use self::place::{LIVE_KEYS, PARTITION_SQL, StoreBackend, StoreFixture};
use self::samples::{
    Sample, assert_same, count, counted, counter, create, identity, read, record, save,
};
use crate::support::postgres::{self, Database, Server};

// -------------------------------------------------------------------------------- SQLite's own

#[tokio::test]
async fn sqlite_keeps_its_files_to_the_owner() {
    let place = StoreFixture::sqlite();
    let settings = Settings { live_key: None, ..place.settings.clone() };
    let store = store::connect(&settings).await.expect("connected");
    create(&store, &[Sample::new("t", "a")]).await;
    assert!(store.warnings().is_empty(), "{:?}", store.warnings());
    let StoreBackend::Sqlite(dir) = &place.backend else { panic!("not SQLite") };
    let mut names = BTreeSet::new();
    for file in std::fs::read_dir(dir.path()).expect("a directory") {
        let file = file.expect("a file");
        let mode = file.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.file_name());
        names.insert(file.file_name().into_string().expect("UTF-8"));
    }
    let expected = ["store.db", "store.db-shm", "store.db-wal", "store.db.live-key"];
    assert_eq!(names, expected.map(str::to_owned).into());
    store.close().await;

    // The key that was made on first use opens what it sealed ever after.
    let again = store::connect(&settings).await.expect("connected");
    assert_same(&read(&again, &[Sample::new("t", "a")]).await[0], &Sample::new("t", "a"));
    again.close().await;

    let open_to_all = std::fs::Permissions::from_mode(0o644);
    for name in ["store.db", "store.db.live-key"] {
        std::fs::set_permissions(dir.path().join(name), open_to_all.clone()).expect("ours");
    }
    let store = store::connect(&settings).await.expect("connected");
    assert_eq!(store.warnings().len(), 2, "{:?}", store.warnings());
}

#[tokio::test]
async fn sqlite_names_the_file_that_cannot_be_opened() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let missing = dir.path().join("missing/store.db");
    let error = store::connect(&Settings::new(format!("sqlite:{}", missing.display()))).await;
    let error = error.err().expect("no such directory").to_string();
    assert!(error.contains("missing/store.db"), "{error}");

    let text = dir.path().join("text.db");
    std::fs::write(&text, "no database, but long enough to be taken for one ".repeat(100))
        .expect("written");
    let error = store::connect(&Settings::new(format!("sqlite:{}", text.display()))).await;
    let error = error.err().expect("no database");
    assert!(matches!(error, OpenError::Store(StoreError::Unreadable(_))), "{error}");
}

#[tokio::test]
async fn sqlite_accepts_what_postgres_refuses() {
    let place = StoreFixture::sqlite();
    let store = place.store().await;
    let mut sample = Sample::new("t", "a");
    sample.facts = "{\"k\":\"\0\"}".to_owned();
    create(&store, &[sample.clone()]).await;
    assert_same(&read(&store, &[sample.clone()]).await[0], &sample);
}

// ---------------------------------------------------------------------------- PostgreSQL's own

#[tokio::test]
async fn postgres_refuses_a_row_without_repeating_its_values() {
    let place = StoreFixture::postgres().await;
    let store = place.store().await;
    let mut nul = Sample::new("t", "b");
    nul.facts = "{\"planted\":\"\0\"}".to_owned();
    let mut nul_in_history = Sample::new("t", "b");
    nul_in_history.record = record(&[("k", "planted\0")]);
    let endless = Sample::new("t", &"planted".repeat(2_000_000));
    for bad in [nul, nul_in_history, endless] {
        let samples = [Sample::new("t", "a"), bad];
        let error = save(&store, &samples).await.expect_err("PostgreSQL cannot hold this");
        assert!(matches!(error, StoreError::Refused(_)), "{error}");
        assert!(!format!("{error} {error:?}").contains("planted"), "{error}");
        assert!(read(&store, &samples[..1]).await.is_empty(), "all or nothing");
    }
}

#[tokio::test]
async fn postgres_reports_a_conflict_to_the_slower_creator() {
    let place = StoreFixture::postgres().await;
    let (here, there) = (place.store().await, place.store().await);
    let both = [Sample::new("t", "a"), Sample::new("t", "b")];
    let own = both.clone().map(|sample| sample.identity);
    let (_, faster) = here.begin(&own[..1], &[]).await.expect("begun");
    let (_, slower) = there.begin(&own, &[]).await.expect("begun");
    faster.save(&[both[0].change()]).await.expect("saved");
    let error = slower.save(&both.each_ref().map(Sample::change)).await.expect_err("too late");
    assert!(matches!(error, StoreError::Conflict), "{error}");
    assert_eq!(read(&here, &both).await.len(), 1, "the slower one wrote nothing");
}

#[tokio::test]
async fn postgres_reports_a_conflict_to_the_slower_writer() {
    for place in [StoreFixture::postgres().await, StoreFixture::partitioned().await] {
        let (here, there) = (place.store().await, place.store().await);
        let before = ["a", "b", "c"].map(|id| counter("t", id, 0));
        create(&here, &before).await;
        let own = before.each_ref().map(|sample| sample.identity.clone());
        let after = |id, count| Sample { is_new: false, ..counter("t", id, count) };
        let (_, faster) = here.begin(&own[1..2], &[]).await.expect("begun");
        let (_, slower) = there.begin(&own, &[]).await.expect("begun without waiting");
        faster.save(&[after("b", 1).change()]).await.expect("saved");
        let late = ["a", "b", "c"].map(|id| after(id, 2));
        let error = slower.save(&late.each_ref().map(Sample::change)).await.expect_err("too late");
        assert!(matches!(error, StoreError::Conflict), "{error}");
        assert_eq!(counted(&here, &own).await, [0, 1, 0], "the slower one wrote nothing");
        // From now on it locks: who is in the middle of it is not overtaken.
        let (_, locked) = there.begin(&own, &[]).await.expect("begun");
        let (_, overtaking) = here.begin(&own, &[]).await.expect("begun without waiting to read");
        let of_b = [after("b", 9)];
        let of_b = of_b.each_ref().map(Sample::change);
        let late = late.each_ref().map(Sample::change);
        let (error, saved) = tokio::join!(overtaking.save(&of_b), locked.save(&late));
        saved.expect("no other writer has overtaken it");
        let error = error.expect_err("it had to wait, and was too late then");
        assert!(matches!(error, StoreError::Conflict), "{error}");
        assert_eq!(counted(&here, &own).await, [2, 2, 2]);
    }
}

#[tokio::test]
async fn postgres_needs_a_key_and_just_one_source_of_it() {
    let place = StoreFixture::postgres().await;
    let none = Settings { live_key: None, ..place.settings.clone() };
    let error = store::connect(&none).await.err().expect("no key");
    assert!(error.to_string().contains("store.live_key_file"), "{error}");
    let both = Settings { live_key_file: Some("/k".into()), ..place.settings.clone() };
    let error = store::connect(&both).await.err().expect("two keys");
    assert!(error.to_string().contains("both"), "{error}");
}

/// Each has looked for the schema and found none before it is its turn to make it.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_postgres_migrations_run_once() {
    let place = StoreFixture::postgres().await;
    let mut gate = PgConnection::connect(&place.settings.url).await.expect("connected");
    // The lock that a migration takes.
    const LOCK: i64 = 0x7468_7275_6c69_6e65;
    let locked = sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut gate).await;
    locked.expect("locked");

    // One connection, so that the same one looks before and after.
    let settings = Settings { connections: 1, ..place.settings.clone() };
    let mut migrations = JoinSet::new();
    for _ in 0..4 {
        let store = store::open(&settings).await.expect("opened as it is");
        migrations.spawn(async move { store.migrate().await });
    }
    let mut waiting = 0_i64;
    while waiting < 4 {
        waiting = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database \
             WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()",
        )
        .fetch_one(&mut gate)
        .await
        .expect("the locks can be seen");
    }
    gate.close().await.expect("closed, and the lock with it");
    while let Some(migrated) = migrations.join_next().await {
        migrated.expect("no panic").expect("migrated, or nothing to do");
    }
    assert_eq!(place.store().await.schema_version().await.expect("a version"), 1);
}

#[tokio::test]
async fn postgres_can_be_partitioned_and_repartitioned_with_data() {
    let place = StoreFixture::postgres().await;
    let store = place.store().await;
    let mut samples: Vec<_> = (0..100).map(|n| Sample::new("t", &format!("row {n:02}"))).collect();
    samples[7].live = Some(Plaintext(vec![7; 5_000]));
    create(&store, &samples).await;
    store.close().await;

    for partitions in ["16", "64"] {
        let other = format!("partitions CONSTANT integer := {partitions}");
        place.execute(&PARTITION_SQL.replace("partitions CONSTANT integer := 16", &other)).await;
        let store = place.store().await;
        let mut rows = read(&store, &samples).await;
        rows.sort_by(|one, other| one.identity.cmp(&other.identity));
        assert_eq!(rows.len(), samples.len());
        for (sample, row) in samples.iter().zip(&rows) {
            assert_same(row, sample);
        }
        store.close().await;
    }

    // As in the table that it was: no time is spent on compressing what cannot be, and there is room on
    // each page for the next version of its rows.
    let like_before = postgres::number(
        &place.settings.url,
        "SELECT count(*) FROM pg_inherits JOIN pg_class ON oid = inhrelid \
         JOIN pg_attribute AS events ON events.attrelid = oid AND events.attname = 'events' \
         JOIN pg_attribute AS live ON live.attrelid = oid AND live.attname = 'live' \
         WHERE inhparent = 'throughline_interaction'::regclass \
         AND reloptions = '{fillfactor=70}' AND events.attstorage = 'e' AND live.attstorage = 'e'",
    );
    assert_eq!(like_before.await, 64);
}

/// Each look goes to the partition that has the row, and to no other.
#[tokio::test]
async fn postgres_reads_only_the_row_partition() {
    let place = StoreFixture::partitioned().await;
    let settings = Settings { connections: 1, ..place.settings.clone() };
    let store = store::connect(&settings).await.expect("connected");
    let sample = Sample::new("t", "a");
    create(&store, std::slice::from_ref(&sample)).await;
    for _ in 0..5 {
        assert_eq!(read(&store, std::slice::from_ref(&sample)).await.len(), 1);
    }
    // What a session has counted is told by its end at the latest, all of it at once.
    store.close().await;
    let mut looked_into = 0;
    while looked_into == 0 {
        let partitions = "SELECT count(*) FROM pg_stat_user_tables \
                          WHERE relname LIKE 'throughline_interaction_%' AND idx_scan > 0";
        looked_into = postgres::number(&place.settings.url, partitions).await;
    }
    assert_eq!(looked_into, 1);
}

#[tokio::test]
async fn postgres_reconnects_after_an_outage() {
    let server = Server::start();
    let database = Database::create_on(&server.url()).await;
    let settings =
        Settings { live_key: Some(LIVE_KEYS[0].to_owned()), ..Settings::new(&database.url) };
    let store = store::connect(&settings).await.expect("connected");
    let own = [identity("t", "a")];
    count(&store, &own).await;

    let (_, cut_off) = store.begin(&own, &[]).await.expect("begun");
    server.stop();
    let late = counter("t", "a", 9);
    let change = RowChange { is_new: false, ..late.change() };
    let error = cut_off.save(&[change]).await.expect_err("the server is gone");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    let Err(error) = store.begin(&own, &[]).await else { panic!("begun without a server") };
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    let error = store::connect(&settings).await.err().expect("no server");
    assert!(error.is_transient(), "{error}");

    server.start_again();
    // A connection that was in use a moment ago is trusted, in vain now: each such costs one try.
    for _ in 0..settings.connections {
        match store.begin(&own, &[]).await {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
        }
    }
    count(&store, &own).await;
    assert_eq!(counted(&store, &own).await, [2], "nothing of the interrupted batch was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_new_file_can_be_opened_concurrently() {
    // The switch to write-ahead mode is refused while another makes it: often enough to be seen here.
    for _round in 0..20 {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let url = format!("sqlite:{}", folder.path().join("new.db").display());
        let opening = (0..16).map(|_| {
            let settings = Settings::new(url.clone());
            async move {
                tokio::spawn(async move { store::connect(&settings).await })
                    .await
                    .expect("no panic")
            }
        });
        for store in futures_util::future::join_all(opening).await {
            store.expect("it waits for its turn").close().await;
        }
    }
}
