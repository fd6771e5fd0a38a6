//! Every case once more through workers that run: one lane, four lanes, four partitions and three
//! processes. The result is the same whichever worker receives a message.
//!
//! A case's messages are sent one after the other, each when the one before is settled, so that
//! consecutive ones meet other lanes and the store is all that they share. The rules are changed while
//! the workers run, and the store is emptied between cases. Waiting queues have no TTL here: a waiting
//! message is not retried, unless the case is about its last attempt.
//!
//! The test compares the visible results: the outcome of a message, the published message, the reason
//! of a dead letter. Only `explain` shows `dropped`, and warnings about unpublished messages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use lapin::BasicProperties;
use lapin::message::BasicGetMessage;
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use lapin::types::AMQPValue;
use tempfile::TempDir;
use throughline::broker::Topology;
use throughline::cases::{ActualResult, Case, CaseFile, Expectation, pairs_as_written};
use throughline::domain::json::{elements, members};
use throughline::http::Status;
use throughline::retry::RetrySchedule;
use throughline::settings::rules_file::{Document, compile};

use super::all_files;
use crate::partitions::unpartitioned;
use crate::support::bench::{self, Bench, headers, quorum, text};
use crate::support::monitored_worker::{MonitoredWorker, poll_until_some};
use crate::support::postgres::Database;
use crate::support::program::{folder, store_variables, write};
use crate::support::rabbitmq;

/// More attempts than any wait policy allows.
const LAST_ATTEMPT: i64 = 1_000_000;

/// How the workers are set up.
#[derive(Clone, Copy)]
struct FleetLayout {
    workers: usize,
    lanes: usize,
    /// 0: none.
    partitions: u16,
}

#[tokio::test]
async fn one_lane() {
    all_cases_pass(FleetLayout { workers: 1, lanes: 1, partitions: 0 }).await;
}

#[tokio::test]
async fn four_lanes() {
    all_cases_pass(FleetLayout { workers: 1, lanes: 4, partitions: 0 }).await;
}

#[tokio::test]
async fn four_partitions_and_three_processes() {
    all_cases_pass(FleetLayout { workers: 3, lanes: 1, partitions: 4 }).await;
}

async fn all_cases_pass(layout: FleetLayout) {
    let played = load_cases();
    let share = played.len().div_ceil(layout.workers);
    bench::with_bench(rabbitmq::shared(), async |bench| {
        let mut fleet = WorkerFleet::start(bench, layout).await;
        let mut failed = Vec::new();
        for (n, PlayedCase { name, case, document, revision }) in played.iter().enumerate() {
            // A rolling upgrade: the other workers take over its messages, and a successor starts.
            if n > 0 && n % share == 0 {
                fleet.replace(bench, n / share - 1).await;
            }
            fleet.apply_rules(document, revision).await;
            let differences = fleet.play(bench, case).await.differences(&case.expect);
            if !differences.is_empty() {
                failed.push(format!("{name}\n  {}", differences.join("\n  ")));
            }
        }
        assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
        fleet.assert_nothing_is_left(bench).await;
        fleet.assert_all_worked();
    })
    .await;
}

/// A case, with the rules that it is played by.
struct PlayedCase {
    name: String,
    case: Case,
    document: Document,
    revision: String,
}

/// All cases that have a message, by rules: those that follow each other need no change of them. Rules
/// that are refused reach no worker.
fn load_cases() -> Vec<PlayedCase> {
    let mut played = Vec::new();
    for path in all_files() {
        let file = CaseFile::load(&path).expect("a case file");
        for case in file.cases.iter().filter(|case| case.given.is_some() || !case.before.is_empty())
        {
            let document = file.rules_of(case).expect("the rules can be read");
            let Ok(loaded) = compile(&document) else { continue };
            let revision = loaded.rules.revision().as_str().to_owned();
            let name = format!("{}: {}", path.display(), case.name);
            played.push(PlayedCase { name, case: case.clone(), document, revision });
        }
    }
    played.sort_by(|one, other| one.revision.cmp(&other.revision));
    played
}

/// The workers of one store, and the queues that they publish to.
struct WorkerFleet {
    layout: FleetLayout,
    database: Database,
    /// The first holds the rules, the others are the workers'.
    folders: Vec<TempDir>,
    workers: Vec<MonitoredWorker>,
    rules: PathBuf,
    revision: String,
    /// The queue that a message comes back to when it has waited.
    queue: String,
    downstream: String,
    /// The first of them is where a message waits first.
    waiting: Vec<String>,
    /// Worker and lane of all that took a message.
    active_lanes: BTreeSet<(usize, usize)>,
}

/// The result of a message, as a client of the broker and of the HTTP server sees it.
struct ObservedResult {
    /// The outcome that the worker counted.
    outcome: String,
    /// The message that the worker published, if any.
    message: Option<BasicGetMessage>,
}

