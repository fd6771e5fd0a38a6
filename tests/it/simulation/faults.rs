//! The harm that is done to a run: how each kind of fault is carried out.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::client;
use super::driver::{DriverCommands, DriverProgress, Volume};
use super::fleet::WorkerFleet;
use super::schedule::{Fault, FaultKind, FaultStep};
use crate::support::foreign::{Foreign, Odd};
use crate::support::rabbitmq::Node;

/// The name of the policy that makes a queue full.
const FULL: &str = "full";

/// Injects the faults of a schedule into a run.
pub(super) struct FaultInjector {
    pub(super) node: Arc<Node>,
    pub(super) fleet: WorkerFleet,
    /// The work queue.
    pub(super) queue: String,
    /// The exchange and the queue that the system downstream consumes from.
    pub(super) outbound: (String, String),
    pub(super) commands: watch::Sender<DriverCommands>,
    pub(super) progress: watch::Receiver<DriverProgress>,
}

impl FaultInjector {
    /// Carries out the schedule, each fault in its share of the traffic.
    pub(super) async fn run(&self, schedule: &[FaultStep], volume: Volume) {
        let mut begun = 0;
        for step in schedule {
            let due = volume.share() * begun + volume.share() / 2;
            let mut progress = self.progress.clone();
            let sent = progress.wait_for(|progress| progress.sent >= due).await;
            let sent = sent.expect("the driver holds the other end").sent;
            for fault in step {
                begun += 1;
                println!("  {sent:>7} sent; fault {begun}: {fault}");
            }
            self.commands.send_modify(|commands| commands.begun = begun);
            join_all(step.iter().map(|fault| self.carry_out(*fault))).await;
        }
        self.commands.send_modify(|commands| commands.over = true);
    }

