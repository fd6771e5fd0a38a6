//! Holds a batch while no consumer downstream takes what is published.
//!
//! After [`UNTAKEN_MAX`] enriched messages in a row that came back, the lane holds the batch in hand and
//! probes with one message at a time, instead of pushing a whole queue into waiting queues and dead
//! letters. It does so for `waiting.unroutable_secs` per batch, no longer: the messages behind it may be for
//! another consumer.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::settlement_plan::{SettlementPlan, is_untaken};
use super::stage::PublishStage;
use crate::pipeline::ports::{Delivery, PublishOutcome, PublishedKind, Publisher, TransportError};
use crate::pipeline::save::outage::HOLD_SECS;
use crate::retry::ReconnectBackoff;

/// So many enriched messages in a row that come back are no accident of one channel or queue.
/// Fewer than a batch, so that an outage costs no more than the messages of one.
const UNTAKEN_MAX: u32 = 20;

impl<S, Pu, Se> PublishStage<'_, S, Pu, Se> {
    /// Publishes a batch. Where many in a row come back, holds it and asks until some are taken.
    pub(super) async fn publish_or_hold<D: Delivery>(
        &mut self,
        deliveries: &[D],
        plans: &mut [SettlementPlan],
        stop: &CancellationToken,
    ) -> Result<Vec<(usize, PublishOutcome)>, TransportError>
    where
        Pu: Publisher<D>,
    {
        let everything: Vec<_> = (0..plans.len()).collect();
        let mut answered = Vec::new();
        if self.refused_in_a_row < UNTAKEN_MAX {
            answered = self.publish(deliveries, plans, &everything).await?;
            self.count_untaken(plans, &answered);
            if self.refused_in_a_row < UNTAKEN_MAX {
                return Ok(answered);
            }
        }
        // The last ones came back: those of this batch, and, it seems, those of the batch before.
        let came_back = |place: &usize| match answered.iter().find(|(known, _)| known == place) {
            Some((place, answer)) => is_untaken(&plans[*place], *answer),
            None => true,
        };
        let open: Vec<_> = everything.into_iter().filter(came_back).collect();
        let taken = self.probe_until_taken(deliveries, plans, &open, stop).await?;
        let rest: Vec<_> = open.iter().copied().filter(|place| Some(*place) != taken).collect();
        answered.retain(|(place, _)| !open.contains(place));
        answered.extend(taken.map(|place| (place, PublishOutcome::Confirmed)));
        let last = self.publish(deliveries, plans, &rest).await?;
        self.count_untaken(plans, &last);
        answered.extend(last);
        Ok(answered)
    }

    /// Publishes enriched messages of these places one at a time, in turn, with growing delays, until
    /// one is taken. Gives up once a message may not wait any longer for a queue to be bound:
    /// others may be behind this batch that would be taken.
    async fn probe_until_taken<D: Delivery>(
        &mut self,
        deliveries: &[D],
        plans: &mut [SettlementPlan],
        places: &[usize],
        stop: &CancellationToken,
    ) -> Result<Option<usize>, TransportError>
    where
        Pu: Publisher<D>,
    {
        let enriched = |place: &&usize| match &plans[**place] {
            SettlementPlan::Publish(it) => it.message.kind == PublishedKind::Enriched,
            SettlementPlan::Done(_) | SettlementPlan::Act { .. } => false,
        };
        let probes: Vec<_> = places.iter().filter(enriched).copied().collect();
        if probes.is_empty() {
            return Ok(None);
        }
        self.held_batches += 1;
        let batches = self.held_batches;
        // An outage may last for days: its first batch is told, then fewer and fewer.
        if batches.is_power_of_two() {
            tracing::warn!(
                batches,
                "no consumer takes what is published; probing with one message at a time"
            );
        }
        self.tally.progress.set_probing(true);
        // Whatever the patience, the broker's own with what is not acknowledged ends before.
        let patience = Duration::from_millis(self.worker.patience.publish_ms)
            .min(Duration::from_secs(HOLD_SECS));
        let mut held = Duration::ZERO;
        let mut retry = ReconnectBackoff::new();
        for probe in probes.iter().cycle() {
            let delay = retry.next_delay();
            held += delay;
            if held > patience {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => {
                    return Err(TransportError::new("publish: stopped while no consumer took it"));
                }
            }
            let answers = self.publish(deliveries, plans, std::slice::from_ref(probe)).await?;
            self.count_untaken(plans, &answers);
            if self.refused_in_a_row == 0 {
                tracing::info!(batches, "what is published is taken again");
                self.held_batches = 0;
                self.tally.progress.set_probing(false);
                return Ok(Some(*probe));
            }
        }
        Ok(None)
    }

    /// Counts enriched messages in a row that came back.
    fn count_untaken(&mut self, plans: &[SettlementPlan], answers: &[(usize, PublishOutcome)]) {
        for (place, answer) in answers {
            if is_untaken(&plans[*place], *answer) {
                self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
            } else if matches!(&plans[*place], SettlementPlan::Publish(it) if it.message.kind == PublishedKind::Enriched)
            {
                self.refused_in_a_row = 0;
            }
        }
    }
}
