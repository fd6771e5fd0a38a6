//! Sinch Contact Pro: an interaction with its attached data, bare or as its event-driven integration sends
//! it (docs/formats.md).
//!
//! ```json
//! { "id": "…", "channel_type": "chat", "status": "accepted", "from_queue": { "name": "…" },
//!   "attached_data": { } }
//! { "event": { "name": "accepted", "datetime": "…" },
//!   "contact": { "id": "…", "channel_type": "chat", "queue": { "address": "…" }, "attached_data": { } } }
//! ```
//!
//! The administrator of the integration configures what it sends; this format recognises the members of
//! the vendor's own example, `event` and `contact` as they are. The integration sends several events of a
//! conversation, so each of them opens.

use std::borrow::Cow;

use super::fields::Fields;
use super::vendor::{VendorMessage, attached_pairs};
use super::{Decoded, Envelope, Refusal};
use crate::domain::value::Kind;
use crate::domain::{EndState, Event, Facts, KeyNames, Source};

/// The format's name.
pub(super) const NAME: &str = "sinch-contact-pro";

/// The members that make its shape.
pub(super) const SHAPE: &[&str] = &["channel_type", "attached_data"];

/// A channel and attached data, here or in `contact`; there an event beside it stands in for the data.
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    let fields = &envelope.fields;
    let has_shape = |fields: &Fields<'_>| fields.has("channel_type") && fields.has("attached_data");
    let is_contact = |contact: Fields<'_>| {
        contact.has("channel_type") && (contact.has("attached_data") || fields.has("event"))
    };
    has_shape(fields) || fields.inside("contact").is_some_and(is_contact)
}

/// Decodes the interaction: its creation, or its end where the status is one of an end. An unknown status
/// does not end it.
///
/// # Errors
/// When an id or a name is of the wrong type or too long, or the channel is missing.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Decoded<'a>, Refusal> {
    let outer = &envelope.fields;
    let contact = match outer.has("channel_type") {
        true => None,
        false => outer.object("contact", "contact.")?,
    };
    let fields = contact.as_ref().unwrap_or(outer);
    let (said_event, time) = match contact {
        Some(_) => integration_event(outer)?,
        None => (None, None),
    };
    let event = match fields.text("status")?.as_deref() {
        Some("ended") => Event::Ended(EndState::Ended),
        Some("handled") => Event::Ended(EndState::Handled),
        Some(_) | None => match (said_event, &contact) {
            (Some(event), _) => event,
            (None, Some(_)) => Event::Opened,
            (None, None) => Event::Created,
        },
    };
    let message = VendorMessage {
        id: fields.id("id")?,
        facts: Facts {
            channel: match fields.required("channel_type")? {
                phone if phone == "phone" => Cow::Borrowed("voice"),
                other => other,
            },
            queue: queue(fields, contact.is_some())?,
            direction: fields.remark("direction"),
            created_at: contact.as_ref().and_then(|contact| contact.remark("created")),
            ..Facts::default()
        },
        own: attached_pairs(Source::Customer, fields.one("attached_data")?),
        key_names: KeyNames::Xml,
        time,
        left_out: &[
            "id",
            "from_queue.name",
            "attached_data",
            "contact.id",
            "contact.from_queue.name",
            "contact.attached_data",
        ],
        ..VendorMessage::new(NAME, event)
    };
    message.decoded(envelope)
}

/// The end that the event of an integration reports, if any, and its time. It stands as a name, or as an
/// object with one.
fn integration_event<'a>(
    outer: &Fields<'a>,
) -> Result<(Option<Event>, Option<Cow<'a, str>>), Refusal> {
    let (name, time) = match outer.kind_of("event") {
        Some(Kind::Object) => match outer.object("event", "event.")? {
            Some(event) => (event.text("name")?, event.remark("datetime")),
            None => (None, None),
        },
        _ => (outer.text("event")?, None),
    };
    let event = match name.as_deref().map(str::to_ascii_lowercase).as_deref() {
        // The conversation is over; then its wrap-up is.
        Some("ended") => Some(Event::Ended(EndState::Ended)),
        Some("closed") => Some(Event::Ended(EndState::Handled)),
        Some(_) | None => None,
    };
    Ok((event, time))
}

/// The queue: `from_queue`, and of an integration's contact else `queue`, by its name or its address.
fn queue<'a>(fields: &Fields<'a>, is_contact: bool) -> Result<Option<Cow<'a, str>>, Refusal> {
    if let Some(queue) = fields.object("from_queue", "from_queue.")? {
        return queue.name("name");
    }
    match fields.kind_of("queue") {
        Some(Kind::Object) if is_contact => {
            let queue = fields.object("queue", "queue.")?;
            let Some(queue) = queue else { return Ok(None) };
            let (name, address) = (queue.name("name")?, queue.name("address")?);
            Ok(name.or(address))
        }
        Some(Kind::String) if is_contact => fields.name("queue"),
        _ => Ok(None),
    }
}
