//! What every store must keep: each test runs against SQLite and against PostgreSQL.

use std::collections::BTreeSet;
use std::time::Duration;

use pretty_assertions::assert_eq;
use throughline::domain::{Identity, Record, State};
use throughline::pipeline::ports::{
    Plaintext, Store as _, StoreError, StoredLiveData, Transaction as _,
};
use throughline::store::{self, HistoryFilter, OpenError, Settings};

use super::place::{LIVE_KEYS, StoreFixture};
use super::samples::{
    Sample, assert_same, come_too_late, count, count_often, counted, counter, create, identity,
    pairs, read, record, save,
};

contract! {
    saved_rows_are_read_back,
    unknown_identities_have_no_row,
    an_update_replaces_the_whole_row,
    dropping_a_transaction_changes_nothing,
    two_workers_lose_no_update,
    two_workers_create_a_row_once,
    overlapping_batches_complete,
    locked_row_is_awaited_for_limited_time,
    a_cancelled_wait_keeps_no_lock,
    thousands_of_rows_fit_one_batch,
    missing_row_is_not_updated,
    live_data_is_unreadable_on_disk,
    live_data_needs_its_key,
    keys_can_be_rotated,
    live_data_does_not_open_in_another_row,
    history_is_read_in_pages,
    history_is_filtered,
    repeated_and_concurrent_migrations_change_nothing,
    a_newer_schema_is_refused,
    a_foreign_row_is_unreadable,
    a_missing_table_is_unreadable,
}

async fn saved_rows_are_read_back(place: &StoreFixture) {
    let store = place.store().await;
    let mut odd = Sample::new("mandant ä", "id-with-\"quotes\"-\\-and-🦀");
    odd.state = State::Handled;
    odd.channel = "web chat\n".to_owned();
    odd.queue = Some("support@acme.test".to_owned());
    odd.facts =
        r#"{"b":1.10,"a":"\u0000 \ud83e\udd80","a":[12345678901234567890,null]}"#.to_owned();
    odd.record = record(&[("ORS Data", "two\r\nlines"), ("", ""), ("{\"k\":1}", "\\")]);
    odd.live = Some(Plaintext((0..=255).collect()));
    odd.events = (0..48).collect();
    odd.created_ms = -1;
    odd.updated_ms = i64::MAX;
    odd.ended_ms = Some(0);
    let plain = Sample::new("", "plain");
    let samples = [plain, odd];
    create(&store, &samples).await;

    for (sample, row) in samples.iter().zip(read(&store, &samples).await) {
        assert_same(&row, sample);
    }
}

async fn unknown_identities_have_no_row(place: &StoreFixture) {
    let store = place.store().await;
    create(&store, &[Sample::new("t", "known"), Sample::new("t", "parent")]).await;
    let own = [identity("", "known"), identity("t", "known"), identity("t", "unknown")];
    let parents = [identity("t", "Parent"), identity("t", "parent")];
    let (rows, transaction) = store.begin(&own, &parents).await.expect("begun");
    let found: BTreeSet<Identity<'_>> = rows.into_iter().map(|row| row.identity).collect();
    assert_eq!(found, BTreeSet::from([identity("t", "known"), identity("t", "parent")]));
    drop(transaction);
    let (rows, transaction) = store.begin(&[], &[]).await.expect("begun");
    assert!(rows.is_empty());
    transaction.save(&[]).await.expect("nothing is saved");
}

async fn an_update_replaces_the_whole_row(place: &StoreFixture) {
    let store = place.store().await;
    let mut sample = Sample::new("t", "a");
    create(&store, &[sample.clone(), Sample::new("t", "b")]).await;
    sample.is_new = false;
    sample.state = State::Ended;
    sample.channel = "email".to_owned();
    sample.queue = None;
    sample.facts = "{}".to_owned();
    sample.record = Record::default();
    sample.live = None;
    sample.events = vec![9; 16];
    sample.created_ms += 1;
    sample.updated_ms += 2;
    sample.ended_ms = Some(3);
    save(&store, std::slice::from_ref(&sample)).await.expect("saved");
    let neighbour = Sample::new("t", "b");
    let rows = read(&store, &[sample.clone(), neighbour.clone()]).await;
    assert_same(&rows[0], &sample);
    assert_same(&rows[1], &neighbour);
}

