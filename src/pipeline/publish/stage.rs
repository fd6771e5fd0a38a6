//! The second half of the line: publish, wait for all confirms, settle.
//!
//! A failure of one message is that message's own: it waits or is set aside. A failure of what lies
//! behind the broker concerns every message, and is held (`downstream.rs`).

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::gate_queue::GateQueue;
use super::publication::Publication;
use super::settlement_plan::SettlementPlan;
use crate::domain::Refusal;
use crate::pipeline::crash_point::{self, CrashPoint};
use crate::pipeline::observe::batch_trace::BatchTrace;
use crate::pipeline::observe::labels::{Outcome, Stage};
use crate::pipeline::observe::message_trace::{LoggedIds, Traced};
use crate::pipeline::observe::tally::{FinalOutcome, Tally};
use crate::pipeline::observe::waits::WaitEntry;
use crate::pipeline::plan::{Plan, SavedBatch, Unpublished};
use crate::pipeline::ports::{
    Delivery, Outgoing, PublishOutcome, PublishedKind, Publisher, Settlement, Settler,
    TransportError,
};
use crate::pipeline::save::worker::Worker;
use crate::pipeline::settlement::{Failure, FailureAction, WaitCause, action_for};

/// The second half of a lane.
pub(crate) struct PublishStage<'w, S, Pu, Se> {
    pub(crate) worker: &'w Worker<S>,
    pub(crate) publisher: Pu,
    pub(crate) settler: Se,
    pub(crate) tally: &'w Tally,
    /// Less than this is published together with what comes next, if that is there already.
    pub(crate) batch_messages: usize,
    /// Enriched messages in a row that came back.
    pub(crate) refused_in_a_row: u32,
    /// Batches that were held since a message was last taken.
    pub(crate) held_batches: u64,
    /// The queue that deliveries come from, where there is a tracer to be told.
    pub(crate) queue: Option<Arc<str>>,
    /// The trace of the batch in hand, where there is a tracer.
    pub(crate) trace: Option<BatchTrace>,
}

