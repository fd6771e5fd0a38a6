//! Publishes the traffic and checks what the workers publish, while the fault injector runs.
//!
//! Many conversations go on at once, each by its stages. How much may have been sent follows the
//! faults: each fault has a share of the traffic going on around it, however fast the workers are.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::client::{Downstream, Vendor};
use super::conversation::{Event, Stage, conversation};
use super::ledger::Ledger;
use super::model::Interaction;

/// Conversations that go on at once: enough for full batches on several workers.
const CONCURRENT_CONVERSATIONS: usize = 64;
/// If nothing comes out for so long, nothing will. A worker that lost its broker often tries again
/// after 30 s at most; a broker on a busy machine may take minutes to start.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(300);

/// The fault injector's commands to the driver.
#[derive(Clone, Copy, Default)]
pub(super) struct DriverCommands {
    /// Faults that have begun.
    pub(super) begun: usize,
    /// No more faults will come.
    pub(super) over: bool,
    /// Nothing may be sent.
    pub(super) paused: bool,
    /// Nothing may be read.
    pub(super) reading_paused: bool,
    /// Messages that no client can decode, sent beside the traffic.
    pub(super) undecodable: usize,
}

/// The driver's progress, for the fault injector.
#[derive(Clone, Copy, Default)]
pub(super) struct DriverProgress {
    pub(super) sent: usize,
    /// It is paused, and all that must come out has.
    pub(super) quiet: bool,
}

/// How much is sent.
#[derive(Clone, Copy)]
pub(super) struct Volume {
    /// Messages; the last conversation may go beyond.
    pub(super) messages: usize,
    pub(super) faults: usize,
}

impl Volume {
    /// Messages between two faults.
    pub(super) fn share(self) -> usize {
        self.messages / (self.faults + 1)
    }

    fn limit(self, commands: DriverCommands) -> usize {
        if commands.over { self.messages } else { self.share() * (commands.begun + 1) }
    }
}

/// The driver of a run.
pub(super) struct Driver {
    pub(super) seed: u64,
    pub(super) volume: Volume,
    pub(super) vendor: Vendor,
    pub(super) downstream: Downstream,
    pub(super) commands: watch::Receiver<DriverCommands>,
    pub(super) progress: watch::Sender<DriverProgress>,
    pub(super) traffic: Traffic,
}

/// The events that were sent, and the conversations in progress.
#[derive(Default)]
pub(super) struct Traffic {
    pub(super) ledger: Ledger,
    /// The interactions of conversations that are over, as history must have them.
    pub(super) model: Vec<Interaction>,
    open: HashMap<u64, OpenConversation>,
    begun: u64,
    /// Messages of all conversations that have begun.
    planned: usize,
    sent: usize,
    /// To be sent next.
    outbox: Vec<Arc<Event>>,
}

/// A conversation under way.
struct OpenConversation {
    stages: std::vec::IntoIter<Stage>,
    interactions: Vec<Interaction>,
    /// Events of this stage that must still come out.
    awaited: usize,
}

impl Driver {
    /// Runs until all is sent and all that must come out has, and the faults are over.
    pub(super) async fn run(&mut self) {
        loop {
            let commands = *self.commands.borrow_and_update();
            let traffic = &mut self.traffic;
            if !commands.paused {
                traffic.advance(self.seed, self.volume.limit(commands));
                self.vendor.publish(&traffic.outbox).await;
                traffic.sent += traffic.outbox.len();
                traffic.outbox.clear();
            }
            let set_aside = traffic.ledger.undecodable.len() >= commands.undecodable;
            let nothing_outstanding = traffic.ledger.outstanding == 0 && set_aside;
            let quiet = commands.paused && nothing_outstanding;
            self.progress.send_replace(DriverProgress { sent: traffic.sent, quiet });
            let all_sent = traffic.planned >= self.volume.messages && traffic.open.is_empty();
            if commands.over && !commands.paused && all_sent && nothing_outstanding {
                return;
            }
            if commands.reading_paused {
                self.downstream.disconnect().await;
            }
            let reading = !commands.reading_paused;
            tokio::select! {
                output = tokio::time::timeout(OUTPUT_TIMEOUT, self.downstream.next()), if reading => match output {
                    Ok((output, acker)) => {
                        self.downstream.acknowledge(acker).await;
                        if let Some(conversation) = traffic.ledger.record_output(&output) {
                            traffic.record_received(conversation);
                        }
                    }
                    Err(_) if nothing_outstanding => {}
                    Err(_) => panic!(
                        "nothing comes out; {} events and {} of {} undecodable ones are missing, among \
                         them {:?}",
                        traffic.ledger.outstanding,
                        commands.undecodable - traffic.ledger.undecodable.len(),
                        commands.undecodable,
                        traffic.ledger.missing(),
                    ),
                },
                changed = self.commands.changed() => changed.expect("the faults hold the other end"),
            }
        }
    }
}

impl Traffic {
    /// Begins conversations, and sends those on whose stage is over.
    fn advance(&mut self, seed: u64, limit: usize) {
        let over = self.open.iter().filter(|(_, open)| open.awaited == 0);
        let mut over: Vec<_> = over.map(|(n, _)| *n).collect();
        // The order of a map is no seed's.
        over.sort_unstable();
        for n in over {
            self.next_stage(n);
        }
        while self.open.len() < CONCURRENT_CONVERSATIONS && self.planned < limit {
            let n = self.begun;
            self.begun += 1;
            let conversation = conversation(seed, n);
            self.planned += conversation.stages.iter().map(Vec::len).sum::<usize>();
            let stages = conversation.stages.into_iter();
            let interactions = conversation.interactions;
            self.open.insert(n, OpenConversation { stages, interactions, awaited: 0 });
            self.next_stage(n);
        }
    }

    /// Puts the next stage of a conversation into the outbox, and those after it if it has nothing
    /// to wait for. A conversation without a further stage is over.
    fn next_stage(&mut self, n: u64) {
        let open = self.open.get_mut(&n).expect("it is under way");
        while open.awaited == 0 {
            let Some(stage) = open.stages.next() else {
                let open = self.open.remove(&n).expect("it is under way");
                self.model.extend(open.interactions);
                return;
            };
            for event in &stage {
                self.ledger.record_sent(n, event);
            }
            let awaited = stage.iter().filter(|event| self.ledger.is_awaited(event));
            open.awaited = awaited.map(|event| &event.id).collect::<BTreeSet<_>>().len();
            self.outbox.extend(stage);
        }
    }

    fn record_received(&mut self, n: u64) {
        let open = self.open.get_mut(&n).expect("a conversation is over when all has come out");
        open.awaited -= 1;
    }
}
