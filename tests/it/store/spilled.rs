//! Events that the logs of long conversations have no room for.

use pretty_assertions::assert_eq;
use throughline::domain::{Digest, Record, State};
use throughline::pipeline::ports::Store as _;
use throughline::pipeline::ports::{Doubtful, Recall as _};
use throughline::store::{self, Lifetimes, Retention, Settings, Store, SweptEvents};

use super::place::StoreFixture;
use super::samples::{Sample, come_too_late, create, identity, save};

contract! {
    spilled_events_are_known_and_no_others,
    what_is_not_saved_spills_nothing,
    spilled_events_go_with_their_time,
    spilled_events_go_with_their_row,
    the_latest_4096_stay_and_the_others_are_counted,
    a_database_without_the_table_is_told,
}

fn lifetimes() -> Lifetimes {
    Lifetimes { live_ttl_secs: 100, repeat_secs: 50, retention: Retention::default() }
}

fn digest(n: u64) -> Digest {
    let mut digest = [0; 16];
    // As of a hash, the first bytes say nothing of the order.
    digest[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    digest
}

/// A row that spills so many events more.
fn spilling(id: &str, before: u64, count: u64, is_new: bool) -> Sample {
    let spilled: Vec<_> = (before..before + count).map(digest).collect();
    Sample { is_new, spilled, spilled_before: before, ..Sample::new("t", id) }
}

/// Which of these events the store knows, of an interaction that has spilled so many.
async fn known(store: &Store, id: &str, spilled: u64, events: &[u64]) -> Vec<u64> {
    let own = [identity("t", id)];
    let (_, mut transaction) = store.begin(&own, &[]).await.expect("begun");
    let doubtful = |n: &u64| Doubtful { identity: identity("t", id), digest: digest(*n), spilled };
    let doubtful: Vec<_> = events.iter().map(doubtful).collect();
    let mut places = transaction.recall(&doubtful).await.expect("recalled");
    places.sort_unstable();
    places.into_iter().map(|place| events[place]).collect()
}

async fn sweep(store: &Store, now_ms: i64) -> SweptEvents {
    let mut total = SweptEvents::default();
    loop {
        let after = total.next.take();
        let swept = store.sweep_events(after.as_ref(), now_ms, &lifetimes(), 300).await;
        let swept = swept.expect("swept");
        total.events += swept.events;
        total.removed += swept.removed;
        total.early += swept.early;
        total.next = swept.next;
        if total.next.is_none() {
            return total;
        }
    }
}

async fn spilled_events_are_known_and_no_others(place: &StoreFixture) {
    let store = place.store().await;
    create(&store, &[spilling("a", 0, 100, true), spilling("b", 0, 0, true)]).await;
    let asked: Vec<u64> = (50..150).collect();
    assert_eq!(known(&store, "a", 100, &asked).await, (50..100).collect::<Vec<_>>());
    assert_eq!(known(&store, "b", 100, &asked).await, [0; 0]);
    save(&store, &[spilling("a", 100, 2_000, false)]).await.expect("saved");
    assert_eq!(
        known(&store, "a", 2_100, &[0, 1_023, 1_024, 2_099, 2_100]).await,
        [0, 1_023, 1_024, 2_099]
    );
    // As with rows, a worker that takes locks sees the same.
    come_too_late(&store).await;
    assert_eq!(known(&store, "a", 2_100, &[0, 2_100]).await, [0]);
}

async fn what_is_not_saved_spills_nothing(place: &StoreFixture) {
    let store = place.store().await;
    create(&store, &[spilling("a", 0, 0, true)]).await;
    let stray = Sample { is_new: false, ..Sample::new("t", "absent") };
    save(&store, &[spilling("a", 0, 10, false), stray])
        .await
        .expect_err("the row of \"absent\" is not stored");
    assert_eq!(known(&store, "a", 10, &[0, 9]).await, [0; 0]);
}

async fn spilled_events_go_with_their_time(place: &StoreFixture) {
    let store = place.store().await;
    let at = |sample: Sample, updated_ms| Sample { updated_ms, ..sample };
    create(&store, &[at(spilling("a", 0, 10, true), 1_000)]).await;
    save(&store, &[at(spilling("a", 10, 10, false), 2_000)]).await.expect("saved");
    let nothing = SweptEvents { events: 20, ..SweptEvents::default() };
    assert_eq!(sweep(&store, 51_000).await, nothing);
    assert_eq!(sweep(&store, 51_001).await, SweptEvents { removed: 10, ..nothing });
    assert_eq!(known(&store, "a", 20, &[0, 9, 10, 19]).await, [10, 19]);
}

async fn spilled_events_go_with_their_row(place: &StoreFixture) {
    let store = place.store().await;
    let ended = |sample: Sample| Sample { state: State::Ended, ended_ms: Some(0), ..sample };
    let blank = |sample: Sample| Sample { record: Record::default(), ..sample };
    let samples = ["forgotten", "deleted", "kept"].map(|id| spilling(id, 0, 10, true));
    let [forgotten, deleted, kept] = samples;
    create(&store, &[kept]).await;
    create(&store, &[ended(forgotten)]).await;
    create(&store, &[blank(ended(deleted))]).await;
    let swept = store.sweep(None, 60_000, &lifetimes(), 100).await.expect("swept");
    assert_eq!((swept.forgotten, swept.deleted), (1, 1));
    for (id, left) in [("forgotten", vec![]), ("deleted", vec![]), ("kept", vec![0, 9])] {
        assert_eq!(known(&store, id, 10, &[0, 9]).await, left, "{id}");
    }
}

async fn the_latest_4096_stay_and_the_others_are_counted(place: &StoreFixture) {
    let store = place.store().await;
    create(&store, &[spilling("a", 0, 6_500, true)]).await;
    let latest: Vec<u64> = (6_500 - 4_096..6_500).collect();
    assert_eq!(known(&store, "a", 6_500, &latest).await, latest);
    let swept = sweep(&store, 2_000).await;
    assert_eq!((swept.events, swept.removed, swept.early), (6_500, 2_048, 2_048));
    assert_eq!(known(&store, "a", 6_500, &latest).await, latest);
    let swept = sweep(&store, 60_000).await;
    assert_eq!((swept.removed, swept.early), (4_452, 0), "what is over is not early");
}

async fn a_database_without_the_table_is_told(place: &StoreFixture) {
    place.store().await.close().await;
    place.execute("DROP TABLE throughline_spilled_event").await;
    let settings = Settings { migrate: false, ..place.settings.clone() };
    let error = store::connect(&settings).await.err().expect("refused");
    assert!(error.to_string().ends_with("run `throughline migrate`"), "{error}");
    // With the right to migrate it is made, and the schema's version stays: a worker of before goes on.
    let store = place.store().await;
    assert_eq!(store.schema_version().await.expect("a version"), 1);
    create(&store, &[spilling("a", 0, 1, true)]).await;
}
