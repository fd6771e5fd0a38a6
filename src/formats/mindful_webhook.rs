//! Mindful: the webhooks that tell how a callback goes on (docs/formats.md).
//!
//! ```json
//! { "event": "Registered Callback", "id": "…", "time": "…",
//!   "data": { "call": { "id": "…", "callTargetId": "…", "metadata": { } } } }
//! ```

use std::borrow::Cow;

use super::vendor::{Said, lot};
use super::{Decoded, Envelope, Refusal};
use crate::domain::{Event, Facts, Source};

/// The format's name.
pub(super) const NAME: &str = "mindful-webhook";

/// An event about a call.
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    let fields = &envelope.fields;
    fields.has("event") && fields.inside("data").is_some_and(|data| data.has("call"))
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
    let said = Said {
        event_id: fields.id("id")?,
        id: Some(call.id("id")?.ok_or_else(|| call.missing("id"))?),
        facts: Facts {
            channel: Cow::Borrowed("webcallback"),
            call_target: call.id("callTargetId")?,
            created_at: call.remark("createdAt"),
            ..Facts::default()
        },
        own: lot(Source::Integration, call.one("metadata")?),
        time: fields.remark("time"),
        left_out: &["data.call.id", "data.call.callTargetId", "data.call.metadata"],
        ..Said::new(NAME, Event::Opened)
    };
    said.decoded(envelope)
}