async fn dropping_a_transaction_changes_nothing(place: &StoreFixture) {
    let (here, there) = (place.store().await, place.store().await);
    create(&here, &[Sample::new("t", "a")]).await;
    tokio::join!(come_too_late(&here), come_too_late(&there));
    let own = [identity("t", "a")];
    for _ in 0..3 {
        let (_, transaction) = here.begin(&own, &[]).await.expect("begun");
        drop(transaction);
        // The lock is gone too: another worker gets it.
        let (rows, transaction) = there.begin(&own, &[]).await.expect("begun");
        assert_same(&rows[0], &Sample::new("t", "a"));
        transaction.save(&[]).await.expect("nothing is saved");
    }
}

async fn two_workers_lose_no_update(place: &StoreFixture) {
    const EACH: i64 = 25;
    let (here, there) = (place.store().await, place.store().await);
    create(&here, &[counter("t", "a", 0)]).await;
    let own = [identity("t", "a")];
    tokio::join!(count_often(&here, &own, EACH), count_often(&there, &own, EACH));
    assert_eq!(counted(&here, &own).await, [2 * EACH]);
}

async fn two_workers_create_a_row_once(place: &StoreFixture) {
    let (here, there) = (place.store().await, place.store().await);
    for n in 0..10 {
        let own = [identity("t", "known"), identity("t", &format!("new-{n}"))];
        tokio::join!(count(&here, &own), count(&there, &own));
        assert_eq!(counted(&here, &own).await, [2 * (n + 1), 2]);
    }
}

async fn overlapping_batches_complete(place: &StoreFixture) {
    const WORKERS: usize = 4;
    const ROUNDS: usize = 12;
    let ids: Vec<_> = ["", "A", "a", "B", "b", "ä", "Z", "_", "z", "0"]
        .into_iter()
        .map(|tenant| identity(tenant, tenant))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let work = (0..WORKERS).map(|worker| {
        let ids = ids.clone();
        async move {
            let store = place.store().await;
            for round in 0..ROUNDS {
                // Each round leaves another third out.
                let own: Vec<_> = ids
                    .iter()
                    .enumerate()
                    .filter(|(n, _)| (n + round + worker) % 3 != 0)
                    .map(|(_, identity)| identity.clone())
                    .collect();
                count(&store, &own).await;
            }
        }
    });
    futures_util::future::join_all(work).await;
    let total: i64 = counted(&place.store().await, &ids).await.iter().sum();
    let expected: usize = (0..WORKERS)
        .flat_map(|worker| (0..ROUNDS).map(move |round| worker + round))
        .map(|shift| (0..ids.len()).filter(|n| (n + shift) % 3 != 0).count())
        .sum();
    assert_eq!(total, i64::try_from(expected).expect("small"));
}

async fn locked_row_is_awaited_for_limited_time(place: &StoreFixture) {
    let holder = place.store().await;
    create(&holder, &[Sample::new("t", "a")]).await;
    let mut settings = place.settings.clone();
    // Long enough to connect within on a busy machine, too.
    settings.timeout_ms = 1_000;
    let hurried = store::connect(&settings).await.expect("connected");
    tokio::join!(come_too_late(&holder), come_too_late(&hurried));
    let own = [identity("t", "a")];
    let (_, held) = holder.begin(&own, &[]).await.expect("begun");
    let Err(error) = hurried.begin(&own, &[]).await else { panic!("two hold the lock") };
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    drop(held);
    // And the one who gave up is not the worse for it.
    let patient = place.store().await;
    count(&patient, &own).await;
    count(&hurried, &own).await;
}

async fn a_cancelled_wait_keeps_no_lock(place: &StoreFixture) {
    let (holder, waiter) = (place.store().await, place.store().await);
    create(&holder, &[counter("t", "a", 0)]).await;
    tokio::join!(come_too_late(&holder), come_too_late(&waiter));
    let own = [identity("t", "a")];
    let (_, held) = holder.begin(&own, &[]).await.expect("begun");
    let wait = tokio::time::timeout(Duration::from_millis(100), waiter.begin(&own, &[])).await;
    assert!(wait.is_err(), "two hold the lock");
    drop(held);
    tokio::join!(count_often(&holder, &own, 3), count_often(&waiter, &own, 3));
    assert_eq!(counted(&holder, &own).await, [6]);
}

async fn thousands_of_rows_fit_one_batch(place: &StoreFixture) {
    let store = place.store().await;
    let mut samples: Vec<_> = (0..5_000).map(|n| Sample::new("t", &format!("{n:05}"))).collect();
    create(&store, &samples).await;
    for sample in &mut samples {
        sample.is_new = false;
        sample.facts = format!("{{\"id\":\"{}\"}}", sample.identity.id);
    }
    save(&store, &samples).await.expect("saved");
    let rows = read(&store, &samples).await;
    assert_eq!(rows.len(), samples.len());
    for (row, sample) in rows.iter().zip(&samples) {
        assert_same(row, sample);
    }
}

