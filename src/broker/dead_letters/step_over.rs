//! How a pass gets behind dead letters that RabbitMQ cannot hand over.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::Error;
use super::super::amqp_1::HeldDeadLetters;
use super::super::broker_connection::BrokerConnection;
use super::super::dead_letter::Digest;
use super::{DeadLetters, GIVE_BACK_POLL};

/// What a pass has after its connection ended over a dead letter.
pub(super) struct SteppedOver {
    /// The connection of the pass, in place of the one that is gone; it ends with this.
    _reading: BrokerConnection,
    /// Dead letters that cannot be handed over.
    held: HeldDeadLetters,
    /// How many of these are not reported yet.
    pub(super) unreported: usize,
    /// Which of those that were looked at have not been taken again.
    pub(super) to_pass_over: HashMap<Digest, u32>,
}

impl DeadLetters {
    /// Takes another connection for the one that ended over a dead letter, and has all that cannot be
    /// handed over held.
    pub(super) async fn step_over(&mut self) -> Result<(), Error> {
        let wire = BrokerConnection::open(&self.settings, "read dead letters").await?;
        self.reading = wire.channel(self.answer_timeout).await?;
        self.repairs = Arc::clone(&wire.repairs);
        // What the lost one held, and the one it ended over, which is among those behind the last.
        let behind = if self.held == 0 { self.left } else { self.ready_behind };
        self.await_ready(behind.saturating_add(self.held)).await?;
        self.held = 0;
        let ready = self.ready().await?;
        let held =
            HeldDeadLetters::hold_foreign(&self.settings, self.queue.as_str(), ready).await?;
        let unreported = held.count();
        if unreported == 0 {
            return Err(self.lost(&"RabbitMQ cannot hand one over, and it is not seen which"));
        }
        self.await_ready(ready.saturating_sub(u32::try_from(unreported).unwrap_or(u32::MAX)))
            .await?;
        let to_pass_over = self.looked_at.clone();
        self.stepped_over = Some(SteppedOver { _reading: wire, held, unreported, to_pass_over });
        Ok(())
    }

    /// Waits until so many are ready: what a lost connection held comes back a moment after its end.
    async fn await_ready(&self, expected: u32) -> Result<(), Error> {
        let back = async {
            let mut polls = tokio::time::interval(GIVE_BACK_POLL);
            while self.ready().await? < expected {
                polls.tick().await;
            }
            Ok(())
        };
        let late = |_| self.lost(&"another consumer is reading the queue");
        tokio::time::timeout(self.answer_timeout, back).await.map_err(late)?
    }

    /// Removes one of the dead letters for which [`Error::Undeliverable`] was returned.
    ///
    /// # Errors
    /// When the broker is lost: it stays, unless only the answer is lost.
    pub async fn discard_undeliverable(&mut self) -> Result<(), Error> {
        if let Some(stepped_over) = &mut self.stepped_over
            && stepped_over.held.remove().await?
        {
            return Ok(());
        }
        Err(self.lost(&"nothing is held that cannot be handed over"))
    }
}