impl<S, Pu, Se> PublishStage<'_, S, Pu, Se> {
    pub(crate) async fn run<D: Delivery>(
        &mut self,
        mut batches: mpsc::Receiver<SavedBatch<D>>,
        stop: &CancellationToken,
    ) -> Result<(), TransportError>
    where
        Pu: Publisher<D>,
        Se: Settler<D>,
    {
        let mut aside = GateQueue::new(self.worker.gating.as_ref(), self.tally);
        let mut open = true;
        while open || !aside.is_empty() {
            let batch = tokio::select! {
                // Messages that have waited go first.
                biased;
                released = aside.released(), if aside.asks() => released,
                batch = batches.recv(), if open && aside.has_room() => match batch {
                    Some(mut batch) => {
                        // What else has been saved meanwhile goes with it, instead of waiting for its
                        // confirms: as much as one more batch at the most.
                        while batch.len() < self.batch_messages
                            && let Ok(more) = batches.try_recv()
                        {
                            batch.extend(more);
                        }
                        aside.take(batch)
                    }
                    // Nothing more comes; the messages that still wait for the gate are to be published.
                    None => {
                        open = false;
                        continue;
                    }
                },
            };
            if !batch.is_empty() {
                let delivered = self.deliver(batch, stop).await;
                if let (Some(tracer), Some(trace)) = (&self.worker.tracer, self.trace.take()) {
                    trace.end(tracer, delivered.as_deref().ok());
                }
                delivered?;
            }
        }
        Ok(())
    }

    /// Publishes and settles a batch; says how each of its messages was finished.
    async fn deliver<D: Delivery>(
        &mut self,
        batch: SavedBatch<D>,
        stop: &CancellationToken,
    ) -> Result<Vec<FinalOutcome>, TransportError>
    where
        Pu: Publisher<D>,
        Se: Settler<D>,
    {
        let mut deliveries = Vec::with_capacity(batch.len());
        let mut plans = Vec::with_capacity(batch.len());
        let tracer = self.worker.tracer.as_ref();
        self.trace = tracer.map(|_| BatchTrace::new(self.queue.clone()));
        for (place, (Traced { delivery, trace }, plan)) in batch.into_iter().enumerate() {
            if let (Some(batch), Some(trace)) = (&mut self.trace, trace) {
                batch.add(*trace, &delivery, &plan);
            }
            plans.push(match plan {
                Plan::Done(Unpublished::Duplicate) => {
                    SettlementPlan::Done(FinalOutcome::As(Outcome::Duplicate))
                }
                Plan::Done(Unpublished::Ignored) => {
                    SettlementPlan::Done(FinalOutcome::As(Outcome::Ignored))
                }
                Plan::Publish(message) => SettlementPlan::Publish(Publication::new(message)),
                Plan::Failed { failure, stage, awaited } => SettlementPlan::Act {
                    action: self.action_for(failure, place, &delivery),
                    stage,
                    awaited,
                },
            });
            deliveries.push(delivery);
        }
        // First everything; then what came back, to where it is set aside; what then is still not
        // safely elsewhere goes back to its queue.
        let answers = self.publish_or_hold(&deliveries, &mut plans, stop).await?;
        self.apply(&deliveries, &mut plans, answers);
        let places: Vec<_> = (0..plans.len()).collect();
        let answers = self.publish(&deliveries, &mut plans, &places).await?;
        self.apply(&deliveries, &mut plans, answers);
        let mut finished = Vec::with_capacity(plans.len());
        let settled = deliveries.into_iter().zip(plans).map(|(delivery, plan)| {
            let (finish, settlement) = match plan {
                SettlementPlan::Done(finish) => (finish, Settlement::Acknowledge),
                SettlementPlan::Publish(_) | SettlementPlan::Act { .. } => {
                    (FinalOutcome::As(Outcome::Requeued), Settlement::Requeue)
                }
            };
            finished.push(finish);
            (delivery, settlement)
        });
        let settled = settled.collect();
        crash_point::cross(CrashPoint::BeforeAcknowledge);
        let began = Instant::now();
        self.note_times(|trace, now_ns| trace.settle_ns = Some(now_ns));
        self.settler.settle(settled).await?;
        self.tally.stage(Stage::Settle, began);
        self.tally.finished(&finished);
        crash_point::cross(CrashPoint::AfterAcknowledge);
        Ok(finished)
    }

    /// Notes the time in the trace of the batch, where there is one.
    fn note_times(&mut self, note: impl FnOnce(&mut BatchTrace, u64)) {
        if let (Some(tracer), Some(trace)) = (&self.worker.tracer, &mut self.trace) {
            note(trace, tracer.now_ns());
        }
    }

    /// Publishes whatever at these places is not settled. The answer of a place is the worst of those
    /// for what was published of it.
    pub(super) async fn publish<D: Delivery>(
        &mut self,
        deliveries: &[D],
        plans: &mut [SettlementPlan],
        places: &[usize],
    ) -> Result<Vec<(usize, PublishOutcome)>, TransportError>
    where
        Pu: Publisher<D>,
    {
        let (mut published, mut outgoing) = (Vec::new(), Vec::new());
        for place in places {
            let delivery = &deliveries[*place];
            match &plans[*place] {
                SettlementPlan::Done(_)
                | SettlementPlan::Act { action: FailureAction::Requeue, .. } => continue,
                SettlementPlan::Publish(it) => outgoing.extend(it.open()),
                SettlementPlan::Act {
                    action: FailureAction::Wait { delay, attempts, .. },
                    awaited,
                    ..
                } => {
                    let (delay, attempts) = (*delay, attempts.clone());
                    let awaited = awaited.as_ref();
                    outgoing.push(Outgoing::Waiting { delivery, awaited, delay, attempts });
                }
                SettlementPlan::Act {
                    action: FailureAction::DeadLetter(refusal), stage, ..
                } => {
                    let mut attempts = delivery.arrival().attempts.clone();
                    // Without a wait no header holds it yet.
                    attempts.first_seen_ms.get_or_insert_with(|| self.worker.clock.now_ms());
                    let Refusal { reason, detail } = refusal;
                    let (reason, detail) = (*reason, detail.as_str());
                    outgoing.push(Outgoing::DeadLetter {
                        delivery,
                        reason,
                        detail,
                        stage,
                        attempts,
                    });
                }
            }
            published.push(*place);
        }
        if outgoing.is_empty() {
            return Ok(Vec::new());
        }
        crash_point::cross(CrashPoint::BeforePublish);
        let began = Instant::now();
        self.note_times(BatchTrace::publishes);
        let answers = self.publisher.publish(&outgoing).await;
        self.note_times(BatchTrace::published);
        self.tally.published(&outgoing, answers.as_deref().ok());
        let answers = answers?;
        self.tally.stage(Stage::Publish, began);
        crash_point::cross(CrashPoint::AfterConfirm);
        if answers.len() != outgoing.len() {
            return Err(TransportError::new("publish: not every message was answered"));
        }
        drop(outgoing);
        let mut answers = answers.into_iter();
        let answer = |place: usize| {
            let answer = match &mut plans[place] {
                SettlementPlan::Publish(it) => it.note(&mut answers),
                SettlementPlan::Done(_) | SettlementPlan::Act { .. } => {
                    answers.next().unwrap_or(PublishOutcome::Refused)
                }
            };
            (place, answer)
        };
        Ok(published.into_iter().map(answer).collect())
    }

    /// Writes down what became of what was published.
    fn apply<D: Delivery>(
        &self,
        deliveries: &[D],
        plans: &mut [SettlementPlan],
        answers: Vec<(usize, PublishOutcome)>,
    ) {
        let now_ms = self.worker.clock.now_ms();
        for (place, answer) in answers {
            plans[place] = self.next_plan(place, &deliveries[place], &plans[place], answer, now_ms);
        }
    }

    fn next_plan<D: Delivery>(
        &self,
        place: usize,
        delivery: &D,
        plan: &SettlementPlan,
        answer: PublishOutcome,
        now_ms: i64,
    ) -> SettlementPlan {
        let failure = match (plan, answer) {
            (SettlementPlan::Publish(it), PublishOutcome::Returned)
                if it.message.kind == PublishedKind::Enriched =>
            {
                Failure::MustWait(WaitCause::Unroutable)
            }
            // An end needs no consumer.
            (SettlementPlan::Publish(it), PublishOutcome::Confirmed | PublishOutcome::Returned) => {
                if let Some(sent_ms) = it.message.sent_ms {
                    self.tally.confirmed_after(now_ms.saturating_sub(sent_ms));
                }
                return SettlementPlan::Done(FinalOutcome::As(match it.message.kind {
                    PublishedKind::Enriched => Outcome::Enriched,
                    PublishedKind::Ended => Outcome::Ended,
                }));
            }
            (SettlementPlan::Act { action, awaited, .. }, PublishOutcome::Confirmed) => {
                match action {
                    FailureAction::Wait { delay, attempts, cause } => {
                        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
                        self.tally.waits.note(WaitEntry {
                            message_id: delivery.arrival().message_id.clone(),
                            who_on: awaited.as_ref().map(|it| (it.who.clone(), it.on.clone())),
                            cause: *cause,
                            since_ms: attempts.first_seen_ms.unwrap_or(now_ms),
                            due_ms: now_ms.saturating_add(delay_ms),
                        });
                        return SettlementPlan::Done(FinalOutcome::Waiting(*cause));
                    }
                    FailureAction::DeadLetter(refusal) => {
                        return SettlementPlan::Done(FinalOutcome::DeadLettered(refusal.reason));
                    }
                    // Never published; whatever was answered, it is nowhere else.
                    FailureAction::Requeue => Failure::NotSetAside,
                }
            }
            (SettlementPlan::Done(finish), PublishOutcome::Confirmed) => {
                return SettlementPlan::Done(*finish);
            }
            (SettlementPlan::Publish(_), PublishOutcome::Refused) => {
                Failure::MustWait(WaitCause::Refused)
            }
            (
                SettlementPlan::Act { .. } | SettlementPlan::Done(_),
                PublishOutcome::Returned | PublishOutcome::Refused,
            ) => Failure::NotSetAside,
        };
        let action = self.action_for(failure, place, delivery);
        SettlementPlan::Act { action, stage: "publish", awaited: None }
    }

    fn action_for<D: Delivery>(
        &self,
        failure: Failure,
        place: usize,
        delivery: &D,
    ) -> FailureAction {
        let worker = self.worker;
        let action =
            action_for(failure, delivery.arrival(), &worker.patience, worker.clock.now_ms());
        let told = self.tally.rejected(&action);
        if let (FailureAction::DeadLetter(Refusal { reason, detail }), true) = (&action, told) {
            let trace = self.trace.as_ref().and_then(|trace| trace.messages.get(place));
            let ids = LoggedIds::new(trace, delivery.arrival());
            tracing::warn!(
                delivery = delivery.name(),
                %reason,
                detail = detail.as_str(),
                trace_id = ids.trace_id(),
                span_id = ids.span_id(),
                "a message is set aside"
            );
        }
        action
    }
}
