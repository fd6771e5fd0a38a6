//! The schemas of messages: those accepted in the canonical format, and those published.
//!
//! Both are open: members that they do not name are carried through, or may be added one day. The
//! vendors' own formats are the vendors' to describe (docs/formats.md).
//!
//! Deliberately absent: constraints that no schema can express. Names are bounded in bytes and a schema
//! counts characters, and a JSON object may hold a member twice.

mod enriched;
mod inbound;

pub use enriched::schema as enriched;
pub use inbound::schema as inbound;

use serde_json::{Value, json};

use crate::domain::{EndState, Event, State};
use crate::json_schema::words;

/// The types of our own messages.
const EVENTS: [Event; 4] =
    [Event::Created, Event::Opened, Event::Updated, Event::Ended(EndState::Ended)];

/// The states of an end.
const END_STATES: [State; 2] = [State::Ended, State::Handled];

fn event_types() -> Value {
    words(EVENTS.map(Event::as_str))
}

fn end_states() -> Value {
    words(END_STATES.map(State::as_str))
}

/// An id or a name; empty counts as absent.
fn short_text() -> Value {
    json!({ "type": "string", "maxLength": 255, "pattern": "^[^\\u0000]*$" })
}

/// An id or a name that must be there.
fn required_name() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^\\u0000]*$" })
}

/// A map of the customer's keys, whatever their values.
fn pairs() -> Value {
    json!({ "type": "object" })
}
