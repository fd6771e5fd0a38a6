//! Sinch Conversation API: inbound messages, the start and the stop of a conversation (docs/formats.md).
//!
//! ```json
//! { "app_id": "…", "message": { "id": "…", "conversation_id": "…", "metadata": "{…}",
//!   "channel_identity": { "channel": "WHATSAPP" } }, "message_metadata": "{…}" }
//! ```
//!
//! | trigger, a member beside `app_id` | becomes |
//! |---|---|
//! | `message` | opens |
//! | `conversation_start_notification` | opens |
//! | `conversation_stop_notification` | the end |
//! | any other | is not supported |
//!
//! Metadata are strings that should hold JSON, and may hold anything: what is no map brings no pairs
//! and a warning, never a failure.

use std::borrow::Cow;

use super::fields::Fields;
use super::vendor::{VendorMessage, attached_pairs, lower_case};
use super::{Decoded, Envelope, Refusal, body, shown};
use crate::domain::json::{RawJson, members};
use crate::domain::value::{Key, Kind, Value};
use crate::domain::{
    Attached, EndState, Event, Facts, KeyNames, RejectReason, Source, UNSPECIFIED_CHANNEL, Warning,
    WarningCode,
};

/// The format's name.
pub(super) const NAME: &str = "sinch-conversation";

/// The members that make its shape.
pub(super) const SHAPE: &[&str] = &["app_id", "message"];

/// The members that report that a conversation has started or stopped.
const START: &str = "conversation_start_notification";
const STOP: &str = "conversation_stop_notification";

/// The members of the other triggers, less those whose name ends in one of [`OTHER_ENDINGS`].
const OTHER_TRIGGERS: [&str; 4] =
    ["event", "message_redaction", "unsupported_callback", "duplicated_identities"];

/// The suffixes of the members of most triggers, those that the vendor may add included.
const OTHER_ENDINGS: [&[u8]; 2] = [b"_notification", b"_report"];

/// The channel that is none, as the vendor spells it.
const NO_CHANNEL: &str = "CHANNEL_UNSPECIFIED";

/// A message to an app, the start or the stop of a conversation, or any other trigger.
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    let fields = &envelope.fields;
    let is_of_an_app = fields.has("app_id");
    (is_of_an_app && (fields.has("message") || other_trigger(fields).is_some()))
        || fields.has(START)
        || fields.has(STOP)
}

/// The member of a trigger that is not supported.
fn other_trigger<'f>(fields: &'f Fields<'_>) -> Option<&'f [u8]> {
    let names = fields.iter().map(|(key, _)| key.as_bytes());
    let is_other = |name: &&[u8]| {
        OTHER_TRIGGERS.iter().any(|other| other.as_bytes() == *name)
            || OTHER_ENDINGS.iter().any(|ending| name.ends_with(ending))
    };
    let mut others = names.filter(is_other);
    others.find(|name| *name != START.as_bytes() && *name != STOP.as_bytes())
}

/// Decodes the message. The vendor does not say which is a conversation's first, so every one opens.
///
/// # Errors
/// `unsupported_type` for another trigger; `not_an_interaction` when an id or a name is of the wrong
/// type or too long.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Decoded<'a>, Refusal> {
    let fields = &envelope.fields;
    let mut metadata = Metadata::default();
    let mut event = Event::Opened;
    let (event_id, id, channel) = if let Some(message) = fields.object("message", "message.")? {
        // The message's own wins per key, so it comes later.
        metadata.read(fields.one("message_metadata")?);
        metadata.read(message.one("metadata")?);
        let event_id = message.id("id")?;
        // In dispatch mode there is no conversation, only the message.
        let id = message.id("conversation_id")?.or_else(|| event_id.clone());
        let identity = message.object("channel_identity", "message.channel_identity.")?;
        (
            event_id,
            id,
            channel([
                identity.as_ref().map(|found| (found, "channel")),
                Some((&message, "channel")),
            ])?,
        )
    } else if let Some(start) = fields.object(START, "conversation_start_notification.")? {
        let place = "conversation_start_notification.conversation.";
        let conversation = start.object("conversation", place)?;
        let conversation = conversation.ok_or_else(|| start.missing("conversation"))?;
        let (text, object) = (conversation.one("metadata")?, conversation.one("metadata_json")?);
        // The object wins; what stands in its place and is none is looked at like the text.
        if object.is_none_or(|json| json.kind() != Kind::Object) {
            metadata.read(text);
        }
        metadata.read(object);
        let place = "conversation_start_notification.conversation.channel_identity.";
        let identity = conversation.object("channel_identity", place)?;
        let channel = channel([
            identity.as_ref().map(|found| (found, "channel")),
            Some((&conversation, "active_channel")),
        ])?;
        (None, conversation.id("id")?, channel)
    } else if let Some(stop) = fields.object(STOP, "conversation_stop_notification.")? {
        event = Event::Ended(EndState::Ended);
        let place = "conversation_stop_notification.conversation.";
        let conversation = stop.object("conversation", place)?;
        let conversation = conversation.ok_or_else(|| stop.missing("conversation"))?;
        // An end's data only gives a warning.
        metadata.read(conversation.one("metadata")?);
        metadata.read(conversation.one("metadata_json")?);
        metadata.warnings.clear();
        let id = conversation.id("id")?.ok_or_else(|| conversation.missing("id"))?;
        (None, Some(id), None)
    } else {
        return Err(match other_trigger(fields) {
            Some(trigger) => Refusal::new(
                RejectReason::UnsupportedType,
                format!("{} is none of message, {START}, {STOP}", shown(trigger)),
            ),
            None => fields.missing("message"),
        });
    };
    let message = VendorMessage {
        event_id,
        id,
        facts: Facts {
            channel: channel.map_or(Cow::Borrowed(UNSPECIFIED_CHANNEL), lower_case),
            ..Facts::default()
        },
        own: metadata.own,
        key_names: KeyNames::Xml,
        warnings: metadata.warnings,
        time: fields.remark("event_time").or_else(|| fields.remark("accepted_time")),
        left_out: &[
            "message.conversation_id",
            "message.metadata",
            "message_metadata",
            "conversation_start_notification.conversation.id",
            "conversation_start_notification.conversation.metadata",
            "conversation_start_notification.conversation.metadata_json",
            "conversation_stop_notification.conversation.id",
            "conversation_stop_notification.conversation.metadata",
            "conversation_stop_notification.conversation.metadata_json",
        ],
        ..VendorMessage::new(NAME, event)
    };
    message.decoded(envelope)
}

/// The first of these members that names a real channel.
fn channel<'a>(places: [Option<(&Fields<'a>, &str)>; 2]) -> Result<Option<Cow<'a, str>>, Refusal> {
    let mut found = None;
    for (fields, name) in places.into_iter().flatten() {
        let given = fields.name(name)?.filter(|given| !given.eq_ignore_ascii_case(NO_CHANNEL));
        found = found.or(given);
    }
    Ok(found)
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
            self.own.extend(attached_pairs(Source::Customer, Some(raw)));
            return;
        }
        if raw.string_bytes().is_some_and(|text| text.is_empty()) {
            // The vendor sends this where there is no metadata.
            return;
        }
        match packed_pairs(raw) {
            Some(pairs) => self.own.push((Source::Customer, Attached::Pairs(pairs))),
            None if self.warnings.is_empty() => {
                self.warnings.push(Warning::new(WarningCode::MetadataNotAMap));
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
