//! Sinch Contact Pro's real-time interface for tasks (docs/formats.md).
//!
//! ```json
//! { "data": { "item": { "type": "XRI", "queue": "…" }, "values": { "KV": [ { "k": "…", "v": "…" } ] } } }
//! ```

use std::borrow::Cow;

use super::fields::Fields;
use super::vendor::{VendorMessage, attached_pairs};
use super::{Decoded, Envelope, Refusal};
use crate::domain::{Event, Facts, KeyNames, Source};

/// The format's name.
pub(super) const NAME: &str = "sinch-rti";

/// The members that make its shape.
pub(super) const SHAPE: &[&str] = &["data.item", "data.values.KV"];

/// An item with values.
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    let data = envelope.fields.inside("data");
    let has_values =
        |data: &Fields<'_>| data.inside("values").is_some_and(|values| values.has("KV"));
    data.is_some_and(|data| data.has("item") && has_values(&data))
}

/// Decodes the task, which this message creates. It has no id yet, so the event's stands in for it.
///
/// # Errors
/// When the queue is of the wrong type or too long.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Decoded<'a>, Refusal> {
    let fields = &envelope.fields;
    let data = fields.object("data", "data.")?.ok_or_else(|| fields.missing("data"))?;
    let item = data.object("item", "data.item.")?;
    let values = data.object("values", "data.values.")?;
    let pairs = values.map_or(Ok(None), |values| values.one("KV"))?;
    let message = VendorMessage {
        facts: Facts {
            channel: Cow::Borrowed("task"),
            queue: item.map_or(Ok(None), |item| item.name("queue"))?,
            ..Facts::default()
        },
        own: attached_pairs(Source::Customer, pairs),
        key_names: KeyNames::Xml,
        left_out: &["data.item.queue", "data.values.KV"],
        ..VendorMessage::new(NAME, Event::Created)
    };
    message.decoded(envelope)
}
