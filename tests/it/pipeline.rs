//! The line against adapters that fail as told: what is settled, when, and in which order.

pub(crate) mod adapters;
mod batches;
mod gate_queue;
mod long_lives;
mod outputs;
mod traces;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use throughline::clock::Clock;
use throughline::domain::Rules;
use throughline::pipeline::gate_policy::GatePolicy;
use throughline::pipeline::lane::{Lane, LaneError};
use throughline::pipeline::observe::labels::{Answered, Kind, Outcome};
use throughline::pipeline::observe::spans::Tracer;
use throughline::pipeline::observe::tally::Tally;
use throughline::pipeline::plan::outputs::Output;
use throughline::pipeline::ports::{Arrival, Attempts, PublishOutcome, StoreError};
use throughline::pipeline::save::rules_in_force::RulesInForce;
use throughline::pipeline::save::worker::Worker;
use throughline::pipeline::settlement::WaitPolicy;
use throughline::retry::RetrySchedule;
use throughline::telemetry::logs;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::support::log_buffer::LogBuffer;
use adapters::{
    BatchSource, Journal, MemoryStore, RecordingSettler, ScriptedPublisher, TestDelivery,
};

// ---------------------------------------------------------------------------------------- the bench

struct LaneBench {
    journal: Journal,
    store: MemoryStore,
    answers: HashMap<String, VecDeque<PublishOutcome>>,
    gate: Arc<Semaphore>,
    tally: Tally,
    publish_ms: u64,
    outputs: Vec<Output>,
    gating: Option<GatePolicy>,
    tracer: Option<Tracer>,
    batch_messages: usize,
    now_ms: i64,
    rules: Rules,
}

impl LaneBench {
    fn new() -> LaneBench {
        let journal = Journal::default();
        let store = MemoryStore { journal: journal.clone(), ..MemoryStore::default() };
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        LaneBench {
            journal,
            store,
            answers: HashMap::new(),
            gate,
            tally: Tally::default(),
            publish_ms: 250,
            outputs: Vec::new(),
            gating: None,
            tracer: None,
            batch_messages: 100,
            now_ms: 1_000,
            rules: Rules::empty(),
        }
    }

    fn answer(&mut self, what: &str, answers: &[PublishOutcome]) {
        self.answers.insert(what.to_owned(), answers.iter().copied().collect());
    }

    async fn run(&mut self, batches: Vec<Vec<TestDelivery>>) -> Result<(), LaneError> {
        self.run_until(batches, &CancellationToken::new()).await
    }

    async fn run_until(
        &mut self,
        batches: Vec<Vec<TestDelivery>>,
        stop: &CancellationToken,
    ) -> Result<(), LaneError> {
        let worker = Worker {
            store: Arc::new(self.store.clone()),
            rules: Arc::new(RulesInForce::new(self.rules.clone())),
            clock: Clock::manual(self.now_ms),
            patience: WaitPolicy {
                parent_ms: 8_000,
                interaction_ms: 60_000,
                publish_ms: self.publish_ms,
                schedule: RetrySchedule::default(),
            },
            live_ttl_secs: 86_400,
            body_max_bytes: 1_048_576,
            origins: true,
            outputs: self.outputs.clone(),
            wakes_within_batch: false,
            gating: self.gating.clone(),
            tracer: self.tracer.clone(),
        };
        let lane = Lane {
            worker: &worker,
            source: BatchSource(batches.into()),
            publisher: ScriptedPublisher {
                journal: self.journal.clone(),
                answers: std::mem::take(&mut self.answers),
                gate: Arc::clone(&self.gate),
            },
            settler: RecordingSettler(self.journal.clone()),
            batch_messages: self.batch_messages,
            tally: &self.tally,
        };
        lane.run(stop).await
    }
}

fn created(name: &'static str) -> TestDelivery {
    let body = format!(
        r#"{{"type":"interaction.created","id":"{name}","interaction":{{"id":"{name}","channel":"chat"}}}}"#
    );
    TestDelivery { name, body, arrival: Arrival::default(), panic_countdown: None }
}

fn raw(name: &'static str, body: &str) -> TestDelivery {
    TestDelivery { name, body: body.to_owned(), arrival: Arrival::default(), panic_countdown: None }
}

fn again(mut delivery: TestDelivery, count: u32, cause: &str) -> TestDelivery {
    delivery.arrival.attempts =
        Attempts { count, cause: Some(cause.to_owned()), first_seen_ms: Some(1) };
    delivery
}

// ---------------------------------------------------------------------------------------- the tests

#[tokio::test]
async fn nothing_is_settled_before_it_is_saved_and_confirmed() {
    let mut bench = LaneBench::new();
    bench.run(vec![vec![created("a"), created("b")]]).await.expect("the input ends");
    assert_eq!(
        bench.journal.lines(),
        [
            "save a b",
            "interaction.enriched a",
            "interaction.enriched b",
            "Acknowledge a",
            "Acknowledge b"
        ]
    );
}

