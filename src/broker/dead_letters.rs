//! One pass over the dead-letter queue: read each dead letter, replay it, or discard it.
//!
//! ```text
//! next ─▶ DeadLetter ─┬─ discard   acknowledge
//!                     ├─ replay    resend, confirmed and not returned; then acknowledge
//!                     └─ dropped   given back when the pass ends
//! ```
//!
//! Invariants:
//! - A pass ends: it looks at no more messages than lay ready in the queue when it began. A
//!   replayed message that fails is set aside again at the queue's end, and is left for another pass.
//! - A dead letter is acknowledged only when the work queue has it. A crash in between leaves it in
//!   both: replayed again, its event is recognised by its id, and *finished* rather than applied
//!   twice, since a replay says so in its headers.
//! - A replay reaches the work queue it came from and no other. It goes through the default
//!   exchange: through the inbound one, every other queue bound there would get the event a second
//!   time, and the bindings would decide whether it reaches this worker. Its first routing key is in
//!   its header.
//! - However a pass ends, unacknowledged dead letters return to the queue. The queue counts their
//!   deliveries, but its limit is out of reach (`topology.rs`). Returned dead letters come first, in
//!   the order in which they were given back: a pass to the end changes nothing, one that stops early
//!   may leave those it read behind the others.
//!
//! While a pass lasts, no other consumer sees the dead letters that it has read. It ends with an error,
//! and without a loss, when it lasts longer than the broker's consumer timeout.
//!
//! A dead letter that RabbitMQ cannot hand over ends the connection. All of the kind are then held by AMQP
//! 1.0 (`amqp_1.rs`) until the pass ends, so that the dead letters behind them can be read; they can be
//! removed, and nothing else can be done to them. Dead letters read before are taken again, and passed over.
//!
//! Deliberately absent: which dead letters are meant (`dead_letter.rs` says whether one is), and
//! publishing several at once: one at a time, a returned message is known by its own confirm
//! (traps 2 and 3).

mod step_over;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Confirmation};

use super::broker_connection;
use super::dead_letter::Digest;
use super::outgoing::{self, Message};
use super::repair::Repairs;
use super::{CallError, DeadLetter, Error, Inbound, Settings, declare, with_timeout};

use step_over::SteppedOver;

/// How long the end of a pass waits for the broker to count what it was given back, so that the
/// next reader sees all of it. A quorum queue writes it to disk first, which takes milliseconds; longer
/// means that another consumer is reading, too.
const GIVE_BACK_LIMIT: Duration = Duration::from_secs(1);

/// How often the broker is asked meanwhile.
const GIVE_BACK_POLL: Duration = Duration::from_millis(5);

/// A pass over the dead-letter queue.
pub struct DeadLetters {
    settings: Arc<Settings>,
    /// Those that were looked at and not removed, by what they hold: after a connection is lost, they
    /// come again in any order.
    looked_at: HashMap<Digest, u32>,
    /// Set once a connection ended over a dead letter.
    stepped_over: Option<SteppedOver>,

    /// Takes messages, acknowledges them, gives them back.
    reading: Channel,
    /// The fields repaired in its deliveries.
    repairs: Arc<Repairs>,
    /// Sends them to the work queue, with confirms.
    sending: Channel,
    queue: ShortString,
    /// Of every source: where a replay goes, and what came by it.
    work_queues: Vec<(ShortString, Inbound)>,
    answer_timeout: Duration,
    confirm_timeout: Duration,
    /// How many messages the pass may still look at.
    left: u32,
    /// How many it has looked at and not acknowledged.
    held: u32,
    /// How many were ready behind the one it took last.
    ready_behind: u32,
}

