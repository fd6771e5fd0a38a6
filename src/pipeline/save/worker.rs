//! The first half of the line: decode, find parents, propagate, save. One transaction per batch.
//!
//! ```text
//! deliveries ─▶ decode ─▶ begin (rows of own interactions and parents) ─▶ rules ─┬▶ save ───┬▶ plans
//!                                                                                └▶ encode ─┘
//! ```
//!
//! What comes out is a [`Plan`] for each delivery, and the batch is committed. A row
//! that the store refuses does not fail its neighbours: the batch is then worked through one by one
//! and the bad one is set aside. An outage is waited out: nothing is published or settled meanwhile.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::future::join;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::{Identity, Refusal, RejectReason, Rules};
use crate::formats::Decoded;
use crate::formats::enriched::{self, Stamp};
use crate::pipeline::crash_point::{self, CrashPoint};
use crate::pipeline::decode::{decode, text};
use crate::pipeline::gate_policy::GatePolicy;
use crate::pipeline::observe::labels::Stage;
use crate::pipeline::observe::message_trace::Traces;
use crate::pipeline::observe::spans::Tracer;
use crate::pipeline::observe::tally::Tally;
use crate::pipeline::plan::encoder::{Encoder, IndexedResult, RulesResult};
use crate::pipeline::plan::outputs::Output;
use crate::pipeline::plan::{Plan, Planned};
use crate::pipeline::ports::{Delivery, Row, RowChange, Store, StoreError, Transaction};
use crate::pipeline::ports::{Doubtful, Recall as _};
use crate::pipeline::save::outage::Outage;
pub use crate::pipeline::save::outage::WorkerError;
use crate::pipeline::save::rules_in_force::RulesInForce;
use crate::pipeline::save::spilled::doubtful;
use crate::pipeline::save::table::{InteractionTable, looks_for_parent};
use crate::pipeline::save::wake_order;
use crate::pipeline::settlement::WaitPolicy;

/// What is done to every batch, and with what.
pub struct Worker<S> {
    /// Where interactions are kept.
    pub store: Arc<S>,
    /// The rules in force; a batch is worked out by one snapshot of them.
    pub rules: Arc<RulesInForce>,
    /// What time it is.
    pub clock: Clock,
    /// How long messages may wait.
    pub patience: WaitPolicy,
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
    pub gating: Option<GatePolicy>,
    /// Makes spans of what is done; none: no spans are made.
    pub tracer: Option<Tracer>,
}

