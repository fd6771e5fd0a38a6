//! Sweeping: expired data is removed and all other data stays, whichever workers run at the same time.

use pretty_assertions::assert_eq;
use throughline::domain::{Record, State};
use throughline::pipeline::ports::{Store as _, StoreError, StoredLiveData, Transaction as _};
use throughline::store::{Lifetimes, Retention, Store, Swept};

use super::place::StoreFixture;
use super::samples::{
    Sample, assert_same, come_too_late, count, counted, create, identity, pairs, read, save,
};

contract! {
    live_data_expires,
    event_logs_are_dropped,
    history_expires_after_its_retention,
    interactions_without_history_are_deleted,
    sweep_visits_every_row_once,
    an_empty_store_is_swept_in_one_step,
    a_sweep_and_two_workers_lose_nothing,
    concurrent_sweeps_count_each_row_once,
}

/// A day in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// Live data for 100 s, repeats for 50 s, history for ever.
fn lifetimes() -> Lifetimes {
    Lifetimes { live_ttl_secs: 100, repeat_secs: 50, retention: Retention::default() }
}

fn ended(tenant: &str, id: &str, ended_ms: i64) -> Sample {
    Sample {
        state: State::Ended,
        live: None,
        updated_ms: ended_ms,
        ended_ms: Some(ended_ms),
        ..Sample::new(tenant, id)
    }
}

/// Walks over all rows in steps of `rows`.
async fn sweep(store: &Store, now_ms: i64, lifetimes: &Lifetimes, rows: u32) -> Swept {
    let mut total = Swept::default();
    loop {
        let after = total.next.take();
        let swept = store.sweep(after.as_ref(), now_ms, lifetimes, rows).await.expect("swept");
        assert!(swept.rows <= u64::from(rows));
        total.rows += swept.rows;
        total.live += swept.live;
        total.expired += swept.expired;
        total.forgotten += swept.forgotten;
        total.deleted += swept.deleted;
        total.next = swept.next;
        if total.next.is_none() {
            return total;
        }
    }
}

async fn live_data_expires(place: &StoreFixture) {
    let store = place.store().await;
    let quiet = Sample { updated_ms: 1_000, ..Sample::new("t", "quiet") };
    let busy = Sample { updated_ms: 1_001, ..Sample::new("t", "busy") };
    create(&store, &[busy.clone(), quiet.clone()]).await;
    let swept = sweep(&store, 101_001, &lifetimes(), 100).await;
    assert_eq!(swept, Swept { rows: 2, live: 1, expired: 1, ..Swept::default() });
    let rows = read(&store, &[busy.clone(), quiet.clone()]).await;
    assert_same(&rows[0], &busy);
    let row = &rows[1];
    assert_eq!(row.state, State::Expired);
    assert!(matches!(row.live, StoredLiveData::Absent));
    assert_eq!(row.ended_ms, Some(101_000), "when its time was over, not when it was noticed");
    assert_eq!((row.created_ms, row.updated_ms), (quiet.created_ms, quiet.updated_ms));
    assert_eq!((pairs(&row.record), &row.events), (pairs(&quiet.record), &quiet.events));
    let again = sweep(&store, 101_001, &lifetimes(), 100).await;
    assert_eq!(again, Swept { rows: 2, live: 1, ..Swept::default() });
}

async fn event_logs_are_dropped(place: &StoreFixture) {
    let store = place.store().await;
    let mut samples = [ended("t", "late", 2_000), ended("t", "over", 1_000)];
    create(&store, &samples).await;
    let swept = sweep(&store, 51_001, &lifetimes(), 100).await;
    assert_eq!(swept, Swept { rows: 2, forgotten: 1, ..Swept::default() });
    samples[1].events = Vec::new();
    for (row, sample) in read(&store, &samples).await.iter().zip(&samples) {
        assert_same(row, sample);
    }
    let again = sweep(&store, 51_001, &lifetimes(), 100).await;
    assert_eq!(again, Swept { rows: 2, ..Swept::default() });
}

async fn history_expires_after_its_retention(place: &StoreFixture) {
    let store = place.store().await;
    let mut samples: Vec<_> =
        ["chat", "chat-vip", "email", "email-none", "voice"].map(|id| ended("t", id, 0)).into();
    samples[1].queue = Some("vip".to_owned());
    samples[2].channel = "email".to_owned();
    samples[3].channel = "email".to_owned();
    samples[3].queue = None;
    samples[4].channel = "voice".to_owned();
    create(&store, &samples).await;
    let mut lifetimes = lifetimes();
    lifetimes.retention = Retention {
        days: 3,
        channels: [("chat".to_owned(), 1), ("voice".to_owned(), 0)].into(),
        queues: [("vip".to_owned(), 2)].into(),
    };
    let left = async |day: i64| {
        let swept = sweep(&store, day * DAY_MS + 1, &lifetimes, 2).await;
        let rows = read(&store, &samples).await;
        let ids: Vec<_> = rows.into_iter().map(|row| row.identity.id.into_owned()).collect();
        (swept.deleted, ids.join(" "))
    };
    assert_eq!(left(0).await, (0, "chat chat-vip email email-none voice".to_owned()));
    assert_eq!(left(1).await, (1, "chat-vip email email-none voice".to_owned()));
    assert_eq!(left(2).await, (1, "email email-none voice".to_owned()));
    assert_eq!(left(3).await, (2, "voice".to_owned()));
    assert_eq!(left(40_000).await, (0, "voice".to_owned()));
}