    async fn carry_out(&self, fault: Fault) {
        let Fault { kind, worker, after, lasting, bytes } = fault;
        let (fleet, store) = (&self.fleet, &self.fleet.store);
        tokio::time::sleep(after).await;
        match kind {
            FaultKind::WorkerKilled => {
                fleet.kill(worker);
                tokio::time::sleep(lasting).await;
                fleet.start_again(worker);
            }
            FaultKind::WorkerStopped => {
                let code = fleet.stop(worker).await;
                // 75: it could not finish its messages in time.
                let log = fleet.log(worker);
                assert!(matches!(code, Some(0 | 75)), "worker {worker}: exit {code:?}\n{log}");
                tokio::time::sleep(lasting).await;
                fleet.start_again(worker);
            }
            FaultKind::WorkerFrozen => {
                fleet.signal(worker, "STOP");
                tokio::time::sleep(lasting).await;
                fleet.signal(worker, "CONT");
            }
            FaultKind::BrokerKilled => {
                self.on_node(Node::kill).await;
                tokio::time::sleep(lasting).await;
                self.on_node(Node::start_again).await;
            }
            FaultKind::BrokerFrozenBriefly | FaultKind::BrokerFrozenLong => {
                self.on_node(Node::freeze).await;
                tokio::time::sleep(lasting).await;
                self.on_node(Node::thaw).await;
            }
            FaultKind::MemoryAlarm => {
                self.control(&["set_vm_memory_high_watermark", "0.0000001"]).await;
                tokio::time::sleep(lasting).await;
                self.control(&["set_vm_memory_high_watermark", "0.4"]).await;
            }
            FaultKind::Undecodable => self.publish_undecodable().await,
            FaultKind::DownstreamUnbound => {
                let (exchange, queue) = &self.outbound;
                client::bind_ends_only(&self.node.url, exchange, queue, true).await;
                tokio::time::sleep(lasting).await;
                client::bind_ends_only(&self.node.url, exchange, queue, false).await;
            }
            FaultKind::DownstreamFull => {
                // The client downstream does not read, and its queue has space for one message.
                let queue = format!("^{}$", self.outbound.1);
                let bound = r#"{"max-length":1,"overflow":"reject-publish"}"#;
                self.commands.send_modify(|commands| commands.reading_paused = true);
                self.control(&["set_policy", "--apply-to", "queues", FULL, &queue, bound]).await;
                tokio::time::sleep(lasting).await;
                self.control(&["clear_policy", FULL]).await;
                self.commands.send_modify(|commands| commands.reading_paused = false);
            }
            FaultKind::ConnectionsCut => fleet.broker_of(worker).cut(),
            FaultKind::AllConnectionsCut => {
                (0..fleet.len()).for_each(|which| fleet.broker_of(which).cut());
            }
            FaultKind::ConnectionsStalledBriefly => {
                fleet.broker_of(worker).stall(true);
                tokio::time::sleep(lasting).await;
                fleet.broker_of(worker).stall(false);
            }
            FaultKind::AllConnectionsStalledLong => {
                (0..fleet.len()).for_each(|which| fleet.broker_of(which).stall(true));
                tokio::time::sleep(lasting).await;
                (0..fleet.len()).for_each(|which| fleet.broker_of(which).stall(false));
            }
            FaultKind::AllConnectionsSlow => {
                (0..fleet.len()).for_each(|which| fleet.broker_of(which).slow(true));
                tokio::time::sleep(lasting).await;
                (0..fleet.len()).for_each(|which| fleet.broker_of(which).slow(false));
            }
            FaultKind::QueueDeleted => self.delete_queue().await,
            FaultKind::StoreLockedBriefly | FaultKind::StoreLockedLong => store.lock(lasting).await,
            FaultKind::RowsLockedLong => store.lock_rows(lasting).await,
            FaultKind::StoreRestarted => store.restart(false, lasting).await,
            FaultKind::StoreKilled => store.restart(true, lasting).await,
            FaultKind::DiskFull => store.fill(bytes, lasting).await,
            FaultKind::StoreCut => fleet.store_of(worker).cut(),
            FaultKind::AllStoreCut => {
                (0..fleet.len()).for_each(|which| fleet.store_of(which).cut());
            }
            FaultKind::StoreStalledBriefly => {
                fleet.store_of(worker).stall(true);
                tokio::time::sleep(lasting).await;
                fleet.store_of(worker).stall(false);
            }
            FaultKind::AllStoreStalledLong => {
                (0..fleet.len()).for_each(|which| fleet.store_of(which).stall(true));
                tokio::time::sleep(lasting).await;
                (0..fleet.len()).for_each(|which| fleet.store_of(which).stall(false));
            }
            FaultKind::AllStoreSlow => {
                (0..fleet.len()).for_each(|which| fleet.store_of(which).slow(true));
                tokio::time::sleep(lasting).await;
                (0..fleet.len()).for_each(|which| fleet.store_of(which).slow(false));
            }
        }
    }

    /// Puts messages into the work queue that no client can decode, one of each kind.
    async fn publish_undecodable(&self) {
        let (url, queue) = (self.node.url.clone(), self.queue.clone());
        let sent = self.commands.borrow().undecodable;
        let kinds = Odd::ALL.into_iter().filter(|kind| !matches!(kind, Odd::RoutingKey));
        let published = spawn_blocking(move || {
            let mut foreign = Foreign::connect(&url);
            let bodies = (sent..).zip(kinds);
            bodies.map(|(n, kind)| foreign.publish("", &queue, kind, &n.to_string())).count()
        });
        let published = published.await.expect("the broker takes them");
        self.commands.send_modify(|commands| commands.undecodable += published);
    }

    /// Deletes the work queue, and with it whatever is in it: so only once all that must come out
    /// has. The workers declare it again.
    async fn delete_queue(&self) {
        self.commands.send_modify(|commands| commands.paused = true);
        let mut progress = self.progress.clone();
        let quiet = progress.wait_for(|progress| progress.quiet).await;
        drop(quiet.expect("the driver holds the other end"));
        client::delete_queue(&self.node.url, &self.queue).await;
        client::await_queue(&self.node.url, &self.queue).await;
        self.commands.send_modify(|commands| commands.paused = false);
    }

    /// Runs `rabbitmqctl`.
    async fn control(&self, arguments: &[&str]) {
        let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self.on_node(move |node| {
            node.control(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        })
        .await;
    }

    /// Commands to a node block, so they run on a thread of their own.
    async fn on_node(&self, what: impl FnOnce(&Node) + Send + 'static) {
        let node = Arc::clone(&self.node);
        spawn_blocking(move || what(&node)).await.expect("the node obeys");
    }
}
