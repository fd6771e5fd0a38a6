//! Further outputs: where else an interaction goes beside the enriched message, and in which shape
//! (`[[output]]`, docs/messages.md).
//!
//! Invariant: the `message_id` of each output is derived from the enriched message's, so a repeat
//! carries the same, and no two outputs share one. Pure.

use uuid::Uuid;

use crate::domain::{Outcome, Step};
use crate::formats::Decoded;
use crate::formats::enriched::{self, Stamp};
use crate::formats::outbound::OutboundFormat;
use crate::pipeline::ports::AdditionalOutput;
use crate::pipeline::routing_key::KeyTemplate;

/// Where an interaction goes beside the enriched message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exchange.
    pub exchange: String,
    /// The routing key, to be filled in.
    pub routing_key: KeyTemplate,
    /// The channels whose interactions go there; none: all.
    pub channels: Vec<String>,
    /// The shape.
    pub format: OutboundFormat,
    /// Whether it is a failure if no queue is bound for an enriched interaction.
    pub mandatory: bool,
}

impl Output {
    /// What tells this output from all others, and goes into its `message_id`s.
    pub fn name(&self) -> String {
        let (format, encoding) = self.format.words();
        [format, encoding.unwrap_or_default(), &self.exchange, self.routing_key.as_str()].join("\0")
    }

    /// What goes there of a message; `None` if nothing does.
    pub(crate) fn further(
        &self,
        decoded: &Decoded<'_>,
        step: &Step<'_>,
        stamp: Stamp<'_>,
        message_id: &Uuid,
    ) -> Option<AdditionalOutput> {
        let facts = match &step.outcome {
            Outcome::Enriched(enriched) => &enriched.facts,
            Outcome::Ended(ended) => &ended.facts,
            _ => return None,
        };
        let all = self.channels.is_empty();
        if !all && !self.channels.iter().any(|channel| *channel == facts.channel) {
            return None;
        }
        let encoded = self.format.encode(decoded, step, stamp)?;
        Some(AdditionalOutput {
            message_id: enriched::further_id(message_id, &self.name()).to_string(),
            exchange: self.exchange.clone(),
            routing_key: self.routing_key.fill(&decoded.message.identity, facts),
            content_type: encoded.content_type,
            headers: encoded.headers,
            mandatory: self.mandatory,
            body: encoded.body,
            routing_at: encoded.routing_at,
        })
    }
}
