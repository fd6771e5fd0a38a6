//! Sinch Contact Pro: an interaction with its attached data (docs/formats.md).
//!
//! ```json
//! { "id": "…", "channel_type": "chat", "status": "accepted", "from_queue": { "name": "…" },
//!   "attached_data": { } }
//! ```

use std::borrow::Cow;

use super::vendor::{Said, lot};
use super::{Decoded, Envelope, Refusal};
use crate::domain::{EndState, Event, Facts, KeyNames, Source};

/// The format's name.
pub(super) const NAME: &str = "sinch-contact-pro";

/// A channel and attached data.
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    envelope.fields.has("channel_type") && envelope.fields.has("attached_data")
}

/// Decodes the interaction: its creation, or its end where the status says so. A status that nobody
/// knows is no end.
///
/// # Errors
/// When an id or a name is of the wrong type or too long, or the channel is missing.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Decoded<'a>, Refusal> {
    let fields = &envelope.fields;
    let event = match fields.text("status")?.as_deref() {
        Some("ended") => Event::Ended(EndState::Ended),
        Some("handled") => Event::Ended(EndState::Handled),
        Some(_) | None => Event::Created,
    };
    let queue = fields.object("from_queue", "from_queue.")?;
    let said = Said {
        id: fields.id("id")?,
        facts: Facts {
            channel: match fields.required("channel_type")? {
                phone if phone == "phone" => Cow::Borrowed("voice"),
                other => other,
            },
            queue: queue.map_or(Ok(None), |queue| queue.name("name"))?,
            direction: fields.remark("direction"),
            ..Facts::default()
        },
        own: lot(Source::Customer, fields.one("attached_data")?),
        key_names: KeyNames::Xml,
        left_out: &["id", "from_queue.name", "attached_data"],
        ..Said::new(NAME, event)
    };
    said.decoded(envelope)
}
