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

use crate::pipeline::adapters::{Batches, Broker, Counter, Journal, Memory, Parcel};

/// Writes down where each message goes; refuses the ones named so.
#[derive(Clone, Default)]
struct Queues(Arc<Mutex<Vec<(&'static str, u16)>>>);

impl Distributor<Parcel> for Queues {
    async fn pass_on(
        &mut self,
        batch: &[(&Parcel, u16)],
    ) -> Result<Vec<PublishOutcome>, TransportError> {
        let mut queues = self.0.lock().expect("no test panics here");
        queues.extend(batch.iter().map(|(parcel, partition)| (parcel.name, *partition)));
        let answer = |(parcel, _): &(&Parcel, u16)| match parcel.name {
            "refused" => PublishOutcome::Refused,
            _ => PublishOutcome::Confirmed,
        };
        Ok(batch.iter().map(answer).collect())
    }
}

struct Desk {
    journal: Journal,
    worker: Worker<Memory>,
    queues: Queues,
}

impl Desk {
    fn new() -> Desk {
        let journal = Journal::default();
        let worker = Worker {
            store: Arc::new(Memory { journal: journal.clone(), ..Memory::default() }),
            rules: Arc::new(RulesInForce::new(Rules::empty())),
            clock: Clock::manual(1_000),
            patience: WaitPolicy {
                parent_ms: 8_000,
                interaction_ms: 60_000,
                publish_ms: 250,
                ladder: RetrySchedule::default(),
            },
            live_ttl_secs: 86_400,
            body_max_bytes: 1_048_576,
            origins: true,
            outputs: Vec::new(),
            wakes_within_batch: false,
            gating: None,
            tracer: None,
        };
        Desk { journal, worker, queues: Queues::default() }
    }

    /// Runs a partitioner that remembers nothing yet, over one batch for each message.
    async fn pass_on(&self, key: Key, parcels: Vec<Parcel>) -> Result<Vec<u16>, LaneError> {
        self.queues.0.lock().expect("no test panics here").clear();
        let partitioner = Partitioner {
            worker: &self.worker,
            source: Batches(parcels.into_iter().map(|parcel| vec![parcel]).collect()),
            distributor: self.queues.clone(),
            settler: Counter(self.journal.clone()),
            batch_messages: 10,
            partitions: Partitions::new(1_000, key),
            progress: &Progress::default(),
        };
        partitioner.run(&CancellationToken::new()).await?;
        let queues = self.queues.0.lock().expect("no test panics here");
        Ok(queues.iter().map(|(_, partition)| *partition).collect())
    }

    /// Works these messages through, so that the store knows them.
    async fn save(&self, parcels: Vec<Parcel>) {
        let lane = Lane {
            worker: &self.worker,
            source: Batches(VecDeque::from([parcels])),
            publisher: Broker {
                journal: self.journal.clone(),
                answers: Default::default(),
                gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            },
            settler: Counter(self.journal.clone()),
            batch_messages: 10,
            tally: &Tally::default(),
        };
        lane.run(&CancellationToken::new()).await.expect("saved");
    }
}

fn parcel(body: &str) -> Parcel {
    Parcel { name: "m", body: body.to_owned(), arrival: Arrival::default(), fuse: None }
}

fn message(what: &str, id: &str, parent: Option<&str>) -> Parcel {
    let parent = parent.map_or_else(String::new, |parent| format!(r#","parentId":"{parent}""#));
    parcel(&format!(
        r#"{{"type":"interaction.{what}","id":"{what}-{id}","interaction":{{"id":"{id}","channel":"chat"{parent}}}}}"#
    ))
}

/// A parent, its child, and what happens to the child.
fn conversation() -> Vec<Parcel> {
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
async fn a_conversation_goes_one_way_and_an_interaction_goes_one_way() {
    let desk = Desk::new();
    let went = desk.pass_on(Key::Conversation, conversation()).await.expect("passed on");
    assert_eq!(went, [went[0]; 6]);
    let went = desk.pass_on(Key::Interaction, conversation()).await.expect("passed on");
    let [parent, child] = [went[0], went[1]];
    assert_ne!(parent, child);
    assert_eq!(went, [parent, child, child, child, child, parent]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_remembered_is_looked_up() {
    let desk = Desk::new();
    let first = vec![message("created", "P", None), message("created", "C", Some("P"))];
    let went = desk.pass_on(Key::Conversation, first).await.expect("passed on");
    desk.save(vec![message("created", "P", None), message("created", "C", Some("P"))]).await;
    let later = vec![message("updated", "C", None), message("ended", "P", None)];
    assert_eq!(desk.pass_on(Key::Conversation, later).await.expect("passed on"), went);
    // Nobody knows it, for longer than a partitioner waits: it goes its own way, and all that follows goes the same.
    let unknown = || message("updated", "X", None);
    let went =
        desk.pass_on(Key::Conversation, vec![unknown(), unknown()]).await.expect("passed on");
    let own = desk.pass_on(Key::Interaction, vec![unknown()]).await.expect("passed on");
    assert_eq!(went, [own[0]; 2]);
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_over_waits_for_what_is_on_its_way() {
    let desk = Desk::new();
    let went = desk.pass_on(Key::Conversation, conversation()).await.expect("passed on");
    // The one before has died, and a lane has not saved yet what it passed on.
    let later = desk.pass_on(Key::Conversation, vec![message("updated", "C", None)]);
    let saving = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        desk.save(vec![message("created", "C", Some("P"))]).await;
    };
    let (later, ()) = tokio::join!(later, saving);
    assert_eq!(later.expect("passed on"), went[..1]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_is_waited_out() {
    let desk = Desk::new();
    let away = || StoreError::Unavailable("as told".to_owned());
    desk.worker.store.outages.lock().expect("no test panics here").extend([away(), away()]);
    let went = desk.pass_on(Key::Conversation, vec![message("updated", "P", None)]).await;
    assert_eq!(went.expect("passed on").len(), 1);
}

#[tokio::test]
async fn what_is_no_message_and_what_names_its_conversation_has_a_partition() {
    let desk = Desk::new();
    let named = |mut parcel: Parcel| {
        parcel.arrival.conversation = Some("K".to_owned());
        parcel
    };
    let forged = |mut parcel: Parcel| {
        parcel.arrival.is_forged = true;
        parcel
    };
    let parcels = vec![
        parcel("no json"),
        parcel("no json"),
        parcel("nor this"),
        named(message("created", "P", None)),
        named(parcel("no json")),
        message("created", "P", None),
        forged(message("created", "P", None)),
    ];
    let went = desk.pass_on(Key::Conversation, parcels).await.expect("passed on");
    assert_eq!(went[0], went[1]);
    assert_ne!(went[0], went[2]);
    assert_eq!(went[3], went[4], "the header alone decides");
    assert_ne!(went[3], went[5]);
    assert_ne!(went[5], went[6], "nobody looks into what is forged");
}

#[tokio::test]
async fn a_partition_that_refuses_ends_it_before_anything_follows() {
    let desk = Desk::new();
    let refused = Parcel { name: "refused", ..message("created", "B", None) };
    let parcels = vec![message("created", "A", None), refused, message("created", "C", None)];
    let error = desk.pass_on(Key::Conversation, parcels).await.expect_err("it cannot go on");
    assert!(error.to_string().contains("partition"), "{error}");
    assert_eq!(desk.journal.lines(), ["Acknowledge m"]);
}
