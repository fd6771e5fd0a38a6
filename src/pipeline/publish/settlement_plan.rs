//! What is to become of each delivery of the batch in hand.

use super::publication::Publication;
use crate::pipeline::observe::tally::FinalOutcome;
use crate::pipeline::ports::{PublishOutcome, PublishedKind, WaitDependency};
use crate::pipeline::settlement::FailureAction;

/// What is to become of one delivery of the batch in hand.
pub(super) enum SettlementPlan {
    /// It is done with, or safely elsewhere: it is acknowledged.
    Done(FinalOutcome),
    /// It is published, to each of its outputs.
    Publish(Publication),
    /// It is to be set aside.
    Act { action: FailureAction, stage: &'static str, awaited: Option<WaitDependency> },
}

/// Whether an enriched message came back: no queue is bound, or the broker refuses it.
pub(super) fn is_untaken(plan: &SettlementPlan, answer: PublishOutcome) -> bool {
    match (plan, answer) {
        (_, PublishOutcome::Confirmed)
        | (SettlementPlan::Done(_) | SettlementPlan::Act { .. }, _) => false,
        (SettlementPlan::Publish(it), PublishOutcome::Returned | PublishOutcome::Refused) => {
            it.message.kind == PublishedKind::Enriched
        }
    }
}
