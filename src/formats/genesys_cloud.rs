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
//! | `customer.start` | the start of a session, which opens; it carries no attributes |
//! | `attributes` | an update with the attributes, whose source is the integration, as of `eventTime` |
//! | `customer.end` | the end of a session, and of the interaction with the last one that is open |
//!
//! A conversation has several sessions: a callback that was added to a call is one of its own. The
//! vendor sends its events in no order, and two of them within a millisecond.

use std::borrow::Cow;

use super::enriched::{parse_rfc3339, rfc3339};
use super::fields::{Fields, check_name};
use super::vendor::{VendorMessage, attached_pairs, lower_case};
use super::{Decoded, Envelope, Refusal};
use crate::domain::digest::{Hex, sha256};
use crate::domain::value::Kind;
use crate::domain::{EndState, Event, Facts, RawJson, RejectReason, Source, UNSPECIFIED_CHANNEL};

/// The format's name.
pub(super) const NAME: &str = "genesys-cloud";

/// The members that make its shape.
pub(super) const SHAPE: &[&str] = &["topicName", "eventBody"];

/// The media type and the direction that are none.
const UNKNOWN: &str = "UNKNOWN";

/// The prefix of the topics of conversations.
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
    let (fields, bridge_id) = match outer.has("topicName") {
        true => (outer.clone(), None),
        false => {
            let detail = outer.object("detail", "detail.")?;
            // The envelope of EventBridge has an id that stays the same when the event is sent again.
            (detail.ok_or_else(|| outer.missing("topicName"))?, outer.id("id")?)
        }
    };
    let topic = fields.text("topicName")?.ok_or_else(|| fields.missing("topicName"))?;
    let event = event(&topic)?;
    let raw_body = fields.one("eventBody")?.ok_or_else(|| fields.missing("eventBody"))?;
    let body = Fields::new(raw_body, "eventBody.")?;
    let id = body.id("conversationId")?.ok_or_else(|| body.missing("conversationId"))?;
    let media_type = body.name("mediaType")?;
    let channel = match (event, media_type) {
        (Event::Opened, None) => return Err(body.missing("mediaType")),
        (Event::Opened, Some(media)) if media != UNKNOWN => lower_case(media),
        (Event::Opened, Some(_)) => Cow::Borrowed(UNSPECIFIED_CHANNEL),
        (Event::Created | Event::Updated | Event::Ended(_), _) => Cow::Borrowed(""),
    };
    let event_ms = body.last("eventTime").and_then(event_ms);
    let message = VendorMessage {
        event_id: event_id(bridge_id, &body, raw_body, &id, &topic)?,
        facts: match event {
            Event::Opened => Facts {
                channel,
                direction: body.remark("direction").filter(|direction| direction != UNKNOWN),
                ..Facts::default()
            },
            Event::Created | Event::Updated | Event::Ended(_) => Facts::default(),
        },
        id: Some(id),
        own: attached_pairs(Source::Integration, body.one("attributes")?),
        set_ms: event_ms,
        session: match event {
            Event::Opened | Event::Ended(_) => body.id("sessionId")?,
            Event::Created | Event::Updated => None,
        },
        time: event_ms.map(rfc3339).filter(|time| !time.is_empty()).map(Cow::Owned),
        left_out: &[
            "eventBody.conversationId",
            "eventBody.attributes",
            "detail.eventBody.conversationId",
            "detail.eventBody.attributes",
        ],
        ..VendorMessage::new(NAME, event)
    };
    message.decoded(envelope)
}

/// A time in milliseconds since the Unix epoch: a number, or a text of its digits or as RFC 3339 has it.
fn event_ms(json: RawJson<'_>) -> Option<i64> {
    if json.kind() == Kind::Number {
        return json.get().parse().ok();
    }
    let text = json.characters()?.ok()?;
    text.parse().ok().or_else(|| parse_rfc3339(&text))
}

fn event(topic: &str) -> Result<Event, Refusal> {
    // The conversation's id is a segment of its own before these.
    let last = topic.strip_prefix(TOPICS).and_then(|topic| topic.split_once('.'));
    match last.map(|(_id, last)| last) {
        Some("customer.start") => Ok(Event::Opened),
        Some("attributes") => Ok(Event::Updated),
        Some("customer.end") => Ok(Event::Ended(EndState::Ended)),
        Some(_) | None => Err(Refusal::new(
            RejectReason::UnsupportedType,
            "topicName is none of customer.start, attributes, customer.end",
        )),
    }
}

/// The event's id: that of EventBridge's envelope, else, since the vendor gives none that stays the same
/// when it sends an event again, these four together; `None` if one of them is missing. With either goes a
/// digest of the event's body: two events can have a millisecond in common, and all of this with it.
fn event_id<'a>(
    bridge_id: Option<Cow<'a, str>>,
    body: &Fields<'a>,
    raw_body: RawJson<'a>,
    conversation: &str,
    topic: &str,
) -> Result<Option<Cow<'a, str>>, Refusal> {
    let named = match (bridge_id, body.id("participantId")?, body.id("eventTime")?) {
        (Some(bridge_id), _, _) => bridge_id.into_owned(),
        (None, Some(participant), Some(time)) => {
            format!("{conversation}/{participant}/{time}/{topic}")
        }
        (None, _, _) => return Ok(None),
    };
    let digest = sha256::<16>(&[raw_body.get().as_bytes()]);
    let together = format!("{named}/{}", Hex(&digest));
    Ok(Some(Cow::Owned(match check_name(together.as_bytes()) {
        Ok(()) => together,
        // Too long for an id.
        Err(_) => Hex(&sha256::<32>(&[together.as_bytes()])).to_string(),
    })))
}
