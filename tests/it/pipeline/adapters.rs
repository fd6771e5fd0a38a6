//! Adapters that record their calls in a journal, and fail as the test says.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

use throughline::domain::{Digest, Identity, Record, State};
use throughline::pipeline::ports::{
    Arrival, Delivery, Outgoing, Plaintext, PublishOutcome, Publisher, Row, RowChange, Settlement,
    Settler, Source, Store, StoreError, StoredLiveData, Transaction, TransportError,
};
use throughline::pipeline::ports::{Doubtful, Recall};
use tokio::sync::Semaphore;

/// What happened, in order; shared by all adapters.
#[derive(Clone, Default)]
pub(crate) struct Journal(pub(crate) Arc<Mutex<Vec<String>>>);

impl Journal {
    pub(crate) fn note(&self, line: impl Into<String>) {
        self.0.lock().expect("no test panics here").push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no test panics here").clone()
    }
}

pub(crate) struct TestDelivery {
    pub(crate) name: &'static str,
    pub(crate) body: String,
    pub(crate) arrival: Arrival,
    /// How often the arrival may still be read before the read panics; `None`: it never panics.
    pub(crate) panic_countdown: Option<AtomicU32>,
}

impl Delivery for TestDelivery {
    fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }
    fn arrival(&self) -> &Arrival {
        let is_due = self
            .panic_countdown
            .as_ref()
            .is_some_and(|panic_countdown| panic_countdown.fetch_sub(1, SeqCst) == 1);
        assert!(!is_due, "a fault of our own, as told");
        &self.arrival
    }
}

/// Yields batches as they were laid out.
pub(crate) struct BatchSource(pub(crate) VecDeque<Vec<TestDelivery>>);

impl Source for BatchSource {
    type Delivery = TestDelivery;
    async fn next_batch(&mut self, _max: usize) -> Result<Vec<TestDelivery>, TransportError> {
        Ok(self.0.pop_front().unwrap_or_default())
    }
    fn queue(&self) -> Option<&str> {
        Some("work")
    }
}

/// Answers as told, by what is published; `Confirmed` where nothing is told.
pub(crate) struct ScriptedPublisher {
    pub(crate) journal: Journal,
    pub(crate) answers: HashMap<String, VecDeque<PublishOutcome>>,
    /// A permit is needed for every batch.
    pub(crate) gate: Arc<Semaphore>,
}