/// How often a batch begins anew at once when another worker created or changed one of its
/// interactions meanwhile. Each time at least one worker got through, so a few times are enough.
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
            Ok(plans) => Ok(plans),
            Err(why) if batch.len() == 1 => Ok(vec![refused_by_store(0, &why)]),
            Err(_) => {
                let mut plans = Vec::with_capacity(batch.len());
                for (place, delivery) in batch.iter().enumerate() {
                    let alone = std::slice::from_ref(delivery);
                    let alone = self.persist(alone, rules, tally, stop).await?;
                    plans.extend(match alone {
                        Ok(mut plans) => plans.pop().map(|planned| Planned { place, ..planned }),
                        Err(why) => Some(refused_by_store(place, &why)),
                    });
                }
                Ok(plans)
            }
        }
    }

    /// Tries until the batch is saved, or the store refuses its data: it says why, without values.
    async fn persist<D: Delivery>(
        &self,
        batch: &[D],
        rules: &Rules,
        tally: &Tally,
        stop: &CancellationToken,
    ) -> Result<Result<Vec<Planned>, String>, WorkerError> {
        let mut outage = Outage::begin(&self.clock, stop);
        let mut conflicts = 0;
        let mut in_doubt = false;
        loop {
            let attempted = self.attempt(batch, rules, &mut in_doubt, tally).await;
            tally.progress.set_held(matches!(attempted, Err(StoreError::Unavailable(_))));
            let error = match attempted {
                Ok(plans) => return Ok(Ok(plans)),
                Err(StoreError::Refused(why)) => {
                    tracing::warn!(messages = batch.len(), %why, "the store refuses a batch's data");
                    return Ok(Err(why));
                }
                Err(error) => error,
            };
            if matches!(error, StoreError::Conflict) {
                tally.conflicted();
                if conflicts < CONFLICT_RETRIES {
                    conflicts += 1;
                    continue;
                }
            }
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

    /// `in_doubt`: an attempt before may have been saved without an answer, as when a connection is
    /// lost between a commit and its answer. Then what is found in the store may be this batch's own
    /// and not published yet, so it is finished and not called a repeat.
    async fn attempt<D: Delivery>(
        &self,
        batch: &[D],
        rules: &Rules,
        in_doubt: &mut bool,
        tally: &Tally,
    ) -> Result<Vec<Planned>, StoreError> {
        let now_ms = self.clock.now_ms();
        let time = enriched::rfc3339(now_ms);
        let under = AttemptContext { rules, now_ms, time: &time, in_doubt: *in_doubt };
        let began = Instant::now();
        let bodies: Vec<_> =
            batch.iter().map(|delivery| text(delivery, self.body_max_bytes)).collect();
        let mut decoded = Vec::with_capacity(batch.len());
        for (place, (delivery, body)) in batch.iter().zip(&bodies).enumerate() {
            yield_periodically(place).await;
            decoded.push(decode(delivery, body));
        }
        let traces = Traces::begin(self.tracer.as_ref(), batch, &mut decoded);
        let (own, parents) = identities(&decoded);
        let began = tally.stage(Stage::Decode, began);
        if own.is_empty() {
            // Nothing that could be decoded: no transaction for it.
            let (worked, _) = self.propagate(batch, &decoded, &traces, under, (&[], &[])).await;
            let plans = self.encode(batch, worked, &traces, under).await;
            return Ok(traced(plans, traces));
        }
        let (rows, mut transaction) = self.store.begin(&own, &parents).await?;
        let messages = decoded.iter().flatten().map(|decoded| &decoded.message);
        let mut doubtful = doubtful(&rows, messages);
        if !doubtful.is_empty() {
            let known = transaction.recall(&doubtful).await?;
            doubtful = known.into_iter().map(|place| doubtful[place].clone()).collect();
        }
        let began = tally.stage(Stage::Read, began);
        let (worked, table) =
            self.propagate(batch, &decoded, &traces, under, (&rows, &doubtful)).await;
        let changes = table.changes(now_ms);
        let rows: Vec<RowChange<'_>> = changes.iter().map(|change| change.row()).collect();
        let began = tally.stage(Stage::Apply, began);
        crash_point::cross(CrashPoint::BeforeSave);
        // What is published is encoded while the store is at work, which is told at the first poll.
        let encoding = self.encode(batch, worked, &traces, under);
        let (saved, plans) = join(transaction.save(&rows), encoding).await;
        *in_doubt |= matches!(saved, Err(StoreError::Unavailable(_) | StoreError::Unreadable(_)));
        saved?;
        tally.stage(Stage::Save, began);
        crash_point::cross(CrashPoint::AfterSave);
        Ok(traced(plans, traces))
    }

    /// Takes the batch through the rules. Pure but for the warnings it logs.
    async fn propagate<'m, D: Delivery>(
        &'m self,
        batch: &[D],
        decoded: &'m [Result<Decoded<'m>, Refusal>],
        traces: &Traces,
        under: AttemptContext<'m>,
        (rows, recalled): (&'m [Row], &[Doubtful<'m>]),
    ) -> (Vec<IndexedResult<'m>>, InteractionTable<'m>) {
        let mut table = InteractionTable::for_messages(batch.len());
        for row in rows {
            table.insert(row, under.now_ms, self.live_ttl_secs);
        }
        for event in recalled {
            table.recall(&event.identity, event.digest);
        }
        let mut work = |place: usize| match &decoded[place] {
            Err(refusal) => {
                let ids = traces.logged(place, &batch[place]);
                tracing::debug!(
                    reason = %refusal.reason,
                    detail = %refusal.detail,
                    trace_id = ids.trace_id(),
                    span_id = ids.span_id(),
                    "rejected"
                );
                RulesResult::Failed(Plan::rejected(refusal.clone(), "decode"))
            }
            Ok(decoded) => {
                let delivery = &batch[place];
                // The table changes in one step at the end of `take`, so it is whole either way.
                catch_panic(|| self.work_one(delivery, decoded, under, &mut table))
                    .unwrap_or_else(|| RulesResult::Failed(fault(traces, place, delivery)))
            }
        };
        let worked = match self.wakes_within_batch {
            false => {
                let mut worked = Vec::with_capacity(batch.len());
                for place in 0..batch.len() {
                    yield_periodically(place).await;
                    worked.push((place, work(place)));
                }
                worked
            }
            true => wake_order::in_order(batch.len(), work),
        };
        (worked, table)
    }

    /// Encodes what is to be published of a batch.
    async fn encode<D: Delivery>(
        &self,
        batch: &[D],
        worked: Vec<IndexedResult<'_>>,
        traces: &Traces,
        under: AttemptContext<'_>,
    ) -> Vec<Planned> {
        let AttemptContext { rules, now_ms, time, .. } = under;
        let stamp = Stamp { revision: rules.revision(), time, origins: self.origins };
        let encoder =
            Encoder { outputs: &self.outputs, gating: self.gating.as_ref(), stamp, now_ms };
        let mut planned = Vec::with_capacity(worked.len());
        for (done, (place, worked)) in worked.into_iter().enumerate() {
            yield_periodically(done).await;
            let plan = match worked {
                RulesResult::Step(decoded, step) => catch_panic(|| encoder.plan(decoded, &step))
                    .unwrap_or_else(|| fault(traces, place, &batch[place])),
                RulesResult::Failed(plan) => plan,
            };
            planned.push(Planned { place, plan, trace: None });
        }
        planned
    }

    fn work_one<'m>(
        &'m self,
        delivery: &impl Delivery,
        decoded: &'m Decoded<'m>,
        under: AttemptContext<'m>,
        table: &mut InteractionTable<'m>,
    ) -> RulesResult<'m> {
        let mut attempt = self.patience.attempt(delivery.arrival());
        attempt.may_be_unfinished |= under.in_doubt;
        let step = table.take(under.rules, &decoded.message, attempt);
        RulesResult::Step(decoded, step)
    }
}

