//! Genesys Cloud: conversation events, bare or inside the `detail` of an Amazon EventBridge event
//! (docs/formats.md).
//!
//! ```json
//! { "topicName": "v2.detail.events.conversation.<id>.attributes",
//!   "eventBody": { "eventTime": 1763716521647, "conversationId": "…", "participantId": "…",
//!                  "attributes": { } } }
//! ```
//!
//! | topic ends in | becomes |
//! |---|---|
//! | `customer.start` | the creation; it carries no attributes |
//! | `attributes` | an update with the attributes, whose source is the integration |
//! | `customer.end` | the end |

use std::borrow::Cow;

use super::enriched::rfc3339;
use super::fields::{Fields, check_name};
use super::vendor::{Said, lot, lower_case};
use super::{Decoded, Envelope, Refusal};
use crate::domain::{EndState, Event, Facts, RawJson, RejectReason, Source};

/// The format's name.
pub(super) const NAME: &str = "genesys-cloud";

/// What the topics of conversations begin with.
const TOPICS: &str = "v2.detail.events.conversation.";

/// A topic of conversations, here or in `detail`.
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    let is_topic = |fields: &Fields<'_>| {
        let topic = fields.last("topicName").and_then(RawJson::string_bytes);
        topic.is_some_and(|topic| topic.starts_with(TOPICS.as_bytes()))
    };
    let fields = &envelope.fields;
    is_topic(fields) || fields.inside("detail").is_some_and(|detail| is_topic(&detail))
}

/// Decodes the event.
///
/// # Errors
/// `unsupported_type` for a topic that is none of the three; `not_an_interaction` when an id or a
/// name is missing, of the wrong type or too long.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Decoded<'a>, Refusal> {
    let outer = &envelope.fields;
    let fields = match outer.has("topicName") {
        true => outer.clone(),
        false => outer.object("detail", "detail.")?.ok_or_else(|| outer.missing("topicName"))?,
    };
    let topic = fields.text("topicName")?.ok_or_else(|| fields.missing("topicName"))?;
    let event = event(&topic)?;
    let body = fields.object("eventBody", "eventBody.")?;
    let body = body.ok_or_else(|| fields.missing("eventBody"))?;
    let id = body.id("conversationId")?.ok_or_else(|| body.missing("conversationId"))?;
    let said = Said {
        event_id: event_id(&body, &id, &topic)?,
        facts: match event {
            Event::Created => Facts {
                channel: lower_case(body.required("mediaType")?),
                direction: body.remark("direction"),
                ..Facts::default()
            },
            Event::Opened | Event::Updated | Event::Ended(_) => Facts::default(),
        },
        id: Some(id),
        own: lot(Source::Integration, body.one("attributes")?),
        time: time(&body),
        left_out: &[
            "eventBody.conversationId",
            "eventBody.attributes",
            "detail.eventBody.conversationId",
            "detail.eventBody.attributes",
        ],
        ..Said::new(NAME, event)
    };
    said.decoded(envelope)
}

fn event(topic: &str) -> Result<Event, Refusal> {
    // The conversation's id is a segment of its own before these.
    let last = topic.strip_prefix(TOPICS).and_then(|topic| topic.split_once('.'));
    match last.map(|(_id, last)| last) {
        Some("customer.start") => Ok(Event::Created),
        Some("attributes") => Ok(Event::Updated),
        Some("customer.end") => Ok(Event::Ended(EndState::Ended)),
        Some(_) | None => Err(Refusal::of(
            RejectReason::UnsupportedType,
            "the topic is none of customer.start, attributes, customer.end",
        )),
    }
}

/// The vendor gives its events no id that stays the same when it sends them again; these four
/// together are one. `None` if one of them is missing, or if together they are too long for an id.
fn event_id<'a>(
    body: &Fields<'a>,
    conversation: &str,
    topic: &str,
) -> Result<Option<Cow<'a, str>>, Refusal> {
    let parts = (body.id("participantId")?, body.id("eventTime")?);
    let (Some(participant), Some(time)) = parts else { return Ok(None) };
    let together = format!("{conversation}/{participant}/{time}/{topic}");
    Ok(check_name(together.as_bytes()).is_ok().then_some(Cow::Owned(together)))
}

/// `eventTime`, milliseconds since the Unix epoch, as RFC 3339.
fn time<'a>(body: &Fields<'a>) -> Option<Cow<'a, str>> {
    let ms = body.last("eventTime")?.get().parse().ok()?;
    let time = rfc3339(ms);
    (!time.is_empty()).then_some(Cow::Owned(time))
}
