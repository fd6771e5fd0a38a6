//! The first half of the line: decode, find parents, propagate, save. One transaction per batch.
//!
//! ```text
//! deliveries ─▶ decode ─▶ begin (rows of own interactions and parents) ─▶ rules ─▶ save
//! ```
//!
//! What comes out is a [`Plan`] for each delivery, in their order, and the batch is committed. A row
//! that the store refuses does not fail its neighbours: the batch is then worked through one by one
//! and the bad one is set aside. An outage is waited out: nothing is published or settled meanwhile.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::crash_point::{self, CrashPoint};
use super::ports::{
    Awaited, Delivery, Published, PublishedKind, Row, RowChange, Store, StoreError, Transaction,
};
use super::settlement::{Cause, Failure, Patience};
use super::table::{Table, looks_for_parent};
use crate::clock::Clock;
use crate::domain::{Identity, Outcome, RejectReason, Rules, WaitFor};
use crate::formats::enriched::{self, Stamp};
use crate::formats::{self, Decoded, Hints, Refusal};
use crate::retry::Reconnect;

/// What is done to every batch, and with what.
pub struct Worker<S> {
    /// Where interactions are kept.
    pub store: Arc<S>,
    /// The rules in force.
    pub rules: Arc<Rules>,
    /// What time it is.
    pub clock: Clock,
    /// How long messages may wait.
    pub patience: Patience,
    /// `live.ttl_secs`: how long live data lasts without a message.
    pub live_ttl_secs: u64,
    /// `limits.body_max_bytes`.
    pub body_max_bytes: usize,
    /// `output.origins`.
    pub origins: bool,
}

/// What is to be done about one delivery, once its batch is saved.
#[derive(Debug)]
pub enum Plan {
    /// Nothing is published.
    Done(Unpublished),
    /// Publish this.
    Publish(Box<Published>),
    /// It failed.
    Failed {
        /// How.
        failure: Failure,
        /// In which stage of the line.
        stage: &'static str,
        /// For whom it waits, if it must.
        awaited: Option<Awaited>,
    },
}

/// Why nothing is published though nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpublished {
    /// The same event again.
    Duplicate,
    /// Too late, or about nothing.
    Ignored,
}

/// The batch could not be saved, and it was told to stop trying.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It was cancelled while the store was away.
    #[error("save the batch: stopped while waiting for the store")]
    Stopped,
    /// The store was away for longer than a batch may be held: the broker would take the batch away.
    #[error("save the batch: the store was away for longer than {held_secs} s")]
    HeldTooLong {
        /// How long it was held, in seconds.
        held_secs: u64,
    },
}

/// How long a batch is held while the store is away, in seconds. RabbitMQ closes the channel of a
/// consumer that has not acknowledged for 30 minutes; a third of that leaves room for the rest.
pub(super) const HOLD_SECS: u64 = 600;

/// How often a batch begins anew at once when another worker created one of its interactions
/// meanwhile. Each time at least one worker got through, so a few times are enough.
const CONFLICT_RETRIES: u32 = 8;

impl<S: Store> Worker<S> {
    /// Works through a batch and saves it.
    ///
    /// # Errors
    /// [`WorkerError`] when the store was away and no more time is to be spent on it. Nothing of the
    /// batch has been published or settled then.
    pub async fn work<D: Delivery>(
        &self,
        batch: &[D],
        stop: &CancellationToken,
    ) -> Result<Vec<Plan>, WorkerError> {
        match self.persist(batch, stop).await? {
            Some(plans) => Ok(plans),
            None if batch.len() == 1 => Ok(vec![refused_by_store()]),
            None => {
                let mut plans = Vec::with_capacity(batch.len());
                for delivery in batch {
                    let alone = self.persist(std::slice::from_ref(delivery), stop).await?;
                    plans.extend(alone.unwrap_or_else(|| vec![refused_by_store()]));
                }
                Ok(plans)
            }
        }
    }