impl ObservedResult {
    /// The differences from the expectations of a case, a line each.
    fn differences(&self, expect: &Expectation) -> Vec<String> {
        let mut expect = expect.clone();
        // These only `explain` and `test` tell.
        (expect.dropped, expect.rules_warnings) = (Vec::new(), Vec::new());
        let actual = self.actual();
        if actual.maps.is_none() {
            expect.warnings = Vec::new();
        }
        expect.differences(&actual, &[])
    }

    fn actual(&self) -> ActualResult {
        let outcome = match self.outcome.as_str() {
            "dead_lettered" => "rejected",
            other => other,
        };
        let actual = ActualResult { outcome: Some(outcome.to_owned()), ..ActualResult::default() };
        let Some(message) = &self.message else { return actual };
        match outcome {
            "rejected" => {
                let headers = message.properties.headers().as_ref().expect("it has headers");
                let header = |name: &str| match headers.inner().get(name) {
                    Some(AMQPValue::LongString(text)) => Some(text.to_string()),
                    _ => panic!("it has {name}"),
                };
                let reason = header("x-throughline-reason");
                ActualResult { reason, detail: header("x-throughline-detail"), ..actual }
            }
            "enriched" | "ended" => {
                let body = std::str::from_utf8(&message.data).expect("what is published is UTF-8");
                let word = |json: &str| json.trim_matches('"').to_owned();
                let interaction = member(body, "interaction").expect("it is about one");
                let maps = ["userData", "metadata", "extraData"];
                let maps = maps.map(|name| member(interaction, name).unwrap_or("{}"));
                let origins = pairs_as_written(member(body, "origins").unwrap_or("{}"));
                let warnings = elements(member(body, "warnings").unwrap_or("[]"));
                let warnings = warnings.expect("an array").into_iter();
                ActualResult {
                    parent: member(body, "parent").map(word),
                    maps: Some(maps.map(pairs_as_written)),
                    origins: origins.into_iter().map(|(key, json)| (key, word(&json))).collect(),
                    warnings: warnings
                        .map(|warning| word(member(warning.get(), "code").expect("a code")))
                        .collect(),
                    ..actual
                }
            }
            _ => actual,
        }
    }
}

/// A member of an object.
fn member<'j>(json: &'j str, name: &str) -> Option<&'j str> {
    let mut members = members(json).expect("an object").into_iter();
    members.find(|(key, _)| key.to_string() == name).map(|(_, value)| value.get())
}

impl WorkerFleet {
    async fn start(bench: &mut Bench, layout: FleetLayout) -> WorkerFleet {
        let mut source = bench.settings.inbound().remove(0);
        if layout.partitions > 0 {
            source = source.partitioned(layout.partitions, None);
            bench.settings.sources = vec![source.clone()];
        }
        let delays = RetrySchedule::default().delays();
        let waiting: Vec<_> = delays.iter().map(|delay| source.waiting_queue(*delay)).collect();
        bench.topology = Topology::new(&bench.settings, &delays);
        for queue in bench.topology.queues.iter_mut().filter(|queue| waiting.contains(&queue.name))
        {
            queue.arguments.retain(|(name, _)| *name == "x-queue-type");
        }
        bench.declare().await;

        let downstream = bench.downstream("#", quorum()).await;
        let folders = vec![folder()];
        let mut fleet = WorkerFleet {
            layout,
            database: Database::create().await,
            rules: write(folders[0].path(), "rules.json", "{}"),
            folders,
            workers: Vec::new(),
            revision: String::new(),
            queue: source.queue,
            downstream,
            waiting,
            active_lanes: BTreeSet::new(),
        };
        for _ in 0..layout.workers {
            let worker = fleet.start_worker(bench).await;
            fleet.workers.push(worker);
        }
        fleet
    }

    async fn start_worker(&mut self, bench: &Bench) -> MonitoredWorker {
        self.folders.push(folder());
        let own = self.folders.last().expect("it has been pushed").path();
        let (lanes, partitions) =
            (self.layout.lanes.to_string(), self.layout.partitions.to_string());
        let [store_url, live_key] = store_variables(&self.database);
        let settings = [
            store_url,
            live_key,
            ("THROUGHLINE_TOPOLOGY__DECLARE", "false"),
            ("THROUGHLINE_RULES__FILE", self.rules.to_str().expect("a temporary folder")),
            ("THROUGHLINE_RULES__WATCH_SECS", "0"),
            ("THROUGHLINE_LANES", &lanes),
            ("THROUGHLINE_PARTITIONS__COUNT", &partitions),
        ];
        let broker = unpartitioned(bench);
        let worker = MonitoredWorker::start(own, &broker, "", &settings).await;
        worker.await_missing(vec![]).await;
        worker
    }

