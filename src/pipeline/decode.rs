//! From a delivery to what it says: the body, and what its transport says of it.
//!
//! In two steps, since what is decoded borrows from the text.

use crate::domain::RejectReason;
use crate::formats::body_encoding::Text;
use crate::formats::{self, Decoded, Hints, Refusal};
use crate::pipeline::ports::Delivery;

/// The body as text. The body of a forged delivery is not read, nor that of one without the properties
/// that it was sent with.
///
/// # Errors
/// When it is none, not signed as its source asks, sent with properties that cannot be read, or with a
/// header that must be read and cannot be.
pub(super) fn text<D: Delivery>(delivery: &D, max_bytes: usize) -> Result<Text<'_>, Refusal> {
    let arrival = delivery.arrival();
    if let Some(detail) = &arrival.undecodable {
        return Err(Refusal::new(RejectReason::Undecodable, detail.clone()));
    }
    match (arrival.is_forged, &arrival.unreadable) {
        (false, None) => arrival.encoding.text(delivery.body(), max_bytes),
        (false, Some(what)) => Err(Refusal::shape(what.clone())),
        (true, None) => Err(Refusal::new(
            RejectReason::BadSignature,
            "its source asks for a signature, and it has not the right one",
        )),
        (true, Some(what)) => {
            let detail = format!("its source asks for a signature, and {what}");
            Err(Refusal::new(RejectReason::BadSignature, detail))
        }
    }
}

/// What a delivery says, by the format that its transport or its shape names.
pub(super) fn decode<'a, D: Delivery>(
    delivery: &'a D,
    body: &'a Result<Text<'a>, Refusal>,
) -> Result<Decoded<'a>, Refusal> {
    let arrival = delivery.arrival();
    let hints = Hints {
        message_id: arrival.message_id.as_deref(),
        format: arrival.format.as_deref(),
        cloud_event: &arrival.cloud_event,
        widget: arrival.widget.as_deref(),
        tenant: arrival.tenant.as_deref(),
    };
    match body {
        Ok(Text { text, bytes }) => formats::decode(text, bytes, hints),
        Err(refusal) => Err(refusal.clone()),
    }
}