impl DeadLetters {
    /// Begins a pass on two channels, each on the connection for its direction.
    pub(super) async fn open(
        reading: Channel,
        repairs: Arc<Repairs>,
        sending: Channel,
        settings: &Arc<Settings>,
    ) -> Result<DeadLetters, Error> {
        let answer_timeout = settings.answer_timeout();
        // Without it, every confirm reads `NotRequested` (trap 9).
        with_timeout(answer_timeout, sending.confirm_select(ConfirmSelectOptions::default()))
            .await
            .map_err(|error| Error::Unreachable(format!("asking for confirms: {error}")))?;
        let mut pass = DeadLetters {
            settings: Arc::clone(settings),
            looked_at: HashMap::new(),
            stepped_over: None,
            reading,
            repairs,
            sending,
            queue: declare::short(&settings.dead_letters)?,
            work_queues: settings
                .inbound()
                .into_iter()
                .map(|source| Ok((declare::short(&source.queue)?, source)))
                .collect::<Result<_, Error>>()?,
            answer_timeout,
            confirm_timeout: Duration::from_millis(settings.confirm_timeout_ms),
            left: 0,
            held: 0,
            ready_behind: 0,
        };
        pass.left = pass.ready().await?;
        Ok(pass)
    }

    /// How many dead letters the pass may still look at.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The next dead letter, in the queue's order; `None` at the end of the pass. One that is dropped
    /// stays in the queue.
    ///
    /// # Errors
    /// [`Error::Undeliverable`] for one that cannot be handed over; the pass goes on behind it. Any other
    /// error means that the broker is lost, and the pass cannot go on.
    pub async fn next(&mut self) -> Result<Option<DeadLetter>, Error> {
        while self.left > 0 {
            if let Some(SteppedOver { unreported: unreported @ 1.., .. }) = &mut self.stepped_over {
                *unreported -= 1;
                self.left -= 1;
                let what = format!("`{}` holds one that RabbitMQ cannot hand over", self.queue);
                return Err(Error::Undeliverable(what));
            }
            let get = self.reading.basic_get(self.queue.clone(), BasicGetOptions { no_ack: false });
            let got = match with_timeout(self.answer_timeout, get).await {
                Ok(got) => got,
                Err(CallError::Failed(error))
                    if self.stepped_over.is_none()
                        && broker_connection::fault(&error).is_some() =>
                {
                    Box::pin(self.step_over()).await?;
                    continue;
                }
                Err(error) => return Err(self.lost(&error)),
            };
            let Some(got) = got else {
                // Another consumer of the queue was faster.
                self.left = 0;
                return Ok(None);
            };
            self.held += 1;
            self.ready_behind = got.message_count;
            let undecodable = self.repairs.take(self.reading.id(), got.delivery.delivery_tag);
            let letter = DeadLetter::read(got.delivery, undecodable);
            let digest = letter.digest();
            let known = self.stepped_over.as_mut().and_then(|it| it.to_pass_over.get_mut(&digest));
            if let Some(times @ 1..) = known {
                *times -= 1;
                continue;
            }
            self.left -= 1;
            *self.looked_at.entry(digest).or_default() += 1;
            return Ok(Some(letter));
        }
        Ok(None)
    }

    /// Sends a dead letter back to the work queue, then removes it from this one.
    ///
    /// # Errors
    /// [`Error::NotReplayed`] when the work queue is not there, or does not take it, and
    /// [`Error::NoSource`] when its work queue is not known: it stays a dead letter. Any other error
    /// means that the broker is lost: it stays, or is in both queues.
    pub async fn replay(&mut self, letter: DeadLetter) -> Result<(), Error> {
        self.resend(&letter).await?;
        self.discard(letter).await
    }