#[tokio::test]
async fn bad_message_does_not_affect_its_batch() {
    let mut bench = LaneBench::new();
    let update = r#"{"type":"interaction.updated","id":"u","interaction":{"id":"unknown"}}"#;
    let batch = vec![raw("x", "{"), created("a"), raw("u", update), created("a")];
    bench.run(vec![batch]).await.expect("the input ends");
    assert_eq!(
        bench.journal.lines(),
        [
            "save a",
            "dead x not_json in decode",
            "interaction.enriched a",
            "wait u 250ms for interaction_unknown",
            "Acknowledge x",
            "Acknowledge a",
            "Acknowledge u",
            "Acknowledge a",
        ]
    );
    let counts = bench.tally.counts();
    assert_eq!(counts.received, 4);
    let outcomes = [Outcome::Enriched, Outcome::Duplicate, Outcome::Waiting, Outcome::DeadLettered];
    assert_eq!(outcomes.map(|outcome| counts.of(outcome)), [1, 1, 1, 1]);
    assert_eq!(counts.in_hand(), 0);
}

#[tokio::test]
async fn panic_dead_letters_one_message_and_the_lane_continues() {
    let mut bench = LaneBench::new();
    // Asked to be counted, whether it is signed, to be decoded, for its trace, to be worked out: there it
    // panics.
    let faulty = TestDelivery { panic_countdown: Some(5.into()), ..created("b") };
    bench.run(vec![vec![created("a"), faulty, created("c")]]).await.expect("the input ends");
    assert_eq!(
        bench.journal.lines(),
        [
            "save a c",
            "interaction.enriched a",
            "dead b internal in propagate",
            "interaction.enriched c",
            "Acknowledge a",
            "Acknowledge b",
            "Acknowledge c"
        ]
    );
}

#[tokio::test]
async fn unroutable_message_waits_and_is_dead_lettered() {
    let mut bench = LaneBench::new();
    bench.answer("interaction.enriched a", &[PublishOutcome::Returned]);
    bench.answer("interaction.enriched b", &[PublishOutcome::Refused]);
    let batch = vec![created("a"), again(created("b"), 1, "refused"), created("c")];
    bench.run(vec![batch]).await.expect("the input ends");
    assert_eq!(
        bench.journal.lines()[4..],
        [
            "wait a 250ms for unroutable",
            "dead b attempts_exhausted in publish",
            "Acknowledge a",
            "Acknowledge b",
            "Acknowledge c"
        ]
    );
}

#[tokio::test]
async fn saved_then_returned_then_waited_is_still_published() {
    let mut bench = LaneBench::new();
    bench.answer("interaction.enriched a", &[PublishOutcome::Returned]);
    bench.run(vec![vec![created("a")]]).await.expect("the input ends");
    bench.run(vec![vec![again(created("a"), 1, "unroutable")]]).await.expect("the input ends");
    let lines = bench.journal.lines();
    assert_eq!(lines.last().map(String::as_str), Some("Acknowledge a"));
    assert_eq!(lines.iter().filter(|line| *line == "interaction.enriched a").count(), 2);
    assert_eq!(lines.iter().filter(|line| *line == "save a").count(), 1, "applied once");
}

/// Twenty-five interactions whose publications the broker returns at first.
fn unroutable_batch(bench: &mut LaneBench, times: usize) -> Vec<TestDelivery> {
    let name = |n: usize| -> &'static str { Box::leak(format!("m{n}").into_boxed_str()) };
    let deliveries: Vec<_> = (0..25).map(|n| created(name(n))).collect();
    for delivery in &deliveries {
        let what = format!("interaction.enriched {}", delivery.name);
        bench.answer(&what, &vec![PublishOutcome::Returned; times]);
    }
    deliveries
}

#[tokio::test(start_paused = true)]
async fn downstream_outage_is_probed_with_one_message_at_a_time() {
    let mut bench = LaneBench::new();
    bench.publish_ms = 60_000;
    let batch = unroutable_batch(&mut bench, 1);
    for still_untaken in ["m0", "m1", "m2"] {
        let what = format!("interaction.enriched {still_untaken}");
        bench.answer(&what, &[PublishOutcome::Returned; 2]);
    }
    bench.run(vec![batch]).await.expect("the input ends");
    let lines = bench.journal.lines();
    assert!(!lines.iter().any(|line| line.starts_with("wait") || line.starts_with("dead")));
    assert_eq!(lines.iter().filter(|line| line.starts_with("Acknowledge")).count(), 25);
    // All of them, then one by one until the fourth is taken, then the others.
    let published = lines.iter().filter(|line| line.starts_with("interaction.enriched")).count();
    assert_eq!(published, 25 + 4 + 24);
}

#[tokio::test(start_paused = true)]
async fn downstream_outage_holds_a_batch_for_limited_time() {
    let mut bench = LaneBench::new();
    bench.publish_ms = 60_000;
    let batch = unroutable_batch(&mut bench, 1000);
    bench.run(vec![batch, vec![created("other")]]).await.expect("the input ends");
    let lines = bench.journal.lines();
    assert_eq!(lines.iter().filter(|line| line.starts_with("wait m")).count(), 25);
    assert_eq!(lines.last().map(String::as_str), Some("Acknowledge other"));
}

