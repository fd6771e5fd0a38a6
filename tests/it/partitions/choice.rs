//! Which partition messages are passed on to: a store in memory, a partitioner that is asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pretty_assertions::assert_eq;
use throughline::clock::Clock;
use throughline::domain::Rules;
use throughline::pipeline::lane::{Lane, LaneError};
use throughline::pipeline::observe::progress::Progress;
use throughline::pipeline::observe::tally::Tally;
use throughline::pipeline::partitions::partitioner::Partitioner;
use throughline::pipeline::partitions::{Key, Partitions};
use throughline::pipeline::ports::{
    Arrival, Distributor, PublishOutcome, StoreError, TransportError,
};
use throughline::pipeline::save::rules_in_force::RulesInForce;
use throughline::pipeline::save::worker::Worker;
use throughline::pipeline::settlement::WaitPolicy;
use throughline::retry::RetrySchedule;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::pipeline::adapters::{
    BatchSource, Journal, MemoryStore, RecordingSettler, ScriptedPublisher, TestDelivery,
};

/// Writes down where each message goes; refuses the ones named so.
#[derive(Clone, Default)]
struct RecordingDistributor(Arc<Mutex<Vec<(&'static str, u16)>>>);

impl Distributor<TestDelivery> for RecordingDistributor {
    async fn pass_on(
        &mut self,
        batch: &[(&TestDelivery, u16)],
    ) -> Result<Vec<PublishOutcome>, TransportError> {
        let mut queues = self.0.lock().expect("no test panics here");
        queues.extend(batch.iter().map(|(delivery, partition)| (delivery.name, *partition)));
        let answer = |(delivery, _): &(&TestDelivery, u16)| match delivery.name {
            "refused" => PublishOutcome::Refused,
            _ => PublishOutcome::Confirmed,
        };
        Ok(batch.iter().map(answer).collect())
    }
}

struct PartitionerBench {
    journal: Journal,
    worker: Worker<MemoryStore>,
    queues: RecordingDistributor,
}

impl PartitionerBench {
    fn new() -> PartitionerBench {
        let journal = Journal::default();
        let worker = Worker {
            store: Arc::new(MemoryStore { journal: journal.clone(), ..MemoryStore::default() }),
            rules: Arc::new(RulesInForce::new(Rules::empty())),
            clock: Clock::manual(1_000),
            patience: WaitPolicy {
                parent_ms: 8_000,
                interaction_ms: 60_000,
                publish_ms: 250,
                schedule: RetrySchedule::default(),
            },
            live_ttl_secs: 86_400,
            body_max_bytes: 1_048_576,
            origins: true,
            outputs: Vec::new(),
            wakes_within_batch: false,
            gating: None,
            tracer: None,
        };
        PartitionerBench { journal, worker, queues: RecordingDistributor::default() }
    }

    /// Runs a partitioner that remembers nothing yet, over one batch for each message.
    async fn pass_on(
        &self,
        key: Key,
        deliveries: Vec<TestDelivery>,
    ) -> Result<Vec<u16>, LaneError> {
        self.queues.0.lock().expect("no test panics here").clear();
        let partitioner = Partitioner {
            worker: &self.worker,
            source: BatchSource(deliveries.into_iter().map(|delivery| vec![delivery]).collect()),
            distributor: self.queues.clone(),
            settler: RecordingSettler(self.journal.clone()),
            batch_messages: 10,
            partitions: Partitions::new(1_000, key),
            progress: &Progress::default(),
        };
        partitioner.run(&CancellationToken::new()).await?;
        let queues = self.queues.0.lock().expect("no test panics here");
        Ok(queues.iter().map(|(_, partition)| *partition).collect())
    }

    /// Works these messages through, so that the store knows them.
    async fn save(&self, deliveries: Vec<TestDelivery>) {
        let lane = Lane {
            worker: &self.worker,
            source: BatchSource(VecDeque::from([deliveries])),
            publisher: ScriptedPublisher {
                journal: self.journal.clone(),
                answers: Default::default(),
                gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            },
            settler: RecordingSettler(self.journal.clone()),
            batch_messages: 10,
            tally: &Tally::default(),
        };
        lane.run(&CancellationToken::new()).await.expect("saved");
    }
}

fn delivery(body: &str) -> TestDelivery {
    TestDelivery {
        name: "m",
        body: body.to_owned(),
        arrival: Arrival::default(),
        panic_countdown: None,
    }
}

fn message(what: &str, id: &str, parent: Option<&str>) -> TestDelivery {
    let parent = parent.map_or_else(String::new, |parent| format!(r#","parentId":"{parent}""#));
    delivery(&format!(
        r#"{{"type":"interaction.{what}","id":"{what}-{id}","interaction":{{"id":"{id}","channel":"chat"{parent}}}}}"#
    ))
}

/// A parent, its child, and what happens to the child.
fn conversation() -> Vec<TestDelivery> {
    vec![
        message("created", "P", None),
        message("created", "C", Some("P")),
        message("updated", "C", None),
        message("opened", "C", None),
        message("ended", "C", None),
        message("updated", "P", None),
    ]
}

#[tokio::test]
async fn messages_of_one_key_share_a_partition() {
    let bench = PartitionerBench::new();
    let went = bench.pass_on(Key::Conversation, conversation()).await.expect("passed on");
    assert_eq!(went, [went[0]; 6]);
    let went = bench.pass_on(Key::Interaction, conversation()).await.expect("passed on");
    let [parent, child] = [went[0], went[1]];
    assert_ne!(parent, child);
    assert_eq!(went, [parent, child, child, child, child, parent]);
}

#[tokio::test(start_paused = true)]
async fn forgotten_conversation_is_looked_up_in_the_store() {
    let bench = PartitionerBench::new();
    let first = vec![message("created", "P", None), message("created", "C", Some("P"))];
    let went = bench.pass_on(Key::Conversation, first).await.expect("passed on");
    bench.save(vec![message("created", "P", None), message("created", "C", Some("P"))]).await;
    let later = vec![message("updated", "C", None), message("ended", "P", None)];
    assert_eq!(bench.pass_on(Key::Conversation, later).await.expect("passed on"), went);
    // The interaction stays unknown for longer than the partitioner waits: it gets a partition of its own, and its
    // later messages follow.
    let unknown = || message("updated", "X", None);
    let went =
        bench.pass_on(Key::Conversation, vec![unknown(), unknown()]).await.expect("passed on");
    let own = bench.pass_on(Key::Interaction, vec![unknown()]).await.expect("passed on");
    assert_eq!(went, [own[0]; 2]);
}

#[tokio::test(start_paused = true)]
async fn successor_waits_for_messages_in_flight() {
    let bench = PartitionerBench::new();
    let went = bench.pass_on(Key::Conversation, conversation()).await.expect("passed on");
    // The one before has died, and a lane has not saved yet what it passed on.
    let later = bench.pass_on(Key::Conversation, vec![message("updated", "C", None)]);
    let saving = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.save(vec![message("created", "C", Some("P"))]).await;
    };
    let (later, ()) = tokio::join!(later, saving);
    assert_eq!(later.expect("passed on"), went[..1]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_is_waited_out() {
    let bench = PartitionerBench::new();
    let away = || StoreError::Unavailable("as told".to_owned());
    bench.worker.store.outages.lock().expect("no test panics here").extend([away(), away()]);
    let went = bench.pass_on(Key::Conversation, vec![message("updated", "P", None)]).await;
    assert_eq!(went.expect("passed on").len(), 1);
}

#[tokio::test]
async fn undecodable_and_named_messages_have_a_partition() {
    let bench = PartitionerBench::new();
    let named = |mut delivery: TestDelivery| {
        delivery.arrival.conversation = Some("K".to_owned());
        delivery
    };
    let forged = |mut delivery: TestDelivery| {
        delivery.arrival.is_forged = true;
        delivery
    };
    let deliveries = vec![
        delivery("no json"),
        delivery("no json"),
        delivery("nor this"),
        named(message("created", "P", None)),
        named(delivery("no json")),
        message("created", "P", None),
        forged(message("created", "P", None)),
    ];
    let went = bench.pass_on(Key::Conversation, deliveries).await.expect("passed on");
    assert_eq!(went[0], went[1]);
    assert_ne!(went[0], went[2]);
    assert_eq!(went[3], went[4], "the header alone decides");
    assert_ne!(went[3], went[5]);
    assert_ne!(went[5], went[6], "a forged body is not decoded");
}

#[tokio::test]
async fn refusing_partition_stops_the_partitioner() {
    let bench = PartitionerBench::new();
    let refused = TestDelivery { name: "refused", ..message("created", "B", None) };
    let deliveries = vec![message("created", "A", None), refused, message("created", "C", None)];
    let error = bench.pass_on(Key::Conversation, deliveries).await.expect_err("it cannot go on");
    assert!(error.to_string().contains("partition"), "{error}");
    assert_eq!(bench.journal.lines(), ["Acknowledge m"]);
}