    /// The first half of [`DeadLetters::replay`]: the work queue has the message, and it is a dead
    /// letter still. Id, body and properties are as received; the marks of the failure are gone, so
    /// that it has its full patience again, and `x-throughline-replayed` is one more.
    ///
    /// # Errors
    /// As [`DeadLetters::replay`].
    pub async fn resend(&mut self, letter: &DeadLetter) -> Result<(), Error> {
        let work_queue = self.work_queue_of(letter)?;
        let Message { exchange, routing_key, properties, body } =
            outgoing::replayed(work_queue, letter);
        // Mandatory, so that a work queue that is gone does not swallow it.
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let publish = async {
            self.sending
                .basic_publish(exchange, routing_key, options, body, properties)
                .await?
                .await
        };
        let answer = with_timeout(self.confirm_timeout, publish)
            .await
            .map_err(|error| Error::Unreachable(format!("replaying a dead letter: {error}")))?;
        match answer {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                Err(Error::NotReplayed(format!("there is no queue `{work_queue}`")))
            }
            Confirmation::Nack(None) => {
                Err(Error::NotReplayed(format!("the queue `{work_queue}` takes no more")))
            }
            Confirmation::NotRequested => {
                Err(Error::Unreachable(String::from("replaying a dead letter: confirms are off")))
            }
        }
    }

    /// The work queue that a dead letter came from. With one source there is no question. With several
    /// it is the one that the letter names, and never a queue that is none of ours: every publisher
    /// can write a header.
    fn work_queue_of(&self, letter: &DeadLetter) -> Result<&ShortString, Error> {
        if let [(only, _)] = &self.work_queues[..] {
            return Ok(only);
        }
        let named = letter.queue();
        let came_by = |source: &Inbound| named.is_some_and(|queue| source.owns(queue));
        let found = self.work_queues.iter().find(|(_, source)| came_by(source));
        found.map(|(queue, _)| queue).ok_or_else(|| {
            Error::NoSource(match named {
                Some(queue) => format!("it came from `{queue}`, which is no source's queue"),
                None => String::from("it does not say which source's queue it came from"),
            })
        })
    }

    /// Removes a dead letter from the queue, for good.
    ///
    /// # Errors
    /// When the broker is lost: it stays a dead letter.
    pub async fn discard(&mut self, letter: DeadLetter) -> Result<(), Error> {
        let digest = letter.digest();
        let ack = letter.acker().ack(BasicAckOptions::default());
        let sent =
            with_timeout(self.answer_timeout, ack).await.map_err(|error| self.lost(&error))?;
        if !sent {
            // An acknowledgement that lapin did not send (trap 6).
            return Err(Error::Unreachable(String::from(
                "removing a dead letter: its channel is gone",
            )));
        }
        self.held = self.held.saturating_sub(1);
        if let Some(times) = self.looked_at.get_mut(&digest) {
            *times = times.saturating_sub(1);
        }
        Ok(())
    }

    /// Ends the pass: the queue has again all that was not removed.
    ///
    /// # Errors
    /// When the broker is lost; the queue has it again all the same.
    pub async fn finish(self) -> Result<(), Error> {
        if self.held > 0 {
            // Tag 0 with `multiple` is everything that is held. Not a reject: looking is no failure.
            let all = BasicNackOptions { multiple: true, requeue: true };
            with_timeout(self.answer_timeout, self.reading.basic_nack(0, all))
                .await
                .map_err(|error| self.lost(&error))?;
            self.wait_until_counted().await?;
        }
        // By its answer, the broker has seen every acknowledgement that was sent before.
        with_timeout(self.answer_timeout, self.reading.close(200, "OK".into()))
            .await
            .map_err(|error| self.lost(&error))
    }

    /// Waits until the returned dead letters are ready for other consumers, for a moment at most.
    async fn wait_until_counted(&self) -> Result<(), Error> {
        let expected = self.ready_behind.saturating_add(self.held);
        let counted = async {
            let mut polls = tokio::time::interval(GIVE_BACK_POLL);
            loop {
                polls.tick().await;
                if self.ready().await? >= expected {
                    return Ok(());
                }
            }
        };
        // A moment that has passed is no error: everything was given back.
        tokio::time::timeout(GIVE_BACK_LIMIT, counted).await.unwrap_or(Ok(()))
    }

    /// How many messages are ready in the queue.
    async fn ready(&self) -> Result<u32, Error> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let look = self.reading.queue_declare(self.queue.clone(), options, FieldTable::default());
        match with_timeout(self.answer_timeout, look).await {
            Ok(queue) => Ok(queue.message_count()),
            Err(error) if error.is_not_found() => {
                Err(Error::Missing(vec![format!("queue `{}`", self.queue)]))
            }
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn lost(&self, error: &impl fmt::Display) -> Error {
        Error::Unreachable(format!("reading the queue `{}`: {error}", self.queue))
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("queue", &self.queue)
            .field("left", &self.left)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}