#[tokio::test(start_paused = true)]
async fn long_downstream_outage_logs_at_decreasing_rate() {
    let written = LogBuffer::default();
    let (format, filter) = (logs::Format::Text, "warn".parse().expect("a level"));
    let writer = written.clone();
    let subscriber =
        logs::subscriber(&logs::Settings { format, filter }, false, move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut bench = LaneBench::new();
    bench.publish_ms = 60_000;
    bench.batch_messages = 1;
    let mut batches = vec![unroutable_batch(&mut bench, 1000)];
    for n in 0..99 {
        let name: &'static str = Box::leak(format!("later{n}").into_boxed_str());
        bench.answer(&format!("interaction.enriched {name}"), &[PublishOutcome::Returned; 1000]);
        batches.push(vec![created(name)]);
    }
    bench.run(batches).await.expect("the input ends");
    let lines = written.text();
    let told: Vec<_> = lines.lines().filter(|line| line.contains("no consumer takes")).collect();
    // The first, second, fourth, … of a hundred batches that were held.
    assert_eq!(told.len(), 7, "{told:#?}");
    assert!(told[6].ends_with("batches=64"), "{}", told[6]);
}

#[tokio::test]
async fn unrouted_end_is_acknowledged() {
    let mut bench = LaneBench::new();
    let end = r#"{"type":"interaction.ended","id":"e","interaction":{"id":"a"}}"#;
    bench.answer("interaction.ended e", &[PublishOutcome::Returned]);
    bench.run(vec![vec![created("a"), raw("e", end)]]).await.expect("the input ends");
    assert_eq!(bench.journal.lines().last().map(String::as_str), Some("Acknowledge e"));
    let returned = bench.tally.counts().published(Kind::Ended, Answered::Returned);
    assert_eq!(returned, 1, "but it is counted");
}

#[tokio::test]
async fn message_that_cannot_be_dead_lettered_is_requeued() {
    let mut bench = LaneBench::new();
    bench.answer("dead x not_json in decode", &[PublishOutcome::Refused]);
    bench.run(vec![vec![raw("x", "{"), created("a")]]).await.expect("the input ends");
    assert_eq!(bench.journal.lines()[3..], ["Requeue x", "Acknowledge a"]);
    let counts = bench.tally.counts();
    assert_eq!((counts.of(Outcome::Requeued), counts.of(Outcome::Enriched)), (1, 1));
    assert_eq!(counts.of(Outcome::DeadLettered), 0, "it is not there");
    assert_eq!((counts.received, counts.in_hand()), (2, 0));
}

#[tokio::test]
async fn refused_row_is_isolated_and_dead_lettered() {
    let mut bench = LaneBench::new();
    bench.store.refused.insert("b");
    let batch = vec![created("a"), created("b"), created("c")];
    bench.run(vec![batch]).await.expect("the input ends");
    assert_eq!(
        bench.journal.lines(),
        [
            "save a",
            "save c",
            "interaction.enriched a",
            "dead b internal in save",
            "interaction.enriched c",
            "Acknowledge a",
            "Acknowledge b",
            "Acknowledge c"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_is_waited_out() {
    let mut bench = LaneBench::new();
    let away = || StoreError::Unavailable("as told".to_owned());
    bench.store.faults = Arc::new(Mutex::new([away(), StoreError::Conflict, away()].into()));
    bench.run(vec![vec![created("a")]]).await.expect("the input ends");
    assert_eq!(bench.journal.lines(), ["save a", "interaction.enriched a", "Acknowledge a"]);
    assert_eq!(bench.tally.counts().conflicts, 1);
}

/// A connection may be lost between a commit and its answer. The batch is tried again then, finds its
/// own events in the store, and must not take them for repeats that another worker has published.
#[tokio::test(start_paused = true)]
async fn message_saved_without_confirmation_is_still_published() {
    let mut bench = LaneBench::new();
    bench.store.unanswered = Arc::new(1.into());
    bench.run(vec![vec![created("a"), created("b")], vec![created("a")]]).await.expect("it ends");
    let mut lines = bench.journal.lines();
    lines.retain(|line| !line.starts_with("save"));
    let published = ["interaction.enriched a", "interaction.enriched b"];
    let settled = ["Acknowledge a", "Acknowledge b"];
    // The third message is a repeat like any other.
    assert_eq!(lines, [&published[..], &settled[..], &["Acknowledge a"]].concat());
}

#[tokio::test(start_paused = true)]
async fn stop_during_an_outage_settles_nothing() {
    let mut bench = LaneBench::new();
    let away = (0..1000).map(|_| StoreError::Unavailable("as told".to_owned()));
    bench.store.faults = Arc::new(Mutex::new(away.collect()));
    let stop = CancellationToken::new();
    let later = async {
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        stop.cancel();
    };
    let ran = tokio::join!(bench.run_until(vec![vec![created("a")]], &stop), later).0;
    ran.expect("it was told to stop");
    assert!(bench.journal.lines().is_empty(), "{:?}", bench.journal.lines());
}
