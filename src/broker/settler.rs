//! Settles deliveries: acknowledges, requeues, gives back.
//!
//! Invariants: every delivery is settled once, by its tag, in the order of delivery. One
//! acknowledgement for many (`multiple`) is only sent when every delivery up to it is settled or
//! part of it, so it can never acknowledge a delivery still in progress. An acknowledgement that
//! lapin did not send is an error (trap 6).
//!
//! Deliberately absent: rejecting without requeueing. A message set aside is published as a dead
//! letter, with its reason, and then acknowledged.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, ready};
use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};

use super::consumer::Received;
use super::with_timeout;
use crate::pipeline::ports::{self, Settlement, TransportError};

/// Settles what one [`super::Consumer`] delivers.
#[derive(Debug)]
pub struct Settler {
    frontier: AckFrontier,
    answer_timeout: Duration,
}

/// Which deliveries of the channel are settled. Its size is bounded by the prefetch.
#[derive(Debug, Default)]
struct AckFrontier {
    /// Every tag up to this one is settled.
    through: u64,
    /// Settled tags beyond `through + 1`, which is not.
    ahead: BTreeSet<u64>,
}

/// What one call to the broker settles.
#[derive(Debug, PartialEq, Eq)]
enum AckCommand {
    /// The delivery at this index and all the ones before it.
    AcknowledgeThrough(usize),
    /// The delivery at this index.
    One(usize),
}

impl Settler {
    pub(super) fn new(answer_timeout: Duration) -> Settler {
        Settler { frontier: AckFrontier::default(), answer_timeout }
    }

    async fn sent(
        &self,
        call: impl Future<Output = lapin::Result<bool>>,
    ) -> Result<(), TransportError> {
        let sent = with_timeout(self.answer_timeout, call)
            .await
            .map_err(|error| error.at("settle a delivery"))?;
        if sent {
            Ok(())
        } else {
            Err(TransportError::new("settle a delivery: its channel is gone"))
        }
    }
}

impl ports::Settler<Received> for Settler {
    async fn settle(
        &mut self,
        mut batch: Vec<(Received, Settlement)>,
    ) -> Result<(), TransportError> {
        batch.sort_by_key(|(delivery, _)| delivery.tag);
        let tags: Vec<_> = batch.iter().map(|(delivery, how)| (delivery.tag, *how)).collect();
        let mut sent = Vec::new();
        for command in self.frontier.commands(&tags) {
            let (index, multiple) = match command {
                AckCommand::AcknowledgeThrough(last) => (last, true),
                AckCommand::One(index) => (index, false),
            };
            let (delivery, how) = &batch[index];
            let mut call = Box::pin(send_settlement(&delivery.envelope.acker, *how, multiple));
            // The first poll hands the frame over, in this order. Awaiting that it is written before
            // handing over the next costs a turn of the I/O thread for each delivery, and they are
            // many while one that came before them is held.
            sent.push(match (&mut call).now_or_never() {
                Some(result) => Either::Left(ready(result)),
                None => Either::Right(call),
            });
        }
        for call in sent {
            self.sent(call).await?;
        }
        Ok(())
    }
}

/// Sends the settlement of a delivery, or of all deliveries up to it.
async fn send_settlement(
    acker: &Acker,
    settlement: Settlement,
    multiple: bool,
) -> lapin::Result<bool> {
    match settlement {
        Settlement::Acknowledge => acker.ack(BasicAckOptions { multiple }).await,
        // Reject, not nack: from RabbitMQ 4.3 on, only a reject counts towards the delivery
        // limit, and a failure that never counts would go round for ever.
        Settlement::Requeue => acker.reject(BasicRejectOptions { requeue: true }).await,
        Settlement::GiveBack => {
            acker.nack(BasicNackOptions { requeue: true, multiple: false }).await
        }
    }
}

impl AckFrontier {
    /// The fewest calls that settle `batch`, sorted by tag, and nothing else.
    fn commands(&mut self, batch: &[(u64, Settlement)]) -> Vec<AckCommand> {
        let mut commands = Vec::new();
        for (index, &(tag, how)) in batch.iter().enumerate() {
            let all_before_are_settled = tag == self.through + 1;
            self.settled(tag);
            let command = match how {
                Settlement::Acknowledge if all_before_are_settled => {
                    AckCommand::AcknowledgeThrough(index)
                }
                _ => AckCommand::One(index),
            };
            // An acknowledgement through this one takes in the one through the one before.
            match (commands.last_mut(), &command) {
                (
                    Some(last @ AckCommand::AcknowledgeThrough(_)),
                    AckCommand::AcknowledgeThrough(_),
                ) => {
                    *last = command;
                }
                _ => commands.push(command),
            }
        }
        commands
    }

    fn settled(&mut self, tag: u64) {
        self.ahead.insert(tag);
        while self.ahead.remove(&(self.through + 1)) {
            self.through += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AckCommand::{AcknowledgeThrough, One};
    use Settlement::{Acknowledge as Ack, GiveBack, Requeue};
    use proptest::prelude::*;

    #[test]
    fn consecutive_acknowledgements_are_merged() {
        for (name, batches, expected) in [
            ("all", vec![vec![(1, Ack), (2, Ack), (3, Ack)]], vec![vec![AcknowledgeThrough(2)]]),
            (
                "a requeue in between",
                vec![vec![(1, Ack), (2, Requeue), (3, Ack), (4, Ack)]],
                vec![vec![AcknowledgeThrough(0), One(1), AcknowledgeThrough(3)]],
            ),
            (
                "a gap is filled later",
                vec![vec![(2, Ack), (3, Ack)], vec![(1, Ack), (4, GiveBack), (5, Ack)]],
                vec![
                    vec![One(0), One(1)],
                    vec![AcknowledgeThrough(0), One(1), AcknowledgeThrough(2)],
                ],
            ),
        ] {
            let mut frontier = AckFrontier::default();
            let commands: Vec<_> = batches.iter().map(|batch| frontier.commands(batch)).collect();
            assert_eq!(commands, expected, "{name}");
        }
    }

    proptest! {
        /// Played against what the broker does, every delivery ends as it was said.
        #[test]
        fn only_requested_deliveries_are_settled(
            plan in prop::collection::vec((0_usize..3, 0_u8..4), 0..60),
        ) {
            let deliveries = plan.iter().zip(1_u64..);
            let how = |n: usize| [Ack, Requeue, GiveBack][n];
            let mut frontier = AckFrontier::default();
            let mut outcome = std::collections::BTreeMap::new();
            for turn in 0..4 {
                let batch: Vec<_> = deliveries.clone()
                    .filter(|((_, when), _)| *when == turn)
                    .map(|((n, _), tag)| (tag, how(*n)))
                    .collect();
                for command in frontier.commands(&batch) {
                    match command {
                        AcknowledgeThrough(index) => {
                            for tag in 1..=batch[index].0 {
                                outcome.entry(tag).or_insert(Ack);
                            }
                        }
                        One(index) => {
                            let (tag, how) = batch[index];
                            prop_assert!(outcome.insert(tag, how).is_none(), "settled twice");
                        }
                    }
                }
                for ((n, when), tag) in deliveries.clone() {
                    let expected = (*when <= turn).then(|| how(*n));
                    prop_assert_eq!(outcome.get(&tag).copied(), expected, "tag {}", tag);
                }
            }
        }
    }
}
