//! The first half of the line: decode, find parents, propagate, save. One transaction per batch.
//!
//! ```text
//! deliveries ─▶ decode ─▶ begin (rows of own interactions and parents) ─▶ rules ─▶ save
//! ```
//!
//! What comes out is a [`Plan`] for each delivery, and the batch is committed. A row
//! that the store refuses does not fail its neighbours: the batch is then worked through one by one
//! and the bad one is set aside. An outage is waited out: nothing is published or settled meanwhile.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::aside::Gating;
use super::crash_point::{self, CrashPoint};
use super::decode::{decode, text};
use super::labels::Stage;
use super::message_trace::{MessageTrace, Traces};
use super::outage::Outage;
use super::outputs::Output;
use super::ports::{
    Awaited, Delivery, Gated, Published, PublishedKind, Row, RowChange, Store, StoreError,
    Transaction,
};
use super::rules_in_force::RulesInForce;
use super::settlement::{Cause, Failure, Patience};
use super::spans::Tracer;
use super::table::{Table, looks_for_parent};
use super::tally::Tally;
use super::waking;
use crate::clock::Clock;
use crate::domain::{Identity, Outcome, RejectReason, Rules, WaitFor};
use crate::formats::enriched::{self, Stamp};
use crate::formats::{Decoded, Refusal};

/// What is done to every batch, and with what.
pub struct Worker<S> {
    /// Where interactions are kept.
    pub store: Arc<S>,
    /// The rules in force; a batch is worked out by one snapshot of them.
    pub rules: Arc<RulesInForce>,
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
    /// Where interactions go beside the enriched message (`[[output]]`).
    pub outputs: Vec<Output>,
    /// Whether what must wait is tried again as soon as what it waits for has come in its batch,
    /// instead of after a delay. For sources that know no delays.
    pub wakes_within_batch: bool,
    /// Where a status gate is configured: which interactions it is asked about, and how (G1).
    pub gating: Option<Gating>,
    /// Makes spans of what is done; none: nobody is told.
    pub tracer: Option<Tracer>,
}

