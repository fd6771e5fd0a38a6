//! Rows to save, and the few things that tests do with them again and again.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pretty_assertions::assert_eq;
use throughline::domain::{Digest, Identity, Record, State};
use throughline::pipeline::ports::Spilled;
use throughline::pipeline::ports::{
    Plaintext, Row, RowChange, Store as _, StoreError, StoredLiveData, Transaction as _,
};
use throughline::store::Store;

/// A row as a test wants it.
#[derive(Clone)]
pub(super) struct Sample {
    pub(super) identity: Identity<'static>,
    pub(super) is_new: bool,
    pub(super) state: State,
    pub(super) channel: String,
    pub(super) queue: Option<String>,
    pub(super) facts: String,
    pub(super) record: Record,
    pub(super) live: Option<Plaintext>,
    pub(super) events: Vec<u8>,
    pub(super) spilled: Vec<Digest>,
    pub(super) spilled_before: u64,
    pub(super) created_ms: i64,
    pub(super) updated_ms: i64,
    pub(super) ended_ms: Option<i64>,
}

impl Sample {
    pub(super) fn new(tenant: &str, id: &str) -> Sample {
        Sample {
            identity: identity(tenant, id),
            is_new: true,
            state: State::Active,
            channel: "chat".to_owned(),
            queue: Some("support".to_owned()),
            facts: r#"{"widget":"w-17"}"#.to_owned(),
            record: record(&[("plan", "gold")]),
            live: Some(Plaintext(b"{\"AccNum\":\"A-778\"}".to_vec())),
            events: vec![1; 16],
            spilled: Vec::new(),
            spilled_before: 0,
            created_ms: 1_000,
            updated_ms: 2_000,
            ended_ms: None,
        }
    }

    pub(super) fn change(&self) -> RowChange<'_> {
        RowChange {
            identity: &self.identity,
            is_new: self.is_new,
            state: self.state,
            channel: &self.channel,
            queue: self.queue.as_deref(),
            facts: &self.facts,
            record: &self.record,
            live: self.live.as_ref(),
            events: &self.events,
            spilled: Spilled { digests: &self.spilled, before: self.spilled_before },
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
            ended_ms: self.ended_ms,
        }
    }
}

pub(super) fn identity(tenant: &str, id: &str) -> Identity<'static> {
    Identity { tenant: Cow::Owned(tenant.to_owned()), id: Cow::Owned(id.to_owned()) }
}

pub(super) fn record(pairs: &[(&str, &str)]) -> Record {
    let json: serde_json::Map<_, _> =
        pairs.iter().map(|(key, text)| ((*key).to_owned(), (*text).into())).collect();
    Record::restored(&serde_json::Value::Object(json).to_string()).expect("text pairs")
}

/// A record without its order, which `jsonb` does not keep.
pub(super) fn pairs(record: &Record) -> BTreeMap<&str, &str> {
    record.pairs().collect()
}

pub(super) fn assert_same(row: &Row, sample: &Sample) {
    assert_eq!(row.identity, sample.identity);
    assert_eq!(row.state, sample.state);
    assert_eq!(row.channel, sample.channel);
    assert_eq!(row.queue, sample.queue);
    assert_eq!(row.facts, sample.facts);
    assert_eq!(pairs(&row.record), pairs(&sample.record));
    match (&row.live, &sample.live) {
        (StoredLiveData::Absent, None) => {}
        (StoredLiveData::Open(row), Some(sample)) => assert_eq!(row.0, sample.0),
        (live, _) => panic!("{live:?}"),
    }
    assert_eq!(row.events, sample.events);
    assert_eq!(
        (row.created_ms, row.updated_ms, row.ended_ms),
        (sample.created_ms, sample.updated_ms, sample.ended_ms)
    );
}

pub(super) async fn save(store: &Store, samples: &[Sample]) -> Result<(), StoreError> {
    let own: Vec<_> = samples.iter().map(|sample| sample.identity.clone()).collect();
    let (_, transaction) = store.begin(&own, &[]).await?;
    transaction.save(&samples.iter().map(Sample::change).collect::<Vec<_>>()).await
}

pub(super) async fn create(store: &Store, samples: &[Sample]) {
    save(store, samples).await.expect("saved");
}

/// Has a store come too late once. One on PostgreSQL takes locks from then on, as one on SQLite always
/// does.
pub(super) async fn come_too_late(store: &Store) {
    let stray = Sample { is_new: false, ..Sample::new("t", "unknown") };
    let error = save(store, &[stray]).await.expect_err("nothing to update");
    assert!(matches!(error, StoreError::Conflict), "{error}");
}

/// The rows of `samples`, in the order of their identities.
pub(super) async fn read(store: &Store, samples: &[Sample]) -> Vec<Row> {
    let wanted: Vec<_> = samples.iter().map(|sample| sample.identity.clone()).collect();
    let (mut rows, _) = store.begin(&[], &wanted).await.expect("read");
    rows.sort_by(|a, b| a.identity.cmp(&b.identity));
    rows
}

/// A row that counts in `updated_ms`.
pub(super) fn counter(tenant: &str, id: &str, count: i64) -> Sample {
    Sample { updated_ms: count, ..Sample::new(tenant, id) }
}

/// Adds one to every counter of `own`, creating those that do not exist, until it gets through.
pub(super) async fn count(store: &Store, own: &[Identity<'static>]) {
    loop {
        let (rows, transaction) = store.begin(own, &[]).await.expect("begun");
        let next = own.iter().map(|identity| {
            let found = rows.iter().find(|row| row.identity == *identity);
            let count = found.map_or(0, |row| row.updated_ms) + 1;
            Sample { is_new: found.is_none(), ..counter(&identity.tenant, &identity.id, count) }
        });
        let next: Vec<_> = next.collect();
        match transaction.save(&next.iter().map(Sample::change).collect::<Vec<_>>()).await {
            Ok(()) => return,
            Err(StoreError::Conflict) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

pub(super) async fn counted(store: &Store, own: &[Identity<'static>]) -> Vec<i64> {
    let samples: Vec<_> = own.iter().map(|own| Sample::new(&own.tenant, &own.id)).collect();
    read(store, &samples).await.iter().map(|row| row.updated_ms).collect()
}

/// Adds one, `times` times.
pub(super) async fn count_often(store: &Store, own: &[Identity<'static>], times: i64) {
    for _ in 0..times {
        count(store, own).await;
    }
}
