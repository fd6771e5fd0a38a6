//! Genesys Mobile Services: the request that creates a callback (docs/formats.md).
//!
//! ```json
//! { "serviceName": "…", "phoneNumber": "+…", "cbOriginationIxnId": "…", "userData": { } }
//! ```
//!
//! The vendor itself passes over keys that are no JavaScript identifiers; here they are keys like any
//! other.

use std::borrow::Cow;

use super::vendor::{VendorMessage, attached_pairs};
use super::{Decoded, Envelope, Refusal};
use crate::domain::{Event, Facts, Source};

/// The format's name.
pub(super) const NAME: &str = "genesys-callback";

/// The members that make its shape.
pub(super) const SHAPE: &[&str] = &["serviceName", "phoneNumber"];

/// A service and the phone number to be called.
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    envelope.fields.has("serviceName") && envelope.fields.has("phoneNumber")
}

/// Decodes the request, which creates an interaction of its own. It has no id yet, so the event's
/// stands in for it.
///
/// # Errors
/// When the parent's id is of the wrong type or too long.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Decoded<'a>, Refusal> {
    let fields = &envelope.fields;
    let message = VendorMessage {
        facts: Facts {
            channel: Cow::Borrowed("webcallback"),
            parent_id: fields.id("cbOriginationIxnId")?,
            ..Facts::default()
        },
        own: attached_pairs(Source::Customer, fields.one("userData")?),
        left_out: &["cbOriginationIxnId", "userData"],
        ..VendorMessage::new(NAME, Event::Created)
    };
    message.decoded(envelope)
}