/// What is to be done about one delivery; in the order of publication.
#[derive(Debug)]
pub struct Planned {
    /// Its place in the batch.
    pub place: usize,
    /// What is to be done.
    pub plan: Plan,
    /// Its trace, where there is a tracer.
    pub trace: Option<Box<MessageTrace>>,
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
        tally: &Tally,
        stop: &CancellationToken,
    ) -> Result<Vec<Planned>, WorkerError> {
        let rules = &self.rules.snapshot().rules;
        match self.persist(batch, rules, tally, stop).await? {
            Some(plans) => Ok(plans),
            None if batch.len() == 1 => Ok(vec![refused_by_store(0)]),
            None => {
                let mut plans = Vec::with_capacity(batch.len());
                for (place, delivery) in batch.iter().enumerate() {
                    let alone = std::slice::from_ref(delivery);
                    let alone = self.persist(alone, rules, tally, stop).await?;
                    let planned = alone.and_then(|mut plans| plans.pop());
                    plans.push(match planned {
                        Some(planned) => Planned { place, ..planned },
                        None => refused_by_store(place),
                    });
                }
                Ok(plans)
            }
        }
    }

    /// Tries until the batch is saved; `None` when the store refuses its data.
    async fn persist<D: Delivery>(
        &self,
        batch: &[D],
        rules: &Rules,
        tally: &Tally,
        stop: &CancellationToken,
    ) -> Result<Option<Vec<Planned>>, WorkerError> {
        let mut outage = Outage::begin(&self.clock, stop);
        let mut conflicts = 0;
        let mut in_doubt = false;
        loop {
            let attempted = self.attempt(batch, rules, &mut in_doubt, tally).await;
            tally.progress.hold(matches!(attempted, Err(StoreError::Unavailable(_))));
            let error = match attempted {
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
            let delay = outage.next_delay()?;
            tracing::warn!(
                %error,
                messages = batch.len(),
                retry_ms = delay.as_millis(),
                "the store is away; the batch is held"
            );
            outage.wait(delay).await?;
        }
    }

    /// `in_doubt`: an attempt before may have been saved though nobody said so, as when a connection is
    /// lost between a commit and its answer. Then what is found in the store may be this batch's own
    /// and published by nobody, so it is finished and not called a repeat.
    async fn attempt<D: Delivery>(
        &self,
        batch: &[D],
        rules: &Rules,
        in_doubt: &mut bool,
        tally: &Tally,
    ) -> Result<Vec<Planned>, StoreError> {
        let now_ms = self.clock.now_ms();
        let time = enriched::rfc3339(now_ms);
        let under = Under { rules, now_ms, time: &time, in_doubt: *in_doubt };
        let began = Instant::now();
        let bodies: Vec<_> =
            batch.iter().map(|delivery| text(delivery, self.body_max_bytes)).collect();
        let mut decoded = Vec::with_capacity(batch.len());
        for (place, (delivery, body)) in batch.iter().zip(&bodies).enumerate() {
            breathe(place).await;
            decoded.push(decode(delivery, body));
        }
        let traces = Traces::begin(self.tracer.as_ref(), batch, &mut decoded);
        let (own, parents) = identities(&decoded);
        let began = tally.stage(Stage::Decode, began);
        if own.is_empty() {
            // Nothing that could be decoded: no transaction for it.
            let (plans, _) = self.propagate(batch, &decoded, &traces, under, &[]).await;
            return Ok(traces.with(plans));
        }
        let (rows, transaction) = self.store.begin(&own, &parents).await?;
        let began = tally.stage(Stage::Read, began);
        let (plans, table) = self.propagate(batch, &decoded, &traces, under, &rows).await;
        let changes = table.changes(now_ms);
        let rows: Vec<RowChange<'_>> = changes.iter().map(|change| change.row()).collect();
        let began = tally.stage(Stage::Apply, began);
        crash_point::cross(CrashPoint::BeforeSave);
        let saved = transaction.save(&rows).await;
        *in_doubt |= matches!(saved, Err(StoreError::Unavailable(_) | StoreError::Unreadable(_)));
        saved?;
        tally.stage(Stage::Save, began);
        crash_point::cross(CrashPoint::AfterSave);
        Ok(traces.with(plans))
    }

    /// Takes the batch through the rules. Pure but for the warnings it logs.
    async fn propagate<'a, D: Delivery>(
        &'a self,
        batch: &[D],
        decoded: &[Result<Decoded<'a>, Refusal>],
        traces: &Traces,
        under: Under<'a>,
        rows: &'a [Row],
    ) -> (Vec<Planned>, Table<'a>) {
        let mut table = Table::default();
        for row in rows {
            table.insert(row, under.now_ms, self.live_ttl_secs);
        }
        let mut plan = |place: usize| match &decoded[place] {
            Err(refusal) => {
                let ids = traces.logged(place, &batch[place]);
                tracing::debug!(
                    reason = %refusal.reason,
                    detail = %refusal.detail,
                    trace_id = ids.trace_id(),
                    span_id = ids.span_id(),
                    "rejected"
                );
                let failure = Failure::Rejected(refusal.reason);
                Plan::Failed { failure, stage: "decode", awaited: None }
            }
            Ok(decoded) => {
                let delivery = &batch[place];
                let plan = self.plan_unless_it_panics(delivery, decoded, under, &mut table);
                plan.unwrap_or_else(|| {
                    // The panic's text is the panic hook's to tell; it may not hold values (cli).
                    let ids = traces.logged(place, delivery);
                    tracing::error!(
                        delivery = delivery.name(),
                        trace_id = ids.trace_id(),
                        span_id = ids.span_id(),
                        "a fault of our own: a message is set aside"
                    );
                    let failure = Failure::Rejected(RejectReason::Internal);
                    Plan::Failed { failure, stage: "propagate", awaited: None }
                })
            }
        };
        let planned = match self.wakes_within_batch {
            false => {
                let mut planned = Vec::with_capacity(batch.len());
                for place in 0..batch.len() {
                    breathe(place).await;
                    planned.push(Planned { place, plan: plan(place), trace: None });
                }
                planned
            }
            true => waking::in_order(batch.len(), plan),
        };
        (planned, table)
    }

    /// The plan of a message; `None` where our own code panicked over it, a fault with this one message:
    /// it is set aside, and the lane goes on. The table changes in one step at the end of
    /// [`Table::take`], so it is whole either way.
    fn plan_unless_it_panics<'a, D: Delivery>(
        &'a self,
        delivery: &D,
        decoded: &Decoded<'a>,
        under: Under<'a>,
        table: &mut Table<'a>,
    ) -> Option<Plan> {
        let plan = AssertUnwindSafe(|| self.plan(delivery, decoded, under, table));
        catch_unwind(plan).ok()
    }

    fn plan<'a, D: Delivery>(
        &'a self,
        delivery: &D,
        decoded: &Decoded<'a>,
        under: Under<'a>,
        table: &mut Table<'a>,
    ) -> Plan {
        let Under { rules, now_ms, time, in_doubt } = under;
        let mut attempt = self.patience.attempt(delivery.arrival());
        attempt.may_be_unfinished |= in_doubt;
        let step = table.take(rules, &decoded.message, attempt);
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
        let stamp = Stamp { revision: rules.revision(), time, origins: self.origins };
        let message_id = enriched::message_id(decoded);
        let outputs = self.outputs.iter();
        let name = message_id.to_string();
        let encoded = enriched::encode_open(&name, decoded, &step, stamp);
        let (body, routing_at) =
            encoded.map(|encoded| (encoded.body, encoded.routing_at)).unwrap_or_default();
        let gating = self.gating.as_ref().filter(|gating| gating.concerns(&facts.channel));
        let gated = gating.and(routing_at).map(|routing_at| Gated {
            widget: facts.widget.as_deref().map(str::to_owned),
            routing_at,
        });
        Plan::Publish(Box::new(Published {
            correlation_id: decoded.message.event_id.to_string(),
            kind,
            channel: facts.channel.to_string(),
            revision: rules.revision().as_str().to_owned(),
            trace: decoded.trace.to_owned(),
            timestamp_ms: now_ms,
            sent_ms: decoded.time.as_deref().and_then(enriched::parse_rfc3339),
            identity: decoded.message.identity.to_owned(),
            body,
            message_id: name,
            further: outputs
                .filter_map(|output| output.further(decoded, &step, stamp, &message_id))
                .collect(),
            gated,
        }))
    }
}

/// What an attempt at a batch is made under.
#[derive(Clone, Copy)]
struct Under<'a> {
    rules: &'a Rules,
    now_ms: i64,
    /// The same as text, once for all messages.
    time: &'a str,
    /// An attempt before this one may have been saved.
    in_doubt: bool,
}

/// Lets the other half of the lane have its turn every so often: its confirms may have come meanwhile.
async fn breathe(place: usize) {
    if place % 50 == 49 {
        tokio::task::yield_now().await;
    }
}

fn refused_by_store(place: usize) -> Planned {
    let failure = Failure::Rejected(RejectReason::Internal);
    let plan = Plan::Failed { failure, stage: "save", awaited: None };
    Planned { place, plan, trace: None }
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