    /// Tries until the batch is saved; `None` when the store refuses its data.
    async fn persist<D: Delivery>(
        &self,
        batch: &[D],
        stop: &CancellationToken,
    ) -> Result<Option<Vec<Plan>>, WorkerError> {
        let began_ms = self.clock.now_ms();
        let mut retry = Reconnect::new();
        let mut conflicts = 0;
        loop {
            let error = match self.attempt(batch).await {
                Ok(plans) => return Ok(Some(plans)),
                Err(StoreError::Refused(why)) => {
                    tracing::warn!(messages = batch.len(), why, "the store refuses a batch's data");
                    return Ok(None);
                }
                Err(StoreError::Conflict) if conflicts < CONFLICT_RETRIES => {
                    conflicts += 1;
                    continue;
                }
                Err(error) => error,
            };
            let held_secs = u64::try_from(self.clock.now_ms() - began_ms).unwrap_or(0) / 1000;
            if held_secs > HOLD_SECS {
                return Err(WorkerError::HeldTooLong { held_secs });
            }
            let delay = retry.next_delay();
            tracing::warn!(
                %error,
                messages = batch.len(),
                retry_ms = delay.as_millis(),
                "the store is away; the batch is held"
            );
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => return Err(WorkerError::Stopped),
            }
        }
    }

    async fn attempt<D: Delivery>(&self, batch: &[D]) -> Result<Vec<Plan>, StoreError> {
        let now_ms = self.clock.now_ms();
        let bodies: Vec<_> = batch
            .iter()
            .map(|delivery| formats::body::check(delivery.body(), self.body_max_bytes))
            .collect();
        let decoded: Vec<_> =
            batch.iter().zip(&bodies).map(|(delivery, body)| decode(delivery, body)).collect();
        let (own, parents) = identities(&decoded);
        if own.is_empty() {
            // Nothing that could be decoded: no transaction for it.
            return Ok(self.propagate(batch, &decoded, &[], now_ms).0);
        }
        let (rows, transaction) = self.store.begin(&own, &parents).await?;
        let (plans, table) = self.propagate(batch, &decoded, &rows, now_ms);
        let changes = table.changes(now_ms);
        let rows: Vec<RowChange<'_>> = changes.iter().map(|change| change.row()).collect();
        crash_point::cross(CrashPoint::BeforeSave);
        transaction.save(&rows).await?;
        crash_point::cross(CrashPoint::AfterSave);
        Ok(plans)
    }

    /// Takes the batch through the rules. Pure but for the warnings it logs.
    fn propagate<'a, D: Delivery>(
        &'a self,
        batch: &[D],
        decoded: &[Result<Decoded<'a>, Refusal>],
        rows: &'a [Row],
        now_ms: i64,
    ) -> (Vec<Plan>, Table<'a>) {
        let mut table = Table::default();
        for row in rows {
            table.insert(row, now_ms, self.live_ttl_secs);
        }
        let plans = batch.iter().zip(decoded).map(|(delivery, decoded)| match decoded {
            Err(refusal) => {
                tracing::debug!(reason = %refusal.reason, detail = %refusal.detail, "rejected");
                let failure = Failure::Rejected(refusal.reason);
                Plan::Failed { failure, stage: "decode", awaited: None }
            }
            Ok(decoded) => self.plan_or_set_aside(delivery, decoded, &mut table, now_ms),
        });
        (plans.collect(), table)
    }

    /// A panic in our own code is a fault with this one message: it is set aside, and the lane goes
    /// on. The table changes in one step at the end of [`Table::take`], so it is whole either way.
    fn plan_or_set_aside<'a, D: Delivery>(
        &'a self,
        delivery: &D,
        decoded: &Decoded<'a>,
        table: &mut Table<'a>,
        now_ms: i64,
    ) -> Plan {
        let plan = AssertUnwindSafe(|| self.plan(delivery, decoded, table, now_ms));
        catch_unwind(plan).unwrap_or_else(|_| {
            // The panic's text is the panic hook's to tell; it may not hold values (cli).
            tracing::error!(
                delivery = delivery.name(),
                "a fault of our own: a message is set aside"
            );
            let failure = Failure::Rejected(RejectReason::Internal);
            Plan::Failed { failure, stage: "propagate", awaited: None }
        })
    }

    fn plan<'a, D: Delivery>(
        &'a self,
        delivery: &D,
        decoded: &Decoded<'a>,
        table: &mut Table<'a>,
        now_ms: i64,
    ) -> Plan {
        let attempt = self.patience.attempt(delivery.arrival());
        let step = table.take(&self.rules, &decoded.message, attempt);
        let (kind, facts) = match &step.outcome {
            Outcome::Enriched(enriched) => (PublishedKind::Enriched, &enriched.facts),
            Outcome::Ended(ended) => (PublishedKind::Ended, &ended.facts),
            Outcome::Ignored => return Plan::Done(Unpublished::Ignored),
            Outcome::Duplicate => return Plan::Done(Unpublished::Duplicate),
            Outcome::Waiting(wait) => {
                let (WaitFor::Parent(on) | WaitFor::Interaction(on)) = wait;
                let failure = Failure::MustWait(Cause::of(wait));
                let who = decoded.message.identity.to_owned();
                let awaited = Awaited { who, on: on.to_owned() };
                return Plan::Failed { failure, stage: "propagate", awaited: Some(awaited) };
            }
            Outcome::Rejected(reason) => {
                let failure = Failure::Rejected(*reason);
                return Plan::Failed { failure, stage: "propagate", awaited: None };
            }
        };
        let stamp = Stamp { revision: self.rules.revision(), now_ms, origins: self.origins };
        Plan::Publish(Box::new(Published {
            message_id: enriched::message_id(decoded).to_string(),
            correlation_id: decoded.message.event_id.to_string(),
            kind,
            channel: facts.channel.to_string(),
            revision: self.rules.revision().as_str().to_owned(),
            trace: delivery.arrival().trace.clone(),
            timestamp_ms: now_ms,
            identity: decoded.message.identity.to_owned(),
            body: enriched::encode(decoded, &step, stamp).unwrap_or_default(),
        }))
    }
}

fn refused_by_store() -> Plan {
    let failure = Failure::Rejected(RejectReason::Internal);
    Plan::Failed { failure, stage: "save", awaited: None }
}

fn decode<'a, D: Delivery>(
    delivery: &'a D,
    body: &'a Result<Cow<'a, str>, Refusal>,
) -> Result<Decoded<'a>, Refusal> {
    let arrival = delivery.arrival();
    let hints = Hints {
        message_id: arrival.message_id.as_deref(),
        format: arrival.format.as_deref(),
        cloud_event: &arrival.cloud_event,
        widget: arrival.widget.as_deref(),
    };
    match body {
        Ok(text) => formats::decode(text, delivery.body(), hints),
        Err(refusal) => Err(refusal.clone()),
    }
}

/// The interactions that a batch may change, and the parents it only reads: sorted, without repeats,
/// none in both.
fn identities<'a>(
    decoded: &[Result<Decoded<'a>, Refusal>],
) -> (Vec<Identity<'a>>, Vec<Identity<'a>>) {
    let messages = || decoded.iter().flatten().map(|decoded| &decoded.message);
    let own: BTreeSet<_> = messages().map(|message| message.identity.clone()).collect();
    let parents: BTreeSet<_> =
        messages().filter_map(looks_for_parent).filter(|parent| !own.contains(parent)).collect();
    (own.into_iter().collect(), parents.into_iter().collect())
}
