//! The second half of the line: publish, wait for all confirms, settle.
//!
//! A failure of one message is that message's own: it waits or is set aside. A failure of whatever
//! lies behind the broker is everybody's: after [`MANY`] in a row the lane holds the batch it has and
//! asks with one message at a time, instead of pushing a whole queue into waiting queues and dead
//! letters. It does so for `waiting.unroutable_secs` per batch, no longer: what is behind may be for
//! somebody else.
//!
//! This file is long because the second half is told in one go, from the first publication to the
//! settlement, with all that may come back; what one message is published as is in `publication.rs`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::Refusal;
use crate::pipeline::crash_point::{self, CrashPoint};
use crate::pipeline::observe::batch_trace::BatchTrace;
use crate::pipeline::observe::labels::{Outcome, Stage};
use crate::pipeline::observe::message_trace::{LoggedIds, Traced};
use crate::pipeline::observe::tally::{FinalOutcome, Tally};
use crate::pipeline::observe::waits::WaitEntry;
use crate::pipeline::plan::{Plan, Unpublished};
use crate::pipeline::ports::{
    Delivery, Outgoing, PublishOutcome, PublishedKind, Publisher, Settlement, Settler,
    TransportError, WaitDependency,
};
use crate::pipeline::publish::gate_queue::GateQueue;
use crate::pipeline::publish::publication::Publication;
use crate::pipeline::save::outage::HOLD_SECS;
use crate::pipeline::save::worker::Worker;
use crate::pipeline::settlement::{Failure, FailureAction, WaitCause, action_for};
use crate::retry::Reconnect;

/// So many enriched messages in a row that nobody takes are no accident of one channel or queue.
/// Fewer than a batch, so that an outage costs no more than the messages of one.
const MANY: u32 = 20;

/// A batch that is saved: deliveries with their traces and their plans.
pub(crate) type SavedBatch<D> = Vec<(Traced<D>, Plan)>;

/// The second half of a lane.
pub(crate) struct PublishStage<'w, S, Pu, Se> {
    pub(crate) worker: &'w Worker<S>,
    pub(crate) publisher: Pu,
    pub(crate) settler: Se,
    pub(crate) tally: &'w Tally,
    /// Less than this is published together with what comes next, if that is there already.
    pub(crate) batch_messages: usize,
    /// Enriched messages in a row that nobody took.
    pub(crate) refused_in_a_row: u32,
    /// Batches that were held since somebody took something.
    pub(crate) held_batches: u64,
    /// The queue that deliveries come from, where there is a tracer to be told.
    pub(crate) queue: Option<Arc<str>>,
    /// The trace of the batch in hand, where there is a tracer.
    pub(crate) trace: Option<BatchTrace>,
}

