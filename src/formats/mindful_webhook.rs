//! Mindful: the webhooks that report the progress of a callback (docs/formats.md).
//!
//! ```json
//! { "data": { "call": { "id": "…", "callTargetId": "…", "metadata": { } },
//!             "event": "Registered Callback", "time": "…", "id": "…" } }
//! ```
//!
//! The vendor puts all of it inside `data`. `event`, `time` and `id` beside `data`, where a gateway has
//! moved them, are read too; the ones inside go first.

use std::borrow::Cow;

use super::vendor::{VendorMessage, attached_pairs};
use super::{Decoded, Envelope, Refusal};
use crate::domain::{Event, Facts, Source};

/// The format's name.
pub(super) const NAME: &str = "mindful-webhook";

/// The members that make its shape.
pub(super) const SHAPE: &[&str] = &["data.event", "data.call"];

/// An event about a call.
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    let fields = &envelope.fields;
    let data = fields.inside("data");
    data.is_some_and(|data| data.has("call") && (data.has("event") || fields.has("event")))
}

/// Decodes the event. Which one is a call's first depends on what the webhook was registered for, so
/// every one opens.
///
/// # Errors
/// When an id is missing, of the wrong type or too long.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Decoded<'a>, Refusal> {
    let fields = &envelope.fields;
    let data = fields.object("data", "data.")?.ok_or_else(|| fields.missing("data"))?;
    let call = data.object("call", "data.call.")?.ok_or_else(|| data.missing("call"))?;
    let (inside, beside) = (data.id("id")?, fields.id("id")?);
    let message = VendorMessage {
        event_id: inside.or(beside),
        id: Some(call.id("id")?.ok_or_else(|| call.missing("id"))?),
        facts: Facts {
            channel: Cow::Borrowed("webcallback"),
            call_target: call.id("callTargetId")?,
            created_at: call.remark("createdAt"),
            ..Facts::default()
        },
        own: attached_pairs(Source::Integration, call.one("metadata")?),
        time: data.remark("time").or_else(|| fields.remark("time")),
        left_out: &["data.call.id", "data.call.callTargetId", "data.call.metadata"],
        ..VendorMessage::new(NAME, Event::Opened)
    };
    message.decoded(envelope)
}
