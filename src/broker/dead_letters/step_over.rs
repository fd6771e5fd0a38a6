//! Reading carefully: how a pass gets behind a dead letter that RabbitMQ cannot hand over.

use std::collections::HashMap;
use std::sync::Arc;

use lapin::Channel;
use lapin::options::{BasicGetOptions, BasicNackOptions};

use super::super::amqp_1::Held;
use super::super::dead_letter::Digest;
use super::super::wire::{self, Wire};
use super::super::{Error, NoAnswer, within};
use super::{DeadLetters, GIVE_BACK_POLL};

/// What it takes to read carefully.
#[derive(Default)]
pub(super) struct Careful {
    /// The connection of the pass, in place of the one that is gone; it ends with this.
    _reading: Option<Wire>,
    /// Has a message handed over before the pass takes it.
    tasting: Option<(Wire, Channel)>,
    /// Dead letters that cannot be handed over.
    stepped_over: Vec<Held>,
    /// Which of those that were looked at have not been taken again.
    pub(super) to_pass_over: HashMap<Digest, u32>,
}

impl DeadLetters {
    /// Takes another connection for the one that ended over a dead letter.
    pub(super) async fn begin_carefully(&mut self) -> Result<(), Error> {
        let wire = Wire::open(&self.settings, "read dead letters").await?;
        self.reading = wire.channel(self.answer_timeout).await?;
        self.repairs = Arc::clone(&wire.repairs);
        // What the lost one held, and the one it ended over, which is among those behind the last.
        let behind = if self.held == 0 { self.left } else { self.ready_behind };
        self.await_ready(behind.saturating_add(self.held)).await?;
        self.held = 0;
        let to_pass_over = self.looked_at.clone();
        self.careful = Some(Careful { _reading: Some(wire), to_pass_over, ..Careful::default() });
        Ok(())
    }

    /// Whether the next dead letter can be handed over, or there is none. One that cannot is held.
    pub(super) async fn taste(&mut self) -> Result<bool, Error> {
        let ready = self.ready().await?;
        let Some(careful) = &mut self.careful else { return Ok(true) };
        let (wire, channel) = match careful.tasting.take() {
            Some(tasting) => tasting,
            None => {
                let wire = Wire::open(&self.settings, "taste dead letters").await?;
                let channel = wire.channel(self.answer_timeout).await?;
                (wire, channel)
            }
        };
        let get = channel.basic_get(self.queue.clone(), BasicGetOptions { no_ack: false });
        match within(self.answer_timeout, get).await {
            Ok(got) => {
                if let Some(got) = got {
                    let back = BasicNackOptions { multiple: false, requeue: true };
                    within(self.answer_timeout, got.delivery.acker.nack(back))
                        .await
                        .map_err(|error| self.lost(&error))?;
                    self.await_ready(ready).await?;
                }
                if let Some(careful) = &mut self.careful {
                    careful.tasting = Some((wire, channel));
                }
                Ok(true)
            }
            Err(NoAnswer::No(error)) if wire::fault(&error).is_some() => {
                self.await_ready(ready).await?;
                let held = Held::first_of(&self.settings, self.queue.as_str()).await?;
                if let Some(careful) = &mut self.careful {
                    careful.stepped_over.push(held);
                }
                Ok(false)
            }
            Err(error) => Err(self.lost(&error)),
        }
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
        let late = |_| self.lost(&"somebody else reads, too");
        tokio::time::timeout(self.answer_timeout, back).await.map_err(late)?
    }

    /// Removes the dead letter that [`Error::Undeliverable`] was last said of.
    ///
    /// # Errors
    /// When the broker is lost, or it cannot be told that this is the one: it stays.
    pub async fn discard_undeliverable(&mut self) -> Result<(), Error> {
        let held = self.careful.as_mut().and_then(|careful| careful.stepped_over.pop());
        match held {
            Some(held) if held.is_foreign() => held.remove().await,
            _ => {
                Err(self
                    .lost(&"it cannot be told whether this is the one that cannot be handed over"))
            }
        }
    }
}
