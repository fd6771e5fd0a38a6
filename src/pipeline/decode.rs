//! From a delivery to what it says: the body, and what its transport says of it.
//!
//! Deliberately absent: looking at the body as text first (`formats::body`), since what is decoded
//! borrows from it.

use std::borrow::Cow;

use super::ports::Delivery;
use crate::formats::{self, Decoded, Hints, Refusal};

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