impl Publisher<TestDelivery> for ScriptedPublisher {
    async fn publish(
        &mut self,
        batch: &[Outgoing<'_, TestDelivery>],
    ) -> Result<Vec<PublishOutcome>, TransportError> {
        self.gate.acquire().await.expect("the gate is never closed").forget();
        let mut answers = Vec::new();
        for message in batch {
            let what = match message {
                Outgoing::Enriched(message) => {
                    format!("{} {}", message.kind.as_str(), message.correlation_id)
                }
                Outgoing::Further { of, further } => {
                    format!("further {} {}", of.correlation_id, further.routing_key)
                }
                Outgoing::Waiting { delivery, delay, attempts, .. } => format!(
                    "wait {} {}ms for {}",
                    delivery.name,
                    delay.as_millis(),
                    attempts.cause.as_deref().unwrap_or_default()
                ),
                Outgoing::DeadLetter { delivery, reason, stage, .. } => {
                    format!("dead {} {reason} in {stage}", delivery.name)
                }
            };
            let answer = self.answers.get_mut(&what).and_then(VecDeque::pop_front);
            self.journal.note(what);
            answers.push(answer.unwrap_or(PublishOutcome::Confirmed));
        }
        Ok(answers)
    }
}

pub(crate) struct RecordingSettler(pub(crate) Journal);

impl Settler<TestDelivery> for RecordingSettler {
    async fn settle(
        &mut self,
        batch: Vec<(TestDelivery, Settlement)>,
    ) -> Result<(), TransportError> {
        for (delivery, settlement) in batch {
            self.0.note(format!("{settlement:?} {}", delivery.name));
        }
        Ok(())
    }
}

/// Rows in memory; fails as told.
#[derive(Clone, Default)]
pub(crate) struct MemoryStore {
    pub(crate) journal: Journal,
    pub(crate) rows: Arc<Mutex<HashMap<Identity<'static>, StoredRow>>>,
    /// What the next saves come to, before they work.
    pub(crate) faults: Arc<Mutex<VecDeque<StoreError>>>,
    /// What the next beginnings come to, before they work.
    pub(crate) outages: Arc<Mutex<VecDeque<StoreError>>>,
    /// So many saves succeed, but the caller gets no confirmation.
    pub(crate) unanswered: Arc<AtomicU32>,
    /// Interactions whose data the store refuses.
    pub(crate) refused: HashSet<&'static str>,
}

#[derive(Clone)]
pub(crate) struct StoredRow {
    state: State,
    channel: String,
    queue: Option<String>,
    facts: String,
    record: Record,
    live: Option<Plaintext>,
    events: Vec<u8>,
    spilled: Vec<Digest>,
    times: (i64, i64, Option<i64>),
}

impl Store for MemoryStore {
    type Transaction = MemoryStore;
    async fn begin(
        &self,
        own: &[Identity<'_>],
        parents: &[Identity<'_>],
    ) -> Result<(Vec<Row>, MemoryStore), StoreError> {
        if let Some(outage) = self.outages.lock().expect("no test panics here").pop_front() {
            return Err(outage);
        }
        let rows = self.rows.lock().expect("no test panics here");
        let found = own.iter().chain(parents).filter_map(|identity| {
            let identity = identity.to_owned();
            let kept = rows.get(&identity)?.clone();
            Some(Row {
                identity,
                state: kept.state,
                channel: kept.channel,
                queue: kept.queue,
                facts: kept.facts,
                record: kept.record,
                live: kept.live.map_or(StoredLiveData::Absent, StoredLiveData::Open),
                events: kept.events,
                created_ms: kept.times.0,
                updated_ms: kept.times.1,
                ended_ms: kept.times.2,
            })
        });
        Ok((found.collect(), self.clone()))
    }
}

impl MemoryStore {
    fn kept<T>(&self, id: &'static str, look: impl FnOnce(&mut StoredRow) -> T) -> T {
        let identity = Identity { tenant: "".into(), id: id.into() };
        let mut rows = self.rows.lock().expect("no test panics here");
        look(rows.get_mut(&identity).expect("it is known"))
    }

    pub(crate) fn record(&self, id: &'static str) -> String {
        self.kept(id, |kept| kept.record.to_json())
    }

    pub(crate) fn ended_ms(&self, id: &'static str) -> Option<i64> {
        self.kept(id, |kept| kept.times.2)
    }

    pub(crate) fn log_bytes(&self, id: &'static str) -> usize {
        self.kept(id, |kept| kept.events.len())
    }

    /// As a sweep leaves a row.
    pub(crate) fn expire(&self, id: &'static str, ended_ms: i64) {
        self.kept(id, |kept| {
            kept.state = State::Expired;
            kept.live = None;
            kept.times.2 = Some(ended_ms);
        });
    }
}

impl Recall for MemoryStore {
    async fn recall(&mut self, events: &[Doubtful<'_>]) -> Result<Vec<usize>, StoreError> {
        let rows = self.rows.lock().expect("no test panics here");
        let known = |event: &Doubtful<'_>| {
            let row = rows.get(&event.identity.to_owned());
            row.is_some_and(|row| row.spilled.contains(&event.digest))
        };
        Ok((0..events.len()).filter(|place| known(&events[*place])).collect())
    }
}

impl Transaction for MemoryStore {
    async fn save(self, rows: &[RowChange<'_>]) -> Result<(), StoreError> {
        if let Some(fault) = self.faults.lock().expect("no test panics here").pop_front() {
            return Err(fault);
        }
        if rows.iter().any(|row| self.refused.contains(row.identity.id.as_ref())) {
            return Err(StoreError::Refused("as told".to_owned()));
        }
        let mut kept = self.rows.lock().expect("no test panics here");
        let names: Vec<_> = rows.iter().map(|row| row.identity.id.to_string()).collect();
        self.journal.note(format!("save {}", names.join(" ")));
        for row in rows {
            let before = kept.get(&row.identity.to_owned());
            let mut spilled = before.map(|before| before.spilled.clone()).unwrap_or_default();
            assert_eq!(row.spilled.before, spilled.len() as u64);
            spilled.extend(row.spilled.digests);
            kept.insert(
                row.identity.to_owned(),
                StoredRow {
                    state: row.state,
                    channel: row.channel.to_owned(),
                    queue: row.queue.map(str::to_owned),
                    facts: row.facts.to_owned(),
                    record: row.record.clone(),
                    live: row.live.cloned(),
                    events: row.events.to_vec(),
                    spilled,
                    times: (row.created_ms, row.updated_ms, row.ended_ms),
                },
            );
        }
        let left = self.unanswered.load(SeqCst);
        if left > 0 {
            self.unanswered.store(left - 1, SeqCst);
            return Err(StoreError::Unavailable("no answer, as told".to_owned()));
        }
        Ok(())
    }
}