async fn missing_row_is_not_updated(place: &StoreFixture) {
    let store = place.store().await;
    let mut stray = Sample::new("t", "b");
    stray.is_new = false;
    let samples = [Sample::new("t", "a"), stray];
    for _ in 0..2 {
        let error = save(&store, &samples).await.expect_err("nothing to update");
        assert!(matches!(error, StoreError::Conflict), "{error}");
        assert!(read(&store, &samples).await.is_empty(), "all or nothing");
    }
}

async fn live_data_is_unreadable_on_disk(place: &StoreFixture) {
    let store = place.store().await;
    let mut sample = Sample::new("t", "active");
    // Long enough to be stored out of line, so that no place is left out.
    sample.live = Some(Plaintext("planted-live-value ".repeat(2_000).into_bytes()));
    sample.record = record(&[("plan", "planted-history-value")]);
    create(&store, &[sample]).await;
    assert!(place.holds("planted-history-value").await, "the search finds what is in the clear");
    assert!(!place.holds("planted-live-value").await, "live data is in the clear");
}

async fn live_data_needs_its_key(place: &StoreFixture) {
    let sample = Sample::new("t", "a");
    create(&place.store().await, std::slice::from_ref(&sample)).await;
    let stranger = place.store_with_key(LIVE_KEYS[1]).await;
    let row = &read(&stranger, &[sample]).await[0];
    let StoredLiveData::Locked(key_id) = &row.live else { panic!("opened with another key") };
    assert_eq!(key_id.len(), 8);
}

async fn keys_can_be_rotated(place: &StoreFixture) {
    let mut sample = Sample::new("t", "a");
    create(&place.store_with_key(LIVE_KEYS[0]).await, std::slice::from_ref(&sample)).await;
    let rotated = place.store_with_key(&format!("{}\n{}\n", LIVE_KEYS[1], LIVE_KEYS[0])).await;
    assert_same(&read(&rotated, std::slice::from_ref(&sample)).await[0], &sample);
    sample.is_new = false;
    save(&rotated, std::slice::from_ref(&sample)).await.expect("saved");
    // Saved anew it is sealed under the new key, and the old one can go.
    let without_old = place.store_with_key(LIVE_KEYS[1]).await;
    assert_same(&read(&without_old, std::slice::from_ref(&sample)).await[0], &sample);
}

async fn live_data_does_not_open_in_another_row(place: &StoreFixture) {
    let store = place.store().await;
    let samples = [Sample::new("t", "a"), Sample::new("t", "b")];
    create(&store, &samples).await;
    place
        .execute(
            "UPDATE throughline_interaction SET live = \
             (SELECT live FROM throughline_interaction WHERE id = 'a') WHERE id = 'b'",
        )
        .await;
    let rows = read(&store, &samples).await;
    assert!(matches!(rows[0].live, StoredLiveData::Open(_)));
    assert!(matches!(rows[1].live, StoredLiveData::Locked(_)));
}

async fn history_is_read_in_pages(place: &StoreFixture) {
    let store = place.store().await;
    let mut samples: Vec<_> = ["", "B", "a"]
        .iter()
        .flat_map(|tenant| (0..9).map(move |n| Sample::new(tenant, &format!("id-{n}"))))
        .collect();
    samples[4].state = State::Ended;
    samples[4].live = None;
    samples[4].ended_ms = Some(77);
    create(&store, &samples).await;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = HistoryFilter { after: after.as_ref(), limit: 10, ..HistoryFilter::default() };
        let page = store.history(&page).await.expect("a page");
        assert!(page.len() <= 10);
        let Some(last) = page.last() else { break };
        after = Some(last.identity.clone());
        seen.extend(page);
    }
    assert_eq!(seen.len(), samples.len());
    for (row, sample) in seen.iter().zip(&samples) {
        assert_eq!(row.identity, sample.identity);
        assert_eq!((&row.channel, &row.queue), (&sample.channel, &sample.queue));
        assert_eq!(row.state, sample.state);
        assert_eq!(pairs(&row.record), pairs(&sample.record));
        assert_eq!(
            (row.created_ms, row.updated_ms, row.ended_ms),
            (sample.created_ms, sample.updated_ms, sample.ended_ms)
        );
    }
}

