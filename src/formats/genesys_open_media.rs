//! Genesys Engage: an Open Media interaction, `webengagement` among them (docs/formats.md).
//!
//! ```json
//! { "id": "…", "interactionType": "Inbound", "mediaType": "chat", "tenantId": 101,
//!   "parentInteractionId": "…", "queue": "…", "userData": [ ] }
//! ```

use super::vendor::{VendorMessage, attached_pairs, lower_case};
use super::{Decoded, Envelope, Refusal};
use crate::domain::{Event, Facts, Source};

/// The format's name.
pub(super) const NAME: &str = "genesys-open-media";

/// The members that make its shape.
pub(super) const SHAPE: &[&str] = &["mediaType", "interactionType"];

/// A media type and an interaction type.
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    envelope.fields.has("mediaType") && envelope.fields.has("interactionType")
}

/// Decodes the interaction, which this message creates.
///
/// # Errors
/// When an id or a name is of the wrong type or too long, or the media type is missing.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Decoded<'a>, Refusal> {
    let fields = &envelope.fields;
    let message = VendorMessage {
        tenant: fields.id("tenantId")?,
        id: fields.id("id")?,
        facts: Facts {
            channel: lower_case(fields.required("mediaType")?),
            queue: fields.name("queue")?,
            parent_id: fields.id("parentInteractionId")?,
            ..Facts::default()
        },
        own: attached_pairs(Source::Customer, fields.one("userData")?),
        left_out: &["id", "tenantId", "queue", "parentInteractionId", "userData"],
        ..VendorMessage::new(NAME, Event::Created)
    };
    message.decoded(envelope)
}
