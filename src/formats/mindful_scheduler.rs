//! Mindful Scheduler: a widget's request to register a callback (docs/formats.md).
//!
//! ```json
//! { "widget_id": "w-17", "contact_number": "+…", "user_data": { } }
//! ```

use std::borrow::Cow;

use super::fields::check_name;
use super::vendor::{VendorMessage, attached_pairs};
use super::{Decoded, Envelope, Refusal};
use crate::domain::{Event, Facts, Source};

/// The format's name.
pub(super) const NAME: &str = "mindful-scheduler";

/// The members that make its shape.
pub(super) const SHAPE: &[&str] = &["contact_number"];

/// The number to be called, and not inside `data`, as in the same vendor's webhooks.
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    envelope.fields.has("contact_number") && envelope.fields.last("data").is_none()
}

/// Decodes the request, which creates an interaction. It has no id yet, so the event's stands in for
/// it. The widget is the body's, else the one that came beside it.
///
/// # Errors
/// When the widget's id is of the wrong type or too long.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Decoded<'a>, Refusal> {
    let fields = &envelope.fields;
    let widget = match (fields.id("widget_id")?, envelope.widget) {
        (None, Some(widget)) => {
            let refuse = |what| Refusal::shape(format!("x-throughline-widget {what}"));
            check_name(widget.as_bytes()).map_err(refuse)?;
            Some(Cow::Borrowed(widget))
        }
        (own, _) => own,
    };
    let message = VendorMessage {
        facts: Facts { channel: Cow::Borrowed("webcallback"), widget, ..Facts::default() },
        own: attached_pairs(Source::Customer, fields.one("user_data")?),
        left_out: &["widget_id", "user_data"],
        ..VendorMessage::new(NAME, Event::Created)
    };
    message.decoded(envelope)
}