/// What an attempt at a batch is made under.
#[derive(Clone, Copy)]
struct AttemptContext<'a> {
    rules: &'a Rules,
    now_ms: i64,
    /// The same as text, once for all messages.
    time: &'a str,
    /// An attempt before this one may have been saved.
    in_doubt: bool,
}

/// Lets the other half of the lane have its turn every so often: its confirms may have come meanwhile.
async fn yield_periodically(place: usize) {
    if place % 50 == 49 {
        tokio::task::yield_now().await;
    }
}

/// What `work` gives; `None` where our own code panicked over it: a fault with this one message, which is
/// set aside in the lane, and the lane goes on.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// The plan for a message that our own code panicked over.
fn fault<D: Delivery>(traces: &Traces, place: usize, delivery: &D) -> Plan {
    // The panic's text is the panic hook's to tell; it may not hold values (cli).
    let ids = traces.logged(place, delivery);
    tracing::error!(
        delivery = delivery.name(),
        trace_id = ids.trace_id(),
        span_id = ids.span_id(),
        "a fault of our own: a message is set aside"
    );
    let detail = "a fault of our own, which the worker's log tells";
    Plan::rejected(Refusal::new(RejectReason::Internal, detail), "propagate")
}

fn refused_by_store(place: usize, why: &str) -> Planned {
    let detail = format!("the store refuses its data: {why}");
    let plan = Plan::rejected(Refusal::new(RejectReason::Internal, detail), "save");
    Planned { place, plan, trace: None }
}

/// Gives plans the traces of their messages.
fn traced(mut plans: Vec<Planned>, mut traces: Traces) -> Vec<Planned> {
    for planned in &mut plans {
        planned.trace = traces.take(planned.place);
    }
    plans
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
