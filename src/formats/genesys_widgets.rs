//! Genesys Widgets: the lifecycle events of the Callback widget, and of the WebChat widget, each with
//! its block of metadata (docs/formats.md).
//!
//! ```json
//! { "event": "Callback.opened", "interactionId": "…",
//!   "metadata": { "proactive": true, "errors": false, "form": false, "opened": 1763716500000 } }
//! ```
//!
//! Every member of the block is `false` until it is set; `false` is never a value here, so it becomes
//! no pair, and least of all `0`. No order of events is refused: it differs by widget and version.

use std::borrow::Cow;

use super::fields::Fields;
use super::vendor::{VendorMessage, attached_pairs};
use super::{Decoded, Envelope, Refusal};
use crate::domain::value::{Key, Kind, Value};
use crate::domain::{
    Attached, EndState, Event, Facts, Progress, RawJson, Source, Warning, WarningCode,
};

/// The format's name.
pub(super) const NAME: &str = "genesys-widgets";

/// The members that make its shape.
pub(super) const SHAPE: &[&str] = &["event", "metadata"];

/// An event of the lifecycle, and the events that may precede it.
struct LifecycleStep {
    name: &'static str,
    /// The events that it follows on the paths that are documented for Callback; `None` begins one.
    follows: &'static [Option<&'static str>],
}

const LIFECYCLE: [LifecycleStep; 8] = [
    LifecycleStep { name: "ready", follows: &[None] },
    LifecycleStep { name: "opened", follows: &[Some("ready")] },
    LifecycleStep { name: "started", follows: &[Some("opened")] },
    LifecycleStep { name: "submitted", follows: &[Some("started")] },
    LifecycleStep { name: "cancelled", follows: &[Some("opened"), Some("started")] },
    // On no documented path.
    LifecycleStep { name: "rejected", follows: &[] },
    LifecycleStep { name: "completed", follows: &[Some("submitted")] },
    LifecycleStep { name: CLOSED, follows: &[Some("cancelled"), Some("completed")] },
];

/// The event that ends the interaction.
const CLOSED: &str = "closed";

/// The times of the block, each with how far along a path it stands: of two, the one that stands
/// further cannot be the earlier.
const TIMES: [(&str, u8); 5] =
    [("opened", 0), ("started", 1), ("cancelled", 2), ("completed", 2), ("closed", 3)];

/// The keys under which the times are received.
const TIME_KEYS: [&str; 5] = [
    "callback.opened",
    "callback.started",
    "callback.cancelled",
    "callback.completed",
    "callback.closed",
];

/// An event of the lifecycle, with or without its plugin's name, and a block of metadata.
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    let fields = &envelope.fields;
    let event = fields.last("event").and_then(RawJson::string_bytes);
    let is_step = event.is_some_and(|event| std::str::from_utf8(&event).is_ok_and(is_known));
    is_step && fields.kind_of("metadata") == Some(Kind::Object)
}

fn is_known(event: &str) -> bool {
    lifecycle_step(event).is_some()
}

