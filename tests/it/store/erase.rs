//! Erasing: what is saved of a person is anonymised, and nothing but that.

use pretty_assertions::assert_eq;
use sqlx::{Connection as _, SqliteConnection};
use throughline::domain::State;
use throughline::pipeline::ports::{Store as _, StoredLiveData, Transaction as _};
use throughline::store::{EraseResult, EraseTarget, Store};

use super::place::StoreFixture;
use super::samples::{Sample, assert_same, come_too_late, create, identity, pairs, read, record};
use crate::support::bench::within_timeout;
use crate::support::postgres::number;

contract! {
    an_active_interaction_is_erased_and_has_ended,
    an_ended_interaction_keeps_its_end,
    ids_are_erased_in_one_tenant_or_in_all,
    saved_pairs_are_found_by_key_and_value,
    a_dry_run_only_counts,
    hundreds_are_erased_in_steps,
    live_data_that_no_key_opens_is_erased_too,
}

const NOW_MS: i64 = 5_000;

async fn erase(store: &Store, target: EraseTarget<'_>, tenant: Option<&str>) -> EraseResult {
    let erased = store.erase(target, tenant, NOW_MS, false).await.expect("erased");
    // Where remains are is each backend's own affair.
    EraseResult { remains: None, ..erased }
}

async fn erase_ids(store: &Store, ids: &[&str], tenant: Option<&str>) -> EraseResult {
    let ids: Vec<_> = ids.iter().map(|id| (*id).to_owned()).collect();
    erase(store, EraseTarget::Ids(&ids), tenant).await
}

fn anonymised(sample: &Sample) -> Sample {
    let mut sample = sample.clone();
    sample.record = sample.record.anonymised();
    sample.live = None;
    if sample.state == State::Active {
        sample.state = State::Ended;
        sample.ended_ms = Some(NOW_MS);
    }
    sample
}

async fn an_active_interaction_is_erased_and_has_ended(place: &StoreFixture) {
    let store = place.store().await;
    let mut sample = Sample::new("t", "a");
    sample.record = record(&[("plan", "gold"), ("größe", "")]);
    let neighbour = Sample::new("t", "b");
    create(&store, &[sample.clone(), neighbour.clone()]).await;
    let found = EraseResult { found: 1, ..EraseResult::default() };
    let expected = EraseResult { erased: 1, values: 2, ended: 1, ..found.clone() };
    assert_eq!(erase_ids(&store, &["a"], None).await, expected);
    let rows = read(&store, &[sample.clone(), neighbour.clone()]).await;
    assert_same(&rows[0], &anonymised(&sample));
    let text = "{Anonymized by DPO}";
    assert_eq!(pairs(&rows[0].record), [("größe", text), ("plan", text)].into());
    assert_same(&rows[1], &neighbour);
    assert_eq!(erase_ids(&store, &["a"], None).await, found, "again it is found, and left alone");
    assert_same(&read(&store, std::slice::from_ref(&sample)).await[0], &anonymised(&sample));
}

async fn an_ended_interaction_keeps_its_end(place: &StoreFixture) {
    let store = place.store().await;
    let ended = Sample {
        state: State::Handled,
        live: None,
        ended_ms: Some(3_000),
        ..Sample::new("t", "a")
    };
    create(&store, std::slice::from_ref(&ended)).await;
    assert_eq!(erase_ids(&store, &["a"], None).await.ended, 0);
    assert_same(&read(&store, std::slice::from_ref(&ended)).await[0], &anonymised(&ended));
}