async fn history_is_filtered(place: &StoreFixture) {
    let store = place.store().await;
    let mut samples = [Sample::new("", "a"), Sample::new("t", "a"), Sample::new("t", "b")];
    samples[1].channel = "email".to_owned();
    samples[1].queue = Some("vip@acme.test".to_owned());
    samples[2].queue = None;
    samples[2].updated_ms = 9_000;
    create(&store, &samples).await;
    let all = HistoryFilter::default();
    for (filter, expected) in [
        (all.clone(), vec!["a", "t/a", "t/b"]),
        (HistoryFilter { id: Some("a"), ..all.clone() }, vec!["a", "t/a"]),
        (HistoryFilter { tenant: Some(""), ..all.clone() }, vec!["a"]),
        (HistoryFilter { tenant: Some("t"), id: Some("b"), ..all.clone() }, vec!["t/b"]),
        (HistoryFilter { channel: Some("email"), ..all.clone() }, vec!["t/a"]),
        (HistoryFilter { queue: Some("vip@acme.test"), ..all.clone() }, vec!["t/a"]),
        (HistoryFilter { since_ms: Some(9_000), ..all.clone() }, vec!["t/b"]),
        (HistoryFilter { since_ms: Some(9_001), ..all.clone() }, vec![]),
        (HistoryFilter { after: Some(&identity("t", "a")), ..all.clone() }, vec!["t/b"]),
        (HistoryFilter { limit: 1, ..all.clone() }, vec!["a"]),
        (HistoryFilter { id: Some("' OR ''='"), ..all.clone() }, vec![]),
    ] {
        let rows = store.history(&filter).await.expect("a page");
        let found: Vec<_> = rows.iter().map(|row| row.identity.to_string()).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
}

async fn repeated_and_concurrent_migrations_change_nothing(place: &StoreFixture) {
    let stores = (0..4).map(|_| place.store());
    for store in futures_util::future::join_all(stores).await {
        store.migrate().await.expect("nothing to do");
        assert_eq!(store.schema_version().await.expect("a version"), 1);
        store.ping().await.expect("there");
        store.close().await;
    }
}

async fn a_newer_schema_is_refused(place: &StoreFixture) {
    place.store().await.close().await;
    place.set_schema_version(99).await;
    for migrate in [true, false] {
        let settings = Settings { migrate, ..place.settings.clone() };
        let error = store::connect(&settings).await.err().expect("refused");
        let text = "open the store: schema version 99 is newer than this binary knows (1)";
        assert_eq!(error.to_string(), text);
        assert!(!error.is_transient());
    }
}

/// Not of the contract, since a table that is cut into partitions has been migrated before.
#[tokio::test]
async fn an_older_schema_is_refused_unless_migrated() {
    for place in [StoreFixture::sqlite(), StoreFixture::postgres().await] {
        older_schema_is_refused_unless_migrated(&place).await;
    }
}

async fn older_schema_is_refused_unless_migrated(place: &StoreFixture) {
    let settings = Settings { migrate: false, ..place.settings.clone() };
    let error = store::connect(&settings).await.err().expect("refused");
    assert!(matches!(error, OpenError::Outdated { found: 0, known: 1 }), "{error}");
    assert!(error.to_string().ends_with("run `throughline migrate`"), "{error}");
    let store = store::open(&settings).await.expect("opened as it is");
    store.migrate().await.expect("migrated");
    store.check_schema().await.expect("up to date");
    store::connect(&settings).await.expect("connected");
}

async fn a_foreign_row_is_unreadable(place: &StoreFixture) {
    let store = place.store().await;
    create(&store, &[Sample::new("t", "a")]).await;
    for (change, back) in
        [("state = 7", "state = 0"), (r#"record = '{"k":"planted","n":{}}'"#, "record = '{}'")]
    {
        place.execute(&format!("UPDATE throughline_interaction SET {change}")).await;
        let Err(error) = store.begin(&[identity("t", "a")], &[]).await else { panic!("{change}") };
        assert!(matches!(error, StoreError::Unreadable(_)), "{error}");
        assert!(error.to_string().contains("t/a"), "it names the interaction: {error}");
        assert!(!error.to_string().contains("planted"), "{error}");
        place.execute(&format!("UPDATE throughline_interaction SET {back}")).await;
    }
}

async fn a_missing_table_is_unreadable(place: &StoreFixture) {
    let store = place.store().await;
    place.execute("DROP TABLE throughline_interaction").await;
    let Err(error) = store.begin(&[identity("t", "a")], &[]).await else { panic!("read") };
    assert!(matches!(error, StoreError::Unreadable(_)), "{error}");
}
