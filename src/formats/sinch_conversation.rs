//! Sinch Conversation API: inbound messages and the start of a conversation (docs/formats.md).
//!
//! ```json
//! { "app_id": "…", "message": { "id": "…", "conversation_id": "…", "metadata": "{…}",
//!   "channel_identity": { "channel": "WHATSAPP" } }, "message_metadata": "{…}" }
//! ```
//!
//! Metadata are strings that should hold JSON, and may hold anything: what is no map brings no pairs
//! and a warning, never a failure.

use std::borrow::Cow;

use super::fields::Fields;
use super::vendor::{Said, lot, lower_case};
use super::{Decoded, Envelope, Refusal, body};
use crate::domain::json::{RawJson, members};
use crate::domain::value::{Key, Kind, Value};
use crate::domain::{Attached, Event, Facts, KeyNames, Source, Warning, WarningCode};

/// The format's name.
pub(super) const NAME: &str = "sinch-conversation";

/// The members that make its shape.
pub(super) const SHAPE: &[&str] = &["app_id", "message"];

/// The member that says that a conversation has started.
const START: &str = "conversation_start_notification";

/// A message to an app, or the start of a conversation.
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    let fields = &envelope.fields;
    (fields.has("app_id") && fields.has("message")) || fields.has(START)
}

/// Decodes the message. The vendor does not say which is a conversation's first, so every one opens.
///
/// # Errors
/// When an id or a name is of the wrong type or too long.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Decoded<'a>, Refusal> {
    let fields = &envelope.fields;
    let mut metadata = Metadata::default();
    let (event_id, id, channel) = match fields.object("message", "message.")? {
        Some(message) => {
            // The message's own wins per key, so it comes later.
            metadata.read(fields.one("message_metadata")?);
            metadata.read(message.one("metadata")?);
            let event_id = message.id("id")?;
            // In dispatch mode there is no conversation, only the message.
            let id = message.id("conversation_id")?.or_else(|| event_id.clone());
            (event_id, id, channel(&message, "message.channel_identity.")?)
        }
        None => {
            let start = fields.object(START, "conversation_start_notification.")?;
            let start = start.ok_or_else(|| fields.missing("message"))?;
            let conversation =
                start.object("conversation", "conversation_start_notification.conversation.")?;
            let conversation = conversation.ok_or_else(|| start.missing("conversation"))?;
            match conversation.one("metadata_json")? {
                object @ Some(_) => metadata.read(object),
                None => metadata.read(conversation.one("metadata")?),
            }
            let channel = channel(
                &conversation,
                "conversation_start_notification.conversation.channel_identity.",
            )?;
            let active = conversation.name("active_channel")?;
            (None, conversation.id("id")?, channel.or(active))
        }
    };
    let said = Said {
        event_id,
        id,
        facts: Facts { channel: channel.map(lower_case).unwrap_or_default(), ..Facts::default() },
        own: metadata.own,
        key_names: KeyNames::Xml,
        warnings: metadata.warnings,
        time: fields.remark("event_time"),
        left_out: &[
            "message.conversation_id",
            "message.metadata",
            "message_metadata",
            "conversation_start_notification.conversation.id",
            "conversation_start_notification.conversation.metadata",
            "conversation_start_notification.conversation.metadata_json",
        ],
        ..Said::new(NAME, Event::Opened)
    };
    said.decoded(envelope)
}

fn channel<'a>(fields: &Fields<'a>, place: &'static str) -> Result<Option<Cow<'a, str>>, Refusal> {
    let identity = fields.object("channel_identity", place)?;
    identity.map_or(Ok(None), |identity| identity.name("channel"))
}

/// Pairs from metadata, as far as they are any.
#[derive(Default)]
struct Metadata<'a> {
    own: Vec<(Source<'a>, Attached<'a>)>,
    warnings: Vec<Warning>,
}

impl<'a> Metadata<'a> {
    fn read(&mut self, raw: Option<RawJson<'a>>) {
        let Some(raw) = raw else { return };
        if raw.kind() == Kind::Object {
            // Already unpacked on its way here.
            self.own.extend(lot(Source::Customer, Some(raw)));
            return;
        }
        match packed_pairs(raw) {
            Some(pairs) => self.own.push((Source::Customer, Attached::Pairs(pairs))),
            None if self.warnings.is_empty() => {
                self.warnings.push(Warning::of(WarningCode::MetadataNotAMap));
            }
            None => {}
        }
    }
}

/// The pairs of an object that stands, as JSON, in a JSON string. Nothing has looked at the inner text
/// yet, so it goes through the same checks as a body.
fn packed_pairs(json: RawJson<'_>) -> Option<Vec<(Key<'static>, Value<'static>)>> {
    let packed = json.string_bytes()?;
    let text = body::check(&packed, packed.len()).ok()?;
    let owned = |(key, raw): (Key<'_>, RawJson<'_>)| {
        let key = Key::from_bytes(key.as_bytes().to_vec());
        (key, Value::from_json(raw.get().to_owned()))
    };
    Some(members(&text)?.into_iter().map(owned).collect())
}