async fn ids_are_erased_in_one_tenant_or_in_all(place: &StoreFixture) {
    let store = place.store().await;
    let samples: Vec<_> = ["", "A", "a", "ä", "ä2"]
        .iter()
        .flat_map(|tenant| ["x", "y"].map(|id| Sample::new(tenant, id)))
        .collect();
    create(&store, &samples).await;
    let erased = erase_ids(&store, &["x", "z", "x"], Some("a")).await;
    assert_eq!((erased.found, erased.erased, erased.missing), (1, 1, vec!["z".to_owned()]));
    assert_eq!(erase_ids(&store, &["x"], Some("")).await.erased, 1);
    assert_eq!(erase_ids(&store, &["x"], Some("b")).await.found, 0);
    let erased = erase_ids(&store, &["z", "x"], None).await;
    assert_eq!((erased.found, erased.erased, erased.missing), (5, 3, vec!["z".to_owned()]));
    for (row, sample) in read(&store, &samples).await.iter().zip(&samples) {
        let is_erased = sample.identity.id == "x";
        assert_same(row, &if is_erased { anonymised(sample) } else { sample.clone() });
    }
}

async fn saved_pairs_are_found_by_key_and_value(place: &StoreFixture) {
    let store = place.store().await;
    let odd_key = r#"$."a'b\"#;
    let mut samples: Vec<_> = (0..5).map(|n| Sample::new("t", &format!("{n}"))).collect();
    samples[0].record = record(&[("customer", "C-1"), ("plan", "gold")]);
    samples[1].record = record(&[("customer", "C-10")]);
    samples[2].record = record(&[("Customer", "C-1"), ("plan", "C-1")]);
    samples[3].record = record(&[(odd_key, "zwei\r\nZeilen"), ("customer", "C-2")]);
    samples[4].identity = identity("u", "0");
    samples[4].record = record(&[("customer", "C-1")]);
    create(&store, &samples).await;
    let saved = |key, value| EraseTarget::Saved { key, value };
    let erased = erase(&store, saved("customer", "C-1"), Some("t")).await;
    assert_eq!(
        (erased.found, erased.values),
        (1, 2),
        "all that is saved of it, not that key alone"
    );
    let erased = erase(&store, saved("customer", "C-1"), None).await;
    assert_eq!(erased.found, 1, "what is erased is not found any more");
    assert_eq!(erase(&store, saved(odd_key, "zwei\r\nZeilen"), None).await.found, 1);
    assert_eq!(erase(&store, saved("customer", "C-1' OR ''='"), None).await.found, 0);
    for (n, row) in read(&store, &samples).await.iter().enumerate() {
        let sample = &samples[n];
        assert_same(row, &if [0, 3, 4].contains(&n) { anonymised(sample) } else { sample.clone() });
    }
}

async fn a_dry_run_only_counts(place: &StoreFixture) {
    let store = place.store().await;
    let sample = Sample::new("t", "a");
    create(&store, std::slice::from_ref(&sample)).await;
    let ids = ["a".to_owned()];
    for target in [EraseTarget::Ids(&ids), EraseTarget::Saved { key: "plan", value: "gold" }] {
        let counted = store.erase(target, None, NOW_MS, true).await.expect("counted");
        let expected =
            EraseResult { found: 1, erased: 1, values: 1, ended: 1, ..EraseResult::default() };
        assert_eq!(counted, expected);
        assert_same(&read(&store, std::slice::from_ref(&sample)).await[0], &sample);
    }
}

async fn hundreds_are_erased_in_steps(place: &StoreFixture) {
    let store = place.store().await;
    let samples: Vec<_> = (0..1_250).map(|n| Sample::new("t", &format!("{n:04}"))).collect();
    create(&store, &samples).await;
    let erased = erase(&store, EraseTarget::Saved { key: "plan", value: "gold" }, None).await;
    assert_eq!((erased.found, erased.values), (1_250, 1_250));
    let rows = read(&store, &samples).await;
    assert!(rows.iter().all(|row| matches!(row.live, StoredLiveData::Absent)));
}

async fn live_data_that_no_key_opens_is_erased_too(place: &StoreFixture) {
    let sample = Sample::new("t", "a");
    create(&place.store().await, std::slice::from_ref(&sample)).await;
    let stranger = place.store_with_key(super::place::LIVE_KEYS[1]).await;
    assert_eq!(erase_ids(&stranger, &["a"], None).await.ended, 1);
    assert_same(&read(&stranger, std::slice::from_ref(&sample)).await[0], &anonymised(&sample));
}

