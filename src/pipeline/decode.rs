//! From a delivery to what it says: the body, and what its transport says of it.
//!
//! In two steps, since what is decoded borrows from the text.

use std::borrow::Cow;

use super::ports::Delivery;
use crate::domain::RejectReason;
use crate::formats::{self, Decoded, Hints, Refusal};

/// The body as text. Nobody looks at what may be from anybody.
///
/// # Errors
/// When it is none, or not signed as its source asks.
pub(super) fn text<D: Delivery>(delivery: &D, max_bytes: usize) -> Result<Cow<'_, str>, Refusal> {
    match delivery.arrival().is_forged {
        false => formats::body::check(delivery.body(), max_bytes),
        true => Err(Refusal::of(
            RejectReason::BadSignature,
            "its source asks for a signature, and it has not the right one",
        )),
    }
}

/// What a delivery says, by the format that its transport or its shape names.
pub(super) fn decode<'a, D: Delivery>(
    delivery: &'a D,
    body: &'a Result<Cow<'a, str>, Refusal>,
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
        Ok(text) => formats::decode(text, delivery.body(), hints),
        Err(refusal) => Err(refusal.clone()),
    }
}