/// What is to become of one delivery of the batch in hand.
enum SettlementPlan {
    /// It is done with, or safely elsewhere: it is acknowledged.
    Settled(FinalOutcome),
    /// It is published, to each of its outputs.
    Publish(Publication),
    /// It is to be set aside.
    Remedy { remedy: FailureAction, stage: &'static str, awaited: Option<WaitDependency> },
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
                // Those who have waited go first.
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
                    // Nothing more comes; whoever steps aside still is to be published.
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
        let mut fates = Vec::with_capacity(batch.len());
        let tracer = self.worker.tracer.as_ref();
        self.trace = tracer.map(|_| BatchTrace::of(self.queue.clone()));
        for (place, (Traced { delivery, trace }, plan)) in batch.into_iter().enumerate() {
            if let (Some(batch), Some(trace)) = (&mut self.trace, trace) {
                batch.add(*trace, &delivery, &plan);
            }
            fates.push(match plan {
                Plan::Done(Unpublished::Duplicate) => {
                    SettlementPlan::Settled(FinalOutcome::As(Outcome::Duplicate))
                }
                Plan::Done(Unpublished::Ignored) => {
                    SettlementPlan::Settled(FinalOutcome::As(Outcome::Ignored))
                }
                Plan::Publish(message) => SettlementPlan::Publish(Publication::of(message)),
                Plan::Failed { failure, stage, awaited } => SettlementPlan::Remedy {
                    remedy: self.remedy(failure, place, &delivery),
                    stage,
                    awaited,
                },
            });
            deliveries.push(delivery);
        }
        // First everything; then what came back, to where it is set aside; what then is still not
        // safely elsewhere goes back to its queue.
        let answers = self.publish_all(&deliveries, &mut fates, stop).await?;
        self.apply(&deliveries, &mut fates, answers);
        let places: Vec<_> = (0..fates.len()).collect();
        let answers = self.publish(&deliveries, &mut fates, &places).await?;
        self.apply(&deliveries, &mut fates, answers);
        let mut finished = Vec::with_capacity(fates.len());
        let settled = deliveries.into_iter().zip(fates).map(|(delivery, fate)| {
            let (finish, settlement) = match fate {
                SettlementPlan::Settled(finish) => (finish, Settlement::Acknowledge),
                SettlementPlan::Publish(_) | SettlementPlan::Remedy { .. } => {
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

    /// Publishes a batch. Where many in a row come back, holds it and asks until some are taken.
    async fn publish_all<D: Delivery>(
        &mut self,
        deliveries: &[D],
        fates: &mut [SettlementPlan],
        stop: &CancellationToken,
    ) -> Result<Vec<(usize, PublishOutcome)>, TransportError>
    where
        Pu: Publisher<D>,
    {
        let everything: Vec<_> = (0..fates.len()).collect();
        let mut answered = Vec::new();
        if self.refused_in_a_row < MANY {
            answered = self.publish(deliveries, fates, &everything).await?;
            self.count(fates, &answered);
            if self.refused_in_a_row < MANY {
                return Ok(answered);
            }
        }
        // Nobody took the last ones: neither those of this batch, nor, it seems, those before.
        let came_back = |place: &usize| match answered.iter().find(|(known, _)| known == place) {
            Some((place, answer)) => is_untaken(&fates[*place], *answer),
            None => true,
        };
        let open: Vec<_> = everything.into_iter().filter(came_back).collect();
        let taken = self.ask(deliveries, fates, &open, stop).await?;
        let rest: Vec<_> = open.iter().copied().filter(|place| Some(*place) != taken).collect();
        answered.retain(|(place, _)| !open.contains(place));
        answered.extend(taken.map(|place| (place, PublishOutcome::Confirmed)));
        let last = self.publish(deliveries, fates, &rest).await?;
        self.count(fates, &last);
        answered.extend(last);
        Ok(answered)
    }

    /// Publishes enriched messages of these places one at a time, in turn, with growing delays, until
    /// somebody takes one. Gives up once a message may not wait any longer for a queue to be bound:
    /// others may be behind this batch that would be taken.
    async fn ask<D: Delivery>(
        &mut self,
        deliveries: &[D],
        fates: &mut [SettlementPlan],
        places: &[usize],
        stop: &CancellationToken,
    ) -> Result<Option<usize>, TransportError>
    where
        Pu: Publisher<D>,
    {
        let enriched = |place: &&usize| match &fates[**place] {
            SettlementPlan::Publish(it) => it.message.kind == PublishedKind::Enriched,
            SettlementPlan::Settled(_) | SettlementPlan::Remedy { .. } => false,
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
                "nobody takes what is published; asking with one message at a time"
            );
        }
        self.tally.progress.ask(true);
        // Whatever the patience, the broker's own with what is not acknowledged ends before.
        let patience = Duration::from_millis(self.worker.patience.publish_ms)
            .min(Duration::from_secs(HOLD_SECS));
        let mut held = Duration::ZERO;
        let mut retry = Reconnect::new();
        for probe in probes.iter().cycle() {
            let delay = retry.next_delay();
            held += delay;
            if held > patience {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => {
                    return Err(TransportError::new("publish: stopped while nobody took it"));
                }
            }
            let answers = self.publish(deliveries, fates, std::slice::from_ref(probe)).await?;
            self.count(fates, &answers);
            if self.refused_in_a_row == 0 {
                tracing::info!(batches, "what is published is taken again");
                self.held_batches = 0;
                self.tally.progress.ask(false);
                return Ok(Some(*probe));
            }
        }
        Ok(None)
    }

    /// Counts enriched messages in a row that nobody took.
    fn count(&mut self, fates: &[SettlementPlan], answers: &[(usize, PublishOutcome)]) {
        for (place, answer) in answers {
            if is_untaken(&fates[*place], *answer) {
                self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
            } else if matches!(&fates[*place], SettlementPlan::Publish(it) if it.message.kind == PublishedKind::Enriched)
            {
                self.refused_in_a_row = 0;
            }
        }
    }

    /// Publishes whatever at these places is not settled. The answer of a place is the worst of those
    /// for what was published of it.
    async fn publish<D: Delivery>(
        &mut self,
        deliveries: &[D],
        fates: &mut [SettlementPlan],
        places: &[usize],
    ) -> Result<Vec<(usize, PublishOutcome)>, TransportError>
    where
        Pu: Publisher<D>,
    {
        let (mut published, mut outgoing) = (Vec::new(), Vec::new());
        for place in places {
            let delivery = &deliveries[*place];
            match &fates[*place] {
                SettlementPlan::Settled(_)
                | SettlementPlan::Remedy { remedy: FailureAction::Requeue, .. } => continue,
                SettlementPlan::Publish(it) => outgoing.extend(it.open()),
                SettlementPlan::Remedy {
                    remedy: FailureAction::Wait { delay, attempts, .. },
                    awaited,
                    ..
                } => {
                    let (delay, attempts) = (*delay, attempts.clone());
                    let awaited = awaited.as_ref();
                    outgoing.push(Outgoing::Waiting { delivery, awaited, delay, attempts });
                }
                SettlementPlan::Remedy {
                    remedy: FailureAction::DeadLetter(refusal),
                    stage,
                    ..
                } => {
                    let mut attempts = delivery.arrival().attempts.clone();
                    // Without a wait nobody has written it down yet.
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
            let answer = match &mut fates[place] {
                SettlementPlan::Publish(it) => it.note(&mut answers),
                SettlementPlan::Settled(_) | SettlementPlan::Remedy { .. } => {
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
        fates: &mut [SettlementPlan],
        answers: Vec<(usize, PublishOutcome)>,
    ) {
        let now_ms = self.worker.clock.now_ms();
        for (place, answer) in answers {
            fates[place] = self.after(place, &deliveries[place], &fates[place], answer, now_ms);
        }
    }

    fn after<D: Delivery>(
        &self,
        place: usize,
        delivery: &D,
        fate: &SettlementPlan,
        answer: PublishOutcome,
        now_ms: i64,
    ) -> SettlementPlan {
        let failure = match (fate, answer) {
            (SettlementPlan::Publish(it), PublishOutcome::Returned)
                if it.message.kind == PublishedKind::Enriched =>
            {
                Failure::MustWait(WaitCause::Unroutable)
            }
            // Nobody need listen to ends.
            (SettlementPlan::Publish(it), PublishOutcome::Confirmed | PublishOutcome::Returned) => {
                if let Some(sent_ms) = it.message.sent_ms {
                    self.tally.confirmed_after(now_ms.saturating_sub(sent_ms));
                }
                return SettlementPlan::Settled(FinalOutcome::As(match it.message.kind {
                    PublishedKind::Enriched => Outcome::Enriched,
                    PublishedKind::Ended => Outcome::Ended,
                }));
            }
            (SettlementPlan::Remedy { remedy, awaited, .. }, PublishOutcome::Confirmed) => {
                match remedy {
                    FailureAction::Wait { delay, attempts, cause } => {
                        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
                        self.tally.waits.note(WaitEntry {
                            message_id: delivery.arrival().message_id.clone(),
                            who_on: awaited.as_ref().map(|it| (it.who.clone(), it.on.clone())),
                            cause: *cause,
                            since_ms: attempts.first_seen_ms.unwrap_or(now_ms),
                            due_ms: now_ms.saturating_add(delay_ms),
                        });
                        return SettlementPlan::Settled(FinalOutcome::Waiting(*cause));
                    }
                    FailureAction::DeadLetter(refusal) => {
                        return SettlementPlan::Settled(FinalOutcome::DeadLettered(refusal.reason));
                    }
                    // Never published; whatever was answered, it is nowhere else.
                    FailureAction::Requeue => Failure::NotSetAside,
                }
            }
            (SettlementPlan::Settled(finish), PublishOutcome::Confirmed) => {
                return SettlementPlan::Settled(*finish);
            }
            (SettlementPlan::Publish(_), PublishOutcome::Refused) => {
                Failure::MustWait(WaitCause::Refused)
            }
            (
                SettlementPlan::Remedy { .. } | SettlementPlan::Settled(_),
                PublishOutcome::Returned | PublishOutcome::Refused,
            ) => Failure::NotSetAside,
        };
        let remedy = self.remedy(failure, place, delivery);
        SettlementPlan::Remedy { remedy, stage: "publish", awaited: None }
    }

    fn remedy<D: Delivery>(&self, failure: Failure, place: usize, delivery: &D) -> FailureAction {
        let worker = self.worker;
        let remedy =
            action_for(failure, delivery.arrival(), &worker.patience, worker.clock.now_ms());
        let told = self.tally.rejected(&remedy);
        if let (FailureAction::DeadLetter(Refusal { reason, detail }), true) = (&remedy, told) {
            let trace = self.trace.as_ref().and_then(|trace| trace.messages.get(place));
            let ids = LoggedIds::of(trace, delivery.arrival());
            tracing::warn!(
                delivery = delivery.name(),
                %reason,
                detail = detail.as_str(),
                trace_id = ids.trace_id(),
                span_id = ids.span_id(),
                "a message is set aside"
            );
        }
        remedy
    }
}

/// Whether an enriched message came back: no queue is bound, or the broker refuses it.
fn is_untaken(fate: &SettlementPlan, answer: PublishOutcome) -> bool {
    match (fate, answer) {
        (_, PublishOutcome::Confirmed)
        | (SettlementPlan::Settled(_) | SettlementPlan::Remedy { .. }, _) => false,
        (SettlementPlan::Publish(it), PublishOutcome::Returned | PublishOutcome::Refused) => {
            it.message.kind == PublishedKind::Enriched
        }
    }
}
