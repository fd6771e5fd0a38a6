//! The harm that is done to a run: which faults, in which order, and how each is carried out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::client;
use super::driver::{Orders, Progress, Volume};
use super::fleet::{Fleet, Place};
use super::random::Random;
use crate::support::rabbitmq::Node;

/// A fault, to which worker (if it is about one), and for how long (if it lasts).
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    kind: Kind,
    worker: usize,
    lasting: Duration,
}

/// The kinds of faults. What is brief is within the heartbeat of 2 s, what is long is beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    WorkerKilled,
    WorkerStopped,
    BrokerKilled,
    BrokerFrozenBriefly,
    BrokerFrozenLong,
    ConnectionsCut,
    AllConnectionsCut,
    ConnectionsStalledBriefly,
    AllConnectionsStalledLong,
    MemoryAlarm,
    QueueDeleted,
    StoreLocked,
    StoreRestarted,
}

impl Kind {
    const ALL: [Kind; 13] = [
        Kind::WorkerKilled,
        Kind::WorkerStopped,
        Kind::BrokerKilled,
        Kind::BrokerFrozenBriefly,
        Kind::BrokerFrozenLong,
        Kind::ConnectionsCut,
        Kind::AllConnectionsCut,
        Kind::ConnectionsStalledBriefly,
        Kind::AllConnectionsStalledLong,
        Kind::MemoryAlarm,
        Kind::QueueDeleted,
        Kind::StoreLocked,
        Kind::StoreRestarted,
    ];

    /// How long it lasts, from and to, in milliseconds; 0 for what is done at once.
    fn lasting_ms(self) -> (usize, usize) {
        match self {
            Kind::ConnectionsCut | Kind::AllConnectionsCut | Kind::QueueDeleted => (0, 1),
            // Down for so long; meanwhile the others go on.
            Kind::WorkerKilled | Kind::WorkerStopped => (0, 1500),
            Kind::BrokerKilled | Kind::StoreRestarted => (0, 1500),
            Kind::BrokerFrozenBriefly | Kind::ConnectionsStalledBriefly => (300, 1500),
            // Each side misses a peer after two heartbeats, 4 s.
            Kind::BrokerFrozenLong | Kind::AllConnectionsStalledLong => (5000, 7000),
            Kind::MemoryAlarm => (500, 2500),
            Kind::StoreLocked => (500, 3000),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (worker {}, {} ms)", self.kind, self.worker, self.lasting.as_millis())
    }
}

/// The faults of a seed: every kind once, in some order, then every kind again, and so on.
pub(super) fn schedule(seed: u64, count: usize, fleet: &Fleet) -> Vec<Fault> {
    let mut random = Random::of(seed, "faults", 0);
    let mut schedule = Vec::with_capacity(count);
    let mut deck = Vec::new();
    while schedule.len() < count {
        if deck.is_empty() {
            deck.extend(Kind::ALL);
            if matches!(fleet.place, Place::Sqlite) {
                deck.retain(|kind| *kind != Kind::StoreRestarted);
            }
            random.shuffle(&mut deck);
        }
        let kind = deck.pop().expect("it was just filled");
        let (from, to) = kind.lasting_ms();
        let ms = from + random.below(to - from);
        let lasting = Duration::from_millis(u64::try_from(ms).expect("it is small"));
        schedule.push(Fault { kind, worker: random.below(fleet.len()), lasting });
    }
    schedule
}

/// How often each kind was in a schedule.
pub(super) fn tally(schedule: &[Fault]) -> String {
    let count = |kind| schedule.iter().filter(|fault| fault.kind == kind).count();
    let counts = Kind::ALL.map(|kind| format!("{} × {kind:?}", count(kind)));
    counts.join(", ")
}

/// Who does the harm.
pub(super) struct Saboteur {
    pub(super) node: Arc<Node>,
    pub(super) fleet: Fleet,
    /// The work queue.
    pub(super) queue: String,
    pub(super) orders: watch::Sender<Orders>,
    pub(super) progress: watch::Receiver<Progress>,
}

impl Saboteur {
    /// Carries out the schedule, each fault in its share of the traffic.
    pub(super) async fn run(&mut self, schedule: &[Fault], volume: Volume) {
        for (n, fault) in schedule.iter().enumerate() {
            let due = volume.share() * n + volume.share() / 2;
            let sent = self.progress.wait_for(|progress| progress.sent >= due).await;
            let sent = sent.expect("the driver holds the other end").sent;
            self.orders.send_modify(|orders| orders.begun = n + 1);
            println!("  {sent:>7} sent; fault {}: {fault}", n + 1);
            self.carry_out(*fault).await;
        }
        self.orders.send_modify(|orders| orders.over = true);
    }