async fn interactions_without_history_are_deleted(place: &StoreFixture) {
    let store = place.store().await;
    let blank = |sample: Sample| Sample { record: Record::default(), ..sample };
    let active = Sample { updated_ms: 60_000, ..Sample::new("t", "active") };
    let samples = [blank(active), blank(ended("t", "ended", 1_000)), ended("t", "kept", 1_000)];
    create(&store, &samples).await;
    let swept = sweep(&store, 51_000, &lifetimes(), 100).await;
    assert_eq!(swept, Swept { rows: 3, live: 1, ..Swept::default() }, "repeats may still come");
    let swept = sweep(&store, 51_001, &lifetimes(), 100).await;
    assert_eq!(swept, Swept { rows: 3, live: 1, forgotten: 1, deleted: 1, ..Swept::default() });
    let rows = read(&store, &samples).await;
    let ids: Vec<_> = rows.iter().map(|row| row.identity.id.as_ref()).collect();
    assert_eq!(ids, ["active", "kept"]);
}

async fn sweep_visits_every_row_once(place: &StoreFixture) {
    let store = place.store().await;
    let samples: Vec<_> = ["", "A", "a", "ä"]
        .iter()
        .flat_map(|tenant| (0..7).map(move |n| ended(tenant, &format!("{n}"), 0)))
        .collect();
    create(&store, &samples).await;
    for (rows, now_ms) in [(1, 60_000), (7, 60_000), (28, 60_000), (1_000, 60_000)] {
        let swept = sweep(&store, now_ms, &lifetimes(), rows).await;
        assert_eq!(swept.rows, 28, "in steps of {rows}");
    }
    // Deleting behind itself, the walk still finds its way.
    let mut one_day = lifetimes();
    one_day.retention.days = 1;
    let swept = sweep(&store, 2 * DAY_MS, &one_day, 3).await;
    assert_eq!((swept.rows, swept.deleted), (28, 28));
    assert!(read(&store, &samples).await.is_empty());
}

async fn an_empty_store_is_swept_in_one_step(place: &StoreFixture) {
    let store = place.store().await;
    assert_eq!(store.sweep(None, 0, &lifetimes(), 10).await.expect("swept"), Swept::default());
}

async fn a_sweep_and_two_workers_lose_nothing(place: &StoreFixture) {
    const EACH: usize = 20;
    let (here, there, cleaner) = (place.store().await, place.store().await, place.store().await);
    let own = [identity("t", "a"), identity("t", "b")];
    // Every row is due whenever the cleaner looks: the counters were updated in 1970.
    let work = async |store: &Store| {
        for _ in 0..EACH {
            count(store, &own).await;
        }
    };
    let sweeping = async {
        for _ in 0..EACH {
            sweep(&cleaner, DAY_MS, &lifetimes(), 1).await;
        }
    };
    tokio::join!(work(&here), work(&there), sweeping);
    let both = 2 * i64::try_from(EACH).expect("small");
    assert_eq!(counted(&here, &own).await, [both, both]);
}

async fn concurrent_sweeps_count_each_row_once(place: &StoreFixture) {
    let samples: Vec<_> = (0..40).map(|n| ended("t", &format!("{n:02}"), 0)).collect();
    create(&place.store().await, &samples).await;
    let (here, there) = (place.store().await, place.store().await);
    let lifetimes = lifetimes();
    tokio::join!(sweep(&here, DAY_MS, &lifetimes, 3), sweep(&there, DAY_MS, &lifetimes, 5));
    let rest = sweep(&here, DAY_MS, &lifetimes, 7).await;
    assert_eq!((rest.rows, rest.forgotten), (40, 0), "between them they left nothing");
    assert!(read(&here, &samples).await.iter().all(|row| row.events.is_empty()));
}

#[tokio::test]
async fn postgres_sweep_skips_rows_held_by_a_batch() {
    let place = StoreFixture::postgres().await;
    let (store, lane) = (place.store().await, place.store().await);
    let held = Sample { updated_ms: 0, ..Sample::new("t", "held") };
    let free = Sample { updated_ms: 0, ..Sample::new("t", "free") };
    create(&store, &[free.clone(), held.clone()]).await;
    come_too_late(&lane).await;
    let own = [held.identity.clone()];
    let (_, batch) = lane.begin(&own, &[]).await.expect("begun");
    let swept = sweep(&store, DAY_MS, &lifetimes(), 10).await;
    assert_eq!(swept.expired, 1, "it does not wait for the row that is held");
    let message = Sample { is_new: false, updated_ms: DAY_MS, ..held };
    batch.save(&[message.change()]).await.expect("saved");
    assert_eq!(sweep(&store, DAY_MS, &lifetimes(), 10).await.expired, 0);
    assert_same(&read(&store, std::slice::from_ref(&message)).await[0], &message);
    // One who was expired and is written again by its next message is not special.
    save(&store, &[Sample { is_new: false, updated_ms: DAY_MS, ..free }]).await.expect("saved");
}

#[tokio::test]
async fn postgres_reports_a_conflict_after_a_sweep() {
    let place = StoreFixture::postgres().await;
    let (store, lane) = (place.store().await, place.store().await);
    let idle = Sample { updated_ms: 0, ..Sample::new("t", "idle") };
    create(&store, std::slice::from_ref(&idle)).await;
    let (_, batch) = lane.begin(std::slice::from_ref(&idle.identity), &[]).await.expect("begun");
    assert_eq!(sweep(&store, DAY_MS, &lifetimes(), 10).await.expired, 1);
    let message = Sample { is_new: false, updated_ms: DAY_MS, ..idle };
    let error = batch.save(&[message.change()]).await.expect_err("it is not as it was read");
    assert!(matches!(error, StoreError::Conflict), "{error}");
    let row = &read(&store, &[message]).await[0];
    assert_eq!((row.state, row.updated_ms), (State::Expired, 0), "what was cleared stays so");
}