    /// Stops a worker, and starts another in its place.
    async fn replace(&mut self, bench: &Bench, which: usize) {
        let stops = self.workers.remove(which);
        assert_eq!(stops.worker.stop().code(), Some(0));
        let successor = self.start_worker(bench).await;
        self.workers.insert(which, successor);
    }

    /// Has all workers take these rules.
    async fn apply_rules(&mut self, document: &Document, revision: &str) {
        if self.revision == revision {
            return;
        }
        std::fs::write(&self.rules, document.as_json()).expect("the folder can be written");
        for worker in &self.workers {
            worker.worker.signal("HUP");
        }
        for worker in &self.workers {
            poll_until_some(async || {
                (worker.json("/version").await["rules_revision"] == revision).then_some(())
            })
            .await;
        }
        self.revision = revision.to_owned();
    }

    /// Plays a case, and gives the result of its last message.
    async fn play(&mut self, bench: &Bench, case: &Case) -> ObservedResult {
        self.database.execute("DELETE FROM throughline_interaction").await;
        let format = case.format.as_deref().map(|name| ("x-throughline-format", text(name)));
        let properties = BasicProperties::default().with_headers(headers(format));
        let mut seen = None;
        for body in case.before.iter().chain(&case.given) {
            let before = self.finished_by_outcome().await;
            bench.send("any", properties.clone(), body).await;
            seen = Some(self.observe_result(bench, before).await);
        }
        let mut seen = seen.expect("it has a message");
        while case.last_attempt && seen.outcome == "waiting" {
            let before = self.finished_by_outcome().await;
            self.return_from_waiting(
                bench,
                seen.message.as_ref().expect("what waits is somewhere"),
            )
            .await;
            seen = self.observe_result(bench, before).await;
        }
        seen
    }

    /// Publishes a waiting message to its queue again, as after its last attempt.
    async fn return_from_waiting(&self, bench: &Bench, waiting: &BasicGetMessage) {
        let mut table = waiting.properties.headers().clone().expect("it says since when");
        table.insert("x-throughline-attempts".into(), AMQPValue::LongLongInt(LAST_ATTEMPT));
        let (properties, queue) =
            (waiting.properties.clone().with_headers(table), self.queue.as_str());
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let sent = bench.channel.basic_publish(
            "".into(),
            queue.into(),
            options,
            &waiting.data,
            properties,
        );
        assert!(sent.await.expect("sent").await.expect("answered").is_ack());
    }

    /// Waits for the result of the one message in flight.
    async fn observe_result(
        &mut self,
        bench: &Bench,
        before: BTreeMap<String, u64>,
    ) -> ObservedResult {
        let outcome = poll_until_some(async || {
            let mut now = self.finished_by_outcome().await.into_iter();
            now.find(|(word, count)| before.get(word) != Some(count)).map(|(word, _)| word)
        });
        let outcome = outcome.await;
        let queue = match outcome.as_str() {
            "enriched" | "ended" => &self.downstream,
            "dead_lettered" => &bench.settings.dead_letters,
            "waiting" => &self.waiting[0],
            "ignored" | "duplicate" => return ObservedResult { outcome, message: None },
            other => panic!("it is {other}"),
        };
        let options = BasicGetOptions { no_ack: true };
        let message = bench.channel.basic_get(queue.as_str().into(), options).await;
        let message = message.expect("the queue is there").expect("what is settled is confirmed");
        ObservedResult { outcome, message: Some(message) }
    }

    /// Nothing came out that no case knows of.
    async fn assert_nothing_is_left(&self, bench: &Bench) {
        let outlets = [&self.downstream, &bench.settings.dead_letters];
        for queue in self.waiting.iter().chain(outlets) {
            assert_eq!(bench.ready(queue).await, 0, "{queue}");
        }
    }

    /// How many messages were finished, by outcome.
    async fn finished_by_outcome(&mut self) -> BTreeMap<String, u64> {
        let mut finished = BTreeMap::new();
        for (which, worker) in self.workers.iter().enumerate() {
            let answer = worker.get("/status").await;
            let status: Status = serde_json::from_slice(&answer.body).expect("a status");
            for (outcome, count) in status.finished {
                *finished.entry(outcome).or_default() += count;
            }
            let busy = status.lanes.iter().filter(|lane| lane.received > 0);
            self.active_lanes.extend(busy.map(|lane| (which, lane.lane)));
        }
        finished
    }

    /// Every worker did some of it, and every lane or partition.
    fn assert_all_worked(&self) {
        let workers: BTreeSet<_> = self.active_lanes.iter().map(|(worker, _)| *worker).collect();
        assert_eq!(workers.len(), self.layout.workers, "{:?}", self.active_lanes);
        let lanes: BTreeSet<_> = self.active_lanes.iter().map(|(_, lane)| *lane).collect();
        let expected = self.layout.lanes.max(usize::from(self.layout.partitions));
        assert!(lanes.len() >= expected, "{:?}", self.active_lanes);
    }
}