    async fn carry_out(&mut self, fault: Fault) {
        let Fault { kind, worker, lasting } = fault;
        match kind {
            Kind::WorkerKilled => {
                self.fleet.kill(worker);
                tokio::time::sleep(lasting).await;
                self.fleet.start_again(worker);
            }
            Kind::WorkerStopped => {
                let code = self.fleet.stop(worker).await;
                // 75: it could not finish what it had in hand.
                let log = self.fleet.log(worker);
                assert!(matches!(code, Some(0 | 75)), "worker {worker}: exit {code:?}\n{log}");
                tokio::time::sleep(lasting).await;
                self.fleet.start_again(worker);
            }
            Kind::BrokerKilled => {
                self.on_node(Node::kill).await;
                tokio::time::sleep(lasting).await;
                self.on_node(Node::start_again).await;
            }
            Kind::BrokerFrozenBriefly | Kind::BrokerFrozenLong => {
                self.on_node(Node::freeze).await;
                tokio::time::sleep(lasting).await;
                self.on_node(Node::thaw).await;
            }
            Kind::ConnectionsCut => self.fleet.relay(worker).cut(),
            Kind::AllConnectionsCut => {
                (0..self.fleet.len()).for_each(|which| self.fleet.relay(which).cut());
            }
            Kind::ConnectionsStalledBriefly => {
                self.fleet.relay(worker).stall(true);
                tokio::time::sleep(lasting).await;
                self.fleet.relay(worker).stall(false);
            }
            Kind::AllConnectionsStalledLong => {
                let stall = |stalled| {
                    (0..self.fleet.len()).for_each(|which| self.fleet.relay(which).stall(stalled));
                };
                stall(true);
                tokio::time::sleep(lasting).await;
                stall(false);
            }
            Kind::MemoryAlarm => {
                self.on_node(|node| {
                    node.control(&["set_vm_memory_high_watermark", "0.0000001"]);
                })
                .await;
                tokio::time::sleep(lasting).await;
                self.on_node(|node| node.control(&["set_vm_memory_high_watermark", "0.4"])).await;
            }
            Kind::QueueDeleted => self.delete_queue().await,
            Kind::StoreLocked => self.fleet.lock_store(lasting).await,
            Kind::StoreRestarted => self.restart_store(lasting).await,
        }
    }

    /// Deletes the work queue, and with it whatever is in it: so only once all that must come out
    /// has. The workers declare it again.
    async fn delete_queue(&mut self) {
        self.orders.send_modify(|orders| orders.paused = true);
        let quiet = self.progress.wait_for(|progress| progress.quiet).await;
        drop(quiet.expect("the driver holds the other end"));
        client::delete_queue(&self.node.url, &self.queue).await;
        client::await_queue(&self.node.url, &self.queue).await;
        self.orders.send_modify(|orders| orders.paused = false);
    }

    async fn restart_store(&self, down: Duration) {
        let Place::Postgres { server, .. } = &self.fleet.place else { return };
        let stopping = Arc::clone(server);
        spawn_blocking(move || stopping.stop()).await.expect("it stops");
        tokio::time::sleep(down).await;
        let starting = Arc::clone(server);
        spawn_blocking(move || starting.start_again()).await.expect("it starts");
    }

    /// What is done to a node takes its time, which others shall not lose.
    async fn on_node(&self, what: impl FnOnce(&Node) + Send + 'static) {
        let node = Arc::clone(&self.node);
        spawn_blocking(move || what(&node)).await.expect("the node obeys");
    }
}
