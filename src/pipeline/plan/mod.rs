//! What passes from the first half of the line to the second: what is to be done about a delivery
//! once its batch is saved.
//!
//! | module | what |
//! |---|---|
//! | `encoder` | from what the rules came to, to what is published |
//! | [`outputs`] | where else an interaction is published, and in which format |
//!
//! In two steps, since the rules of a whole batch must be known before it can be saved, and what it
//! publishes need not: `RulesResult` is what the rules came to, [`Plan`] has what is published, encoded.

pub(crate) mod encoder;
pub mod outputs;

use crate::domain::Refusal;
use crate::pipeline::observe::message_trace::{MessageTrace, Traced};
use crate::pipeline::ports::{Published, WaitDependency};
use crate::pipeline::settlement::Failure;

/// A batch that is saved: deliveries with their traces and their plans.
pub(crate) type SavedBatch<D> = Vec<(Traced<D>, Plan)>;

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
        awaited: Option<WaitDependency>,
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

impl Plan {
    /// It is set aside, for what this stage found.
    pub(crate) fn rejected(refusal: Refusal, stage: &'static str) -> Plan {
        Plan::Failed { failure: Failure::Rejected(refusal), stage, awaited: None }
    }
}
