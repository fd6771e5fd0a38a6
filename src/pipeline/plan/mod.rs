//! What is to be done about a delivery once its batch is saved.
//!
//! In two steps, since the rules of a whole batch must be known before it can be saved, and what it
//! publishes need not: `RulesResult` is what the rules came to, [`Plan`] has what is published, encoded.

pub mod outputs;

use crate::domain::{Identity, Outcome, Refusal, Step};
use crate::formats::Decoded;
use crate::formats::enriched::{self, Stamp};
use crate::pipeline::observe::message_trace::MessageTrace;
use crate::pipeline::plan::outputs::Output;
use crate::pipeline::ports::{Gated, Published, PublishedKind, WaitDependency};
use crate::pipeline::publish::gate_queue::GatePolicy;
use crate::pipeline::settlement::{Failure, WaitCause};

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

/// What a message came to in the rules.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are the large one")]
pub(crate) enum RulesResult<'m> {
    /// The rules have spoken.
    Step(&'m Decoded<'m>, Step<'m>),
    /// It did not come so far.
    Failed(Plan),
}

/// The same with its place in the batch; in the order of publication.
pub(crate) type IndexedResult<'m> = (usize, RulesResult<'m>);

impl RulesResult<'_> {
    /// The interaction that it must wait for.
    pub(crate) fn awaits(&self) -> Option<&Identity<'_>> {
        match self {
            RulesResult::Step(_, Step { outcome: Outcome::Waiting(wait), .. }) => Some(wait.on()),
            RulesResult::Step(..) | RulesResult::Failed(_) => None,
        }
    }

    /// The interaction of which something is published.
    pub(crate) fn publishes(&self) -> Option<&Identity<'_>> {
        match self {
            RulesResult::Step(
                decoded,
                Step { outcome: Outcome::Enriched(_) | Outcome::Ended(_), .. },
            ) => Some(&decoded.message.identity),
            RulesResult::Step(..) | RulesResult::Failed(_) => None,
        }
    }
}

/// What the messages of a batch are encoded with.
pub(crate) struct Encoder<'w> {
    /// Where interactions go beside the enriched message.
    pub(crate) outputs: &'w [Output],
    /// Which of them the status gate is asked about, where there is one.
    pub(crate) gating: Option<&'w GatePolicy>,
    /// What stands in every message.
    pub(crate) stamp: Stamp<'w>,
    /// When the batch was worked out, in milliseconds since the Unix epoch.
    pub(crate) now_ms: i64,
}

impl Encoder<'_> {
    /// The plan for a message of which the rules found this.
    pub(crate) fn plan(&self, decoded: &Decoded<'_>, step: &Step<'_>) -> Plan {
        let stamp = self.stamp;
        let (kind, facts) = match &step.outcome {
            Outcome::Enriched(enriched) => (PublishedKind::Enriched, &enriched.facts),
            Outcome::Ended(ended) => (PublishedKind::Ended, &ended.facts),
            Outcome::Ignored => return Plan::Done(Unpublished::Ignored),
            Outcome::Duplicate => return Plan::Done(Unpublished::Duplicate),
            Outcome::Waiting(wait) => {
                let failure = Failure::MustWait(WaitCause::of(wait));
                let who = decoded.message.identity.to_owned();
                let awaited = WaitDependency { who, on: wait.on().to_owned() };
                return Plan::Failed { failure, stage: "propagate", awaited: Some(awaited) };
            }
            Outcome::Rejected(refusal) => return Plan::rejected(refusal.clone(), "propagate"),
        };
        let message_id = enriched::message_id(decoded);
        let outputs = self.outputs.iter();
        let name = message_id.to_string();
        let encoded = enriched::encode_open(&name, decoded, step, stamp);
        let (body, routing_at) =
            encoded.map(|encoded| (encoded.body, encoded.routing_at)).unwrap_or_default();
        let gating = self.gating.filter(|gating| gating.concerns(&facts.channel));
        let gated = gating.and(routing_at).map(|routing_at| Gated {
            widget: facts.widget.as_deref().map(str::to_owned),
            routing_at,
        });
        Plan::Publish(Box::new(Published {
            correlation_id: decoded.message.event_id.to_string(),
            kind,
            channel: facts.channel.to_string(),
            revision: stamp.revision.as_str().to_owned(),
            trace: decoded.trace.to_owned(),
            timestamp_ms: self.now_ms,
            sent_ms: decoded.time.as_deref().and_then(enriched::parse_rfc3339),
            identity: decoded.message.identity.to_owned(),
            body,
            message_id: name,
            further: outputs
                .filter_map(|output| output.further(decoded, step, stamp, &message_id))
                .collect(),
            gated,
        }))
    }
}