/// Decodes the event: `closed` ends the interaction, every other one opens it.
///
/// # Errors
/// When the event is none of the eight, the block is no object, or an id is of the wrong type or too
/// long.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Decoded<'a>, Refusal> {
    let fields = &envelope.fields;
    let event = fields.text("event")?.ok_or_else(|| fields.missing("event"))?;
    let unknown = || fields.refuse("event", "is none of a widget's lifecycle");
    let (plugin, step) = lifecycle_step(&event).ok_or_else(unknown)?;
    let is_webchat = plugin.eq_ignore_ascii_case("WebChat");
    let block = fields.object("metadata", "metadata.")?;
    let block = block.ok_or_else(|| fields.missing("metadata"))?;
    let mut id = None;
    for name in ["interactionId", "sessionId", "id"] {
        let given = fields.id(name)?;
        id = id.or(given);
    }
    let times = times(&block);
    let message = VendorMessage {
        id,
        facts: Facts {
            // A channel of its own, so that the freeze of web chats does not stop what the widget
            // itself reports.
            channel: Cow::Borrowed(if is_webchat { "webchat-widget" } else { "webcallback" }),
            ..Facts::default()
        },
        own: own_pairs(fields, &block, step.name),
        warnings: match runs_backwards(&times) {
            true => vec![Warning::new(WarningCode::LifecycleOrder)],
            false => Vec::new(),
        },
        progress: Some(Progress {
            step_key: "callback.state",
            follows: (!is_webchat).then_some(step.follows),
            time_keys: &TIME_KEYS,
            latest_ms: times.iter().map(|(_, ms)| *ms).max(),
        }),
        left_out: &["interactionId", "metadata"],
        ..VendorMessage::new(
            NAME,
            match step.name {
                CLOSED => Event::Ended(EndState::Handled),
                _ => Event::Opened,
            },
        )
    };
    message.decoded(envelope)
}

/// The plugin that an event's name begins with, if any, and the event.
fn lifecycle_step(event: &str) -> Option<(&str, &'static LifecycleStep)> {
    let (path, name) = event.rsplit_once('.').unwrap_or(("", event));
    let plugin = path.rsplit('.').next().unwrap_or_default();
    Some((plugin, LIFECYCLE.iter().find(|step| step.name == name)?))
}

/// The pairs of the submitted form, then the block, whole and flattened. The block's own keys come later,
/// so that a form cannot override what the widget reports.
fn own_pairs<'a>(
    fields: &Fields<'a>,
    block: &Fields<'a>,
    state: &str,
) -> Vec<(Source<'a>, Attached<'a>)> {
    let form = block.inside("form");
    let mut own = attached_pairs(Source::Customer, form.and_then(|form| form.last("userData")));
    let mut pairs = Vec::new();
    pairs.extend(fields.last("metadata").map(|raw| (Key::from("callback"), Value::from_raw(raw))));
    for (name, raw) in block.iter() {
        let value = match raw.kind() {
            Kind::Bool if raw.get() == "false" => None,
            Kind::Bool | Kind::Number | Kind::String => Some(Value::from_raw(raw)),
            Kind::Array if name.as_bytes() == b"errors" => codes(raw),
            Kind::Null | Kind::Array | Kind::Object => None,
        };
        pairs.extend(value.map(|value| (flat(name.as_bytes()), value)));
    }
    pairs.push((flat(b"state"), Value::from_text(state)));
    own.push((Source::Customer, Attached::Pairs(pairs)));
    own
}

/// The key under which a member of the block stands flat.
fn flat(name: &[u8]) -> Key<'static> {
    Key::from_bytes([b"callback.", name].concat())
}

/// Codes of errors, numbers or strings, as one text. `None` for what is no list of codes, or empty.
fn codes(json: RawJson<'_>) -> Option<Value<'static>> {
    let codes = json.elements()?.into_iter().map(|raw| match raw.kind() {
        Kind::Number => Some(raw.get().to_owned()),
        Kind::String => String::from_utf8(raw.string_bytes()?.into_owned()).ok(),
        Kind::Null | Kind::Bool | Kind::Array | Kind::Object => None,
    });
    let codes: Vec<_> = codes.collect::<Option<_>>()?;
    (!codes.is_empty()).then(|| Value::from_text(&codes.join(",")))
}

/// The times of the block that are set, each with how far along it stands, in milliseconds.
fn times(block: &Fields<'_>) -> Vec<(u8, i64)> {
    let time = |(name, place): &(&str, u8)| Some((*place, block.last(name)?.get().parse().ok()?));
    TIMES.iter().filter_map(time).collect()
}

fn runs_backwards(times: &[(u8, i64)]) -> bool {
    let later = |place: u8| times.iter().filter(move |(other, _)| *other > place);
    times.iter().any(|(place, ms)| later(*place).any(|(_, other_ms)| other_ms < ms))
}
