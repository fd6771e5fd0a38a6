//! From what the rules came to, to what is published: encoded, with its other outputs.

use super::outputs::Output;
use super::{Plan, Unpublished};
use crate::domain::{Identity, Outcome, Step};
use crate::formats::Decoded;
use crate::formats::enriched::{self, Stamp};
use crate::pipeline::gate_policy::GatePolicy;
use crate::pipeline::ports::{Gated, Published, PublishedKind, WaitDependency};
use crate::pipeline::settlement::{Failure, WaitCause};

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
