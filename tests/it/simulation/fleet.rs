//! The workers of a run: real processes on one queue and one store, each behind relays of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use throughline::broker::Settings;

use super::model::RULES;
use super::relay::{Relay, Server};
use super::store_kind::StoreKind;
use crate::support::program::{self, Worker, folder};
use crate::support::rabbitmq::Node;

/// A worker that does not stop within this time hangs: it has 5 s to drain, and 10 s to take leave of
/// a broker that does not answer.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// Settings of every worker: small batches and short times, so that much happens in little time.
const SETTINGS: [(&str, &str); 9] = [
    ("THROUGHLINE_PIPELINE__BATCH_MESSAGES", "20"),
    ("THROUGHLINE_AMQP__PREFETCH_MESSAGES", "40"),
    ("THROUGHLINE_AMQP__HEARTBEAT_SECS", "2"),
    ("THROUGHLINE_AMQP__CONNECT_TIMEOUT_MS", "2000"),
    ("THROUGHLINE_AMQP__CONFIRM_TIMEOUT_MS", "5000"),
    // No fault may come to an end by itself: a parent always arrives, and a queue is always bound
    // in the end.
    ("THROUGHLINE_WAITING__PARENT_SECS", "3600"),
    ("THROUGHLINE_WAITING__UNROUTABLE_SECS", "3600"),
    ("THROUGHLINE_WAITING__UNKNOWN_SECS", "1"),
    ("THROUGHLINE_SHUTDOWN__DRAIN_SECS", "5"),
];

/// How the workers are set up.
#[derive(Clone, Copy)]
pub(super) struct FleetLayout {
    /// Of each worker.
    pub(super) lanes: &'static [usize],
    /// Of the work queue; 0: none.
    pub(super) partitions: u16,
}

/// The workers.
pub(super) struct WorkerFleet {
    pub(super) store: StoreKind,
    broker: Settings,
    partitions: String,
    members: Vec<FleetWorker>,
}

struct FleetWorker {
    folder: TempDir,
    lanes: String,
    broker: Relay,
    /// To the store, where that is a server.
    store: Option<Relay>,
    worker: Mutex<Option<Worker>>,
}

impl FleetWorker {
    fn worker(&self) -> MutexGuard<'_, Option<Worker>> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WorkerFleet {
    /// Starts a worker for each of these numbers of lanes.
    pub(super) async fn start(
        node: &Node,
        broker: &Settings,
        store: StoreKind,
        layout: FleetLayout,
    ) -> WorkerFleet {
        let partitions = layout.partitions.to_string();
        let mut fleet =
            WorkerFleet { store, broker: broker.clone(), partitions, members: Vec::new() };
        for lanes in layout.lanes {
            fleet.members.push(FleetWorker {
                folder: folder(),
                lanes: lanes.to_string(),
                broker: Relay::connect_to(Server::Port(node.amqp_port)).await,
                store: fleet.store.relay().await,
                worker: Mutex::default(),
            });
        }
        (0..fleet.len()).for_each(|which| fleet.start_again(which));
        fleet
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Starts one that was stopped or killed.
    pub(super) fn start_again(&self, which: usize) {
        let member = &self.members[which];
        let store = self.store.settings(member.store.as_ref());
        let mut settings = SETTINGS.to_vec();
        settings.push(("THROUGHLINE_LANES", &member.lanes));
        settings.push(("THROUGHLINE_PARTITIONS__COUNT", &self.partitions));
        settings.extend(store.iter().map(|(name, value)| (*name, value.as_str())));
        let mut broker = self.broker.clone();
        let (scheme, _) = broker.url.rsplit_once(':').expect("a URL with a port");
        broker.url = format!("{scheme}:{}/%2f", member.broker.port);
        let worker = Worker::start(member.folder.path(), &broker, RULES, &settings);
        *member.worker() = Some(worker);
    }

    /// Kills one, if it runs.
    pub(super) fn kill(&self, which: usize) {
        *self.members[which].worker() = None;
    }

    /// Sends one a signal.
    pub(super) fn signal(&self, which: usize, signal: &str) {
        self.members[which].worker().as_ref().expect("it runs").signal(signal);
    }

    /// Stops a worker, and returns its exit code.
    pub(super) async fn stop(&self, which: usize) -> Option<i32> {
        let worker = self.members[which].worker().take().expect("it runs");
        let id = worker.id();
        let stopping = tokio::task::spawn_blocking(move || worker.stop());
        let Ok(status) = tokio::time::timeout(STOP_TIMEOUT, stopping).await else {
            kill(id);
            panic!("worker {which} does not stop:\n{}", self.log(which));
        };
        status.expect("it can be told").code()
    }

    /// The relay between one and the broker.
    pub(super) fn broker_of(&self, which: usize) -> &Relay {
        &self.members[which].broker
    }

    /// The relay between one and the store.
    pub(super) fn store_of(&self, which: usize) -> &Relay {
        self.members[which].store.as_ref().expect("the store is a server")
    }

    /// The end of a worker's log.
    pub(super) fn log(&self, which: usize) -> String {
        let log = std::fs::read_to_string(self.members[which].folder.path().join("worker.log"));
        let log = log.expect("it has logged");
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The rows of `throughline history`.
    pub(super) fn history(&self) -> Vec<serde_json::Value> {
        let settings = self.store.settings(None);
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, &**value)).collect();
        program::history(self.members[0].folder.path(), &settings)
    }
}

impl Drop for WorkerFleet {
    /// A failed run prints the end of each worker's log.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for which in 0..self.members.len() {
                eprintln!("worker {which}:\n{}", self.log(which));
            }
        }
    }
}

/// Kills a process that is no longer awaited.
fn kill(id: u32) {
    assert!(program::signal(id, "KILL"), "process {id} is there");
}