#[tokio::test]
async fn sqlite_keeps_no_trace_of_what_was_erased_in_any_file() {
    let place = StoreFixture::sqlite();
    let store = place.store().await;
    let mut samples: Vec<_> = (0..50).map(|n| Sample::new("t", &format!("{n:02}"))).collect();
    for (n, sample) in samples.iter_mut().enumerate() {
        // Short ones lie in the page of their row, long ones in pages of their own.
        let long = "planted-history-value ".repeat(if n % 2 == 0 { 1 } else { 500 });
        sample.record = record(&[("plan", &long)]);
    }
    create(&store, &samples).await;
    // Rows that were written twice leave their first version behind.
    for sample in &mut samples {
        sample.is_new = false;
        sample.facts = format!("{{\"widget\":\"{}\"}}", "w".repeat(300));
    }
    super::samples::save(&store, &samples).await.expect("saved");
    assert!(place.holds("planted-history-value").await, "the search finds what is saved");
    let ids: Vec<_> = samples.iter().map(|sample| sample.identity.id.to_string()).collect();
    let erased = store.erase(EraseTarget::Ids(&ids), None, NOW_MS, false).await.expect("erased");
    assert_eq!((erased.values, erased.remains), (50, None));
    assert!(!place.holds("planted-history-value").await, "a trace is left");
}

#[tokio::test]
async fn sqlite_truncates_its_log_after_the_last_reader() {
    let mut place = StoreFixture::sqlite();
    // How long it waits for the reader below, who does not go away.
    place.settings.timeout_ms = 100;
    let store = place.store().await;
    let mut sample = Sample::new("t", "a");
    sample.record = record(&[("plan", "planted-history-value")]);
    create(&store, std::slice::from_ref(&sample)).await;
    let mut reader = SqliteConnection::connect(&place.settings.url).await.expect("connected");
    let mut reading = reader.begin().await.expect("a transaction");
    let rows = "SELECT count(*) FROM throughline_interaction";
    let rows: i64 = sqlx::query_scalar(rows).fetch_one(&mut *reading).await.expect("read");
    assert_eq!(rows, 1);

    let saved = EraseTarget::Saved { key: "plan", value: "planted-history-value" };
    let erased = store.erase(saved, None, NOW_MS, false).await.expect("erased");
    assert_eq!(erased.erased, 1);
    assert!(erased.remains.is_some() && place.holds("planted-history-value").await);

    drop(reading);
    reader.close().await.expect("closed");
    // Nothing is left to erase in the rows, but what was erased is still in the log.
    let erased = store.erase(saved, None, NOW_MS, false).await.expect("erased");
    assert_eq!((erased.found, erased.remains), (0, None));
    assert!(!place.holds("planted-history-value").await, "a trace is left");
}

#[tokio::test]
async fn postgres_erases_what_a_worker_was_about_to_change() {
    let place = StoreFixture::postgres().await;
    let (dpo, lane) = (place.store().await, place.store().await);
    let before = Sample { record: record(&[("plan", "gold")]), ..Sample::new("t", "a") };
    create(&lane, std::slice::from_ref(&before)).await;
    come_too_late(&lane).await;
    let own = [before.identity.clone()];
    let (_, batch) = lane.begin(&own, &[]).await.expect("begun, and locked");
    let pairs = [("plan", "gold"), ("tier", "1")];
    let after = Sample { is_new: false, record: record(&pairs), ..before };
    let saved = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        // By then it has read the row as it was before.
        within_timeout(async { while number(&place.settings.url, waiting).await == 0 {} }).await;
        batch.save(&[after.change()]).await.expect("saved");
    };
    let (erased, ()) = tokio::join!(erase_ids(&dpo, &["a"], None), saved);
    assert_eq!(
        erased,
        EraseResult { found: 1, erased: 1, values: 2, ended: 1, ..EraseResult::default() }
    );
    assert_same(&read(&dpo, std::slice::from_ref(&after)).await[0], &anonymised(&after));
}
